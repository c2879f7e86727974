"""A file gets another size, or a hole: what is no longer there leaves the page cache and every page table."""

from __future__ import annotations

from ..memory.pages import PageFlag
from ..tables.inode import Inode
from ..vocabulary.address import PAGE, PAGE_SHIFT
from .filemap import cached, delete_from_page_cache, unmap_mapping_pages
from .memory import Memory

NO_END = (1 << 52) - 1
"""Beyond the last page that a file can have."""


def truncate_setsize(memory: Memory, inode: Inode, size: int) -> None:
    """
    Kernel: mm/truncate.c truncate_setsize(), truncate_pagecache(), v6.1.
    """
    old, inode.size = inode.size, size
    if size > old:
        return
    first = -(-size // PAGE)
    unmap_mapping_pages(memory, inode, first, NO_END, private=True)
    drop_pages(memory, inode, first, NO_END)
    clear_part(memory, inode, size, first * PAGE)
    if inode.backing is not None:
        inode.backing.truncate(size)


def punch_hole(memory: Memory, inode: Inode, start: int, end: int) -> None:
    """
    Bytes start..end become zeros, and whole pages of them nothing at all; private copies stay.

    Kernel: mm/shmem.c shmem_fallocate() (FALLOC_FL_PUNCH_HOLE), shmem_undo_range(); mm/truncate.c
    truncate_pagecache_range(), v6.1.
    """
    first, last = -(-start // PAGE), (end >> PAGE_SHIFT) - 1
    if last >= first:
        unmap_mapping_pages(memory, inode, first, last, private=False)
        drop_pages(memory, inode, first, last)
        clear_part(memory, inode, start, first * PAGE)
        clear_part(memory, inode, (last + 1) * PAGE, end)
    else:
        middle = min(first * PAGE, end)
        clear_part(memory, inode, start, middle)
        clear_part(memory, inode, middle, end)
    if inode.backing is not None:
        inode.backing.clear(start, end)


def drop_pages(memory: Memory, inode: Inode, first: int, last: int) -> None:
    """
    Whatever the page cache and the swap file have of these pages.

    Kernel: mm/truncate.c truncate_inode_pages_range(); mm/shmem.c shmem_undo_range(), v6.1.
    """
    for index, _ in cached(inode, first, last):
        delete_from_page_cache(memory, inode, index)
    for index in [index for index in inode.swapped if first <= index <= last]:
        memory.free_swap(inode.swapped.pop(index))


def clear_part(memory: Memory, inode: Inode, start: int, end: int) -> None:
    """
    Zeros in a part of one page, if it is there.

    Kernel: mm/truncate.c truncate_inode_partial_folio(), v6.1.
    """
    frame = inode.cache.get(start >> PAGE_SHIFT) if start < end else None
    if frame is not None:
        memory.ram.fill(frame + start % PAGE, end - start)
        memory.pages.set(frame, PageFlag.DIRTY)
