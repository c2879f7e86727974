"""Files read and written through the page cache."""

from __future__ import annotations

from errno import EFAULT, EFBIG, ENOSPC, EPERM

import pytest

from pagefault import PAGE, Machine
from pagefault.fs.namespace import Namespace
from pagefault.fs.open_file import O_CREAT, O_RDWR
from pagefault.fs.regular import RegularFile
from pagefault.machine.user_access import UserAccess
from pagefault.machine.user_access_iter import IovIter
from pagefault.memory.pages import PageFlag
from pagefault.mm.fallocate import shmem_fallocate
from pagefault.tables.inode import F_SEAL_GROW, F_SEAL_WRITE, MAX_LFS_FILESIZE, FileSystem, Inode


class Bench:
    """A new file, and four pages of user memory of which the last is missing."""

    def __init__(self, kind: FileSystem) -> None:
        self.machine = Machine.boot()
        self.memory, self.user = self.machine.mm, self.machine.user
        self.access = UserAccess(self.machine)
        self.space = Namespace(self.memory, self.machine.area.page_offset)
        self.space.mount("/disk", FileSystem.DISK)
        opened = self.space.open("/disk/a" if kind is FileSystem.DISK else "/tmp/a", O_RDWR | O_CREAT)
        assert isinstance(opened, RegularFile)
        self.file = opened
        self.buffer = self.user.mmap(4 * PAGE, content=bytes(range(256)) * 48)
        self.user.munmap(self.buffer + 3 * PAGE, PAGE)
        self.end = self.buffer + 3 * PAGE

    @property
    def inode(self) -> Inode:
        assert self.file.inode is not None
        return self.file.inode

    def iter(self, address: int, size: int) -> IovIter:
        return IovIter(self.access, [(address, size)])


@pytest.fixture(params=list(FileSystem)[:2], ids=["tmpfs", "ext2"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(request.param)


def test_what_was_written_is_read(bench: Bench) -> None:
    assert bench.file.write(bench.iter(bench.buffer, 5000), 4000) == 5000
    assert bench.inode.size == 9000
    assert all(bench.memory.pages.has(frame, PageFlag.DIRTY) for _, frame in bench.inode.cache.items())
    assert bench.file.read(bench.iter(bench.buffer + PAGE, 2 * PAGE), 3990) == 5010
    assert bench.user.read(bench.buffer + PAGE, 5010) == bytes(10) + (bytes(range(256)) * 20)[:5000]
    assert bench.file.read(bench.iter(bench.buffer, 10), 9000) == 0


def test_a_copy_that_stops_counts_as_far_as_it_came(bench: Bench) -> None:
    assert bench.file.write(bench.iter(bench.end - 10, 20), 0) == 10
    assert bench.inode.size == 10
    assert bench.file.write(bench.iter(bench.end, 20), 50) == -EFAULT
    assert bench.file.read(bench.iter(bench.end - 4, 10), 0) == 4
    assert bench.file.read(bench.iter(bench.end, 10), 0) == -EFAULT
    assert bench.inode.size == 10


def test_limits(bench: Bench) -> None:
    assert bench.file.write(bench.iter(bench.buffer, 0), MAX_LFS_FILESIZE) == 0
    assert bench.file.write(bench.iter(bench.buffer, 1), MAX_LFS_FILESIZE) == -EFBIG
    assert bench.file.write(bench.iter(bench.buffer, 10), MAX_LFS_FILESIZE - 3) == 3
    held = [bench.memory.new_page() for _ in range(bench.memory.frames.free)]
    assert bench.file.write(bench.iter(bench.buffer, 10), 7 * PAGE) == -ENOSPC
    bench.memory.put_page(held.pop())
    assert bench.file.write(bench.iter(bench.buffer, 10), 8 * PAGE - 4) == 4


def test_the_last_close_of_a_file_without_a_name_frees_it(bench: Bench) -> None:
    free = bench.memory.frames.free
    bench.file.write(bench.iter(bench.buffer, 2 * PAGE), 0)
    assert bench.memory.frames.free == free - 2
    assert bench.space.unlink(bench.file.path) == 0
    assert bench.inode.path.endswith("/a (deleted)")
    assert bench.memory.frames.free == free - 2, "it is still open"
    bench.file.release()
    assert bench.memory.frames.free == free


def test_holes_of_a_file_of_memory_are_the_page_of_zeros() -> None:
    bench = Bench(FileSystem.SHMEM)
    bench.inode.size = 3 * PAGE
    assert shmem_fallocate(bench.memory, bench.inode, 0, PAGE, keep_size=True) == 0
    bench.memory.ram.fill(bench.inode.cache.get(0) or 0, PAGE, 0xEE)
    assert bench.file.read(bench.iter(bench.buffer, 2 * PAGE), 0) == 2 * PAGE
    assert bench.user.read(bench.buffer, 2 * PAGE) == bytes(2 * PAGE)
    assert len(bench.inode.cache) == 1


def test_seals() -> None:
    bench = Bench(FileSystem.SHMEM)
    bench.inode.size, bench.inode.seals = 10, F_SEAL_GROW
    assert bench.file.write(bench.iter(bench.buffer, 10), 0) == 10
    assert bench.file.write(bench.iter(bench.buffer, 10), 1) == -EPERM
    bench.inode.seals = F_SEAL_WRITE
    assert bench.file.write(bench.iter(bench.buffer, 1), 0) == -EPERM


def test_reading_a_cold_file_reads_ahead() -> None:
    bench = Bench(FileSystem.DISK)
    bench.inode.size = 100 * PAGE
    assert bench.file.read(bench.iter(bench.buffer, 100), 0) == 100
    assert [index for index, _ in bench.inode.cache.items()] == [0, 1, 2, 3]
    assert bench.inode.readahead.prev_pos == 100
    assert bench.file.read(bench.iter(bench.buffer, 2 * PAGE), PAGE) == 2 * PAGE
    assert len(bench.inode.cache) == 12
