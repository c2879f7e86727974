"""Pages leave memory: because a program says so (MADV_PAGEOUT), or because there is no room."""

from __future__ import annotations

from collections.abc import Iterable
from errno import EINVAL

import numpy as np

from ..arch import x86
from ..handler.vmf import PAGE_NONE, SPECIAL
from ..memory.pages import PageFlag
from ..memory.ram import HUGE
from ..tables.address_space import AddressSpace
from ..tables.inode import FileSystem, Inode
from ..vocabulary.address import PAGE, PAGE_SHIFT
from ..vocabulary.vma import Vma, VmFlag
from .filemap import delete_from_page_cache
from .huge_memory import head_of, huge_pmds, split_huge_page
from .memory import Memory
from .munmap import entries
from .rmap import Mapping, rmap_walk
from .swap import add_to_swap, unmap_to_swap
from .writeback import filemap_write_range

SWAP_CLUSTER_MAX = 32
"""How many pages are reclaimed at once (Kernel: include/linux/swap.h, v6.1)."""
NO_ADVICE = VmFlag.LOCKED | VmFlag.PFNMAP
"""Kernel: mm/madvise.c can_madv_lru_vma(), v6.1."""


def shrink_folio(memory: Memory, frame: int) -> bool:
    """
    Free one small page, whoever has it; what memory alone has of it goes to the swap space first.

    Kernel: mm/vmscan.c shrink_folio_list(), v6.1.
    """
    pages, number = memory.pages, frame >> PAGE_SHIFT
    inode = memory.inodes.get(int(pages.inode[number]))
    mappings = list(rmap_walk(memory, frame))
    if any(mapping.vma.flags & VmFlag.LOCKED for mapping in mappings):
        return False
    holders = len(mappings) + pages.has(frame, PageFlag.SWAPCACHE) + (inode is not None)
    if len(mappings) != int(pages.mapcount[number]) or holders != int(pages.refcount[number]):
        return False
    if pages.has(frame, PageFlag.ANON):
        return discard_lazyfree(memory, frame, mappings) or swap_out(memory, frame, mappings)
    if inode is None or inode.kind is FileSystem.SPECIAL:
        return False
    return drop_file_page(memory, inode, frame, mappings)


def discard_lazyfree(memory: Memory, frame: int, mappings: list[Mapping]) -> bool:
    """
    A page of MADV_FREE that was not written since is dropped; one that was is like any other again.

    Kernel: mm/rmap.c try_to_unmap_one(), v6.1.
    """
    if not memory.pages.has(frame, PageFlag.LAZYFREE):
        return False
    if memory.pages.has(frame, PageFlag.DIRTY) or any(mapping.value & x86.DIRTY for mapping in mappings):
        memory.pages.clear(frame, PageFlag.LAZYFREE)
        return False
    for mapping in mappings:
        memory.tables.write(mapping.slot, 0)
        memory.remove_rmap(frame)
    return True


def swap_out(memory: Memory, frame: int, mappings: list[Mapping]) -> bool:
    """
    A private page: all entries name its slot from then on.

    Kernel: mm/vmscan.c shrink_folio_list(), pageout(), __remove_mapping(), v6.1.
    """
    pages, number = memory.pages, frame >> PAGE_SHIFT
    if pages.has(frame, PageFlag.SWAPCACHE):
        slot: int | None = int(pages.swap[number]) - 1
    else:
        slot = add_to_swap(memory, frame)
    if slot is None or memory.swap is None:
        return False
    dirty = pages.has(frame, PageFlag.DIRTY)
    for mapping in mappings:
        dirty = dirty or bool(mapping.value & x86.DIRTY)
        unmap_to_swap(memory, mapping, frame, slot)
    if dirty:
        memory.swap.write(slot, memory.ram.read(frame, PAGE) or b"")
    pages.clear(frame, PageFlag.DIRTY)
    if pages.refcount[number] != 1:
        return False
    memory.delete_from_swap_cache(frame)
    return True


def drop_file_page(memory: Memory, inode: Inode, frame: int, mappings: list[Mapping]) -> bool:
    """
    A page of a file, out of every address space: memory that is a file goes to the swap space; what has to be written
    to a device first stays in the page cache.

    Kernel: mm/vmscan.c shrink_folio_list(); mm/shmem.c shmem_writepage(), v6.1.
    """
    pages, number = memory.pages, frame >> PAGE_SHIFT
    index = int(pages.index[number])
    slot = add_to_swap(memory, frame) if inode.swap_backed else None
    if inode.swap_backed and (slot is None or memory.swap is None):
        return False
    for mapping in mappings:
        memory.tables.write(mapping.slot, 0)
        pages.set(frame, PageFlag.DIRTY if mapping.value & x86.DIRTY else PageFlag(0))
        pages.mapcount[number] -= 1
        memory.put_page(frame)
    if slot is not None and memory.swap is not None:
        memory.swap.write(slot, memory.ram.read(frame, PAGE) or b"")
        memory.swap.count[slot] += 1
        inode.swapped[index] = slot
        delete_from_page_cache(memory, inode, index)
        memory.delete_from_swap_cache(frame)
        return True
    if pages.has(frame, PageFlag.DIRTY):
        return False
    delete_from_page_cache(memory, inode, index)
    return True


def madvise_cold_or_pageout(memory: Memory, mm: AddressSpace, vma: Vma, start: int, end: int, *, pageout: bool) -> int:
    """
    Pages that only this mapping has are made old, and with `pageout` reclaimed; huge pages are split if they lie in the
    range in part only.

    Kernel: mm/madvise.c madvise_cold_or_pageout_pte_range(), madvise_cold(), madvise_pageout(), v6.1.
    Differs: whoever asks is taken for the file's owner (can_do_pageout()).
    """
    if vma.flags & NO_ADVICE:
        return -EINVAL
    pages, chosen = memory.pages, list[int]()
    for slot, value, at in huge_pmds(memory, mm, start, end):
        head = head_of(value)
        if head == memory.huge_zero_page or pages.page_mapcount(head) != 1:
            continue
        if not start <= at <= end - HUGE:
            split_huge_page(memory, head)
            continue
        memory.tables.write(slot, value & ~x86.ACCESSED)
        pages.clear(head, PageFlag.REFERENCED)
        chosen.append(head)
    for slot, value, _ in entries(memory, mm, start, end):
        frame = value & x86.PHYSICAL_MASK
        if not value & (x86.PRESENT | PAGE_NONE) or value & SPECIAL or pages.page_mapcount(frame) != 1:
            continue
        if pages.is_huge(frame):
            split_huge_page(memory, frame)
        memory.tables.write(slot, value & ~x86.ACCESSED)
        pages.clear(frame, PageFlag.REFERENCED)
        chosen.append(frame)
    if pageout:
        reclaim_pages(memory, chosen)
    memory.flush()
    return 0


def madvise_cold(memory: Memory, mm: AddressSpace, vma: Vma, start: int, end: int) -> int:
    """The pages are not needed soon (Kernel: mm/madvise.c madvise_cold(), v6.1)."""
    return madvise_cold_or_pageout(memory, mm, vma, start, end, pageout=False)


def madvise_pageout(memory: Memory, mm: AddressSpace, vma: Vma, start: int, end: int) -> int:
    """The pages are not needed now (Kernel: mm/madvise.c madvise_pageout(), v6.1)."""
    return madvise_cold_or_pageout(memory, mm, vma, start, end, pageout=True)


def reclaim_pages(memory: Memory, frames: Iterable[int]) -> int:
    """
    Free what can be freed of these pages; says how many small ones that were.

    Kernel: mm/vmscan.c reclaim_pages(), v6.1.
    Differs: a huge page is always split and written page by page, where it could get adjacent slots whole.
    """
    freed = 0
    for frame in frames:
        small = [frame]
        if memory.pages.is_huge(frame):
            small = [number << PAGE_SHIFT for number in _range(memory.pages.folio(frame))]
            before = memory.frames.free
            split_huge_page(memory, frame)
            freed += memory.frames.free - before
        freed += sum(shrink_folio(memory, one) for one in small if memory.pages.refcount[one >> PAGE_SHIFT])
    return freed


def _range(numbers: slice) -> range:
    return range(numbers.start, numbers.stop)


def try_to_free_pages(memory: Memory, group: int = 0) -> bool:
    """
    Make room, for everybody or in one memory cgroup: a few pages that were not accessed since the last look, or else
    any. Says whether there was something to be had.

    Kernel: mm/vmscan.c try_to_free_pages(), try_to_free_mem_cgroup_pages(), shrink_node(), v6.1.
    Differs: no lists of active and inactive pages: a hand goes round over all frames.
    """
    pages = memory.pages
    used = (pages.refcount > 0) & ((pages.flags & np.uint16(PageFlag.ANON | PageFlag.TAIL)) == np.uint16(PageFlag.ANON))
    used |= (pages.refcount > 0) & (pages.inode > 0)
    if group:
        used &= pages.cgroup == group
    if not can_reclaim_anon_pages(memory, group):
        swap_backed = [inode.number for inode in memory.inodes.values() if inode.swap_backed]
        anonymous = np.uint16(PageFlag.ANON | PageFlag.LAZYFREE)
        used &= (pages.flags & anonymous) != np.uint16(PageFlag.ANON)
        used &= ~np.isin(pages.inode, swap_backed)
    frames = np.flatnonzero(used)
    frames = np.concatenate((frames[frames >= memory.hand], frames[frames < memory.hand]))
    freed = 0
    for desperate in (False, True):
        for number in frames.tolist():
            if not desperate and referenced(memory, number << PAGE_SHIFT):
                continue
            if desperate:
                write_back(memory, number)
            freed += reclaim_pages(memory, [number << PAGE_SHIFT])
            if freed >= SWAP_CLUSTER_MAX:
                memory.hand = number + 1
                memory.flush()
                return True
    memory.flush()
    return freed > 0


def can_reclaim_anon_pages(memory: Memory, group: int) -> bool:
    """
    Is there a slot of the swap space to be had? Without one private pages are not even looked at, nor files that are
    memory; those of MADV_FREE are, since they need none.

    Kernel: mm/vmscan.c can_reclaim_anon_pages(), get_scan_count(), v6.1; mm/swap.c lru_lazyfree_fn(), v6.1.
    """
    return memory.swap is not None and memory.swap.free > 0 and (not group or memory.cgroups[group].may_swap)


def write_back(memory: Memory, number: int) -> None:
    """
    A dirty page of a file on a device is written there (Kernel: fs/fs-writeback.c wakeup_flusher_threads(), v6.1).
    """
    inode = memory.inodes.get(int(memory.pages.inode[number]))
    if inode is not None and not inode.swap_backed:
        filemap_write_range(memory, inode, int(memory.pages.index[number]), int(memory.pages.index[number]))


def referenced(memory: Memory, frame: int) -> bool:
    """
    Was the page accessed since the last look? The notes of that are cleared.

    Kernel: mm/rmap.c folio_referenced(), v6.1.
    """
    seen = memory.pages.has(frame, PageFlag.REFERENCED)
    memory.pages.clear(frame, PageFlag.REFERENCED)
    for mapping in rmap_walk(memory, frame):
        if mapping.value & x86.ACCESSED:
            memory.tables.write(mapping.slot, mapping.value & ~x86.ACCESSED)
            seen = True
    return seen
