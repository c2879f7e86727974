"""Pages that come back from swap: alone, shared with a child, through the swap cache."""

from __future__ import annotations

import pytest

from handler.world import World
from mm.huge import AREA, forked, get, huge_world, physical, put, switch
from mm.touching import mapped, pte, touch
from pagefault.arch import x86
from pagefault.memory.pages import PageFlag
from pagefault.mm.exit_mmap import exit_mmap
from pagefault.mm.madvise import MADV_PAGEOUT, MADV_WILLNEED, do_madvise
from pagefault.mm.memcg import mem_cgroup_attach, mem_cgroup_create
from pagefault.mm.mmap import MAP_ANONYMOUS, MAP_FIXED, MAP_SHARED
from pagefault.mm.munmap import do_munmap
from pagefault.tables.swap_space import SwapSpace, is_swap_entry
from pagefault.vocabulary.address import PAGE

DIRECT, CACHED, FOUND = "page read from swap", "page read from swap into the swap cache", "page in the swap cache"


def swapped_out(version: tuple[int, int] = (6, 1), pages: int = 3) -> World:
    """Pages that hold their number + 1, all swapped out."""
    world = huge_world(version, thp="never", swap=16)
    mapped(world, AREA, pages)
    for number in range(pages):
        put(world, AREA + number * PAGE, number + 1)
    free = world.frames.free
    assert do_madvise(world.memory, world.user, AREA, pages * PAGE, MADV_PAGEOUT) == 0
    assert world.frames.free == free + pages
    assert all(is_swap_entry(pte(world, AREA + number * PAGE)) for number in range(pages))
    return world


def swap_of(world: World) -> SwapSpace:
    assert world.memory.swap is not None
    return world.memory.swap


@pytest.mark.parametrize(("version", "writable"), [((6, 1), 0), ((6, 12), x86.WRITABLE)])
def test_a_page_of_ones_own_skips_the_cache(version: tuple[int, int], writable: int) -> None:
    world = swapped_out(version)
    assert touch(world, AREA + PAGE, write=False) == f"{DIRECT} mapped"
    assert get(world, AREA + PAGE) == 2
    assert pte(world, AREA + PAGE) & (x86.WRITABLE | x86.DIRTY) == writable
    flags = PageFlag(int(world.memory.pages.flags[physical(world, AREA + PAGE) >> 12]))
    assert flags == PageFlag.ANON | PageFlag.EXCLUSIVE, "clean, and in no cache"
    assert swap_of(world).free == swap_of(world).total - 2
    assert touch(world, AREA + PAGE) == ("access flags updated" if writable else "page reused")


def test_a_write_makes_it_writable_and_dirty() -> None:
    world = swapped_out()
    assert touch(world, AREA) == f"{DIRECT} mapped"
    assert pte(world, AREA) & (x86.WRITABLE | x86.DIRTY) == x86.WRITABLE | x86.DIRTY


def test_two_find_the_same_page() -> None:
    world = swapped_out()
    parent, child = world.user, forked(world)
    switch(world, child)
    assert touch(world, AREA, write=False) == f"{CACHED} mapped"
    switch(world, parent)
    assert touch(world, AREA, write=False) == f"{FOUND} mapped"
    assert int(world.memory.pages.mapcount[physical(world, AREA) >> 12]) == 2
    assert not world.memory.pages.has(physical(world, AREA), PageFlag.EXCLUSIVE)


def test_who_writes_first_copies_and_who_is_left_reuses() -> None:
    world = swapped_out()
    parent, child = world.user, forked(world)
    switch(world, child)
    assert touch(world, AREA) == f"{CACHED} copied on write"
    world.ram.fill(physical(world, AREA), 1, 99)
    switch(world, parent)
    assert touch(world, AREA) == f"{FOUND} mapped"
    assert pte(world, AREA) & x86.WRITABLE
    assert get(world, AREA) == 1
    assert not world.memory.pages.has(physical(world, AREA), PageFlag.SWAPCACHE), "given up: nobody else wants it"
    assert swap_of(world).free == swap_of(world).total - 2


def test_read_first_a_write_gives_the_slot_up() -> None:
    world = swapped_out()
    parent, child = world.user, forked(world)
    switch(world, child)
    touch(world, AREA, write=False)
    exit_mmap(world.memory, child)
    switch(world, parent)
    assert touch(world, AREA, write=False) == f"{FOUND} mapped"
    assert world.memory.pages.has(physical(world, AREA), PageFlag.SWAPCACHE)
    assert touch(world, AREA) == "page reused"
    assert not world.memory.pages.has(physical(world, AREA), PageFlag.SWAPCACHE)


def test_one_who_still_has_the_slot_forces_a_copy() -> None:
    world = swapped_out()
    _, child = world.user, forked(world)
    switch(world, child)
    touch(world, AREA, write=False)
    assert touch(world, AREA) == "page copied on write"


def test_willneed_leaves_it_in_the_cache_and_exclusive() -> None:
    world = swapped_out()
    assert do_madvise(world.memory, world.user, AREA, 2 * PAGE, MADV_WILLNEED) == 0
    assert len(swap_of(world).cache) == 2
    assert touch(world, AREA, write=False) == f"{FOUND} mapped"
    assert world.memory.pages.has(physical(world, AREA), PageFlag.EXCLUSIVE)
    assert get(world, AREA + PAGE) == 2


def test_the_cache_gives_up_what_nobody_maps_any_more() -> None:
    world = swapped_out()
    free = world.frames.free
    do_madvise(world.memory, world.user, AREA, 2 * PAGE, MADV_WILLNEED)
    touch(world, AREA, write=False)
    assert free - world.frames.free == 2
    do_munmap(world.memory, world.user, AREA, PAGE)
    assert (len(swap_of(world).cache), free - world.frames.free) == (1, 1)
    do_munmap(world.memory, world.user, AREA + PAGE, PAGE)
    assert (len(swap_of(world).cache), free - world.frames.free) == (0, 0)


@pytest.mark.parametrize("full", ["all", "group"])
def test_a_full_swap_space_is_freed_on_the_way(full: str) -> None:
    world = swapped_out()
    do_madvise(world.memory, world.user, AREA, 2 * PAGE, MADV_WILLNEED)
    if full == "all":
        while swap_of(world).free:
            swap_of(world).allocate()
    else:
        mem_cgroup_attach(world.user, mem_cgroup_create(world.memory, None, swap_limit=0))
    touch(world, AREA, write=False)
    assert not world.memory.pages.has(physical(world, AREA), PageFlag.SWAPCACHE)


def test_a_slot_goes_with_its_last_entry() -> None:
    world = swapped_out()
    child = forked(world)
    do_munmap(world.memory, world.user, AREA, 3 * PAGE)
    assert swap_of(world).free == swap_of(world).total - 3
    exit_mmap(world.memory, child)
    assert swap_of(world).free == swap_of(world).total


def test_shared_memory_comes_back_through_the_page_cache() -> None:
    world = huge_world(swap=16, thp="never")
    mapped(world, AREA, 2, flags=MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED)
    put(world, AREA, 7)
    (inode,) = world.memory.inodes.values()
    assert do_madvise(world.memory, world.user, AREA, 2 * PAGE, MADV_PAGEOUT) == 0
    assert (len(inode.cache), len(inode.swapped), pte(world, AREA)) == (0, 1, 0)
    assert touch(world, AREA) == "page-cache page mapped for writing"
    assert (get(world, AREA), len(inode.cache), inode.swapped) == (7, 1, {})
    assert int(world.memory.pages.refcount[physical(world, AREA) >> 12]) == 2
    assert swap_of(world).free == swap_of(world).total
    do_madvise(world.memory, world.user, AREA, 2 * PAGE, MADV_PAGEOUT)
    do_munmap(world.memory, world.user, AREA, 2 * PAGE)
    assert swap_of(world).free == swap_of(world).total, "the file is gone, and its slots with it"
