"""Which areas become one, and what is kept when one is cut."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from handler.world import USER_AREA, World
from mm.touching import areas
from pagefault.mm.vma_merge import continues, insert_merged, isolate, joined, remerge, split_vma
from pagefault.tables.inode import FileSystem
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.vma import MAY_ALL, Vma, VmFlag

LOW = Vma(0x5000, 0x7000, pgoff=5)
HIGH = Vma(0x7000, 0x8000, pgoff=7)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (LOW, HIGH, True),
        (LOW, replace(HIGH, anon_vma=1), True),
        (replace(LOW, anon_vma=1), HIGH, True),
        (replace(LOW, anon_vma=1), replace(HIGH, anon_vma=1), True),
        (replace(LOW, anon_vma=1), replace(HIGH, anon_vma=2), True),  # asked elsewhere
        (replace(LOW, anon_vma=1, inherited=True), HIGH, True),
        (LOW, replace(HIGH, flags=MAY_ALL | VmFlag.SOFTDIRTY), True),
        (LOW, replace(HIGH, flags=MAY_ALL | VmFlag.ACCOUNT), False),
        (LOW, replace(HIGH, write=False), False),
        (LOW, replace(HIGH, read=False), False),
        (LOW, replace(HIGH, execute=True), False),
        (LOW, replace(HIGH, grows_down=True), False),
        (LOW, replace(HIGH, shared=True), False),
        (LOW, replace(HIGH, protection_key=1), False),
        (LOW, replace(HIGH, inode=1), False),
        (replace(LOW, inode=1, pgoff=0), replace(HIGH, inode=1, pgoff=2), True),
        (replace(LOW, inode=1, pgoff=0), replace(HIGH, inode=1, pgoff=3), False),
        (LOW, replace(HIGH, pgoff=8), False),
        (LOW, replace(HIGH, start=0x8000, end=0x9000, pgoff=8), False),
        (LOW, replace(HIGH, userfault=1), False),
        (LOW, replace(HIGH, name="mine"), False),
        (replace(LOW, name="mine"), replace(HIGH, name="mine"), False),
        *(
            (replace(LOW, flags=special), replace(HIGH, flags=special), False)
            for special in (VmFlag.IO, VmFlag.DONTEXPAND, VmFlag.PFNMAP, VmFlag.MIXEDMAP)
        ),
    ],
)
def test_who_continues_whom(low: Vma, high: Vma, expected: bool) -> None:
    assert continues(low, high) is expected


@pytest.mark.parametrize(("low", "high"), [(0, 3), (3, 0), (3, 3)])
def test_one_of_two(low: int, high: int) -> None:
    dirty = replace(HIGH, anon_vma=high, flags=MAY_ALL | VmFlag.SOFTDIRTY)
    one = joined(replace(LOW, anon_vma=low), dirty)
    assert one == replace(LOW, end=HIGH.end, anon_vma=3, flags=MAY_ALL | VmFlag.SOFTDIRTY)


def three(world: World, below: int, above: int) -> None:
    """Two pages, room for one, and two more; with these anon_vmas."""
    world.area(USER_AREA, 2, anon_vma=below)
    world.area(USER_AREA + 3 * PAGE, 2, anon_vma=above)
    gap = Vma(USER_AREA + 2 * PAGE, USER_AREA + 3 * PAGE, pgoff=(USER_AREA >> 12) + 2)
    insert_merged(world.memory, world.user, gap)


@pytest.mark.parametrize(
    ("version", "below", "above", "ends"),
    [
        ((6, 1), 0, 0, [5]),
        ((6, 1), 1, 0, [5]),
        ((6, 1), 0, 1, [2, 5]),  # looks above first, and what was written does not join what was not
        ((6, 1), 1, 1, [5]),
        ((6, 1), 1, 2, [2, 5]),
        ((6, 12), 0, 0, [5]),
        ((6, 12), 1, 0, [5]),
        ((6, 12), 0, 1, [5]),
        ((6, 12), 1, 1, [5]),
        ((6, 12), 1, 2, [3, 5]),
    ],
)
def test_a_hole_that_is_filled(version: tuple[int, int], below: int, above: int, ends: list[int]) -> None:
    world = World(version)
    three(world, below, above)
    assert [(end - USER_AREA) // PAGE for _, end in areas(world)] == ends
    if ends == [5]:
        assert next(iter(world.user.vmas)).anon_vma == (below or above)


def test_what_came_through_fork_takes_nothing_in() -> None:
    world = World()
    world.area(USER_AREA, 2, anon_vma=1, inherited=True)
    insert_merged(
        world.memory, world.user, Vma(USER_AREA + 2 * PAGE, USER_AREA + 3 * PAGE, pgoff=(USER_AREA >> 12) + 2)
    )
    assert len(world.user.vmas) == 2


def test_the_heap_does_not_look_above() -> None:
    world = World()
    world.area(USER_AREA + PAGE)
    new = Vma(USER_AREA, USER_AREA + PAGE, pgoff=USER_AREA >> 12)
    assert insert_merged(world.memory, world.user, new, above=False) == new
    assert len(world.user.vmas) == 2


@pytest.mark.parametrize("version", [(6, 1), (6, 12)])
def test_a_change_looks_below_first(version: tuple[int, int]) -> None:
    world = World(version)
    world.area(USER_AREA, 1, anon_vma=1)
    changed = world.area(USER_AREA + PAGE, 1)
    world.area(USER_AREA + 2 * PAGE, 1, anon_vma=2)
    assert remerge(world.memory, world.user, changed).anon_vma == 1
    assert areas(world) == [(USER_AREA, USER_AREA + 2 * PAGE), (USER_AREA + 2 * PAGE, USER_AREA + 3 * PAGE)]


def file_area(world: World) -> Vma:
    inode = world.memory.new_inode("a file", FileSystem.DISK, 8 * PAGE)
    inode.users = 1
    return world.area(inode=inode.number, pgoff=2)


def test_each_part_of_a_cut_area_uses_its_file() -> None:
    world = World()
    vma = file_area(world)
    (inode,) = world.memory.inodes.values()
    low, high = split_vma(world.memory, world.user, vma, USER_AREA + 3 * PAGE)
    assert (low, high) == (
        replace(vma, end=USER_AREA + 3 * PAGE),
        replace(vma, start=USER_AREA + 3 * PAGE, pgoff=5),
    )
    assert list(world.user.vmas) == [low, high]
    assert inode.users == 2
    assert remerge(world.memory, world.user, high) == vma
    assert inode.users == 1
    assert list(world.user.vmas) == [vma]


@pytest.mark.parametrize(
    ("first", "last", "parts"), [(1, 3, (1, 3)), (0, 4, (0, 4)), (-1, 2, (0, 2)), (2, 9, (2, 4)), (5, 9, None)]
)
def test_isolating_a_range(first: int, last: int, parts: tuple[int, int] | None) -> None:
    world = World()
    whole = world.area()
    found = isolate(world.memory, world.user, USER_AREA + first * PAGE, USER_AREA + last * PAGE)
    expected = [] if parts is None else [(USER_AREA + parts[0] * PAGE, USER_AREA + parts[1] * PAGE)]
    assert [(vma.start, vma.end) for vma in found] == expected
    ends = areas(world)
    assert (ends[0][0], ends[-1][1]) == (whole.start, whole.end)
    assert all(low[1] == high[0] for low, high in pairwise(ends))
