"""Where mmap() finds room."""

from __future__ import annotations

from errno import EINVAL, ENOMEM

import pytest

from handler.world import MMAP_BASE, USER_AREA, World
from pagefault.mm.unmapped_area import (
    LOW_WINDOW,
    MAP_32BIT,
    MAP_FIXED,
    MAP_SHARED,
    PMD_SIZE,
    get_unmapped_area,
    round_hint_to_min,
    unmapped_area,
)
from pagefault.tables.address_space import MMAP_MIN_ADDR, STACK_GUARD_GAP
from pagefault.tables.inode import FileSystem
from pagefault.vocabulary.address import PAGE

TOP = 0x7FFF_FFFF_F000
LOWEST = TOP // 3 + PAGE - 1 & -PAGE


def find(world: World, address: int = 0, length: int = PAGE, flags: int = 0) -> int:
    return get_unmapped_area(world.memory, world.user, address, length, flags)


@pytest.mark.parametrize(
    ("hint", "rounded"), [(0, 0), (1, 0), (PAGE, MMAP_MIN_ADDR), (MMAP_MIN_ADDR + 1, MMAP_MIN_ADDR)]
)
def test_hints_are_whole_pages_above_the_minimum(hint: int, rounded: int) -> None:
    assert round_hint_to_min(hint) == rounded


def test_below_mmap_base_from_the_top() -> None:
    world = World()
    assert find(world) == MMAP_BASE - PAGE
    world.area(MMAP_BASE - 4 * PAGE, 2)
    assert find(world, length=2 * PAGE) == MMAP_BASE - 2 * PAGE
    assert find(world, length=3 * PAGE) == MMAP_BASE - 7 * PAGE


def test_a_stack_keeps_its_gap() -> None:
    world = World()
    world.area(MMAP_BASE - 4 * PAGE, 4, grows_down=True)
    assert find(world) == MMAP_BASE - 4 * PAGE - STACK_GUARD_GAP - PAGE
    inside = MMAP_BASE - 8 * PAGE
    assert find(world, inside) != inside


def test_a_stack_above_all_room_keeps_its_gap_too() -> None:
    world = World()
    world.area(MMAP_BASE + 4 * PAGE, 4, grows_down=True)
    assert find(world) == MMAP_BASE + 4 * PAGE - STACK_GUARD_GAP - PAGE


@pytest.mark.parametrize(
    ("hint", "length", "taken"), [(USER_AREA, PAGE, True), (USER_AREA - PAGE, PAGE, False), (USER_AREA, 1 << 46, True)]
)
def test_a_hint_is_followed_where_it_is_free(hint: int, length: int, taken: bool) -> None:
    world = World()
    world.area()
    assert (find(world, hint, length) != hint) is taken


@pytest.mark.parametrize(
    ("address", "length", "found"),
    [(0, PAGE, 0), (PAGE, PAGE, PAGE), (1, PAGE, -EINVAL), (TOP, PAGE, -ENOMEM), (0, TOP + PAGE, -ENOMEM)],
)
def test_a_fixed_address(address: int, length: int, found: int) -> None:
    assert find(World(), address, length, MAP_FIXED) == found


def test_the_low_window_from_below() -> None:
    world = World()
    assert find(world, flags=MAP_32BIT) == LOW_WINDOW[0]
    world.area(LOW_WINDOW[0], 1)
    assert find(world, flags=MAP_32BIT) == LOW_WINDOW[0] + PAGE
    assert find(world, length=1 << 30, flags=MAP_32BIT) == -ENOMEM


def test_above_mmap_base_where_there_is_no_room_below() -> None:
    world = World()
    world.area(PAGE, MMAP_BASE // PAGE - 1)
    assert find(world) == MMAP_BASE
    world.area(MMAP_BASE, (TOP - MMAP_BASE) // PAGE)
    assert find(world) == -ENOMEM


def test_from_below_gaps_of_stacks_count() -> None:
    world = World()
    world.area(LOWEST + STACK_GUARD_GAP, 1, grows_down=True)
    assert unmapped_area(world.user, PAGE, LOWEST, TOP) == LOWEST + STACK_GUARD_GAP + PAGE


@pytest.mark.parametrize(
    ("version", "length", "flags", "aligned"),
    [
        ((6, 1), PMD_SIZE, 0, False),
        ((6, 12), PMD_SIZE, 0, True),
        ((6, 12), PMD_SIZE + PAGE, 0, False),
        ((6, 12), PMD_SIZE, MAP_SHARED, False),
    ],
)
def test_whole_huge_pages_begin_where_one_may(version: tuple[int, int], length: int, flags: int, aligned: bool) -> None:
    found = find(World(version), 0, length, flags)
    assert (found % PMD_SIZE == 0) is aligned
    assert MMAP_BASE - 2 * PMD_SIZE - PAGE <= found <= MMAP_BASE - length


@pytest.mark.parametrize(
    ("kind", "pgoff", "offset"), [(FileSystem.DISK, 0, 0), (FileSystem.DISK, 512, 0), (FileSystem.SHMEM, 0, None)]
)
def test_a_files_huge_pages(kind: FileSystem, pgoff: int, offset: int | None) -> None:
    world = World((6, 12))
    inode = world.memory.new_inode("/a/file", kind, 4 * PMD_SIZE)
    found = get_unmapped_area(world.memory, world.user, 0, PMD_SIZE, 0, inode, pgoff)
    assert found % PMD_SIZE == offset if offset is not None else found == MMAP_BASE - PMD_SIZE


def test_no_hole_for_a_page_that_no_huge_one_covers() -> None:
    world = World((6, 12))
    inode = world.memory.new_inode("/a/file", FileSystem.DISK, 4 * PMD_SIZE)
    assert get_unmapped_area(world.memory, world.user, 0, PMD_SIZE, 0, inode, 1) == MMAP_BASE - PMD_SIZE


def test_where_the_highest_room_is_aligned_by_itself() -> None:
    world = World((6, 12))
    world.user.mmap_base = MMAP_BASE & -PMD_SIZE
    assert find(world, length=PMD_SIZE) == world.user.mmap_base - PMD_SIZE
