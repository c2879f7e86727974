"""Names, and which file system a new file is on."""

from __future__ import annotations

from errno import EACCES, EEXIST, EINVAL, EISDIR, ENOENT

import pytest

from handler.world import World
from pagefault.fs.namespace import Namespace
from pagefault.fs.open_file import O_CREAT, O_DIRECT, O_EXCL, O_RDONLY, O_RDWR, O_TRUNC, OpenFile
from pagefault.memory.pages import PageFlag
from pagefault.tables.inode import FileSystem
from pagefault.vocabulary.address import PAGE


class Text:
    def read(self, offset: int, length: int) -> bytes:
        return (b"text" * PAGE)[offset : offset + length]


def space(version: tuple[int, int] = (6, 1)) -> tuple[World, Namespace]:
    world = World(version)
    names = Namespace(world.memory, 0)
    names.mount("/disk", FileSystem.DISK)
    names.add("/given", PAGE + 10, Text())
    names.add("/disk/cold", PAGE + 10, Text(), kind=FileSystem.DISK, writable=True)
    return world, names


def test_files_of_memory_are_in_the_page_cache_and_those_of_a_device_are_not() -> None:
    world, names = space()
    given, cold = names.lookup("/given"), names.lookup("/disk/../disk/cold")
    assert given is not None
    assert cold is not None
    assert [world.ram.read(frame, 12) for _, frame in given.cache.items()] == [b"text" * 3, b"texttextte\0\0"]
    assert all(world.memory.pages.has(frame, PageFlag.DIRTY) for _, frame in given.cache.items())
    assert len(cold.cache) == 0
    assert world.ram.read(world.memory.page_cache_page(cold, 1), 12) == b"texttextte\0\0"


@pytest.mark.parametrize(
    ("path", "kind"), [("/disk/a", FileSystem.DISK), ("/tmp/a", FileSystem.SHMEM), ("/diska", FileSystem.SHMEM)]
)
def test_where_a_file_is_made(path: str, kind: FileSystem) -> None:
    _, names = space()
    file = names.open(path, O_RDWR | O_CREAT)
    assert isinstance(file, OpenFile)
    assert file.inode is not None
    assert (file.inode.kind, file.inode.size, file.inode.backing is None) == (kind, 0, kind is FileSystem.SHMEM)


def test_a_deeper_mount_counts() -> None:
    _, names = space()
    names.mount("/disk/memory", FileSystem.SHMEM)
    file = names.open("/disk/memory/a", O_RDWR | O_CREAT)
    assert isinstance(file, OpenFile)
    assert file.inode is not None
    assert file.inode.swap_backed


@pytest.mark.parametrize(
    ("path", "flags", "error"),
    [
        ("/none", O_RDONLY, ENOENT),
        ("/none/a", O_RDWR | O_CREAT, ENOENT),
        ("/given", O_RDWR | O_CREAT | O_EXCL, EEXIST),
        ("/given", O_RDWR, EACCES),
        ("/disk", O_RDWR, EISDIR),
        ("/given", O_RDONLY | O_DIRECT, EINVAL),
    ],
)
def test_what_cannot_be_opened(path: str, flags: int, error: int) -> None:
    _, names = space()
    assert names.open(path, flags) == -error


def test_direct_access_by_file_system_and_version() -> None:
    assert isinstance(space((6, 12))[1].open("/given", O_RDONLY | O_DIRECT), OpenFile)
    assert isinstance(space((6, 1))[1].open("/disk/cold", O_RDWR | O_DIRECT), OpenFile)


def test_truncated_when_opened_to_be_written() -> None:
    _, names = space()
    inode = names.lookup("/disk/cold")
    assert inode is not None
    names.open("/disk/cold", O_RDONLY | O_TRUNC)
    assert inode.size == PAGE + 10
    names.open("/disk/cold", O_RDWR | O_TRUNC)
    assert inode.size == 0
    assert inode.users == 2


def test_a_name_that_is_gone() -> None:
    world, names = space()
    inode = names.lookup("/given")
    assert inode is not None
    free = world.frames.free
    assert names.unlink("/given") == 0
    assert names.unlink("/given") == -ENOENT
    assert inode.number not in world.memory.inodes
    assert world.frames.free == free + 2
