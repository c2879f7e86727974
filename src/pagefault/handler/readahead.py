"""Which pages of a file are read when one of them is wanted: around it in a mapping, ahead of it for read(2)."""

from __future__ import annotations

from dataclasses import replace

from ..tables.inode import Inode
from ..vocabulary.readahead import Readahead, ReadRequest
from ..vocabulary.vma import Vma, VmFlag
from .mm_eras import MmRules

MMAP_LOTSAMISS = 100
"""Kernel: mm/filemap.c MMAP_LOTSAMISS, v6.1."""


def sync_mmap_readahead(inode: Inode, state: Readahead, vma: Vma, index: int, rules: MmRules) -> ReadRequest | None:
    """
    A mapped page is missing: read those around it; with advice those after it, or (None) itself alone.

    Kernel: mm/filemap.c do_sync_mmap_readahead(), v6.1.
    Differs: VM_HUGEPAGE does not ask for 4 MiB: no file system here has large folios on a device.
    """
    if vma.flags & VmFlag.RAND_READ or not state.pages:
        return None
    if vma.flags & VmFlag.SEQ_READ:
        return page_cache_sync_ra(inode, state, index, state.pages, rules)
    state = replace(state, mmap_miss=min(state.mmap_miss + 1, MMAP_LOTSAMISS * 10))
    if state.mmap_miss > MMAP_LOTSAMISS:
        return ReadRequest(state)
    state = replace(state, start=max(0, index - state.pages // 2), size=state.pages, async_size=state.pages // 4)
    return window(inode, state)


def page_cache_sync_ra(inode: Inode, state: Readahead, index: int, wanted: int, rules: MmRules) -> ReadRequest:
    """
    Page `index` is missing, and `wanted` pages are asked for from there on: read them, and some more if it looks as if
    the file were read from one end to the other.

    Kernel: mm/readahead.c page_cache_sync_ra(), ondemand_readahead(), v6.1; page_cache_sync_ra(), v6.12.
    """
    most = state.pages
    if state.random or not most:
        return do_page_cache_ra(inode, state, index, min(wanted, most) if most else 1, 0)
    sequential = state.prev_pos >= 0 and 0 <= index - (state.prev_pos >> 12) <= 1
    if rules.ondemand_readahead and index and index == state.start + state.size:
        return merged(inode, index, next_window(state, most), most)
    if not index or wanted > most or sequential:
        size = initial_size(wanted, most)
        rest = size >> 1 if not rules.ondemand_readahead else size
        state = replace(state, start=index, size=size, async_size=size - wanted if size > wanted else rest)
    else:
        history = history_pages(inode, index, most)
        if history <= wanted:
            return do_page_cache_ra(inode, state, index, wanted, 0)
        history *= 2 if history >= index else 1
        state = replace(state, start=index, size=min(history + wanted, most), async_size=1)
    return merged(inode, index, state, most) if rules.ondemand_readahead else window(inode, state)


def page_cache_async_ra(inode: Inode, state: Readahead, index: int, wanted: int, rules: MmRules) -> ReadRequest:
    """
    Page `index` is there, and is where the next readahead begins.

    Kernel: mm/readahead.c page_cache_async_ra(), ondemand_readahead(), v6.1; page_cache_async_ra(), v6.12.
    """
    most = state.pages
    if not most:
        return ReadRequest(state)
    if rules.ondemand_readahead and not index:
        size = initial_size(wanted, most)
        state = replace(state, start=0, size=size, async_size=size - wanted if size > wanted else size)
        return merged(inode, index, state, most)
    expected = [state.start + state.size - state.async_size]
    expected += [state.start + state.size] if rules.ondemand_readahead else []
    if index in expected:
        state = next_window(state, most)
    else:
        start = next_miss(inode, index + 1, most, rules)
        if start - index > most:
            return ReadRequest(state)
        size = next_size(start - index + wanted, most)
        state = replace(state, start=start, size=size, async_size=size)
    return merged(inode, index, state, most) if rules.ondemand_readahead else window(inode, state)


def next_window(state: Readahead, most: int) -> Readahead:
    """The window after this one, larger if it may be."""
    size = max(state.size, next_size(state.size, most))
    return replace(state, start=state.start + state.size, size=size, async_size=size)


def merged(inode: Inode, index: int, state: Readahead, most: int) -> ReadRequest:
    """
    If this window would be used up by the very read that makes it, the next one is joined to it.

    Kernel: mm/readahead.c ondemand_readahead() (readit), v6.1.
    """
    if index == state.start and state.size == state.async_size:
        more = next_size(state.size, most)
        if state.size + more <= most:
            state = replace(state, size=state.size + more, async_size=more)
        else:
            state = replace(state, size=most, async_size=most >> 1)
    return window(inode, state)


def window(inode: Inode, state: Readahead) -> ReadRequest:
    """Read what the state says."""
    return do_page_cache_ra(inode, state, state.start, state.size, state.async_size)


def do_page_cache_ra(inode: Inode, state: Readahead, first: int, count: int, lookahead: int) -> ReadRequest:
    """
    Not beyond the end of the file. The last `lookahead` pages begin with the mark.

    Kernel: mm/readahead.c do_page_cache_ra(), page_cache_ra_unbounded(), v6.1.
    """
    count = max(0, min(count, inode.pages - first))
    return ReadRequest(state, first, count, first + count - lookahead if lookahead else -1)


def initial_size(wanted: int, most: int) -> int:
    """
    Kernel: mm/readahead.c get_init_ra_size(), v6.1.
    """
    size = 1 << (wanted - 1).bit_length()
    if size <= most // 32:
        return size * 4
    return size * 2 if size <= most // 4 else most


def next_size(size: int, most: int) -> int:
    """
    Kernel: mm/readahead.c get_next_ra_size(), v6.1.
    """
    if size < most // 16:
        return 4 * size
    return 2 * size if size <= most // 2 else most


def history_pages(inode: Inode, index: int, most: int) -> int:
    """
    How many pages before this one are there without a gap; at most so many, less one unless the file begins there.

    Kernel: mm/readahead.c count_history_pages(); mm/filemap.c page_cache_prev_miss(), v6.1.
    """
    at = index
    while at > max(0, index - most) and inode.cache.get(at - 1) is not None:
        at -= 1
    return index - at if index < most else min(index - at, most - 1)


def next_miss(inode: Inode, index: int, most: int, rules: MmRules) -> int:
    """
    The first page from this one on that is missing, of `most`; if none is, the last of them, and since v6.11 the one
    after it.

    Kernel: mm/filemap.c page_cache_next_miss(), v6.1 and v6.12.
    """
    end = index + most
    last = end - 1 if rules.ondemand_readahead else end
    return next((page for page in range(index, end) if inode.cache.get(page) is None), last)
