"""MADV_COLLAPSE: what becomes one page, and what it says where nothing does."""

from __future__ import annotations

from errno import EAGAIN, EBUSY, EINVAL, ENOMEM

from handler.world import World
from mm.huge import AREA, forked, get, huge_area, huge_world, physical, pmds, put
from mm.touching import mapped, touch
from pagefault.memory.pages import HUGE_FRAMES, PageFlag
from pagefault.memory.ram import HUGE
from pagefault.mm.madvise import MADV_COLLAPSE, MADV_NOHUGEPAGE, MADV_PAGEOUT, do_madvise
from pagefault.mm.memcg import mem_cgroup_attach, mem_cgroup_create
from pagefault.vocabulary.address import PAGE, PAGE_SHIFT


def collapse(world: World, start: int = AREA, length: int = HUGE) -> int:
    return do_madvise(world.memory, world.user, start, length, MADV_COLLAPSE)


def small_pages(count: int = 3, swap: int = 0) -> World:
    """Small pages, each holding its number + 1."""
    world = huge_world(thp="never", swap=swap)
    huge_area(world)
    for number in range(count):
        put(world, AREA + number * PAGE, number + 1)
    return world


def test_small_pages_become_one() -> None:
    world = small_pages()
    touch(world, AREA + 9 * PAGE, write=False)
    free = world.frames.free
    assert collapse(world) == 0
    assert pmds(world) == [(AREA, True)]
    assert [get(world, AREA + number * PAGE) for number in range(4)] == [1, 2, 3, 0]
    assert free - world.frames.free == HUGE_FRAMES - 3
    assert len(world.user.deposited) == 1
    assert world.memory.pages.has(physical(world, AREA), PageFlag.EXCLUSIVE)
    assert collapse(world) == 0, "it is one already"


def test_what_is_swapped_out_is_brought_back() -> None:
    world = small_pages(swap=64)
    assert do_madvise(world.memory, world.user, AREA, PAGE, MADV_PAGEOUT) == 0
    assert collapse(world) == 0
    assert [get(world, AREA + number * PAGE) for number in range(4)] == [1, 2, 3, 0]
    assert world.memory.swap is not None
    assert world.memory.swap.free == world.memory.swap.total


def test_what_is_shared_is_copied() -> None:
    world = small_pages()
    child = forked(world)
    put(world, AREA + 5 * PAGE, 6)
    assert collapse(world) == 0
    assert get(world, AREA + PAGE) == 2
    world.mm = child
    assert get(world, AREA + PAGE) == 2
    assert not pmds(world)


def test_what_cannot_be() -> None:
    world = small_pages()
    assert collapse(world, AREA + HUGE) == -EINVAL, "there is no table"
    assert collapse(world, AREA + PAGE) == 0, "no whole 2 MiB in it"
    world.memory.pages.refcount[physical(world, AREA) >> PAGE_SHIFT] += 1
    assert collapse(world) == -EAGAIN
    world.memory.pages.refcount[physical(world, AREA) >> PAGE_SHIFT] -= 1
    mem_cgroup_attach(world.user, mem_cgroup_create(world.memory, HUGE_FRAMES - 1))
    assert collapse(world) == -EBUSY
    world.user.cgroup = 0
    assert do_madvise(world.memory, world.user, AREA, 2 * HUGE, MADV_NOHUGEPAGE) == 0
    assert collapse(world) == -EINVAL


def test_nothing_writable_or_no_room() -> None:
    world = huge_world(thp="never")
    huge_area(world)
    mapped(world, AREA + 8 * HUGE, 4)
    touch(world, AREA, write=False)
    assert collapse(world) == -EINVAL, "the area has no private page yet"
    put(world, AREA + HUGE, 1)
    assert collapse(world) == -EINVAL, "zeros are worth no huge page"
    put(world, AREA, 1)
    while (run := world.frames.peek_huge()) is not None:
        world.frames.take_huge(run)
    assert collapse(world) == -ENOMEM
