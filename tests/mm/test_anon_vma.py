"""Which areas share an anon_vma: those that could become one, but for their rights."""

from __future__ import annotations

from dataclasses import replace

import pytest

from handler.world import USER_AREA, World
from pagefault.mm.anon_vma import anon_vma_compatible, anon_vma_prepare, find_mergeable_anon_vma, is_mergeable_anon_vma
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.vma import MAY_ALL, Vma, VmFlag

HIGHER = USER_AREA + 4 * PAGE


def prepared(world: World, address: int) -> int:
    anon_vma_prepare(world.memory, world.user, address)
    vma = world.user.vmas.vma_lookup(address)
    assert vma is not None
    return vma.anon_vma


def test_the_first_has_a_number_of_its_own_and_keeps_it() -> None:
    world = World()
    world.area()
    first = prepared(world, USER_AREA)
    assert first
    assert prepared(world, USER_AREA + PAGE) == first


def test_what_is_apart_does_not_share() -> None:
    world = World()
    world.area()
    world.area(HIGHER + PAGE)
    assert prepared(world, USER_AREA) != prepared(world, HIGHER + PAGE)


def test_no_area_no_anon_vma() -> None:
    world = World()
    anon_vma_prepare(world.memory, world.user, USER_AREA)
    assert world.memory.anon_vmas == 0


@pytest.mark.parametrize("first", [USER_AREA, HIGHER])
def test_neighbours_that_differ_in_their_rights_share(first: int) -> None:
    world = World()
    world.area()
    world.area(HIGHER, write=False, execute=True)
    number = prepared(world, first)
    assert prepared(world, USER_AREA + HIGHER - first) == number


def test_the_neighbour_above_is_asked_first() -> None:
    world = World()
    world.area(anon_vma=1)
    middle = world.area(HIGHER, write=False)
    world.area(HIGHER + 4 * PAGE, anon_vma=2)
    assert find_mergeable_anon_vma(world.user, middle) == 2


@pytest.mark.parametrize("first", [USER_AREA, HIGHER])
def test_what_came_through_fork_is_not_shared_on(first: int) -> None:
    world = World()
    world.area(first, anon_vma=99, inherited=True)
    other = USER_AREA + HIGHER - first
    world.area(other, write=False)
    assert prepared(world, other) != 99


@pytest.mark.parametrize(
    ("number", "has", "inherited", "expected"),
    [
        (0, 0, False, True),
        (0, 3, False, True),
        (0, 3, True, False),
        (3, 0, False, False),  # what was written does not become part of what was not
        (3, 3, False, True),
        (3, 3, True, True),
        (3, 4, False, False),
    ],
)
def test_who_may_become_part_of_whom(number: int, has: int, inherited: bool, expected: bool) -> None:
    assert is_mergeable_anon_vma(number, Vma(0x5000, 0x7000, anon_vma=has, inherited=inherited)) is expected


LOW = Vma(0x5000, 0x7000, pgoff=5)
HIGH = Vma(0x7000, 0x8000, pgoff=7)


@pytest.mark.parametrize(
    ("high", "compatible"),
    [
        (HIGH, True),
        (replace(HIGH, read=False, write=False, execute=True), True),
        (replace(HIGH, flags=MAY_ALL | VmFlag.SOFTDIRTY), True),
        (replace(HIGH, flags=MAY_ALL | VmFlag.ACCOUNT), False),
        (replace(HIGH, flags=MAY_ALL | VmFlag.LOCKED), False),
        (replace(HIGH, pgoff=8), False),
        (replace(HIGH, start=0x8000, end=0x9000, pgoff=8), False),
        (replace(HIGH, inode=1), False),
        (replace(HIGH, shared=True), False),
        (replace(HIGH, grows_down=True), False),
        (replace(HIGH, protection_key=1), False),
    ],
)
def test_who_is_compatible(high: Vma, compatible: bool) -> None:
    assert anon_vma_compatible(LOW, high) is compatible
