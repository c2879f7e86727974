"""Open files: what they are open for, and where their offset goes."""

from __future__ import annotations

from errno import EINVAL, EISDIR, ENOTTY, ENXIO, ESPIPE

import pytest

from fs.user_buffer import UserBuffer
from pagefault.fs.open_file import (
    O_RDONLY,
    O_RDWR,
    O_TRUNC,
    O_WRONLY,
    SEEK_CUR,
    SEEK_DATA,
    SEEK_END,
    SEEK_HOLE,
    SEEK_SET,
    Directory,
    OpenFile,
)
from pagefault.tables.inode import MAX_LFS_FILESIZE, FileSystem, Inode


@pytest.mark.parametrize(
    ("flags", "readable", "writable"),
    [(O_RDONLY, True, False), (O_WRONLY | O_TRUNC, False, True), (O_RDWR, True, True), (3, False, False)],
)
def test_modes(flags: int, readable: bool, writable: bool) -> None:
    file = OpenFile("a", flags)
    assert (file.readable, file.writable) == (readable, writable)


def test_seek() -> None:
    file = OpenFile("a", O_RDWR, 5, Inode(1, "a", FileSystem.SHMEM, size=100))
    assert [file.seek(3, SEEK_SET), file.seek(4, SEEK_CUR), file.seek(-1, SEEK_END)] == [3, 7, 99]
    assert file.seek(MAX_LFS_FILESIZE, SEEK_SET) == MAX_LFS_FILESIZE
    assert [file.seek(1, SEEK_CUR), file.seek(-101, SEEK_END), file.seek(0, 5)] == [-EINVAL] * 3
    assert [file.seek(9, SEEK_DATA), file.seek(9, SEEK_HOLE), file.seek(100, SEEK_DATA)] == [9, 100, -ENXIO]
    assert file.position == 100


def test_a_kind_that_can_do_nothing() -> None:
    buffer, file = UserBuffer(1), OpenFile("a", O_RDWR)
    something = buffer.iter((buffer.start, 1))
    assert [file.read(something, 0), file.write(something, 0), file.ioctl(0, 0)] == [-EINVAL, -EINVAL, -ENOTTY]
    assert file.seek(0, SEEK_SET) == -ESPIPE
    directory = Directory("/", O_RDONLY)
    assert [directory.read(something, 0), directory.seek(7, SEEK_SET), directory.mode] == [-EISDIR, 7, 0o040755]
