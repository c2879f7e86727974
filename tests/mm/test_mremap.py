"""mremap(): where a mapping goes, which areas that leaves, and that its pages go with it."""

from __future__ import annotations

from dataclasses import replace
from errno import EFAULT, EINVAL, ENOMEM

import pytest

from handler.world import MMAP_BASE, USER_AREA, World
from mm.touching import RW, areas, mapped, pte, touch
from pagefault.arch import x86
from pagefault.mm.mmap import MAP_ANONYMOUS, MAP_FIXED, MAP_SHARED
from pagefault.mm.mremap import MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE, do_mremap
from pagefault.tables.inode import FileSystem
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.vma import VmFlag

FREE = USER_AREA + 64 * PAGE
MOVE, FIX, KEEP = MREMAP_MAYMOVE, MREMAP_MAYMOVE | MREMAP_FIXED, MREMAP_MAYMOVE | MREMAP_DONTUNMAP


def remap(world: World, old: int, new: int, flags: int = 0, to: int = 0, *, first: int = 0) -> int:
    """mremap() of so many pages of the area, beginning at its page `first`."""
    start = USER_AREA + first * PAGE
    return do_mremap(world.memory, world.user, start, old * PAGE, new * PAGE, flags, to)


def four_pages() -> World:
    """An area of four, the first two written."""
    world = World()
    mapped(world, USER_AREA, 4)
    for page in range(2):
        touch(world, USER_AREA + page * PAGE)
    return world


@pytest.mark.parametrize(
    ("old", "new", "flags", "to", "error"),
    [
        (4, 4, 8, 0, EINVAL),
        (4, 4, MREMAP_FIXED, FREE, EINVAL),
        (4, 4, MREMAP_DONTUNMAP, FREE, EINVAL),
        (4, 5, KEEP, 0, EINVAL),
        (4, 0, 0, 0, EINVAL),
        (4, 4, FIX, FREE + 1, EINVAL),
        (4, 4, FIX, 1 << 47, EINVAL),
        (4, 4, FIX, USER_AREA + PAGE, EINVAL),
        (0, 4, MOVE, 0, EINVAL),
        (5, 6, MOVE, 0, EFAULT),
    ],
)
def test_what_is_refused(old: int, new: int, flags: int, to: int, error: int) -> None:
    world = four_pages()
    before = world.snapshot()
    assert remap(world, old, new, flags, to) == -error
    assert world.snapshot() == before


def test_nothing_is_mapped_there() -> None:
    assert remap(World(), 1, 2, MOVE) == -EFAULT


def test_it_grows_where_it_is() -> None:
    world = four_pages()
    assert remap(world, 4, 8) == USER_AREA
    assert areas(world) == [(USER_AREA, USER_AREA + 8 * PAGE)]


@pytest.mark.parametrize(("written", "count"), [(False, 1), (True, 2)])
def test_growing_joins_what_is_above_only_if_neither_was_written(written: bool, count: int) -> None:
    world = World()
    mapped(world, USER_AREA, 4)
    if written:
        touch(world, USER_AREA)
    mapped(world, USER_AREA + 6 * PAGE, 1)
    assert remap(world, 4, 6) == USER_AREA
    assert len(areas(world)) == count
    assert areas(world)[-1][1] == USER_AREA + 7 * PAGE


def test_no_room_above() -> None:
    world = four_pages()
    mapped(world, USER_AREA + 5 * PAGE, 1)
    before = world.snapshot()
    assert remap(world, 4, 8) == -ENOMEM
    assert world.snapshot() == before


@pytest.mark.parametrize("flags", [MOVE, FIX])
def test_pages_move_with_it(flags: int) -> None:
    world = four_pages()
    mapped(world, USER_AREA + 4 * PAGE, 1, 1)
    frames = [pte(world, USER_AREA + page * PAGE) & x86.PHYSICAL_MASK for page in range(2)]
    place = FREE if flags == FIX else MMAP_BASE - 8 * PAGE
    assert remap(world, 4, 8, flags, FREE) == place
    assert [pte(world, place + page * PAGE) & x86.PHYSICAL_MASK for page in range(2)] == frames
    assert not pte(world, USER_AREA)
    assert (place, place + 8 * PAGE) in areas(world)
    assert (USER_AREA, USER_AREA + 4 * PAGE) not in areas(world)
    moved = world.user.vmas.vma_lookup(place)
    assert moved is not None
    assert moved.pgoff == USER_AREA >> 12, "written pages keep their number"


def test_what_was_never_written_is_numbered_by_its_new_place() -> None:
    world = World()
    mapped(world, USER_AREA, 2)
    assert remap(world, 2, 2, FIX, FREE) == FREE
    (vma,) = world.user.vmas
    assert vma.pgoff == FREE >> 12


def test_a_part_in_the_middle() -> None:
    world = four_pages()
    assert remap(world, 2, 1, FIX, FREE, first=1) == FREE
    assert areas(world) == [
        (USER_AREA, USER_AREA + PAGE),
        (USER_AREA + 3 * PAGE, USER_AREA + 4 * PAGE),
        (FREE, FREE + PAGE),
    ]
    assert pte(world, FREE) & x86.DIRTY


def test_what_was_at_the_new_place_goes() -> None:
    world = four_pages()
    mapped(world, FREE, 8)
    touch(world, FREE + PAGE)
    free = world.frames.free
    assert remap(world, 4, 4, FIX, FREE) == FREE
    assert world.frames.free >= free + 1


def test_shrinking_unmaps_the_end() -> None:
    world = four_pages()
    assert remap(world, 4, 1) == USER_AREA
    assert areas(world) == [(USER_AREA, USER_AREA + PAGE)]
    assert not pte(world, USER_AREA + PAGE)


def test_the_old_range_may_be_kept_without_its_pages() -> None:
    world = four_pages()
    assert remap(world, 4, 4, KEEP) == MMAP_BASE - 4 * PAGE
    old, new = world.user.vmas
    assert (old.anon_vma, old.pgoff) == (0, USER_AREA >> 12)
    assert new.anon_vma
    assert not pte(world, USER_AREA)
    assert pte(world, new.start)


def test_a_locked_area_is_brought_in_where_it_grows() -> None:
    world = four_pages()
    vma = next(iter(world.user.vmas))
    world.user.vmas.replace(vma, replace(vma, flags=vma.flags | VmFlag.LOCKED))
    assert remap(world, 4, 6) == USER_AREA
    assert not pte(world, USER_AREA + 3 * PAGE), "what was there before is not looked at"
    assert pte(world, USER_AREA + 4 * PAGE)
    assert pte(world, USER_AREA + 5 * PAGE)


def test_shared_memory_can_be_mapped_twice() -> None:
    world = World()
    vma = mapped(world, USER_AREA, 2, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED)
    assert remap(world, 0, 2, FIX, FREE) == FREE
    assert [area.inode for area in world.user.vmas] == [vma.inode, vma.inode]
    assert world.memory.inodes[vma.inode].users == 2


@pytest.mark.parametrize("flag", [VmFlag.DONTEXPAND, VmFlag.PFNMAP])
def test_the_kernels_own_pages_stay_as_many_as_they_are(flag: VmFlag) -> None:
    world = World()
    inode = world.memory.new_inode("[vdso]", FileSystem.SPECIAL, 4 * PAGE)
    world.area(inode=inode.number, pgoff=0, flags=flag)
    inode.users = 1
    assert remap(world, 4, 5, MOVE) == -EFAULT
    assert remap(world, 4, 4, KEEP) == -EINVAL
    assert remap(world, 2, 2, FIX, FREE) == -EINVAL, "they are not cut"
    assert remap(world, 4, 4, FIX, FREE) == FREE
