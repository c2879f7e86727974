"""What is known of each frame."""

from __future__ import annotations

from pagefault.memory.pages import HUGE_FRAMES, PageFlag, Pages
from pagefault.vocabulary.address import PAGE

ALL = PageFlag(0)
for flag in PageFlag:
    ALL |= flag


def test_flags_are_of_the_whole_page_and_of_no_other() -> None:
    pages = Pages(4)
    pages.set(2 * PAGE + 0x123, PageFlag.ANON | PageFlag.DIRTY)
    assert pages.has(2 * PAGE, PageFlag.ANON)
    assert pages.has(2 * PAGE + 0xFFF, PageFlag.DIRTY)
    assert pages.has(2 * PAGE, PageFlag.DIRTY | PageFlag.HUGE), "any of them"
    assert not pages.has(2 * PAGE, PageFlag.HUGE)
    assert not pages.has(PAGE, ALL)
    assert not pages.has(3 * PAGE, ALL)


def test_flags_are_set_and_cleared_one_by_one() -> None:
    pages = Pages(1)
    for flag in PageFlag:
        pages.set(0, flag)
        assert pages.has(0, flag)
    for flag in PageFlag:
        pages.clear(0, flag)
        assert not pages.has(0, flag)
        pages.set(0, flag)
    assert int(pages.flags[0]) == ALL


def test_a_free_page_is_a_blank_page() -> None:
    pages = Pages(3)
    arrays = (pages.refcount, pages.mapcount, pages.inode, pages.swap, pages.index, pages.flags)
    for array in arrays:
        array[:] = 7
    pages.forget(PAGE)
    assert [array.tolist() for array in arrays] == [[7, 0, 7]] * 6


def test_a_page_costs_less_than_the_machine_s_budget() -> None:
    """24 bytes were promised, of the 64 that the machine may add to a page."""
    pages = Pages(1000)
    arrays = (pages.refcount, pages.mapcount, pages.inode, pages.swap, pages.index, pages.flags)
    assert sum(array.nbytes for array in arrays) <= 26 * 1000
    assert pages.index.dtype.itemsize == 8, "anonymous pages are numbered by address"


def test_a_huge_page_counts_as_one_and_by_frame() -> None:
    pages = Pages(3 * HUGE_FRAMES)
    start = HUGE_FRAMES * PAGE
    pages.new_huge(start, 100)
    tail = start + 7 * PAGE
    assert pages.folio(tail) == slice(HUGE_FRAMES, 2 * HUGE_FRAMES)
    assert pages.folio(0) == slice(0, 1)
    assert (pages.folio_refcount(tail), pages.folio_mapcount(tail), pages.page_mapcount(tail)) == (1, 1, 1)
    assert (int(pages.index[HUGE_FRAMES]), int(pages.index[HUGE_FRAMES + 7])) == (100, 107)
    pages.refcount[HUGE_FRAMES + 7] += 1
    pages.mapcount[HUGE_FRAMES + 7] += 1
    assert (pages.folio_refcount(start), pages.folio_mapcount(start)) == (2, 2)
    assert (pages.page_mapcount(tail), pages.page_mapcount(start)) == (2, 1)
    assert [pages.is_huge(at) for at in (start - PAGE, start, tail, 2 * start)] == [False, True, True, False]
    pages.forget(tail)
    assert not any(array.any() for array in (pages.refcount, pages.mapcount, pages.entire_mapcount, pages.flags))
