"""brk(): the heap's end."""

from __future__ import annotations

from ..tables.address_space import AddressSpace
from ..vocabulary.address import PAGE, PAGE_MASK, PAGE_SHIFT
from ..vocabulary.vma import MAY_ALL, Vma, VmFlag
from .memory import Memory
from .mmap import vm_enough_memory
from .munmap import do_munmap
from .unmapped_area import start_gap
from .vma_merge import MAX_MAP_COUNT, insert_merged


def do_brk(memory: Memory, mm: AddressSpace, brk: int) -> int:
    """
    Move the end of the heap to `brk` if that can be; returns where it is now.

    Kernel: mm/mmap.c SYSCALL_DEFINE1(brk), check_brk_limits(), v6.1.
    Differs: RLIMIT_DATA does not count the program's own data.
    """
    if brk < mm.start_brk or brk > memory.task_size_max:
        return mm.brk
    new, old = brk + PAGE - 1 & PAGE_MASK, mm.brk + PAGE - 1 & PAGE_MASK
    if new < old:
        heap = mm.vmas.find_vma(new)
        if heap is None or heap.start >= old or do_munmap(memory, mm, new, old - new):
            return mm.brk
    elif new > old:
        above = mm.vmas.find_vma(old)
        if above is not None and new + PAGE > start_gap(above):
            return mm.brk
        if not do_brk_flags(memory, mm, old, new, lowest=mm.start_brk):
            return mm.brk
    mm.brk = brk
    return brk


def do_brk_flags(
    memory: Memory, mm: AddressSpace, start: int, end: int, *, execute: bool = False, lowest: int = 0
) -> bool:
    """
    Private anonymous memory where there is room for it: part of the area below, if that begins at `lowest` or above.
    False: there may not be more.

    Kernel: mm/mmap.c do_brk_flags(), v6.1.
    """
    pages = (end - start) // PAGE
    if not mm.may_expand_vm(pages, data=True) or len(mm.vmas) > MAX_MAP_COUNT or not vm_enough_memory(memory, pages):
        return False
    flags = MAY_ALL | VmFlag.ACCOUNT | VmFlag.SOFTDIRTY | mm.def_flags
    vma = Vma(start, end, execute=execute, pgoff=start >> PAGE_SHIFT, flags=flags)
    below = mm.vmas.vma_lookup(start - 1)
    if below is not None and below.start >= lowest:
        insert_merged(memory, mm, vma, above=False)
    else:
        mm.vmas.insert(vma)
    return True


def vm_brk_flags(memory: Memory, mm: AddressSpace, start: int, length: int, *, execute: bool = False) -> None:
    """
    Private anonymous memory at a fixed place: what a program's last segment has beyond its file.

    Kernel: mm/mmap.c vm_brk_flags(), v6.1.
    """
    do_munmap(memory, mm, start, length)
    do_brk_flags(memory, mm, start, start + (length + PAGE - 1 & PAGE_MASK), execute=execute)
