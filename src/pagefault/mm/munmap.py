"""munmap(): areas are cut to fit, their pages given up, and page tables that nobody needs any more are freed."""

from __future__ import annotations

from errno import EINVAL

import numpy as np

from ..arch import x86
from ..handler.vmf import PAGE_NONE, SPECIAL
from ..memory.pages import PageFlag
from ..tables.address_space import AddressSpace
from ..tables.swap_space import is_swap_entry, slot_of
from ..vocabulary.address import PAGE, PAGE_MASK, PAGE_SHIFT
from ..vocabulary.vma import Vma, VmFlag
from .huge_memory import zap_huge_pmds
from .memory import Memory
from .vma_merge import dropped, isolate, may_split


def do_munmap(memory: Memory, mm: AddressSpace, address: int, length: int) -> int:
    """
    Unmap a range; 0, or -errno.

    Kernel: mm/mmap.c do_mas_munmap(), unmap_region(), v6.1.
    """
    limit = memory.task_size_max
    length = length + PAGE - 1 & PAGE_MASK
    if address % PAGE or not length or address > limit or length > limit - address:
        return -EINVAL
    end = address + length
    if not mm.vmas.overlapping(address, end):
        return 0
    error = may_split(memory, mm, address, end, unmap=True)
    if error:
        return error
    for vma in isolate(memory, mm, address, end):
        zap_page_range(memory, mm, vma, vma.start, vma.end)
        mm.vmas.remove(vma)
        dropped(memory, vma)
    free_pgtables(memory, mm, address, end)
    memory.flush()
    return 0


def zap_page_range(memory: Memory, mm: AddressSpace, vma: Vma, start: int, end: int) -> None:
    """
    Give up the pages of a range of one area: the entries become empty. What they say of a file's page is noted there.

    Kernel: mm/memory.c zap_pte_range(), v6.1.
    """
    zap_huge_pmds(memory, mm, start, end)
    zap_own_pages(memory, mm, start, end)
    for slot, value, _ in entries(memory, mm, start, end):
        memory.tables.write(slot, 0)
        if is_swap_entry(value):
            memory.free_swap(slot_of(value))
        if value & (x86.PRESENT | PAGE_NONE) and not value & SPECIAL:
            frame = value & x86.PHYSICAL_MASK
            if not memory.pages.has(frame, PageFlag.ANON):
                accessed = value & x86.ACCESSED and not vma.flags & VmFlag.SEQ_READ
                memory.pages.set(frame, PageFlag.REFERENCED if accessed else PageFlag(0))
                memory.pages.set(frame, PageFlag.DIRTY if value & x86.DIRTY else PageFlag(0))
            memory.remove_rmap(frame)


def zap_own_pages(memory: Memory, mm: AddressSpace, start: int, end: int) -> None:
    """
    Free the small private pages of a range that nothing else refers to, a whole table of them at once: what most of a
    process's memory is. The general way, entry by entry, would do the same.
    """
    pages, size = memory.pages, memory.tables.entry_size
    others = PageFlag.SWAPCACHE | PageFlag.HUGE | PageFlag.TAIL
    for table, low, high in tables(memory, mm, start, end):
        run = memory.words(table + (low // PAGE % memory.tables.levels[-1].entries) * size, (high - low) // PAGE)
        word = run.dtype.type
        places = ((run & word(x86.PRESENT | PAGE_NONE) != 0) & (run & word(SPECIAL) == 0)).nonzero()[0]
        mask = x86.PHYSICAL_MASK & np.iinfo(run.dtype).max
        frames = ((run[places] & word(mask)) >> word(PAGE_SHIFT)).astype(np.int64)
        own = (pages.flags[frames] & int(PageFlag.ANON | others) == int(PageFlag.ANON)) & (pages.refcount[frames] == 1)
        own &= pages.cgroup[frames] == 0
        run[places[own]] = 0
        pages.forget_small(frames[own])
        for frame in frames[own].tolist():
            memory.frames.release(frame << PAGE_SHIFT)


def entries(memory: Memory, mm: AddressSpace, start: int, end: int) -> list[tuple[int, int, int]]:
    """
    (slot, value, address) of every pte in a range that is not empty. Where a whole table is missing, its reach is
    passed over at once.
    """
    found, size = list[tuple[int, int, int]](), memory.tables.entry_size
    for table, low, high in tables(memory, mm, start, end):
        first = table + (low // PAGE % memory.tables.levels[-1].entries) * size
        run = memory.words(first, (high - low) // PAGE)
        places = run.nonzero()[0].tolist()
        found += [(first + place * size, int(run[place]), low + place * PAGE) for place in places]
    return found


def tables(memory: Memory, mm: AddressSpace, start: int, end: int) -> list[tuple[int, int, int]]:
    """(frame, start, end) of each table of ptes in a range, with the part of the range it covers."""
    found, reach = [], PAGE * memory.tables.levels[-1].entries
    at = start
    while at < end:
        entry, covered = memory.tables.table_or_reach(mm.root, at)
        if entry is None:
            at = (at // covered + 1) * covered
            continue
        stop = min((at // reach + 1) * reach, end)
        found.append((entry, at, stop))
        at = stop
    return found


def free_pgtables(memory: Memory, mm: AddressSpace, start: int, end: int) -> None:
    """
    Free the tables that only served start..end: those whose whole reach lies between the areas around it.

    Kernel: mm/memory.c free_pgtables(), free_pgd_range(), v6.1.
    """
    below, above = next(mm.vmas.below(start), None), mm.vmas.find_vma(end)
    floor = below.end if below is not None else 0
    ceiling = above.start if above is not None else 0
    memory.tables.free_range(mm.root, start, end, floor, ceiling, memory.put_page)
