"""The page cache as read(2), write(2) and advice use it; faults are `handler.filemap`'s."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from errno import EBUSY

from ..arch import x86
from ..handler.readahead import do_page_cache_ra, page_cache_async_ra, page_cache_sync_ra
from ..handler.vmf import PAGE_NONE
from ..memory.pages import PageFlag
from ..tables.address_space import AddressSpace
from ..tables.inode import Inode
from ..vocabulary.address import PAGE, PAGE_SHIFT
from ..vocabulary.readahead import RA_PAGES, ReadRequest
from ..vocabulary.vma import Vma
from . import swap
from .memory import Memory
from .munmap import entries, zap_page_range
from .writeback import filemap_write_range


def filemap_get_page(memory: Memory, inode: Inode, index: int, last: int) -> int:
    """
    The frame of page `index` for a read that goes on to before page `last`, read together with what is likely to be
    read next.

    Kernel: mm/filemap.c filemap_get_pages(), filemap_readahead(), v6.1.
    Differs: page by page, where the kernel looks up as many as it finds before it copies them.
    """
    if inode.cache.get(index) is None:
        read_pages(memory, inode, page_cache_sync_ra(inode, inode.readahead, index, last - index, memory.rules))
    frame = memory.page_cache_page(inode, index)
    if memory.pages.has(frame, PageFlag.READAHEAD):
        memory.pages.clear(frame, PageFlag.READAHEAD)
        read_pages(memory, inode, page_cache_async_ra(inode, inode.readahead, index, last - index, memory.rules))
    return frame


def read_pages(memory: Memory, inode: Inode, request: ReadRequest) -> None:
    """
    Carry out a request, as far as there are frames for it.

    Kernel: mm/readahead.c page_cache_ra_unbounded(), v6.1.
    """
    inode.readahead = request.state
    for index in range(request.first, request.first + request.count):
        if inode.cache.get(index) is None and memory.frames.free:
            frame = memory.page_cache_page(inode, index)
            memory.pages.set(frame, PageFlag.READAHEAD if index == request.mark else PageFlag(0))


def force_page_cache_ra(memory: Memory, inode: Inode, index: int, count: int) -> None:
    """
    Read pages because somebody says that they will be needed; at most one window of them.

    Kernel: mm/readahead.c force_page_cache_ra(), v6.1.
    """
    count = min(count, max(RA_PAGES, inode.readahead.pages))
    read_pages(memory, inode, do_page_cache_ra(inode, inode.readahead, index, count, 0))


def madvise_willneed(memory: Memory, mm: AddressSpace, vma: Vma, start: int, end: int) -> int:
    """
    Pages of a file on a device are read; what is swapped out comes into the swap cache.

    Kernel: mm/madvise.c madvise_willneed(), v6.1.
    """
    inode = memory.inodes.get(vma.inode)
    if inode is None or inode.backing is None:
        return swap.madvise_willneed(memory, mm, vma, start, end)
    force_page_cache_ra(memory, inode, vma.linear_page_index(start), (end - start) // PAGE)
    return 0


def file_read_to(inode: Inode, position: int) -> None:
    """A read(2) came as far as this."""
    inode.readahead = replace(inode.readahead, prev_pos=position)


def invalidate_mapping_pages(memory: Memory, inode: Inode, first: int, last: int) -> None:
    """
    Drop the pages from `first` to `last` that are clean and that nobody uses.

    Kernel: mm/truncate.c invalidate_mapping_pages(), invalidate_inode_page(), v6.1.
    """
    for index, frame in cached(inode, first, last):
        if not memory.pages.has(frame, PageFlag.DIRTY) and memory.pages.refcount[frame >> PAGE_SHIFT] == 1:
            delete_from_page_cache(memory, inode, index)


def invalidate_inode_pages2_range(memory: Memory, inode: Inode, first: int, last: int) -> int:
    """
    Write back and drop pages, out of every address space as well; 0, or -EBUSY if one is used by somebody else.

    Kernel: mm/truncate.c invalidate_inode_pages2_range(), v6.1.
    """
    filemap_write_range(memory, inode, first, last)
    unmap_mapping_pages(memory, inode, first, last, private=False)
    error = 0
    for index, frame in cached(inode, first, last):
        if memory.pages.refcount[frame >> PAGE_SHIFT] == 1:
            delete_from_page_cache(memory, inode, index)
        else:
            error = -EBUSY
    return error


def delete_from_page_cache(memory: Memory, inode: Inode, index: int) -> None:
    """
    Kernel: mm/filemap.c filemap_remove_folio(), v6.1.
    """
    frame = inode.cache.get(index)
    if frame is not None:
        inode.cache.remove(index)
        memory.pages.inode[frame >> PAGE_SHIFT] = 0
        memory.pages.clear(frame, PageFlag.READAHEAD | PageFlag.DIRTY | PageFlag.FALLOCATED)
        memory.put_page(frame)


def cached(inode: Inode, first: int, last: int) -> list[tuple[int, int]]:
    """(index, frame) of the pages from `first` to `last` that are there."""
    return [(index, frame) for index, frame in inode.cache.items(first) if index <= last]


def unmap_mapping_pages(memory: Memory, inode: Inode, first: int, last: int, *, private: bool) -> None:
    """
    Take pages of a file out of every address space that maps them; with `private`, the copies that somebody wrote too.

    Kernel: mm/memory.c unmap_mapping_range() (even_cows), zap_pte_range() (should_zap_page()), v6.1.
    """
    for mm, vma in list(file_areas(memory, inode)):
        start = vma.start + max(0, first - vma.pgoff) * PAGE
        end = min(vma.end, vma.start + max(0, last + 1 - vma.pgoff) * PAGE)
        if start >= end:
            continue
        if private:
            zap_page_range(memory, mm, vma, start, end)
            continue
        for _, value, address in entries(memory, mm, start, end):
            present = value & (x86.PRESENT | PAGE_NONE)
            if present and not memory.pages.has(value & x86.PHYSICAL_MASK, PageFlag.ANON):
                zap_page_range(memory, mm, vma, address, address + PAGE)
    memory.flush()


def file_areas(memory: Memory, inode: Inode) -> Iterator[tuple[AddressSpace, Vma]]:
    """
    Every area that maps this file, anywhere.

    Kernel: include/linux/mm.h vma_interval_tree_foreach() over struct address_space.i_mmap, v6.1.
    """
    for mm in memory.spaces:
        for vma in mm.vmas:
            if vma.inode == inode.number:
                yield mm, vma
