"""Dirty pages of a file go back to its device, and are watched for the next write from then on."""

from __future__ import annotations

from ..arch import x86
from ..memory.pages import PageFlag
from ..tables.inode import Inode
from ..vocabulary.address import PAGE
from .memory import Memory
from .rmap import rmap_walk


def filemap_write_range(memory: Memory, inode: Inode, first: int, last: int) -> None:
    """
    Write the dirty pages from `first` to `last`. Memory that is a file has nowhere to go.

    Kernel: mm/filemap.c file_write_and_wait_range(); mm/page-writeback.c write_cache_pages(), v6.1; fs/libfs.c
    noop_fsync().
    Differs: at once and at no other time: there are no threads that write back after a while.
    """
    if inode.backing is None:
        return
    for index, frame in inode.cache.items(first):
        if index <= last and memory.pages.has(frame, PageFlag.DIRTY):
            folio_mkclean(memory, frame)
            memory.pages.clear(frame, PageFlag.DIRTY)
            inode.backing.write_page(index, memory.ram.read(frame, PAGE) or b"")
    memory.flush()


def folio_mkclean(memory: Memory, frame: int) -> None:
    """
    Make every entry that maps a page shared read-only and clean, so that the next write faults.

    Kernel: mm/rmap.c folio_mkclean(), page_vma_mkclean_one(), v6.1.
    """
    for mapping in rmap_walk(memory, frame):
        if mapping.value & (x86.DIRTY | x86.WRITABLE):
            memory.tables.write(mapping.slot, mapping.value & ~(x86.DIRTY | x86.WRITABLE))
