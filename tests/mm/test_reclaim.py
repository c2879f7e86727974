"""What leaves memory: on advice, and when there is no room."""

from __future__ import annotations

from errno import EINVAL

import pytest

from handler.world import World
from mm.huge import AREA, forked, get, huge_area, huge_world, physical, pmds, put
from mm.touching import RW, disk_file, mapped, pte, touch
from pagefault.arch import x86
from pagefault.memory.ram import HUGE
from pagefault.mm.madvise import MADV_COLD, MADV_FREE, MADV_PAGEOUT, do_madvise
from pagefault.mm.mlock import do_mlock
from pagefault.mm.mmap import MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PROT_READ
from pagefault.mm.reclaim import SWAP_CLUSTER_MAX, try_to_free_pages
from pagefault.tables.inode import FileSystem
from pagefault.tables.swap_space import is_swap_entry
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.vma import VmFlag


def with_pages(count: int = 4, swap: int = 16) -> World:
    world = huge_world(thp="never", swap=swap)
    mapped(world, AREA, max(count, 1))
    for number in range(count):
        put(world, AREA + number * PAGE, number + 1)
    return world


def out(world: World) -> int:
    """How many of the first pages are swapped out."""
    return sum(is_swap_entry(pte(world, AREA + number * PAGE)) for number in range(256))


def test_cold_makes_old_and_pageout_takes_what_nobody_else_has() -> None:
    world = with_pages()
    assert do_madvise(world.memory, world.user, AREA, PAGE, MADV_COLD) == 0
    assert not pte(world, AREA) & x86.ACCESSED
    assert out(world) == 0
    forked(world)
    assert do_madvise(world.memory, world.user, AREA, 4 * PAGE, MADV_PAGEOUT) == 0
    assert out(world) == 0
    put(world, AREA, 1)
    assert do_madvise(world.memory, world.user, AREA, 4 * PAGE, MADV_PAGEOUT) == 0
    assert out(world) == 1


def test_locked_memory_stays() -> None:
    world = with_pages()
    world.user.rlimit_memlock = 1 << 20
    assert do_mlock(world.memory, world.user, AREA, 4 * PAGE, VmFlag.LOCKED) == 0
    assert do_madvise(world.memory, world.user, AREA, 4 * PAGE, MADV_PAGEOUT) == -EINVAL
    assert not try_to_free_pages(world.memory)


@pytest.mark.parametrize("swap", [0, 2])
def test_without_slots_pages_stay(swap: int) -> None:
    world = with_pages(swap=swap)
    do_madvise(world.memory, world.user, AREA, 4 * PAGE, MADV_PAGEOUT)
    assert out(world) == swap
    assert [get(world, AREA + number * PAGE) for number in range(4)] == [1, 2, 3, 4]


def test_without_a_slot_private_pages_are_not_even_looked_at() -> None:
    world = with_pages(swap=2)
    do_madvise(world.memory, world.user, AREA, 2 * PAGE, MADV_PAGEOUT)
    assert out(world) == 2
    assert not try_to_free_pages(world.memory)
    assert pte(world, AREA + 2 * PAGE) & x86.ACCESSED
    do_madvise(world.memory, world.user, AREA + 2 * PAGE, PAGE, MADV_FREE)
    assert try_to_free_pages(world.memory)
    assert pte(world, AREA + 2 * PAGE) == 0


def test_a_page_that_somebody_holds_stays() -> None:
    world = with_pages()
    world.memory.pages.refcount[physical(world, AREA) >> 12] += 1
    do_madvise(world.memory, world.user, AREA, 4 * PAGE, MADV_PAGEOUT)
    assert out(world) == 3


def test_clean_pages_are_not_written_twice() -> None:
    world = with_pages()
    assert world.memory.swap is not None
    child = forked(world)
    assert try_to_free_pages(world.memory)
    assert out(world) == 4
    world.mm = child
    touch(world, AREA, write=False)
    frame = physical(world, AREA)
    slot = int(world.memory.pages.swap[frame >> 12]) - 1
    world.memory.swap.write(slot, b"w" * PAGE)
    assert do_madvise(world.memory, child, AREA, PAGE, MADV_PAGEOUT) == 0
    assert get(world, AREA) == ord("w"), "what the slot had, as the page was clean"


def test_a_huge_page_goes_out_in_pieces() -> None:
    world = huge_world(swap=600)
    huge_area(world)
    put(world, AREA + 5 * PAGE, 6)
    assert do_madvise(world.memory, world.user, AREA, HUGE, MADV_PAGEOUT) == 0
    assert not pmds(world)
    assert out(world) == 256
    assert get(world, AREA + 5 * PAGE) == 6
    put(world, AREA + HUGE, 1)
    assert do_madvise(world.memory, world.user, AREA + HUGE + PAGE, PAGE, MADV_PAGEOUT) == 0
    assert not pmds(world)
    assert is_swap_entry(pte(world, AREA + HUGE + PAGE))
    assert not world.memory.pages.is_huge(physical(world, AREA + HUGE))


def test_what_was_given_up_is_dropped_unless_it_was_written_again() -> None:
    world = with_pages()
    do_madvise(world.memory, world.user, AREA, 2 * PAGE, MADV_FREE)
    touch(world, AREA)
    assert try_to_free_pages(world.memory)
    assert pte(world, AREA + PAGE) == 0
    assert get(world, AREA) == 1


@pytest.mark.parametrize("private", [True, False])
def test_a_file_on_a_device_is_dropped_and_read_again(private: bool) -> None:
    world = huge_world(thp="never")
    inode = world.memory.new_inode("/file", FileSystem.DISK, 4 * PAGE, disk_file(4 * PAGE))
    mapped(world, AREA, 4, PROT_READ, (MAP_PRIVATE if private else MAP_SHARED) | MAP_FIXED, inode)
    assert get(world, AREA + PAGE) == 2
    free = world.frames.free
    assert do_madvise(world.memory, world.user, AREA, 4 * PAGE, MADV_PAGEOUT) == 0
    assert len(inode.cache) < 4
    assert world.frames.free > free
    assert get(world, AREA + PAGE) == 2


def test_pages_of_the_kernels_own_stay() -> None:
    world = huge_world(thp="never", swap=16)
    inode = world.memory.new_inode("[vdso]", FileSystem.SPECIAL, PAGE)
    world.memory.add_to_page_cache(inode, 0, world.memory.new_page())
    assert not try_to_free_pages(world.memory)
    assert len(inode.cache) == 1


def test_a_dirty_page_of_a_file_is_unmapped_and_kept() -> None:
    world = huge_world(thp="never")
    inode = world.memory.new_inode("/file", FileSystem.DISK, PAGE, disk_file(PAGE))
    mapped(world, AREA, 1, RW, MAP_SHARED | MAP_FIXED, inode)
    put(world, AREA, 77)
    do_madvise(world.memory, world.user, AREA, PAGE, MADV_PAGEOUT)
    assert (pte(world, AREA), len(inode.cache)) == (0, 1)
    assert get(world, AREA) == 77


def test_old_pages_go_first_and_not_more_than_a_few() -> None:
    world = with_pages(80, swap=100)
    for number in range(40, 80):
        world.tables.write(
            world.memory.pte_slot(world.user, AREA + number * PAGE), pte(world, AREA + number * PAGE) & ~x86.ACCESSED
        )
    assert try_to_free_pages(world.memory)
    assert out(world) == SWAP_CLUSTER_MAX
    assert all(not is_swap_entry(pte(world, AREA + number * PAGE)) for number in range(40))
