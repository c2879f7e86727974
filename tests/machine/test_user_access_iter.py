"""Several buffers as one: where a copy stops, goes on, and is tried again."""

from __future__ import annotations

import pytest

from machine.recorded_calls import steps
from pagefault import PAGE, Machine
from pagefault.machine.user_access import UserAccess
from pagefault.machine.user_access_iter import IovIter


class Bench:
    """Three user pages, of which the last is missing, and a page of the kernel's."""

    def __init__(self) -> None:
        self.machine = Machine.boot()
        self.access = UserAccess(self.machine)
        self.user = self.machine.user
        self.memory = self.user.mmap(3 * PAGE, content=b"." * 2 * PAGE)
        self.user.munmap(self.memory + 2 * PAGE, PAGE)
        self.end = self.memory + 2 * PAGE
        self.page = self.machine.kmalloc(PAGE, bytes(range(256)) * 16)

    def iter(self, *segments: tuple[int, int]) -> IovIter:
        return IovIter(self.access, list(segments))

    def addresses(self) -> list[int]:
        return [address for address, _, _ in steps(self.machine)]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_copy_fills_one_segment_after_the_other(bench: Bench) -> None:
    to = bench.iter((bench.memory, 3), (bench.memory + 100, 0), (bench.memory + 10, 5), (bench.memory + 20, 9))
    assert to.count == 17
    assert to.copy_page_to(bench.page, 10) == 10
    assert bench.user.read(bench.memory, 24) == bytes([0, 1, 2, *b".......", 3, 4, 5, 6, 7, *b".....", 8, 9, *b".."])
    assert to.count == 7
    assert to.copy_page_to(bench.page + 10, PAGE) == 7
    assert to.count == 0
    assert bench.user.read(bench.memory + 20, 10) == bytes([*range(8, 17), *b"."])
    assert to.copy_page_to(bench.page, 10) == 0


def test_a_copy_stops_in_the_segment_that_cannot_be_reached(bench: Bench) -> None:
    to = bench.iter((bench.memory, 8), (bench.end - 4, 8), (bench.memory + 100, 8))
    assert to.copy_page_to(bench.page, 24) == 12
    assert to.count == 12
    assert bench.user.read(bench.memory + 100, 8) == b"." * 8
    bench.machine.events.clear()
    assert to.copy_page_to(bench.page, 24) == 0
    assert set(bench.addresses()) == {bench.end}


def test_from_the_user_with_and_without_bringing_pages_in(bench: Bench) -> None:
    fresh = bench.user.mmap(PAGE)
    source = bench.iter((bench.memory, 4), (fresh, 4))
    assert source.copy_page_from_atomic(bench.page, 8) == 4
    assert bench.machine.read(bench.page, 8) == b"....\4\5\6\7"
    assert source.copy_page_from_atomic(bench.page + 4, 4) == 0
    assert source.copy_page_from(bench.page + 4, 100) == 4
    assert bench.machine.read(bench.page, 9) == b"....\0\0\0\0\x08"
    assert source.count == 0


def test_zero_and_advance(bench: Bench) -> None:
    to = bench.iter((bench.memory, 4), (bench.end - 2, 10))
    to.advance(2)
    assert to.zero(8) == 4
    assert bench.user.read(bench.memory, 5) == b"..\0\0."
    assert bench.user.read(bench.end - 3, 3) == b".\0\0"
    assert to.count == 8
    to.advance(100)
    assert to.count == 0


def test_fault_in_looks_ahead_without_advancing(bench: Bench) -> None:
    fresh = bench.user.mmap(2 * PAGE)
    source = bench.iter((fresh + 10, PAGE), (bench.end - 4, 8), (bench.memory, 8))
    bench.machine.events.clear()
    assert source.fault_in_readable(100) == 0
    assert bench.addresses() == [fresh + 10]
    bench.machine.events.clear()
    assert source.fault_in_readable(PAGE + 16) == 12, "what is behind the hole is not looked at"
    assert bench.addresses() == [fresh + PAGE, bench.end]
    assert source.count == PAGE + 16
    assert source.fault_in_readable(PAGE + 1000) == 12 + 984, "what nobody gave counts as left"
    assert bench.iter((bench.end, 8)).fault_in_readable(8) == 8
