"""O_DIRECT: through the pages themselves, past the page cache."""

from __future__ import annotations

from errno import EFAULT, EINVAL

import pytest

from pagefault import PAGE, Machine
from pagefault.fs.namespace import Namespace
from pagefault.fs.open_file import O_CREAT, O_DIRECT, O_RDWR
from pagefault.fs.regular import RegularFile
from pagefault.machine.user_access import UserAccess
from pagefault.machine.user_access_iter import IovIter
from pagefault.memory.pages import PageFlag
from pagefault.tables.inode import FileSystem, Inode


class Bench:
    """A file of four pages on a device, and eight pages of user memory that nobody has touched yet."""

    def __init__(self) -> None:
        self.machine = Machine.boot()
        self.memory, self.user = self.machine.mm, self.machine.user
        self.access = UserAccess(self.machine)
        space = Namespace(self.memory, self.machine.area.page_offset)
        space.mount("/disk", FileSystem.DISK)
        opened = space.open("/disk/file", O_RDWR | O_CREAT | O_DIRECT)
        cached = space.open("/disk/file", O_RDWR)
        assert isinstance(opened, RegularFile)
        assert isinstance(cached, RegularFile)
        self.file, self.cached = opened, cached
        self.buffer = self.user.mmap(8 * PAGE)
        self.told: list[tuple[int, int]] = []
        self.memory.populated = lambda mm, address, flags, results: self.told.append(
            ((address - self.buffer) // PAGE, int(flags))
        )

    @property
    def inode(self) -> Inode:
        assert self.file.inode is not None
        return self.file.inode

    def iter(self, *segments: tuple[int, int]) -> IovIter:
        return IovIter(self.access, [(self.buffer + at, size) for at, size in segments])

    def given(self, pages: int = 4) -> None:
        assert self.inode.backing is not None
        for index in range(pages):
            self.inode.backing.write_page(index, bytes([index + 1 & 0xFF]) * PAGE)
        self.inode.size = pages * PAGE


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_read_brings_the_pages_and_takes_no_fault(bench: Bench) -> None:
    bench.given()
    assert bench.file.read(bench.iter((0, 2 * PAGE)), PAGE) == 2 * PAGE
    assert bench.told == [(0, 0x15), (1, 0x15)]
    assert not bench.machine.events
    assert bench.user.read(bench.buffer, 2 * PAGE) == b"\2" * PAGE + b"\3" * PAGE
    assert len(bench.inode.cache) == 0


def test_a_write_takes_what_is_there_and_zeros_for_what_is_not(bench: Bench) -> None:
    bench.user.write(bench.buffer, b"mine")
    bench.told.clear()
    assert bench.file.write(bench.iter((0, 2 * PAGE)), 0) == 2 * PAGE
    assert bench.told == [(1, 0x14)]
    assert bench.inode.size == 2 * PAGE
    assert bench.inode.backing is not None
    assert bench.inode.backing.read_page(0)[:5] == b"mine\0"


def test_the_page_cache_and_the_device_agree(bench: Bench) -> None:
    bench.given()
    bench.user.write(bench.buffer, b"m" * 512)
    assert bench.cached.write(bench.iter((0, 512)), PAGE) == 512
    assert bench.memory.pages.has(bench.inode.cache.get(1) or 0, PageFlag.DIRTY)
    assert bench.file.read(bench.iter((PAGE, 1024)), PAGE) == 1024, "what is dirty is written first"
    assert bench.user.read(bench.buffer + PAGE, 1024) == b"m" * 512 + b"\2" * 512
    assert bench.file.write(bench.iter((0, 512)), PAGE + 512) == 512
    assert bench.inode.cache.get(1) is None, "what is cached is dropped"
    assert bench.cached.read(bench.iter((2 * PAGE, 2048)), PAGE) == 2048
    assert bench.user.read(bench.buffer + 2 * PAGE, 2048) == b"m" * 1024 + b"\2" * 1024


def test_what_is_dirty_is_written_before_it_is_written_over(bench: Bench) -> None:
    bench.given()
    bench.user.write(bench.buffer, b"m" * 512)
    bench.cached.write(bench.iter((0, 512)), 1024)
    bench.user.write(bench.buffer, b"d" * 512)
    assert bench.file.write(bench.iter((0, 512)), 0) == 512
    assert bench.cached.read(bench.iter((PAGE, 2048)), 0) == 2048
    assert bench.user.read(bench.buffer + PAGE, 2048) == b"d" * 512 + b"\1" * 512 + b"m" * 512 + b"\1" * 512


@pytest.mark.parametrize(("at", "size", "position"), [(1, 512, 0), (0, 511, 0), (0, 512, 100)])
def test_only_whole_sectors(bench: Bench, at: int, size: int, position: int) -> None:
    bench.given()
    assert bench.file.read(bench.iter((at, size)), position) == -EINVAL
    assert bench.file.write(bench.iter((at, size)), position) == -EINVAL


def test_parts_of_pages_in_several_segments(bench: Bench) -> None:
    bench.given()
    to = bench.iter((512, 1024), (2 * PAGE - 512, 2 * PAGE), (5 * PAGE, 512))
    assert bench.file.read(to, 2 * PAGE - 1024) == 2 * PAGE + 1024
    assert bench.user.read(bench.buffer + 512, 1024) == b"\2" * 1024
    assert bench.user.read(bench.buffer + 2 * PAGE - 512, 2 * PAGE) == b"\3" * PAGE + b"\4" * PAGE


def test_at_the_end_of_the_file(bench: Bench) -> None:
    bench.given(2)
    bench.inode.size = PAGE + 100
    assert bench.file.read(bench.iter((0, PAGE)), 2 * PAGE) == 0
    assert bench.file.read(bench.iter((0, PAGE)), PAGE) == 100
    bench.user.write(bench.buffer, b"x" * 4 * PAGE)
    assert bench.file.read(bench.iter((0, 4 * PAGE)), 0) == PAGE + 100
    assert bench.user.read(bench.buffer + 2 * PAGE, 2 * PAGE) == bytes(2 * PAGE), "a hole is cleared by the CPU"


def test_where_nothing_is_mapped(bench: Bench) -> None:
    bench.given()
    bench.user.munmap(bench.buffer + PAGE, PAGE)
    assert bench.file.read(bench.iter((0, 2 * PAGE)), 0) == -EFAULT
    assert bench.file.write(bench.iter((0, 2 * PAGE)), 0) == -EFAULT
    assert bench.file.read(bench.iter((0, 0)), 0) == 0


def test_into_what_may_only_be_read(bench: Bench) -> None:
    bench.given()
    read_only = bench.user.mmap(PAGE, protection="r")
    assert bench.file.read(IovIter(bench.access, [(read_only, PAGE)]), 0) == -EFAULT
    assert bench.file.write(IovIter(bench.access, [(read_only, PAGE)]), 0) == PAGE


def test_more_pages_than_are_held_at_once(bench: Bench) -> None:
    bench.given(300)
    large = bench.user.mmap(300 * PAGE)
    assert bench.file.read(IovIter(bench.access, [(large, 300 * PAGE)]), 0) == 300 * PAGE
    assert bench.user.read(large + 299 * PAGE, 1) == bytes([300 & 0xFF])
