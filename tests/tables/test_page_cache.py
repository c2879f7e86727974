"""The page cache of one inode, against a dictionary."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pagefault.tables.page_cache import CHUNK, PageCache
from pagefault.vocabulary.address import PAGE

INDEX = st.one_of(st.integers(0, 3 * CHUNK), st.integers(0, 1 << 52))
FRAME = st.integers(0, (1 << 32) - 2).map(lambda number: number * PAGE)


def test_it_is_empty() -> None:
    cache = PageCache()
    assert len(cache) == 0
    assert cache.get(0) is None
    cache.remove(0)
    assert list(cache.items()) == []


def test_the_frame_at_zero_is_a_frame() -> None:
    cache = PageCache()
    cache.set(5, 0)
    assert cache.get(5) == 0
    assert list(cache.items()) == [(5, 0)]


@given(st.lists(st.tuples(INDEX, st.none() | FRAME), max_size=30), INDEX)
def test_it_is_a_dictionary_in_order(steps: list[tuple[int, int | None]], start: int) -> None:
    cache, model = PageCache(), dict[int, int]()
    for index, frame in steps:
        if frame is None:
            cache.remove(index)
            model.pop(index, None)
        else:
            cache.set(index, frame)
            model[index] = frame
        assert cache.get(index) == frame
        assert len(cache) == len(model)
    assert list(cache.items()) == sorted(model.items())
    assert list(cache.items(start)) == sorted((index, frame) for index, frame in model.items() if index >= start)


def test_pages_may_be_removed_while_they_are_listed() -> None:
    cache = PageCache()
    for index in range(0, 4 * CHUNK, 100):
        cache.set(index, index * PAGE)
    for index, _ in cache.items(CHUNK):
        cache.remove(index)
    assert [index for index, _ in cache.items()] == list(range(0, CHUNK, 100))
    assert len(cache) == len(range(0, CHUNK, 100))
