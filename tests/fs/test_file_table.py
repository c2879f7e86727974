"""Descriptors: the lowest free one, shared files, and the last close."""

from __future__ import annotations

from errno import EBADF

from hypothesis import given
from hypothesis import strategies as st

from pagefault.fs.file_table import FileTable
from pagefault.fs.open_file import O_RDWR, OpenFile


class Counted(OpenFile):
    """Counts its releases."""

    released = 0

    def release(self) -> None:
        self.released += 1


def test_a_file_is_released_by_its_last_descriptor() -> None:
    table, file = FileTable(), Counted("a", O_RDWR)
    assert [table.install(file), table.install(file), table.install(file, 9)] == [0, 1, 9]
    forked = table.copy()
    table.close_all()
    assert (file.released, file.users) == (0, 3)
    assert [forked.close(fd) for fd in (0, 9, 0, 1, -1)] == [0, 0, -EBADF, 0, -EBADF]
    assert (file.released, file.users) == (1, 0)
    assert forked.get(0) is None


def test_a_fork_has_a_table_of_its_own() -> None:
    table = FileTable()
    table.install(OpenFile("a", O_RDWR))
    forked = table.copy()
    forked.install(OpenFile("b", O_RDWR))
    assert table.get(1) is None
    table.close(0)
    assert forked.get(0) is not None


def test_closed_on_exec() -> None:
    table, file = FileTable(), Counted("a", O_RDWR)
    for fd in range(4):
        table.install(file, fd)
    table.close_on_exec |= {1, 3}
    forked = table.copy()
    table.close(3)
    table.install(file, 3)
    table.do_close_on_exec()
    assert [fd for fd in range(4) if table.get(fd)] == [0, 2, 3], "a closed descriptor forgets the mark"
    forked.do_close_on_exec()
    assert [fd for fd in range(4) if forked.get(fd)] == [0, 2]
    assert file.users == 5


@given(st.lists(st.tuples(st.sampled_from(["open", "at", "close", "from"]), st.integers(-2, 12)), max_size=60))
def test_the_lowest_free_descriptor(steps: list[tuple[str, int]]) -> None:
    table, used, file = FileTable(), set[int](), OpenFile("a", O_RDWR)
    for step, number in steps:
        lowest = next(fd for fd in range(100) if fd >= number and fd not in used)
        first = next(fd for fd in range(100) if fd not in used)
        if step == "open":
            assert table.install(file) == first
            used.add(first)
        elif step == "at" and number >= 0 and number not in used:
            assert table.install(file, number) == number
            used.add(number)
        elif step == "close":
            assert table.close(number) == (0 if number in used else -EBADF)
            used.discard(number)
        else:
            assert table.free_from(number) == lowest


def test_a_closed_descriptor_is_the_next_one() -> None:
    table, file = FileTable(), OpenFile("a", O_RDWR)
    for _ in range(4):
        table.install(file)
    table.close(1)
    assert [table.install(file), table.install(file)] == [1, 4]
