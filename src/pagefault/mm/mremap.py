"""mremap(): a mapping gets another length, or another place, and its pages go with it."""

from __future__ import annotations

from dataclasses import replace
from errno import EFAULT, EINVAL, ENOMEM

from ..arch import x86
from ..handler.vmf import PAGE_NONE
from ..tables.address_space import AddressSpace
from ..vocabulary.address import PAGE, PAGE_MASK, PAGE_SHIFT
from ..vocabulary.vma import Vma, VmFlag
from .gup import mm_populate
from .huge_memory import move_huge_pmds
from .memory import Memory
from .mmap import MAP_FIXED, MAP_SHARED, vm_enough_memory
from .munmap import do_munmap, entries
from .unmapped_area import get_unmapped_area
from .vma_merge import MAX_MAP_COUNT, isolate, may_split, merged

MREMAP_MAYMOVE, MREMAP_FIXED, MREMAP_DONTUNMAP = 1, 2, 4
"""Kernel: include/uapi/linux/mman.h, v6.1."""
LOCKED = VmFlag.LOCKED | VmFlag.LOCKONFAULT


def do_mremap(
    memory: Memory, mm: AddressSpace, address: int, old_length: int, new_length: int, flags: int, new_address: int
) -> int:
    """
    The address of the mapping as it is then, or -errno.

    Kernel: mm/mremap.c SYSCALL_DEFINE5(mremap), v6.1 and v6.12.
    """
    if flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP) or address % PAGE:
        return -EINVAL
    if flags & (MREMAP_FIXED | MREMAP_DONTUNMAP) and not flags & MREMAP_MAYMOVE:
        return -EINVAL
    if flags & MREMAP_DONTUNMAP and old_length != new_length:
        return -EINVAL
    old, new = (length + PAGE - 1 & PAGE_MASK & (1 << 64) - 1 for length in (old_length, new_length))
    if not new:
        return -EINVAL
    if mm.vmas.vma_lookup(address) is None:
        return -EFAULT
    if flags & (MREMAP_FIXED | MREMAP_DONTUNMAP):
        found = mremap_to(memory, mm, address, old, new_address, new, flags)
    elif old >= new:
        error = do_munmap(memory, mm, address + new, old - new) if old > new else 0
        return error or address
    else:
        found = grow(memory, mm, address, old, new, flags)
    vma = mm.vmas.vma_lookup(found) if found >= 0 else None
    if vma is not None and vma.flags & VmFlag.LOCKED and new > old:
        mm_populate(memory, mm, found + old, new - old)
    return found


def mremap_to(memory: Memory, mm: AddressSpace, address: int, old: int, new_address: int, new: int, flags: int) -> int:
    """
    Move to a given place, or leave the old one behind empty.

    Kernel: mm/mremap.c mremap_to(), v6.1.
    """
    limit = memory.task_size_max
    if new_address % PAGE or new > limit or new_address > limit - new:
        return -EINVAL
    if address + old > new_address and new_address + new > address:
        return -EINVAL
    if len(mm.vmas) + 2 >= MAX_MAP_COUNT - 3:
        return -ENOMEM
    error = do_munmap(memory, mm, new_address, new) if flags & MREMAP_FIXED else 0
    if not error and old > new:
        error = do_munmap(memory, mm, address + new, old - new)
        old = new
    vma = error or vma_to_resize(mm, address, old, new, flags)
    if isinstance(vma, int):
        return vma
    if flags & MREMAP_DONTUNMAP and not mm.may_expand_vm(old >> PAGE_SHIFT, data=vma.data):
        return -ENOMEM
    place = room_for(memory, mm, vma, address, new_address, new, MAP_FIXED if flags & MREMAP_FIXED else 0)
    if place < 0:
        return place
    return move_vma(memory, mm, vma, address, old, place, new, keep=bool(flags & MREMAP_DONTUNMAP))


def vma_to_resize(mm: AddressSpace, address: int, old: int, new: int, flags: int) -> Vma | int:
    """
    The area to be moved or made longer; -errno if that is not possible.

    Kernel: mm/mremap.c vma_to_resize(), v6.1.
    """
    vma = mm.vmas.vma_lookup(address)
    if vma is None:
        return -EFAULT
    if not old and not (vma.shared or vma.flags & VmFlag.MAYSHARE):
        return -EINVAL
    fixed = vma.flags & (VmFlag.DONTEXPAND | VmFlag.PFNMAP)
    if flags & MREMAP_DONTUNMAP and fixed:
        return -EINVAL
    if old > vma.end - address:
        return -EFAULT
    if new == old:
        return vma
    if vma.linear_page_index(address) + (new >> PAGE_SHIFT) >> 64:
        return -EINVAL
    if fixed:
        return -EFAULT
    return vma if mm.may_expand_vm(new - old >> PAGE_SHIFT, data=vma.data) else -ENOMEM


def room_for(memory: Memory, mm: AddressSpace, vma: Vma, address: int, hint: int, length: int, flags: int) -> int:
    """Where to move to, or -errno (Kernel: mm/mremap.c mremap_to(), SYSCALL_DEFINE5(mremap), v6.1)."""
    shared = MAP_SHARED if vma.flags & VmFlag.MAYSHARE else 0
    inode = memory.inodes.get(vma.inode)
    return get_unmapped_area(memory, mm, hint, length, flags | shared, inode, vma.linear_page_index(address))


def grow(memory: Memory, mm: AddressSpace, address: int, old: int, new: int, flags: int) -> int:
    """
    Make a mapping longer: where it is if there is room above, else elsewhere if it may move.

    Kernel: mm/mremap.c SYSCALL_DEFINE5(mremap), vma_expandable(), v6.1.
    """
    vma = vma_to_resize(mm, address, old, new, flags)
    if isinstance(vma, int):
        return vma
    end = address + new
    expandable = end <= memory.task_size_max and not mm.vmas.overlapping(vma.end, end)
    if address + old == vma.end and expandable:
        if vma.flags & VmFlag.ACCOUNT and not vm_enough_memory(memory, new - old >> PAGE_SHIFT):
            return -ENOMEM
        more = replace(vma, start=vma.end, end=end, pgoff=vma.linear_page_index(vma.end))
        take_file(memory, more)
        merged(memory, mm, more)
        return address
    if not flags & MREMAP_MAYMOVE:
        return -ENOMEM
    place = room_for(memory, mm, vma, address, 0, new, 0)
    return place if place < 0 else move_vma(memory, mm, vma, address, old, place, new, keep=False)


def move_vma(
    memory: Memory, mm: AddressSpace, vma: Vma, address: int, old: int, place: int, new: int, *, keep: bool
) -> int:
    """
    A copy of the area at `place`, and the pages with it; the old range is unmapped, or with `keep` left without pages.

    Kernel: mm/mremap.c move_vma(), v6.1 and v6.12.
    """
    if len(mm.vmas) >= MAX_MAP_COUNT - 3:
        return -ENOMEM
    error = may_split(memory, mm, address, address + old)
    if error:
        return error
    promised = new if keep else new - old
    if vma.flags & VmFlag.ACCOUNT and promised > 0 and not vm_enough_memory(memory, promised >> PAGE_SHIFT):
        return -ENOMEM
    if keep and vma.flags & VmFlag.LOCKED:
        (vma,) = isolate(memory, mm, address, address + old)
    copy_vma(memory, mm, vma, address, place, new, keep=keep)
    move_page_tables(memory, mm, address, place, old)
    if not keep:
        if old:
            do_munmap(memory, mm, address, old)
        return place
    emptied = replace(vma, flags=vma.flags & ~LOCKED)
    if (vma.start, vma.end) == (address, address + old):
        pgoff = vma.start >> PAGE_SHIFT if vma.anonymous else vma.pgoff
        emptied = replace(emptied, anon_vma=0, inherited=False, pgoff=pgoff)
    mm.vmas.replace(vma, emptied)
    return place


def copy_vma(memory: Memory, mm: AddressSpace, vma: Vma, address: int, place: int, length: int, *, keep: bool) -> None:
    """
    The area's part from `address` on, at another place, merged with what it continues there. Memory that was never
    written counts its pages by where it is.

    Kernel: mm/mmap.c copy_vma(), v6.1.
    """
    unwritten = vma.anonymous and not vma.anon_vma
    pgoff = place >> PAGE_SHIFT if unwritten else vma.linear_page_index(address)
    # mremap_userfaultfd_prep(): who answers for the old place does not answer for the new one.
    flags = vma.flags & ~VmFlag.UFFD_MISSING
    new = replace(vma, start=place, end=place + length, pgoff=pgoff, flags=flags, userfault=0)
    take_file(memory, new)
    if unwritten and keep and (place == vma.end or place + length == vma.start):
        mm.vmas.insert(new)
    else:
        merged(memory, mm, new)


def take_file(memory: Memory, vma: Vma) -> None:
    """One area more refers to its file."""
    if vma.inode:
        memory.inodes[vma.inode].users += 1


def move_page_tables(memory: Memory, mm: AddressSpace, address: int, place: int, length: int) -> None:
    """
    Every entry of a range moves to another place, and is soft-dirty there.

    Kernel: mm/mremap.c move_page_tables(), move_ptes(), v6.1.
    """
    move_huge_pmds(memory, mm, address, place, length)
    for slot, _, at in entries(memory, mm, address, address + length):
        new = memory.pte_slot(mm, at - address + place)
        value = int(memory.words(slot, 1)[0])  # only now: to make a table, pages may have been swapped out
        memory.tables.write(slot, 0)
        dirty = memory.form.soft_dirty if value & (x86.PRESENT | PAGE_NONE) else 0
        memory.tables.write(new, value | dirty)
    memory.flush()
