"""Each effect, carried out."""

from __future__ import annotations

import pytest

from handler.world import USER_AREA, World
from mm.touching import disk_file
from pagefault.errors import BadInput
from pagefault.memory.pages import PageFlag
from pagefault.mm.apply import apply
from pagefault.tables.disk_file import DiskFile
from pagefault.tables.inode import FileSystem
from pagefault.vocabulary.address import PAGE, PAGE_SHIFT
from pagefault.vocabulary.effect import (
    AddToPageCache,
    ChangePage,
    CopyFrame,
    FlushPage,
    GetPage,
    GrowStack,
    MemoryEffect,
    NewAnonPage,
    PrepareAnonVma,
    PutPage,
    TakeFrame,
    WriteEntry,
    ZeroFrame,
)


def done(world: World, *effects: MemoryEffect) -> None:
    for effect in effects:
        apply(world.memory, world.user, effect)


def known(world: World, frame: int) -> tuple[int, int, PageFlag]:
    """Users, mappings and flags of a frame."""
    pages, number = world.memory.pages, frame >> PAGE_SHIFT
    return int(pages.refcount[number]), int(pages.mapcount[number]), PageFlag(int(pages.flags[number]))


def test_a_frame_that_is_taken_has_one_user() -> None:
    world = World()
    (frame,) = world.frames.peek(1)
    done(world, TakeFrame(frame))
    assert known(world, frame) == (1, 0, PageFlag(0))
    assert frame not in world.frames.peek(9)
    with pytest.raises(BadInput, match="free frame"):
        done(world, TakeFrame(frame))


def test_frames_are_zeroed_and_copied_whole_and_alone() -> None:
    world = World()
    low, middle, high = (world.memory.new_page() for _ in range(3))
    for frame, byte in ((low, 1), (middle, 2), (high, 3)):
        world.ram.fill(frame, PAGE, byte)
    done(world, ZeroFrame(middle))
    assert world.ram.read(middle, PAGE) == bytes(PAGE)
    done(world, CopyFrame(high, middle))
    assert world.ram.read(middle, PAGE) == b"\3" * PAGE
    assert world.ram.read(low, PAGE) == b"\1" * PAGE


def test_a_private_page_is_of_one_process() -> None:
    world = World()
    frame = world.memory.new_page()
    done(world, NewAnonPage(frame, 0x7FFF_F7FF_F))
    assert known(world, frame) == (1, 1, PageFlag.ANON | PageFlag.EXCLUSIVE)
    assert world.memory.pages.index[frame >> PAGE_SHIFT] == 0x7FFF_F7FF_F


def test_pages_are_got_and_put() -> None:
    world = World()
    frame = world.memory.new_page()
    done(world, GetPage(frame), GetPage(frame))
    assert known(world, frame) == (3, 2, PageFlag(0))
    free = world.frames.free
    done(world, PutPage(frame))
    assert known(world, frame) == (2, 1, PageFlag(0))
    assert world.frames.free == free


def test_flags_are_set_and_cleared() -> None:
    world = World()
    frame = world.memory.new_page()
    done(world, ChangePage(frame, set=PageFlag.DIRTY | PageFlag.ANON))
    done(world, ChangePage(frame, set=PageFlag.EXCLUSIVE, clear=PageFlag.DIRTY))
    assert known(world, frame)[2] == PageFlag.ANON | PageFlag.EXCLUSIVE


@pytest.mark.parametrize(("backing", "content"), [(disk_file(2 * PAGE), b"\2" * PAGE), (None, bytes(PAGE))])
def test_a_frame_joins_the_page_cache_with_the_file_s_content(backing: DiskFile | None, content: bytes) -> None:
    world = World()
    inode = world.memory.new_inode("a file", FileSystem.DISK, 2 * PAGE, backing)
    (frame,) = world.frames.peek(1)
    world.ram.fill(frame, PAGE, 0xEE)
    done(world, TakeFrame(frame), AddToPageCache(inode.number, 1, frame, read=backing is not None))
    assert inode.cache.get(1) == frame
    assert world.ram.read(frame, PAGE) == content
    assert known(world, frame) == (1, 0, PageFlag(0)), "the page cache's own use of it"


def test_an_area_gets_its_anon_vma() -> None:
    world = World()
    world.area()
    done(world, PrepareAnonVma(USER_AREA + PAGE))
    (vma,) = world.user.vmas
    assert vma.anon_vma


@pytest.mark.parametrize("size", [4, 8])
def test_an_entry_is_written_in_its_size(size: int) -> None:
    world = World()
    world.ram.fill(0x3000, 16, 0xFF)
    done(world, WriteEntry("pte", 0x3000, 0x1234, USER_AREA, size))
    assert world.ram.read(0x3000, 16) == (0x1234).to_bytes(size, "little") + b"\xff" * (16 - size)


def test_a_flush_reaches_the_cpu() -> None:
    world = World()
    done(world, FlushPage(USER_AREA))
    assert world.flushes == 1


def test_a_stack_grows_and_keeps_which_page_is_which() -> None:
    world = World()
    old = world.area(grows_down=True, name="[stack]")
    done(world, GrowStack(USER_AREA, USER_AREA - 3 * PAGE))
    (vma,) = world.user.vmas
    assert (vma.start, vma.end, vma.name) == (USER_AREA - 3 * PAGE, old.end, "[stack]")
    assert vma.linear_page_index(USER_AREA) == old.linear_page_index(USER_AREA)
