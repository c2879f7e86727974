"""Dirty pages go back to their device, and the next write is noticed."""

from __future__ import annotations

from handler.world import USER_AREA, World
from mm.touching import disk_file, mapped, pte, touch
from pagefault.arch import x86
from pagefault.memory.pages import PageFlag
from pagefault.mm.mmap import MAP_FIXED, MAP_PRIVATE, MAP_SHARED
from pagefault.mm.writeback import filemap_write_range
from pagefault.tables.inode import FileSystem
from pagefault.vocabulary.address import PAGE

WRITTEN = x86.DIRTY | x86.WRITABLE


def test_what_is_written_back_is_clean_and_watched() -> None:
    world = World(ram=512 * PAGE)
    world.memory.spaces.append(world.user)
    inode = world.memory.new_inode("a file", FileSystem.DISK, 8 * PAGE, disk_file(8 * PAGE))
    private = USER_AREA + 64 * PAGE
    mapped(world, USER_AREA, 8, flags=MAP_SHARED | MAP_FIXED, inode=inode)
    mapped(world, private, 8, flags=MAP_PRIVATE | MAP_FIXED, inode=inode)
    for page in (1, 2, 3):
        touch(world, USER_AREA + page * PAGE)
        world.ram.write(inode.cache.get(page) or 0, b"mine")
    touch(world, private + 2 * PAGE)
    filemap_write_range(world.memory, inode, 2, 3)
    assert pte(world, USER_AREA + PAGE) & WRITTEN == WRITTEN, "outside the range"
    assert pte(world, USER_AREA + 2 * PAGE) & (WRITTEN | x86.PRESENT) == x86.PRESENT
    assert pte(world, private + 2 * PAGE) & WRITTEN == WRITTEN, "a copy is nobody else's concern"
    assert [world.memory.pages.has(inode.cache.get(page) or 0, PageFlag.DIRTY) for page in (1, 2, 3)] == [
        True,
        False,
        False,
    ]
    assert inode.backing is not None
    assert [inode.backing.read_page(page)[:4] for page in (1, 2, 3)] == [b"\2\2\2\2", b"mine", b"mine"]
    assert touch(world, USER_AREA + 2 * PAGE) == "shared page made writable"
    assert world.memory.pages.has(inode.cache.get(2) or 0, PageFlag.DIRTY)


def test_memory_has_nowhere_to_go() -> None:
    world = World()
    world.memory.spaces.append(world.user)
    inode = world.memory.new_inode("memory", FileSystem.SHMEM, PAGE)
    mapped(world, USER_AREA, 1, flags=MAP_SHARED | MAP_FIXED, inode=inode)
    touch(world, USER_AREA)
    filemap_write_range(world.memory, inode, 0, 0)
    assert pte(world, USER_AREA) & WRITTEN == WRITTEN
