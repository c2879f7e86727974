"""A file gets another size, or a hole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.world import USER_AREA, World
from mm.touching import disk_file, mapped, pte, touch
from pagefault.arch import x86
from pagefault.mm.mmap import MAP_FIXED, MAP_PRIVATE, MAP_SHARED
from pagefault.mm.truncate import punch_hole, truncate_setsize
from pagefault.tables.inode import FileSystem, Inode
from pagefault.vocabulary.address import PAGE

KINDS = pytest.mark.parametrize("kind", [FileSystem.SHMEM, FileSystem.DISK])


def full(world: World, kind: FileSystem, pages: int = 8) -> Inode:
    """A file whose page n is full of n + 1."""
    inode = world.memory.new_inode(
        "a file", kind, pages * PAGE, disk_file(pages * PAGE) if kind.value == "ext2" else None
    )
    inode.users += 1
    for index in range(pages):
        world.ram.write(world.memory.page_cache_page(inode, index), bytes([index + 1]) * PAGE)
    return inode


def content(world: World, inode: Inode, pages: int = 8) -> bytes:
    frames = (world.memory.page_cache_page(inode, index) for index in range(pages))
    return b"".join(world.ram.read(frame, PAGE) or b"" for frame in frames)


@KINDS
def test_a_shorter_file_takes_its_pages_from_everybody(kind: FileSystem) -> None:
    world = World(ram=512 * PAGE)
    world.memory.spaces.append(world.user)
    inode = full(world, kind)
    private = USER_AREA + 64 * PAGE
    mapped(world, USER_AREA, 8, flags=MAP_SHARED | MAP_FIXED, inode=inode)
    mapped(world, private, 8, flags=MAP_PRIVATE | MAP_FIXED, inode=inode)
    for page in (2, 3, 4):
        touch(world, USER_AREA + page * PAGE)
        touch(world, private + page * PAGE)
    free = world.frames.free
    truncate_setsize(world.memory, inode, 3 * PAGE + 100)
    assert [bool(pte(world, USER_AREA + page * PAGE)) for page in (2, 3, 4)] == [True, True, False]
    assert pte(world, private + 4 * PAGE) == 0, "own copies as well"
    assert pte(world, private + 3 * PAGE) & x86.PRESENT
    assert [index for index, _ in inode.cache.items()] == [0, 1, 2, 3]
    assert world.frames.free == free + 5, "four of the file, one copy"
    assert touch(world, USER_AREA + 4 * PAGE) == "BadArea"
    truncate_setsize(world.memory, inode, 8 * PAGE)
    assert content(world, inode) == b"".join(bytes([n]) * PAGE for n in (1, 2, 3)) + b"\4" * 100 + bytes(5 * PAGE - 100)


def test_the_same_size_takes_what_lies_beyond() -> None:
    world = World()
    world.memory.spaces.append(world.user)
    inode = full(world, FileSystem.SHMEM, 2)
    inode.size = PAGE
    truncate_setsize(world.memory, inode, PAGE)
    assert inode.cache.get(1) is None


@KINDS
@given(start=st.integers(0, 8 * PAGE), length=st.integers(0, 8 * PAGE))
def test_a_hole_is_zeros_and_nothing_else(kind: FileSystem, start: int, length: int) -> None:
    world = World()
    world.memory.spaces.append(world.user)
    inode = full(world, kind)
    model = bytearray(content(world, inode))
    end = min(start + length, 8 * PAGE)
    punch_hole(world.memory, inode, start, end)
    model[start:end] = bytes(max(0, end - start))
    whole = [index for index in range(8) if start <= index * PAGE and index * PAGE + PAGE <= end]
    assert [index for index in range(8) if inode.cache.get(index) is None] == whole
    assert content(world, inode) == model
    assert inode.size == 8 * PAGE


def test_a_hole_leaves_private_copies() -> None:
    world = World(ram=512 * PAGE)
    world.memory.spaces.append(world.user)
    inode = full(world, FileSystem.SHMEM)
    mapped(world, USER_AREA, 8, flags=MAP_PRIVATE | MAP_FIXED, inode=inode)
    touch(world, USER_AREA + PAGE)
    touch(world, USER_AREA + 2 * PAGE, write=False)
    punch_hole(world.memory, inode, 0, 8 * PAGE)
    assert pte(world, USER_AREA + PAGE) & x86.PRESENT
    assert pte(world, USER_AREA + 2 * PAGE) == 0
