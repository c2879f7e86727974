"""Huge pages that are cut, moved, shared and given up."""

from __future__ import annotations

import pytest

from handler.world import World
from mm.huge import AREA, forked, get, huge_area, huge_world, physical, pmds, put
from mm.touching import RW, mapped, pte, touch
from pagefault.arch import x86
from pagefault.memory.pages import PageFlag
from pagefault.memory.ram import HUGE
from pagefault.mm.exit_mmap import exit_mmap
from pagefault.mm.huge_memory import huge_pmds, split_huge_page
from pagefault.mm.madvise import MADV_DONTNEED, MADV_FREE, do_madvise
from pagefault.mm.mmap import PROT_READ
from pagefault.mm.mprotect import do_mprotect_pkey
from pagefault.mm.mremap import do_mremap
from pagefault.mm.munmap import do_munmap
from pagefault.mm.smaps import smap_gather_stats
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.walk import Mapped


def world_with_two(version: tuple[int, int] = (6, 1)) -> World:
    """Two huge pages, of which every page that is looked at here holds its number."""
    world = huge_world(version)
    huge_area(world)
    for number in (0, 1, 2, 3, 511, 512, 513):
        put(world, AREA + number * PAGE, number & 0xFF)
    return world


def kept(world: World, *numbers: int) -> bool:
    return all(get(world, AREA + number * PAGE) == number & 0xFF for number in numbers)


def test_munmap_of_a_part_splits_and_keeps_the_rest() -> None:
    world = world_with_two()
    head, free = physical(world, AREA), world.frames.free
    assert do_munmap(world.memory, world.user, AREA + PAGE, PAGE) == 0
    assert pmds(world) == [(AREA + HUGE, True)]
    assert kept(world, 0, 2, 3, 511, 512)
    assert physical(world, AREA + 2 * PAGE) == head + 2 * PAGE
    assert world.frames.free == free, "the page is free when all of it is"
    do_munmap(world.memory, world.user, AREA, HUGE)
    assert world.frames.free == free + 512 + 1, "the huge page and its table"


def test_the_frames_come_back_as_they_were() -> None:
    world = huge_world()
    before = world.frames.free
    huge_area(world)
    put(world, AREA, 1)
    put(world, AREA + HUGE, 1)
    exit_mmap(world.memory, world.user)
    assert (world.frames.free, world.user.deposited) == (before, [])
    assert world.frames.peek_huge() is not None


@pytest.mark.parametrize(("version", "writable"), [((6, 1), False), ((6, 12), True)])
def test_mprotect_there_and_back(version: tuple[int, int], writable: bool) -> None:
    world = world_with_two(version)
    assert do_mprotect_pkey(world.memory, world.user, AREA, 2 * HUGE, PROT_READ) == 0
    assert pmds(world) == [(AREA, False), (AREA + HUGE, False)]
    assert do_mprotect_pkey(world.memory, world.user, AREA, 2 * HUGE, RW) == 0
    assert pmds(world) == [(AREA, writable), (AREA + HUGE, writable)]
    assert touch(world, AREA) == ("access flags updated" if writable else "huge page reused")


def test_mprotect_to_nothing_and_back() -> None:
    world = world_with_two((6, 12))
    do_mprotect_pkey(world.memory, world.user, AREA, 2 * HUGE, 0)
    assert smap_gather_stats(world.memory, world.user, next(iter(world.user.vmas)))["AnonHugePages"] == 4096
    assert touch(world, AREA, write=False) == "access flags updated", "whoever may touch it all the same finds it"
    assert not isinstance(world.context.walk(AREA).end, Mapped), "not present for the CPU"
    do_mprotect_pkey(world.memory, world.user, AREA, 2 * HUGE, RW)
    assert pmds(world) == [(AREA, True), (AREA + HUGE, True)]
    assert kept(world, 1, 513)


@pytest.mark.parametrize(("version", "dirty"), [((6, 1), 0), ((6, 12), x86.DIRTY)])
def test_mprotect_of_a_part_splits(version: tuple[int, int], dirty: int) -> None:
    world = world_with_two(version)
    assert do_mprotect_pkey(world.memory, world.user, AREA + PAGE, PAGE, PROT_READ) == 0
    assert pmds(world) == [(AREA + HUGE, True)]
    assert not pte(world, AREA + PAGE) & x86.WRITABLE
    assert pte(world, AREA + 2 * PAGE) & (x86.WRITABLE | x86.DIRTY) == x86.WRITABLE | dirty
    assert world.memory.pages.has(physical(world, AREA + 2 * PAGE), PageFlag.EXCLUSIVE)
    assert kept(world, 0, 1, 2, 511)


def test_dontneed_of_a_part_and_of_all() -> None:
    world = world_with_two()
    assert do_madvise(world.memory, world.user, AREA + PAGE, 2 * PAGE, MADV_DONTNEED) == 0
    assert kept(world, 0, 3, 511)
    assert [get(world, AREA + number * PAGE) for number in (1, 2)] == [0, 0]
    assert do_madvise(world.memory, world.user, AREA, 2 * HUGE, MADV_DONTNEED) == 0
    assert not pmds(world)


def test_mremap_moves_a_whole_one_as_it_is() -> None:
    world = world_with_two()
    head, place = physical(world, AREA), AREA + 8 * HUGE
    assert do_mremap(world.memory, world.user, AREA, HUGE, HUGE, 3, place) == place
    assert pmds(world) == [(AREA + HUGE, True), (place, True)]
    assert physical(world, place) == head
    assert get(world, place + 3 * PAGE) == 3


def test_what_moved_is_soft_dirty() -> None:
    world = huge_world()
    huge_area(world)
    touch(world, AREA, write=False)
    place = AREA + 8 * HUGE
    assert do_mremap(world.memory, world.user, AREA, HUGE, HUGE, 3, place) == place
    assert [value & x86.SOFT_DIRTY for _, value, _ in huge_pmds(world.memory, world.user, place, place + HUGE)] == [
        x86.SOFT_DIRTY
    ]


def test_mremap_to_another_alignment_splits() -> None:
    world = world_with_two()
    head, place = physical(world, AREA), AREA + 8 * HUGE + 7 * PAGE
    assert do_mremap(world.memory, world.user, AREA, HUGE, HUGE, 3, place) == place
    assert pmds(world) == [(AREA + HUGE, True)]
    assert physical(world, place + 3 * PAGE) == head + 3 * PAGE
    assert get(world, place + 3 * PAGE) == 3


def test_fork_leaves_the_huge_zero_page_to_both() -> None:
    world = huge_world()
    huge_area(world)
    touch(world, AREA, write=False)
    put(world, AREA + HUGE, 9)
    child = forked(world)
    assert pmds(world, child) == [(AREA, False), (AREA + HUGE, False)]
    assert len(child.deposited) == 2


def test_without_frames_for_its_tables_a_fork_fails() -> None:
    world = world_with_two()
    while world.frames.free > 3:
        world.frames.take()
    with pytest.raises(AssertionError):
        forked(world)


def test_a_page_of_many_parts_becomes_many_pages() -> None:
    world = world_with_two()
    child = forked(world)
    head = physical(world, AREA)
    do_munmap(world.memory, world.user, AREA + 2 * PAGE, HUGE - 2 * PAGE)
    do_munmap(world.memory, child, AREA + PAGE, 2 * HUGE - PAGE)
    free = world.frames.free
    split_huge_page(world.memory, head + PAGE)
    assert world.frames.free == free + 510
    assert [int(count) for count in world.memory.pages.refcount[head >> 12 : (head >> 12) + 3]] == [2, 1, 0]
    assert not world.memory.pages.is_huge(head)
    assert kept(world, 0, 1)


def test_free_makes_a_huge_page_clean_and_a_part_of_one_small() -> None:
    world = world_with_two()
    head = physical(world, AREA)
    assert do_madvise(world.memory, world.user, AREA, HUGE, MADV_FREE) == 0
    assert world.memory.pages.has(head, PageFlag.LAZYFREE)
    entry = world.tables.entry(world.user.root, AREA)
    assert entry is not None
    assert not entry.value & (x86.DIRTY | x86.ACCESSED)
    second = physical(world, AREA + HUGE)
    assert do_madvise(world.memory, world.user, AREA + HUGE, PAGE, MADV_FREE) == 0
    assert not world.memory.pages.is_huge(second)
    assert world.memory.pages.has(second, PageFlag.LAZYFREE)
    assert not world.memory.pages.has(second + PAGE, PageFlag.LAZYFREE)


def test_a_neighbour_is_not_touched() -> None:
    world = world_with_two()
    mapped(world, AREA + 2 * HUGE, 512)
    put(world, AREA + 2 * HUGE, 5)
    do_munmap(world.memory, world.user, AREA + HUGE, HUGE)
    assert pmds(world) == [(AREA, True), (AREA + 2 * HUGE, True)]
    assert get(world, AREA + 2 * HUGE) == 5
