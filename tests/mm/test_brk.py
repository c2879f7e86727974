"""The heap's end."""

from __future__ import annotations

import pytest

from handler.world import World
from mm.touching import ANONYMOUS, areas, mapped, pte, touch
from pagefault.mm.brk import do_brk, vm_brk_flags
from pagefault.mm.mmap import MAP_FIXED, MAP_GROWSDOWN
from pagefault.mm.munmap import do_munmap
from pagefault.tables.address_space import STACK_GUARD_GAP
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.vma import MAY_ALL, VmFlag

START = 0x60_0000 + 0x234
FIRST = 0x60_1000
"""The first page that is the heap's alone."""


@pytest.fixture
def world() -> World:
    world = World()
    world.user.start_brk = world.user.brk = START
    return world


def brk(world: World, to: int) -> int:
    return do_brk(world.memory, world.user, to)


@pytest.mark.parametrize("to", [0, START - 1, 1 << 47, (1 << 64) - 1])
def test_what_cannot_be_leaves_it_where_it_is(world: World, to: int) -> None:
    assert brk(world, to) == START
    assert areas(world) == []


def test_inside_a_page_nothing_is_mapped(world: World) -> None:
    assert brk(world, FIRST) == FIRST
    assert areas(world) == []
    assert brk(world, START) == START


def test_the_heap_grows_as_one_area_and_shrinks(world: World) -> None:
    assert brk(world, FIRST + 1) == FIRST + 1
    assert brk(world, FIRST + 5 * PAGE) == FIRST + 5 * PAGE
    assert areas(world) == [(FIRST, FIRST + 5 * PAGE)]
    (heap,) = world.user.vmas
    assert (heap.read, heap.write, heap.execute, heap.pgoff) == (True, True, False, FIRST >> 12)
    assert heap.flags == MAY_ALL | VmFlag.ACCOUNT | VmFlag.SOFTDIRTY
    for page in range(5):
        touch(world, FIRST + page * PAGE)
    free = world.frames.free
    assert brk(world, FIRST + 2 * PAGE + 1) == FIRST + 2 * PAGE + 1
    assert areas(world) == [(FIRST, FIRST + 3 * PAGE)]
    assert world.frames.free == free + 2
    assert world.user.brk == FIRST + 2 * PAGE + 1
    assert brk(world, START) == START
    assert areas(world) == []


@pytest.mark.parametrize(("gap", "grows", "fits"), [(1, False, True), (0, False, False), (1, True, False)])
def test_a_page_stays_free_below_what_is_above(world: World, gap: int, grows: bool, fits: bool) -> None:
    """And the guard gap below a stack."""
    mapped(world, FIRST + (4 + gap) * PAGE, 1, flags=ANONYMOUS | MAP_FIXED | (MAP_GROWSDOWN if grows else 0))
    assert brk(world, FIRST + 4 * PAGE) == (FIRST + 4 * PAGE if fits else START)


def test_the_guard_gap_of_a_stack_and_a_page(world: World) -> None:
    mapped(world, FIRST + STACK_GUARD_GAP + 5 * PAGE, 1, flags=ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN)
    assert brk(world, FIRST + 4 * PAGE + 1) == START
    assert brk(world, FIRST + 4 * PAGE) == FIRST + 4 * PAGE


def test_a_heap_that_was_unmapped_does_not_shrink(world: World) -> None:
    brk(world, FIRST + 4 * PAGE)
    do_munmap(world.memory, world.user, FIRST + 2 * PAGE, 2 * PAGE)
    assert brk(world, FIRST + 2 * PAGE) == FIRST + 4 * PAGE
    mapped(world, FIRST + 8 * PAGE, 1)
    assert brk(world, FIRST + 2 * PAGE) == FIRST + 4 * PAGE, "what is above is not the heap"
    do_munmap(world.memory, world.user, FIRST + 8 * PAGE, PAGE)
    assert brk(world, FIRST + PAGE) == FIRST + PAGE, "there is something left to give up"
    assert areas(world) == [(FIRST, FIRST + PAGE)]


def test_a_heap_that_was_cut_grows_as_another_area(world: World) -> None:
    brk(world, FIRST + 2 * PAGE)
    mapped(world, FIRST + PAGE, 1, 1)
    brk(world, FIRST + 4 * PAGE)
    assert areas(world) == [
        (FIRST, FIRST + PAGE),
        (FIRST + PAGE, FIRST + 2 * PAGE),
        (FIRST + 2 * PAGE, FIRST + 4 * PAGE),
    ]


def test_memory_at_a_fixed_place_replaces_what_was_there(world: World) -> None:
    mapped(world, FIRST, 4)
    touch(world, FIRST + PAGE)
    vm_brk_flags(world.memory, world.user, FIRST + PAGE, PAGE + 1, execute=True)
    assert [(vma.start, vma.execute) for vma in world.user.vmas] == [
        (FIRST, False),
        (FIRST + PAGE, True),
        (FIRST + 3 * PAGE, False),
    ]
    assert pte(world, FIRST + PAGE) == 0


def test_what_mlockall_asked_for_goes_to_the_heap(world: World) -> None:
    world.user.def_flags = VmFlag.LOCKED
    brk(world, FIRST + PAGE)
    assert next(iter(world.user.vmas)).flags & VmFlag.LOCKED


def test_the_heap_does_not_become_part_of_what_lies_below_it(world: World) -> None:
    vm_brk_flags(world.memory, world.user, FIRST - PAGE, PAGE)
    world.user.start_brk = world.user.brk = FIRST
    assert brk(world, FIRST + PAGE) == FIRST + PAGE
    assert brk(world, FIRST + 2 * PAGE) == FIRST + 2 * PAGE
    assert areas(world) == [(FIRST - PAGE, FIRST), (FIRST, FIRST + 2 * PAGE)]
