"""Huge pages in address spaces: split, given up, moved, copied at fork(), with other rights."""

from __future__ import annotations

import numpy as np

from ..arch import x86
from ..handler.huge_memory import split_entry
from ..handler.vmf import PAGE_NONE, page_protection
from ..memory.pages import HUGE_FRAMES, PageFlag
from ..memory.ram import HUGE
from ..tables.address_space import AddressSpace
from ..vocabulary.address import PAGE_SHIFT
from ..vocabulary.vma import Vma, VmFlag
from .memory import Memory


def huge_pmds(memory: Memory, mm: AddressSpace, start: int, end: int) -> list[tuple[int, int, int]]:
    """(slot, value, first address) of each entry that maps a huge page in a range, or around a part of it."""
    found: list[tuple[int, int, int]] = []
    at = start & -HUGE
    if memory.tables.levels[-2].shift != HUGE.bit_length() - 1:
        return found
    while at < end:
        slot, reach = memory.tables.slot_or_reach(mm.root, at, "pmd")
        if slot is None:
            at = (at // reach + 1) * reach
            continue
        value = memory.ram.read_entry(slot, memory.tables.entry_size) or 0
        if value & x86.PAGE_SIZE_BIT:
            found.append((slot, value, at))
        at += HUGE
    return found


def whole_huge_pmds(memory: Memory, mm: AddressSpace, start: int, end: int) -> list[tuple[int, int, int]]:
    """The same, of those that lie in the range; what it holds in part only is split."""
    whole = []
    for slot, value, at in huge_pmds(memory, mm, start, end):
        if start <= at and at + HUGE <= end:
            whole.append((slot, value, at))
        else:
            split_huge_pmd(memory, mm, slot, at)
    return whole


def pmd_slot(memory: Memory, mm: AddressSpace, address: int) -> int:
    """The physical address of the pmd for `address`, its tables made (Kernel: mm/memory.c __pmd_alloc(), v6.1)."""
    return memory.tables.entry_slot(mm.root, address, "pmd", lambda: memory.new_table(mm))


def head_of(value: int) -> int:
    """The physical address of the huge page that an entry maps."""
    return value & x86.PHYSICAL_MASK & -HUGE


def split_huge_pmd(memory: Memory, mm: AddressSpace, slot: int, address: int) -> None:
    """
    The entry becomes a table, of which each pte maps one page of the same huge page.

    Kernel: mm/huge_memory.c __split_huge_pmd_locked(), __split_huge_zero_page_pmd(), v6.1.
    """
    vma = mm.vmas.vma_lookup(address)
    assert vma is not None
    value, context = memory.ram.read_entry(slot, memory.tables.entry_size) or 0, memory.context(mm)
    table, zero = mm.deposited.pop(), head_of(value) == memory.huge_zero_page
    ptes = memory.words(table, HUGE_FRAMES)
    first = split_entry(vma, context, value, 0)
    step = 0 if zero else 1 << PAGE_SHIFT
    ptes[:] = ptes.dtype.type(first) + np.arange(HUGE_FRAMES, dtype=ptes.dtype) * ptes.dtype.type(step)
    memory.tables.write(slot, memory.form.table_entry(memory.tables.levels[-2], table))
    if not zero:
        split_rmap(memory, head_of(value), dirty=bool(value & x86.DIRTY))
    memory.flush()


def split_rmap(memory: Memory, head: int, *, dirty: bool) -> None:
    """
    One entry for all of a huge page less, and one for each of its pages more.

    Kernel: mm/huge_memory.c __split_huge_pmd_locked(), v6.1.
    """
    pages, folio = memory.pages, memory.pages.folio(head)
    pages.refcount[folio] += 1
    pages.mapcount[folio] += 1
    pages.refcount[folio.start] -= 1
    pages.entire_mapcount[folio.start] -= 1
    flags = (PageFlag.DIRTY if dirty else PageFlag(0)) | int(pages.flags[folio.start]) & PageFlag.EXCLUSIVE
    pages.flags[folio] |= np.uint16(flags)


def vma_adjust_trans_huge(memory: Memory, mm: AddressSpace, address: int) -> None:
    """
    An area is cut at this address: a huge page may not reach across it.

    Kernel: mm/huge_memory.c vma_adjust_trans_huge(), v6.1.
    """
    if address % HUGE:
        for slot, _, at in huge_pmds(memory, mm, address, address + 1):
            split_huge_pmd(memory, mm, slot, at)


def zap_huge_pmds(memory: Memory, mm: AddressSpace, start: int, end: int) -> None:
    """
    Give up the huge pages of a range; what it holds in part only is split before.

    Kernel: mm/memory.c zap_pmd_range(); mm/huge_memory.c zap_huge_pmd(), v6.1.
    """
    for slot, value, _ in whole_huge_pmds(memory, mm, start, end):
        memory.tables.write(slot, 0)
        memory.put_page(mm.deposited.pop())
        if head_of(value) != memory.huge_zero_page:
            memory.pages.entire_mapcount[head_of(value) >> PAGE_SHIFT] -= 1
            memory.put_page(head_of(value))


def change_huge_pmds(memory: Memory, mm: AddressSpace, vma: Vma, changed: int) -> None:
    """
    Give the huge pages of an area the rights it has now: the bits of `changed`.

    Kernel: mm/mprotect.c change_pmd_range(); mm/huge_memory.c change_huge_pmd(), can_change_pmd_writable(), v6.12.
    """
    bits = page_protection(vma, memory.context(mm)) & changed
    for slot, value, _ in whole_huge_pmds(memory, mm, vma.start, vma.end):
        value = value & ~changed | bits
        exclusive = memory.pages.has(head_of(value), PageFlag.EXCLUSIVE)
        may = memory.rules.mprotect_makes_huge_writable and vma.write and vma.flags & VmFlag.SOFTDIRTY
        memory.tables.write(slot, value | (x86.WRITABLE if may and exclusive else 0))


def copy_huge_pmds(memory: Memory, source: AddressSpace, target: AddressSpace, vma: Vma) -> bool:
    """
    fork(): both have the huge pages of an area, and neither may write. False: out of memory.

    Kernel: mm/huge_memory.c copy_huge_pmd(), v6.1.
    """
    for slot, _, at in huge_pmds(memory, source, vma.start, vma.end):
        if memory.frames.free < len(memory.tables.levels) and not memory.make_room(source):
            return False
        value = memory.ram.read_entry(slot, memory.tables.entry_size) or 0
        if not value & x86.PAGE_SIZE_BIT:
            continue  # it was split to make room: its pages are copied one by one
        target.deposited.append(memory.new_table(target))
        value &= ~(x86.WRITABLE if value & (x86.PRESENT | PAGE_NONE) else 0)
        if head_of(value) != memory.huge_zero_page:
            memory.pages.refcount[head_of(value) >> PAGE_SHIFT] += 1
            memory.pages.entire_mapcount[head_of(value) >> PAGE_SHIFT] += 1
            memory.pages.clear(head_of(value), PageFlag.EXCLUSIVE)
            memory.tables.write(slot, value)
        memory.tables.write(pmd_slot(memory, target, at), value & ~x86.ACCESSED)
    return True


def move_huge_pmds(memory: Memory, mm: AddressSpace, old: int, new: int, length: int) -> None:
    """
    mremap(): huge pages move as they are where both addresses allow it, or are split.

    Kernel: mm/mremap.c move_page_tables(); mm/huge_memory.c move_huge_pmd(), v6.1.
    """
    if (new - old) % HUGE:
        for slot, _, at in huge_pmds(memory, mm, old, old + length):
            split_huge_pmd(memory, mm, slot, at)
        return
    for slot, value, at in whole_huge_pmds(memory, mm, old, old + length):
        memory.tables.write(slot, 0)
        memory.tables.write(pmd_slot(memory, mm, at - old + new), value | memory.form.soft_dirty)


def madvise_free_huge_pmds(memory: Memory, mm: AddressSpace, start: int, end: int) -> None:
    """
    MADV_FREE: huge pages that nobody else has may be dropped as long as they are not written; what the range has in
    part only is split into small pages.

    Kernel: mm/huge_memory.c madvise_free_huge_pmd(), v6.1.
    """
    for slot, value, at in huge_pmds(memory, mm, start, end):
        head = head_of(value)
        if head == memory.huge_zero_page or memory.pages.folio_mapcount(head) != 1:
            continue
        if not start <= at <= end - HUGE:
            split_huge_page(memory, head)
            continue
        memory.pages.clear(head, PageFlag.DIRTY)
        memory.pages.set(head, PageFlag.LAZYFREE)
        memory.tables.write(slot, value & ~(x86.ACCESSED | x86.DIRTY))


def split_huge_page(memory: Memory, frame: int) -> None:
    """
    The 2 MiB are 512 pages from now on. Those that nobody has are free.

    Kernel: mm/huge_memory.c split_huge_page_to_list(), __split_huge_page(), v6.1.
    """
    pages, folio = memory.pages, memory.pages.folio(frame)
    for mm in memory.spaces if pages.entire_mapcount[folio.start] else ():
        for vma in [area for area in mm.vmas if area.anonymous and area.anon_vma]:
            for slot, value, at in huge_pmds(memory, mm, vma.start, vma.end):
                if head_of(value) == folio.start << PAGE_SHIFT:
                    split_huge_pmd(memory, mm, slot, at)
    pages.cgroup[folio] = pages.cgroup[folio.start]
    pages.flags[folio] |= pages.flags[folio.start] & np.uint16(PageFlag.DIRTY | PageFlag.LAZYFREE)
    pages.flags[folio] &= np.uint16(0xFFFF ^ (PageFlag.HUGE | PageFlag.TAIL))
    for number in range(folio.start, folio.stop):
        if not pages.refcount[number]:
            pages.refcount[number] = 1
            memory.put_page(number << PAGE_SHIFT)
