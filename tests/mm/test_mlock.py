"""mlock() and its kin: which areas are locked, and which pages are there afterwards."""

from __future__ import annotations

from errno import EINVAL, ENOMEM

import pytest

from handler.world import USER_AREA, World
from mm.touching import areas, mapped, pte, touch
from pagefault.arch import x86
from pagefault.mm.mlock import (
    MCL_CURRENT,
    MCL_FUTURE,
    MCL_ONFAULT,
    apply_mlockall_flags,
    do_mlock,
    do_mlockall,
    do_munlock,
)
from pagefault.mm.mmap import PROT_READ
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.vma import VmFlag

LOCKED, ONFAULT = VmFlag.LOCKED, VmFlag.LOCKED | VmFlag.LOCKONFAULT


def lock(world: World, first: int, pages: int, flags: VmFlag = LOCKED) -> int:
    return do_mlock(world.memory, world.user, USER_AREA + first * PAGE, pages * PAGE, flags)


def flags_of(world: World) -> list[VmFlag]:
    return [vma.flags & ONFAULT for vma in world.user.vmas]


def there(world: World) -> list[bool]:
    return [bool(pte(world, USER_AREA + page * PAGE)) for page in range(4)]


@pytest.fixture
def world() -> World:
    """Four pages, the second one read."""
    world = World()
    mapped(world, USER_AREA, 4)
    touch(world, USER_AREA + PAGE, write=False)
    return world


def test_pages_are_brought_in_to_be_written(world: World) -> None:
    assert lock(world, 0, 3) == 0
    assert flags_of(world) == [LOCKED, VmFlag(0)]
    assert there(world) == [True, True, True, False]
    assert pte(world, USER_AREA + PAGE) & x86.PHYSICAL_MASK != world.zero_page


def test_on_fault_nothing_is_brought_in(world: World) -> None:
    assert lock(world, 0, 4, ONFAULT) == 0
    assert flags_of(world) == [ONFAULT]
    assert there(world) == [False, True, False, False]


def test_whole_pages_are_locked(world: World) -> None:
    assert do_mlock(world.memory, world.user, USER_AREA + PAGE + 1, PAGE, LOCKED) == 0
    assert areas(world)[1] == (USER_AREA + PAGE, USER_AREA + 3 * PAGE)


@pytest.mark.parametrize(("flags", "count"), [(ONFAULT, 1), (LOCKED, 3)])
def test_unlocking_joins_again_what_was_not_written(world: World, flags: VmFlag, count: int) -> None:
    lock(world, 1, 2, flags)
    assert do_munlock(world.memory, world.user, USER_AREA, 4 * PAGE) == 0
    assert flags_of(world) == [VmFlag(0)] * count


@pytest.mark.parametrize(("first", "pages"), [(2, 4), (-1, 2), (8, 1)])
def test_a_hole(world: World, first: int, pages: int) -> None:
    assert lock(world, first, pages) == -ENOMEM


def test_an_end_beyond_all_addresses(world: World) -> None:
    assert do_mlock(world.memory, world.user, USER_AREA, (1 << 64) - USER_AREA, LOCKED) == -EINVAL
    assert flags_of(world) == [VmFlag(0)]


def test_nothing_at_all(world: World) -> None:
    assert do_mlock(world.memory, world.user, USER_AREA, 0, LOCKED) == 0
    assert flags_of(world) == [VmFlag(0)]


def test_memory_without_rights_is_locked_and_cannot_be_had(world: World) -> None:
    mapped(world, USER_AREA, 4, 0)
    assert lock(world, 0, 4) == -ENOMEM
    assert flags_of(world) == [LOCKED]


def test_what_may_only_be_read_is_read(world: World) -> None:
    mapped(world, USER_AREA, 4, PROT_READ)
    assert lock(world, 0, 4) == 0
    assert all(there(world))


def test_the_kernels_own_areas_are_left_alone() -> None:
    world = World()
    world.area(flags=VmFlag.DONTEXPAND)
    assert lock(world, 0, 4) == 0
    assert flags_of(world) == [VmFlag(0)]


@pytest.mark.parametrize("flags", [0, 8, MCL_ONFAULT, MCL_CURRENT | 16])
def test_mlockall_refuses(world: World, flags: int) -> None:
    assert do_mlockall(world.memory, world.user, flags) == -EINVAL


@pytest.mark.parametrize(
    ("flags", "now", "later", "present"),
    [
        (MCL_CURRENT, LOCKED, VmFlag(0), True),
        (MCL_FUTURE, VmFlag(0), LOCKED, False),
        (MCL_CURRENT | MCL_FUTURE, LOCKED, LOCKED, True),
        (MCL_CURRENT | MCL_ONFAULT, ONFAULT, VmFlag(0), False),
        (MCL_FUTURE | MCL_ONFAULT, VmFlag(0), ONFAULT, False),
    ],
)
def test_mlockall(world: World, flags: int, now: VmFlag, later: VmFlag, present: bool) -> None:
    assert do_mlockall(world.memory, world.user, flags) == 0
    assert flags_of(world) == [now]
    assert world.user.def_flags == later
    assert there(world)[0] is present
    assert mapped(world, USER_AREA + 16 * PAGE, 1).flags & ONFAULT == later
    apply_mlockall_flags(world.memory, world.user, 0)
    assert set(flags_of(world)) == {VmFlag(0)}
    assert world.user.def_flags == VmFlag(0)


def test_what_is_locked_stays_so_when_the_future_is_decided(world: World) -> None:
    lock(world, 0, 4, ONFAULT)
    assert do_mlockall(world.memory, world.user, MCL_FUTURE) == 0
    assert flags_of(world) == [ONFAULT]
