"""Who maps a page: over all address spaces, wherever mremap() put it."""

from __future__ import annotations

from handler.world import World
from mm.huge import AREA, forked, huge_area, huge_world, physical, put
from mm.touching import RW, disk_file, mapped, touch
from pagefault.memory.ram import HUGE
from pagefault.mm.mmap import MAP_FIXED, MAP_PRIVATE, MAP_SHARED
from pagefault.mm.mprotect import do_mprotect_pkey
from pagefault.mm.mremap import do_mremap
from pagefault.mm.rmap import rmap_walk
from pagefault.tables.address_space import AddressSpace
from pagefault.tables.inode import FileSystem
from pagefault.vocabulary.address import PAGE


def mappings(world: World, frame: int) -> list[tuple[AddressSpace, int]]:
    return [(mapping.mm, mapping.address) for mapping in rmap_walk(world.memory, frame)]


def test_a_private_page_of_two_processes() -> None:
    world = huge_world(thp="never")
    mapped(world, AREA, 4)
    put(world, AREA + PAGE, 1)
    parent, child = world.user, forked(world)
    frame = physical(world, AREA + PAGE)
    assert mappings(world, frame) == [(parent, AREA + PAGE), (child, AREA + PAGE)]
    assert do_mremap(world.memory, parent, AREA, 4 * PAGE, 4 * PAGE, 3, AREA + HUGE) == AREA + HUGE
    assert mappings(world, frame) == [(parent, AREA + HUGE + PAGE), (child, AREA + PAGE)]
    do_mprotect_pkey(world.memory, parent, AREA + HUGE + PAGE, PAGE, 0)
    assert mappings(world, frame) == [(parent, AREA + HUGE + PAGE), (child, AREA + PAGE)], "PROT_NONE maps it, too"
    world.mm = child
    put(world, AREA + PAGE, 9)
    assert mappings(world, frame) == [(parent, AREA + HUGE + PAGE)]


def test_a_page_of_a_file_and_its_private_copy() -> None:
    world = huge_world(thp="never")
    inode = world.memory.new_inode("/file", FileSystem.DISK, 4 * PAGE, disk_file(4 * PAGE))
    mapped(world, AREA, 2, RW, MAP_SHARED | MAP_FIXED, inode, 1)
    mapped(world, AREA + HUGE, 4, RW, MAP_PRIVATE | MAP_FIXED, inode)
    touch(world, AREA, write=False)
    touch(world, AREA + HUGE + PAGE, write=False)
    frame = physical(world, AREA)
    assert mappings(world, frame) == [(world.user, AREA), (world.user, AREA + HUGE + PAGE)]
    put(world, AREA + HUGE + PAGE, 1)
    assert mappings(world, frame) == [(world.user, AREA)]
    assert mappings(world, physical(world, AREA + HUGE + PAGE)) == [(world.user, AREA + HUGE + PAGE)]


def test_ptes_of_a_huge_page() -> None:
    world = huge_world()
    huge_area(world)
    put(world, AREA, 1)
    frame = physical(world, AREA + 3 * PAGE)
    assert not mappings(world, frame), "no pte maps it"
    do_mprotect_pkey(world.memory, world.user, AREA, PAGE, 1)
    assert mappings(world, frame) == [(world.user, AREA + 3 * PAGE)]


def test_the_zero_page_is_nobodys() -> None:
    assert not mappings(huge_world(), huge_world().zero_page)
