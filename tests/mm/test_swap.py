"""Slots: who has them, and the content that goes with them."""

from __future__ import annotations

from mm.huge import AREA, forked, get, huge_world, physical, put
from mm.touching import mapped, pte
from pagefault.memory.pages import PageFlag
from pagefault.mm.madvise import MADV_PAGEOUT, MADV_WILLNEED, do_madvise
from pagefault.mm.mmap import MAP_ANONYMOUS, MAP_FIXED, MAP_NORESERVE, MAP_PRIVATE, MAP_SHARED
from pagefault.mm.swap import add_to_swap, copy_swap_entry, swapped_in_range
from pagefault.mm.truncate import truncate_setsize
from pagefault.tables.swap_space import SWP_EXCLUSIVE, SWP_SOFT_DIRTY, slot_of
from pagefault.vocabulary.address import PAGE


def test_the_entry_says_whose_the_page_was() -> None:
    world = huge_world(thp="never", swap=4)
    mapped(world, AREA, 1)
    put(world, AREA, 5)
    do_madvise(world.memory, world.user, AREA, PAGE, MADV_PAGEOUT)
    value = pte(world, AREA)
    assert value & (SWP_EXCLUSIVE | SWP_SOFT_DIRTY) == SWP_EXCLUSIVE | SWP_SOFT_DIRTY
    assert world.memory.swap is not None
    assert world.memory.swap.read(slot_of(value))[0] == 5
    child = forked(world)
    assert not pte(world, AREA) & SWP_EXCLUSIVE
    world.mm = child
    assert pte(world, AREA) == value & ~SWP_EXCLUSIVE
    assert int(world.memory.swap.count[slot_of(value)]) == 2
    assert copy_swap_entry(world.memory, value) == value & ~SWP_EXCLUSIVE


def test_a_page_keeps_its_slot_while_it_is_in_the_cache() -> None:
    world = huge_world(thp="never", swap=1)
    mapped(world, AREA, 2)
    put(world, AREA, 5)
    frame = physical(world, AREA)
    assert add_to_swap(world.memory, frame) == 1
    assert world.memory.pages.has(frame, PageFlag.SWAPCACHE)
    put(world, AREA + PAGE, 6)
    assert add_to_swap(world.memory, physical(world, AREA + PAGE)) is None, "no slot is left"
    world.memory.delete_from_swap_cache(frame)
    assert add_to_swap(world.memory, physical(world, AREA + PAGE)) == 1


def test_shared_memory_is_read_written_and_cut_while_it_is_out() -> None:
    world = huge_world(thp="never", swap=8)
    mapped(world, AREA, 4, flags=MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED)
    for number in range(4):
        put(world, AREA + number * PAGE, number + 1)
    (inode,) = world.memory.inodes.values()
    do_madvise(world.memory, world.user, AREA, 4 * PAGE, MADV_PAGEOUT)
    assert world.ram.read(world.memory.page_cache_page(inode, 1), 1) == b"\2"
    do_madvise(world.memory, world.user, AREA + 2 * PAGE, PAGE, MADV_WILLNEED)
    assert world.memory.swap is not None
    assert list(world.memory.swap.cache) == [inode.swapped[2]]
    assert world.ram.read(world.memory.page_cache_page(inode, 2), 1) == b"\3"
    assert not world.memory.swap.cache
    truncate_setsize(world.memory, inode, PAGE)
    assert world.memory.swap.free == 7, "page 0 is still out"
    assert get(world, AREA) == 1


def test_a_range_without_tables_is_passed_over() -> None:
    world = huge_world(thp="never", swap=4)
    mapped(world, AREA, 1 << 30, flags=MAP_ANONYMOUS | MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED)
    put(world, AREA, 5)
    do_madvise(world.memory, world.user, AREA, PAGE, MADV_PAGEOUT)
    vma = world.user.vmas.vma_lookup(AREA)
    assert vma is not None
    slot = slot_of(pte(world, AREA))
    found = [(slot, vma.linear_page_index(AREA))]
    assert swapped_in_range(world.memory, world.user, vma, vma.start, vma.end) == found
    world.memory.swap = None
    assert swapped_in_range(world.memory, world.user, vma, vma.start, vma.end) == []
