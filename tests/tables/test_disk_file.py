"""A file's content on its device."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pagefault.tables.disk_file import DiskFile
from pagefault.vocabulary.address import PAGE

PAGES = 4
CONTENT = bytes(range(1, 252)) * 60


class Base:
    def read(self, offset: int, length: int) -> bytes:
        return CONTENT[offset : offset + length]


def whole(file: DiskFile) -> bytes:
    return b"".join(file.read_page(index) for index in range(PAGES))


def test_beyond_the_content_are_zeros() -> None:
    file = DiskFile(Base(), PAGE + 10)
    assert whole(file) == CONTENT[: PAGE + 10].ljust(PAGES * PAGE, b"\0")
    assert whole(DiskFile()) == bytes(PAGES * PAGE)


places = st.integers(0, PAGES * PAGE)
changes = st.one_of(
    st.tuples(st.just("write"), st.integers(0, PAGES - 1), st.integers(0, 255)),
    st.tuples(st.just("clear"), places, st.one_of(st.none(), places)),
)


@given(places.filter(lambda size: size <= len(CONTENT)), st.lists(changes, max_size=6))
def test_like_an_array_of_bytes(size: int, done: list[tuple[str, int, int | None]]) -> None:
    file, model = DiskFile(Base(), size), bytearray(CONTENT[:size].ljust(PAGES * PAGE, b"\0"))
    for what, first, second in done:
        if what == "write":
            page = bytes([second or 0]) * PAGE
            file.write_page(first, page)
            model[first * PAGE : first * PAGE + PAGE] = page
        else:
            if second is None:
                file.truncate(first)
            else:
                file.clear(first, second)
            end = PAGES * PAGE if second is None else max(first, second)
            model[first:end] = bytes(end - first)
    assert whole(file) == model
