"""What counts as a group's, and stops doing so."""

from __future__ import annotations

import pytest

from mm.huge import AREA, forked, huge_area, huge_world, put
from mm.touching import mapped
from pagefault.errors import BadInput
from pagefault.memory.pages import HUGE_FRAMES
from pagefault.mm.exit_mmap import exit_mmap
from pagefault.mm.huge_memory import split_huge_page
from pagefault.mm.memcg import MAX_GROUPS, mem_cgroup_attach, mem_cgroup_create
from pagefault.mm.munmap import do_munmap
from pagefault.vocabulary.address import PAGE


def test_pages_and_tables_are_charged_and_uncharged() -> None:
    world = huge_world(thp="never")
    group = mem_cgroup_create(world.memory, None)
    mapped(world, AREA, 8)
    put(world, AREA, 1)
    mem_cgroup_attach(world.user, group)
    assert group.usage == 0, "what was there stays where it was charged"
    put(world, AREA + PAGE, 1)
    assert group.usage == 1
    child = forked(world)
    assert child.cgroup == group.number
    assert group.usage == 1 + 3, "the child's tables"
    exit_mmap(world.memory, child)
    do_munmap(world.memory, world.user, AREA, 8 * PAGE)
    assert group.usage == 0


def test_a_huge_page_counts_whole_until_it_is_split() -> None:
    world = huge_world()
    group = mem_cgroup_create(world.memory, None)
    mem_cgroup_attach(world.user, group)
    huge_area(world)
    put(world, AREA, 1)
    others = 2 + 1 + 1
    assert group.usage == HUGE_FRAMES + others, "with tables, one of them for the split, and anon_vma"
    do_munmap(world.memory, world.user, AREA + PAGE, 510 * PAGE)
    assert group.usage == HUGE_FRAMES + others
    entry = world.tables.entry(world.user.root, AREA)
    assert entry is not None
    split_huge_page(world.memory, entry.value & 0xF_FFFF_FFFF_F000)
    assert group.usage == 2 + others


def test_objects_are_charged_by_the_page() -> None:
    group = mem_cgroup_create(huge_world().memory, 10)
    for _ in range(4):
        group.charge_bytes(1500)
    assert (group.usage, group.room) == (2, 8)


def test_there_is_an_end_of_groups() -> None:
    world = huge_world()
    for _ in range(MAX_GROUPS):
        mem_cgroup_create(world.memory, None)
    with pytest.raises(BadInput, match="memory cgroups"):
        mem_cgroup_create(world.memory, None)
