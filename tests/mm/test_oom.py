"""Memory that runs out: in a group and in all."""

from __future__ import annotations

from functools import partial

from handler.world import World
from mm.huge import AREA, forked, huge_area, huge_world, put, switch
from mm.touching import ANONYMOUS, mapped, touch
from pagefault.memory.pages import HUGE_FRAMES
from pagefault.mm.memcg import mem_cgroup_attach, mem_cgroup_create
from pagefault.mm.mmap import MAP_FIXED, MAP_NORESERVE
from pagefault.mm.oom import limiting_group, make_room, oom_badness, oom_reap, select_bad_process
from pagefault.tables.address_space import AddressSpace
from pagefault.vocabulary.address import PAGE

PAGES = 4608


def small(swap: int = 0) -> World:
    world = huge_world(thp="never", swap=swap)
    world.memory.make_room = partial(make_room, world.memory)
    mapped(world, AREA, PAGES, flags=ANONYMOUS | MAP_FIXED | MAP_NORESERVE)
    return world


def touched_until_it_fails(world: World) -> int:
    for number in range(PAGES):
        if touch(world, AREA + number * PAGE) == "OutOfMemory":
            return number
    return PAGES


def test_the_limit_of_a_group() -> None:
    world = small()
    group = mem_cgroup_create(world.memory, 100)
    mem_cgroup_attach(world.user, group)
    assert touched_until_it_fails(world) == 100 - 3 - 1, "without tables, and the page of the kernel's own objects"
    assert group.room == 0


def test_a_group_that_may_swap_goes_on() -> None:
    world = small(swap=400)
    group = mem_cgroup_create(world.memory, 100, swap_limit=200)
    mem_cgroup_attach(world.user, group)
    assert touched_until_it_fails(world) == 96 + 200
    assert (group.swap, group.may_swap) == (200, False)


def test_ram_runs_out() -> None:
    world = small()
    free = world.frames.free
    assert touched_until_it_fails(world) == free - 2 - 8
    assert world.frames.free == 0


def test_ram_and_swap_run_out() -> None:
    world = small(swap=64)
    free = world.frames.free
    assert touched_until_it_fails(world) == free - 2 - 9 + 64


def test_somebody_else_is_asked_to_go() -> None:
    world = small()
    parent, child = world.user, forked(world)
    switch(world, child)
    for number in range(64):
        put(world, AREA + number * PAGE, 1)
    switch(world, parent)
    asked: list[AddressSpace | None] = []

    def kill(mm: AddressSpace | None) -> bool:
        asked.append(mm)
        victim = select_bad_process(world.memory, [child], 0)
        assert victim is child
        return oom_reap(world.memory, victim)

    world.memory.out_of_memory = kill
    while world.frames.free > 2:
        world.frames.take()
    assert touch(world, AREA) == "zeroed page of its own"
    assert asked == [parent]


def test_the_worst_has_most_and_is_in_the_group() -> None:
    world = huge_world(swap=16)
    huge_area(world)
    put(world, AREA, 1)
    child = forked(world)
    assert oom_badness(world.memory, world.user) == HUGE_FRAMES + 1
    other = AddressSpace(world.memory.new_page())
    assert select_bad_process(world.memory, [other, child], 0) is child
    mem_cgroup_attach(other, mem_cgroup_create(world.memory, 5))
    assert select_bad_process(world.memory, [other, child], 1) is other
    assert select_bad_process(world.memory, [child], 1) is None


def test_whose_limit_it_was() -> None:
    world = small()
    assert limiting_group(world.memory, None) == limiting_group(world.memory, world.user) == 0
    mem_cgroup_attach(world.user, mem_cgroup_create(world.memory, 5))
    assert limiting_group(world.memory, world.user) == 1
    world.memory.cgroups[1].limit = 1 << 40
    assert limiting_group(world.memory, world.user) == 0
