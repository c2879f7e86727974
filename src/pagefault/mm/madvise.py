"""madvise(): what a program says it will do with its memory, or wants done with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from errno import EAGAIN, EFAULT, EINVAL, ENOMEM

from ..arch import x86
from ..handler.vmf import PAGE_NONE, SPECIAL
from ..memory.pages import PageFlag
from ..tables.address_space import AddressSpace
from ..vocabulary.address import PAGE, PAGE_MASK, PAGE_SHIFT
from ..vocabulary.vm_fault import FaultFlag
from ..vocabulary.vma import Vma, VmFlag
from .fallocate import madvise_remove
from .filemap import madvise_willneed
from .gup import faultin_page, follow_page
from .huge_memory import madvise_free_huge_pmds, split_huge_page
from .khugepaged import madvise_collapse
from .memory import Memory
from .munmap import entries, zap_page_range
from .reclaim import madvise_cold, madvise_pageout
from .vma_merge import VM_SPECIAL, isolate, may_split, remerge

MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_DONTNEED, MADV_FREE, MADV_REMOVE = 0, 1, 2, 4, 8, 9
MADV_DONTFORK, MADV_DOFORK, MADV_MERGEABLE, MADV_UNMERGEABLE = 10, 11, 12, 13
MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_DONTDUMP, MADV_DODUMP = 14, 15, 16, 17
MADV_WIPEONFORK, MADV_KEEPONFORK, MADV_POPULATE_READ, MADV_POPULATE_WRITE = 18, 19, 22, 23
MADV_WILLNEED, MADV_COLD, MADV_PAGEOUT, MADV_DONTNEED_LOCKED, MADV_COLLAPSE = 3, 20, 21, 24, 25
"""Kernel: include/uapi/asm-generic/mman-common.h, v6.1."""
NO_FLAG = VmFlag(0)
ADVICE = {
    MADV_NORMAL: (NO_FLAG, VmFlag.RAND_READ | VmFlag.SEQ_READ),
    MADV_RANDOM: (VmFlag.RAND_READ, VmFlag.SEQ_READ),
    MADV_SEQUENTIAL: (VmFlag.SEQ_READ, VmFlag.RAND_READ),
    MADV_DONTFORK: (VmFlag.DONTCOPY, NO_FLAG),
    MADV_DOFORK: (NO_FLAG, VmFlag.DONTCOPY),
    MADV_MERGEABLE: (VmFlag.MERGEABLE, NO_FLAG),
    MADV_UNMERGEABLE: (NO_FLAG, VmFlag.MERGEABLE),
    MADV_HUGEPAGE: (VmFlag.HUGEPAGE, VmFlag.NOHUGEPAGE),
    MADV_NOHUGEPAGE: (VmFlag.NOHUGEPAGE, VmFlag.HUGEPAGE),
    MADV_DONTDUMP: (VmFlag.DONTDUMP, NO_FLAG),
    MADV_DODUMP: (NO_FLAG, VmFlag.DONTDUMP),
    MADV_WIPEONFORK: (VmFlag.WIPEONFORK, NO_FLAG),
    MADV_KEEPONFORK: (NO_FLAG, VmFlag.WIPEONFORK),
}
"""Advice that is remembered only: the flags it sets and clears (Kernel: mm/madvise.c madvise_vma_behavior(), v6.1)."""
NOT_MERGEABLE = VmFlag.MAYSHARE | VM_SPECIAL
"""Kernel: mm/ksm.c ksm_madvise(), v6.1."""

Action = Callable[[Memory, AddressSpace, Vma, int, int], int]
"""What is done to the part start..end of an area: 0, or -errno."""


def do_madvise(memory: Memory, mm: AddressSpace, start: int, length: int, behavior: int) -> int:
    """
    0, or -errno; over a hole everything that is mapped is done, and then -ENOMEM said.

    Kernel: mm/madvise.c do_madvise(), madvise_walk_vmas(), v6.1.
    """
    whole = length + PAGE - 1 & PAGE_MASK & (1 << 64) - 1
    end = start + whole
    if (behavior not in ADVICE and behavior not in ACTIONS) or start % PAGE or (length and not whole) or end >> 64:
        return -EINVAL
    if behavior in (MADV_POPULATE_READ, MADV_POPULATE_WRITE) and memory.rules.populate_stops_at_holes:
        return populate_range(memory, mm, start, end, write=behavior == MADV_POPULATE_WRITE)
    hole = 0
    while start < end:
        vma = mm.vmas.find_vma(start)
        if vma is None:
            return -ENOMEM
        if start < vma.start:
            hole, start = -ENOMEM, vma.start
            continue
        stop = min(end, vma.end)
        error = madvise_vma_behavior(memory, mm, vma, start, stop, behavior)
        if error:
            return error
        start = stop
    return hole


def madvise_vma_behavior(memory: Memory, mm: AddressSpace, vma: Vma, start: int, end: int, behavior: int) -> int:
    """
    Kernel: mm/madvise.c madvise_vma_behavior(), madvise_update_vma(), v6.1.
    """
    if behavior in ACTIONS:
        return ACTIONS[behavior](memory, mm, vma, start, end)
    shared = bool(vma.inode) or vma.shared
    refused = {
        MADV_DOFORK: bool(vma.flags & VmFlag.IO),
        MADV_WIPEONFORK: shared,
        MADV_DODUMP: bool(vma.flags & VM_SPECIAL),
    }
    if refused.get(behavior, False):
        return -EINVAL
    if behavior == MADV_MERGEABLE and (vma.shared or vma.flags & NOT_MERGEABLE):
        return 0
    also, without = ADVICE[behavior]
    flags = vma.flags & ~without | also
    if flags == vma.flags:
        return 0
    error = may_split(memory, mm, start, end)
    if error:
        return -EAGAIN if error == -ENOMEM else error
    (part,) = isolate(memory, mm, start, end)
    changed = replace(part, flags=flags)
    mm.vmas.replace(part, changed)
    remerge(memory, mm, changed)
    return 0


def madvise_dontneed(memory: Memory, mm: AddressSpace, vma: Vma, start: int, end: int) -> int:
    """
    The pages are given up: what is touched next is zeros, or the file's.

    Kernel: mm/madvise.c madvise_dontneed_free(), madvise_dontneed_single_vma(), v6.1.
    """
    if vma.flags & (VmFlag.LOCKED | VmFlag.PFNMAP):
        return -EINVAL
    return madvise_dontneed_locked(memory, mm, vma, start, end)


def madvise_dontneed_locked(memory: Memory, mm: AddressSpace, vma: Vma, start: int, end: int) -> int:
    """
    The same, locked or not (Kernel: mm/madvise.c madvise_dontneed_free_valid_vma(), v6.1).
    """
    if vma.flags & VmFlag.PFNMAP:
        return -EINVAL
    zap_page_range(memory, mm, vma, start, end)
    memory.flush()
    return 0


def madvise_free(memory: Memory, mm: AddressSpace, vma: Vma, start: int, end: int) -> int:
    """
    Private pages may be dropped as long as they are not written again: they are clean from now on, and old.

    Kernel: mm/madvise.c madvise_free_single_vma(), madvise_free_pte_range(); mm/swap.c lru_lazyfree_fn(), v6.1.
    """
    if vma.flags & (VmFlag.LOCKED | VmFlag.PFNMAP) or not vma.anonymous:
        return -EINVAL
    pages = memory.pages
    madvise_free_huge_pmds(memory, mm, start, end)
    for slot, value, address in entries(memory, mm, start, end):
        frame = value & x86.PHYSICAL_MASK
        if not value & (x86.PRESENT | PAGE_NONE):
            zap_page_range(memory, mm, vma, address, address + PAGE)
            continue
        if value & SPECIAL:
            continue
        if pages.is_huge(frame):
            if pages.page_mapcount(frame) != 1:
                break
            split_huge_page(memory, frame)
        if pages.has(frame, PageFlag.DIRTY) and int(pages.mapcount[frame >> PAGE_SHIFT]) != 1:
            continue
        pages.clear(frame, PageFlag.DIRTY | PageFlag.REFERENCED)
        memory.tables.write(slot, value & ~(x86.ACCESSED | x86.DIRTY))
        if not pages.has(frame, PageFlag.SWAPCACHE):
            pages.set(frame, PageFlag.LAZYFREE)
    memory.flush()
    return 0


def populate_vma(memory: Memory, mm: AddressSpace, vma: Vma, start: int, end: int, *, write: bool) -> int:
    """
    Bring in the pages of one area's part, as reading or writing each would.

    Kernel: mm/gup.c faultin_vma_page_range(), check_vma_flags(), v6.1; faultin_page_range(), v6.12.
    """
    may = vma.write if write else vma.read
    if vma.flags & (VmFlag.IO | VmFlag.PFNMAP) or not may or pkru_forbids(memory, mm, vma, write=write):
        return -EINVAL
    flags = FaultFlag.ALLOW_RETRY | FaultFlag.KILLABLE | (FaultFlag.WRITE if write else FaultFlag(0))
    for address in range(start, end, PAGE):
        if follow_page(memory, mm, address, write=write) is None:
            error = faultin_page(memory, mm, vma, address, flags)
            if error:
                return error
    return 0


def madvise_populate_read(memory: Memory, mm: AddressSpace, vma: Vma, start: int, end: int) -> int:
    """
    Kernel: mm/madvise.c madvise_populate(), v6.1.
    """
    return populate_vma(memory, mm, vma, start, end, write=False)


def madvise_populate_write(memory: Memory, mm: AddressSpace, vma: Vma, start: int, end: int) -> int:
    """
    Kernel: mm/madvise.c madvise_populate(), v6.1.
    """
    return populate_vma(memory, mm, vma, start, end, write=True)


def pkru_forbids(memory: Memory, mm: AddressSpace, vma: Vma, *, write: bool) -> bool:
    """
    Kernel: arch/x86/include/asm/mmu_context.h arch_vma_access_permitted(), v6.1.
    """
    cpu = memory.context(mm).cpu
    rights = cpu.pkru >> 2 * vma.protection_key & 3 if cpu.pke else 0
    return bool(rights & 1) or (write and bool(rights & 2))


def populate_range(memory: Memory, mm: AddressSpace, start: int, end: int, *, write: bool) -> int:
    """
    Bring in what is missing of a range, up to the first hole or error.

    Kernel: mm/madvise.c madvise_populate(), v6.12.
    """
    while start < end:
        vma = mm.vmas.vma_lookup(start)
        if vma is None:
            return -ENOMEM
        error = populate_vma(memory, mm, vma, start, min(end, vma.end), write=write)
        if error:
            return error if error in (-EINVAL, -EFAULT) else -ENOMEM
        start = vma.end
    return 0


ACTIONS: dict[int, Action] = {
    MADV_DONTNEED: madvise_dontneed,
    MADV_FREE: madvise_free,
    MADV_POPULATE_READ: madvise_populate_read,
    MADV_POPULATE_WRITE: madvise_populate_write,
    MADV_DONTNEED_LOCKED: madvise_dontneed_locked,
    MADV_WILLNEED: madvise_willneed,
    MADV_REMOVE: madvise_remove,
    MADV_COLD: madvise_cold,
    MADV_PAGEOUT: madvise_pageout,
    MADV_COLLAPSE: madvise_collapse,
}
"""Advice that is acted on at once (Kernel: mm/madvise.c madvise_vma_behavior(), v6.1)."""
