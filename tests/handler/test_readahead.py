"""Which pages are read, and where the next readahead begins: as real kernels choose them."""

from __future__ import annotations

from typing import Any

import pytest

from pagefault.handler.mm_eras import MmRules, mm_rules
from pagefault.handler.readahead import page_cache_async_ra, page_cache_sync_ra, sync_mmap_readahead
from pagefault.tables.inode import FileSystem, Inode
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.readahead import Readahead, ReadRequest
from pagefault.vocabulary.vma import Vma, VmFlag

OLD, NEW = mm_rules((6, 1)), mm_rules((6, 12))
BOTH = pytest.mark.parametrize("rules", [OLD, NEW], ids=["6.1", "6.12"])
VMA = Vma(0, 1 << 20)


def file(length: int, cached: range = range(0), **state: Any) -> Inode:
    inode = Inode(1, "a file", FileSystem.DISK, length * PAGE, readahead=Readahead(**state))
    for index in cached:
        inode.cache.set(index, (index + 1) * PAGE)
    return inode


def pages(request: ReadRequest) -> tuple[int, int, int]:
    return request.first, request.count, request.mark


def carried_out(inode: Inode, request: ReadRequest) -> tuple[int, int, int]:
    inode.readahead = request.state
    for index in range(request.first, request.first + request.count):
        inode.cache.set(index, (index + 1) * PAGE)
    return pages(request)


@BOTH
@pytest.mark.parametrize(
    ("touched", "expected"),
    [(40, (24, 32, 48)), (63, (47, 18, 57)), (0, (0, 32, 24)), (16, (0, 32, 24)), (64, (48, 17, 57))],
)
def test_a_mapped_page_is_read_with_those_around_it(
    rules: MmRules, touched: int, expected: tuple[int, int, int]
) -> None:
    """The first three as in the lab's file-disk: the marked page is the one that faults again."""
    inode = file(65)
    request = sync_mmap_readahead(inode, inode.readahead, VMA, touched, rules)
    assert request is not None
    assert pages(request) == expected
    assert (request.state.start, request.state.size, request.state.async_size) == (max(0, touched - 16), 32, 8)
    assert request.state.mmap_miss == 1


def test_a_mapping_read_at_random_is_not_read_ahead() -> None:
    inode = file(65)
    assert sync_mmap_readahead(inode, inode.readahead, Vma(0, PAGE, flags=VmFlag.RAND_READ), 5, OLD) is None
    hopeless = Readahead(mmap_miss=100)
    request = sync_mmap_readahead(inode, hopeless, VMA, 5, OLD)
    assert request is not None
    assert (request.count, request.state.mmap_miss) == (0, 101)
    request = sync_mmap_readahead(inode, Readahead(mmap_miss=1000), VMA, 5, OLD)
    assert request is not None
    assert request.state.mmap_miss == 1000


@BOTH
def test_a_sequential_mapping_reads_what_follows(rules: MmRules) -> None:
    inode = file(200)
    request = sync_mmap_readahead(inode, Readahead(prev_pos=0), Vma(0, PAGE, flags=VmFlag.SEQ_READ), 5, rules)
    assert request is not None
    assert request.first == 5


@BOTH
def test_reading_page_by_page_doubles_the_window(rules: MmRules) -> None:
    inode = file(1000)
    assert carried_out(inode, page_cache_sync_ra(inode, inode.readahead, 0, 1, rules)) == (0, 4, 1)
    assert carried_out(inode, page_cache_async_ra(inode, inode.readahead, 1, 1, rules)) == (4, 8, 4)
    assert carried_out(inode, page_cache_async_ra(inode, inode.readahead, 4, 1, rules)) == (12, 16, 12)
    assert carried_out(inode, page_cache_async_ra(inode, inode.readahead, 12, 1, rules)) == (28, 32, 28)
    assert carried_out(inode, page_cache_async_ra(inode, inode.readahead, 28, 1, rules)) == (60, 32, 60)


@BOTH
@pytest.mark.parametrize(("wanted", "expected"), [(1, (0, 4, 1)), (2, (0, 4, 2)), (3, (0, 8, 3)), (8, (0, 16, 8))])
def test_the_first_window_goes_by_what_is_asked_for(
    rules: MmRules, wanted: int, expected: tuple[int, int, int]
) -> None:
    inode = file(1000)
    assert pages(page_cache_sync_ra(inode, inode.readahead, 0, wanted, rules)) == expected


@pytest.mark.parametrize(("rules", "expected"), [(OLD, (0, 32, 16)), (NEW, (0, 32, 16))], ids=["6.1", "6.12"])
def test_a_window_that_is_used_up_at_once(rules: MmRules, expected: tuple[int, int, int]) -> None:
    """6.1 joins the next window to it, 6.12 halves it: here that is the same."""
    inode = file(1000)
    assert pages(page_cache_sync_ra(inode, inode.readahead, 0, 32, rules)) == expected


@BOTH
def test_a_lone_read_is_read_alone(rules: MmRules) -> None:
    inode = file(1000, start=7, size=9)
    request = page_cache_sync_ra(inode, inode.readahead, 500, 3, rules)
    assert (pages(request), request.state) == ((500, 3, -1), inode.readahead)


@BOTH
@pytest.mark.parametrize(("prev_pos", "sequential"), [(499 * PAGE, True), (500 * PAGE + 9, True), (498 * PAGE, False)])
def test_a_read_that_follows_the_last_is_sequential(rules: MmRules, prev_pos: int, sequential: bool) -> None:
    inode = file(1000, prev_pos=prev_pos)
    assert pages(page_cache_sync_ra(inode, inode.readahead, 500, 1, rules)) == (
        (500, 4, 501) if sequential else (500, 1, -1)
    )


@BOTH
def test_pages_before_it_are_a_history(rules: MmRules) -> None:
    inode = file(1000, range(490, 500))
    assert pages(page_cache_sync_ra(inode, inode.readahead, 500, 2, rules)) == (500, 12, 511)
    whole = file(1000, range(10))
    assert pages(page_cache_sync_ra(whole, whole.readahead, 10, 2, rules)) == (10, 22, 31)


@BOTH
def test_a_mark_that_nobody_remembers_goes_on_after_what_is_cached(rules: MmRules) -> None:
    inode = file(1000, range(100, 110), start=700, size=8, async_size=4)
    assert pages(page_cache_async_ra(inode, inode.readahead, 104, 1, rules)) == (110, 14, 110)


def test_a_mark_amid_cached_pages() -> None:
    """What page_cache_next_miss() says where there is no gap differs by one, and that decides."""
    inode = file(1000, range(100, 200))
    assert page_cache_async_ra(inode, inode.readahead, 104, 1, OLD).count == 32
    assert page_cache_async_ra(inode, inode.readahead, 104, 1, NEW).count == 0


@BOTH
def test_advice(rules: MmRules) -> None:
    inode = file(1000, pages=64)
    assert pages(page_cache_sync_ra(inode, inode.readahead, 0, 60, rules)) == (0, 64, 60)
    inode = file(1000, random=True)
    assert pages(page_cache_sync_ra(inode, inode.readahead, 0, 5, rules)) == (0, 5, -1)
    assert pages(page_cache_sync_ra(inode, inode.readahead, 0, 50, rules)) == (0, 32, -1)


@BOTH
def test_nothing_beyond_the_end(rules: MmRules) -> None:
    assert pages(page_cache_sync_ra(file(2), Readahead(), 0, 1, rules)) == (0, 2, -1)
    assert page_cache_sync_ra(file(0), Readahead(), 0, 1, rules).count == 0
