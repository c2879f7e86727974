"""madvise(): what is remembered of an area, and what is done to its pages."""

from __future__ import annotations

from dataclasses import replace
from errno import EAGAIN, EINVAL, ENOMEM

import pytest

from handler.world import USER_AREA, World
from mm.touching import RW, areas, mapped, pte, touch
from pagefault.arch import x86
from pagefault.memory.pages import PageFlag
from pagefault.mm import madvise
from pagefault.mm.madvise import do_madvise
from pagefault.mm.mmap import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED
from pagefault.mm.munmap import do_munmap
from pagefault.tables.inode import FileSystem
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.vma import VmFlag


def advise(world: World, first: int, pages: int, behavior: int) -> int:
    return do_madvise(world.memory, world.user, USER_AREA + first * PAGE, pages * PAGE, behavior)


def written(version: tuple[int, int] = (6, 1), *, pages: int = 4) -> World:
    """An area, all of it written."""
    world = World(version)
    mapped(world, USER_AREA, pages)
    for page in range(pages):
        touch(world, USER_AREA + page * PAGE)
    return world


@pytest.mark.parametrize(
    ("address", "length", "behavior", "error"),
    [
        (USER_AREA, PAGE, 77, EINVAL),
        (USER_AREA, PAGE, -1, EINVAL),
        (USER_AREA + 1, PAGE, madvise.MADV_DONTNEED, EINVAL),
        (USER_AREA, (1 << 64) - 1, madvise.MADV_DONTNEED, EINVAL),
        (USER_AREA, (1 << 64) - USER_AREA, madvise.MADV_DONTNEED, EINVAL),
        (USER_AREA, 0, madvise.MADV_DONTNEED, 0),
        (USER_AREA - PAGE, PAGE, madvise.MADV_DONTNEED, ENOMEM),
        (USER_AREA + 4 * PAGE, PAGE, madvise.MADV_NORMAL, ENOMEM),
    ],
)
def test_what_is_refused(address: int, length: int, behavior: int, error: int) -> None:
    world = written()
    before = world.snapshot()
    assert do_madvise(world.memory, world.user, address, length, behavior) == -error
    assert world.snapshot() == before


@pytest.mark.parametrize(
    ("behavior", "back", "flag"),
    [
        (madvise.MADV_SEQUENTIAL, madvise.MADV_NORMAL, VmFlag.SEQ_READ),
        (madvise.MADV_RANDOM, madvise.MADV_NORMAL, VmFlag.RAND_READ),
        (madvise.MADV_DONTFORK, madvise.MADV_DOFORK, VmFlag.DONTCOPY),
        (madvise.MADV_DONTDUMP, madvise.MADV_DODUMP, VmFlag.DONTDUMP),
        (madvise.MADV_WIPEONFORK, madvise.MADV_KEEPONFORK, VmFlag.WIPEONFORK),
        (madvise.MADV_HUGEPAGE, madvise.MADV_NOHUGEPAGE, VmFlag.HUGEPAGE),
        (madvise.MADV_NOHUGEPAGE, madvise.MADV_HUGEPAGE, VmFlag.NOHUGEPAGE),
        (madvise.MADV_MERGEABLE, madvise.MADV_UNMERGEABLE, VmFlag.MERGEABLE),
    ],
)
def test_what_is_remembered_cuts_the_area_and_joins_it_again(behavior: int, back: int, flag: VmFlag) -> None:
    world = written()
    assert advise(world, 1, 2, behavior) == 0
    assert [bool(vma.flags & flag) for vma in world.user.vmas] == [False, True, False]
    assert advise(world, 1, 2, back) == 0
    assert not any(vma.flags & flag for vma in world.user.vmas)
    if back not in (madvise.MADV_HUGEPAGE, madvise.MADV_NOHUGEPAGE):
        assert areas(world) == [(USER_AREA, USER_AREA + 4 * PAGE)]


def test_one_reading_advice_replaces_the_other() -> None:
    world = written()
    advise(world, 0, 4, madvise.MADV_RANDOM)
    advise(world, 0, 4, madvise.MADV_SEQUENTIAL)
    (vma,) = world.user.vmas
    assert vma.flags & (VmFlag.RAND_READ | VmFlag.SEQ_READ) == VmFlag.SEQ_READ


def test_only_private_anonymous_memory_is_wiped_in_a_child() -> None:
    world = World()
    mapped(world, USER_AREA, 1, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED)
    assert advise(world, 0, 1, madvise.MADV_WIPEONFORK) == -EINVAL


def test_too_many_areas(monkeypatch: pytest.MonkeyPatch) -> None:
    world = written()
    monkeypatch.setattr("pagefault.mm.vma_merge.MAX_MAP_COUNT", 1)
    assert advise(world, 1, 1, madvise.MADV_RANDOM) == -EAGAIN
    assert advise(world, 0, 4, madvise.MADV_RANDOM) == 0


def test_dontneed_gives_the_pages_up() -> None:
    world = written()
    free = world.frames.free
    assert advise(world, 1, 2, madvise.MADV_DONTNEED) == 0
    assert world.frames.free == free + 2
    assert [bool(pte(world, USER_AREA + page * PAGE)) for page in range(4)] == [True, False, False, True]
    assert areas(world) == [(USER_AREA, USER_AREA + 4 * PAGE)]


@pytest.mark.parametrize(
    ("behavior", "result"),
    [(madvise.MADV_DONTNEED, -EINVAL), (madvise.MADV_FREE, -EINVAL), (madvise.MADV_DONTNEED_LOCKED, 0)],
)
def test_locked_pages_stay_unless_they_are_meant(behavior: int, result: int) -> None:
    world = written()
    (vma,) = world.user.vmas
    world.user.vmas.replace(vma, replace(vma, flags=vma.flags | VmFlag.LOCKED))
    assert advise(world, 0, 4, behavior) == result
    assert bool(pte(world, USER_AREA)) is (result != 0)


def test_over_a_hole_all_that_is_mapped_is_done() -> None:
    world = written()
    do_munmap(world.memory, world.user, USER_AREA + PAGE, PAGE)
    assert advise(world, 0, 4, madvise.MADV_DONTNEED) == -ENOMEM
    assert not any(pte(world, USER_AREA + page * PAGE) for page in range(4))


def test_free_leaves_pages_clean_and_old() -> None:
    world = written()
    frame = pte(world, USER_AREA) & x86.PHYSICAL_MASK
    assert advise(world, 0, 1, madvise.MADV_FREE) == 0
    assert pte(world, USER_AREA) & (x86.PRESENT | x86.ACCESSED | x86.DIRTY) == x86.PRESENT
    assert world.memory.pages.has(frame, PageFlag.LAZYFREE)
    assert pte(world, USER_AREA + PAGE) & x86.DIRTY


def test_a_page_that_others_have_too_keeps_its_dirt() -> None:
    world = written()
    frame = pte(world, USER_AREA) & x86.PHYSICAL_MASK
    world.memory.pages.set(frame, PageFlag.DIRTY)
    world.memory.pages.mapcount[frame >> 12] = 2
    assert advise(world, 0, 1, madvise.MADV_FREE) == 0
    assert not world.memory.pages.has(frame, PageFlag.LAZYFREE)
    assert pte(world, USER_AREA) & x86.DIRTY


def test_free_is_for_anonymous_memory() -> None:
    world = World()
    inode = world.memory.new_inode("/a/file", FileSystem.SHMEM, 2 * PAGE)
    mapped(world, USER_AREA, 2, RW, MAP_PRIVATE | MAP_FIXED, inode)
    assert advise(world, 0, 2, madvise.MADV_FREE) == -EINVAL


@pytest.mark.parametrize(
    ("behavior", "own"), [(madvise.MADV_POPULATE_READ, False), (madvise.MADV_POPULATE_WRITE, True)]
)
def test_populate_brings_pages_in(behavior: int, own: bool) -> None:
    world = World()
    mapped(world, USER_AREA, 4)
    assert advise(world, 1, 2, behavior) == 0
    frames = [pte(world, USER_AREA + page * PAGE) & x86.PHYSICAL_MASK for page in range(4)]
    assert (frames[0], frames[3]) == (0, 0)
    assert all((frame != world.zero_page) is own for frame in frames[1:3])


@pytest.mark.parametrize("version", [(6, 1), (6, 12)])
def test_populate_needs_the_right(version: tuple[int, int]) -> None:
    world = World(version)
    mapped(world, USER_AREA, 1, 1)
    assert advise(world, 0, 1, madvise.MADV_POPULATE_WRITE) == -EINVAL
    mapped(world, USER_AREA, 1, 0)
    assert advise(world, 0, 1, madvise.MADV_POPULATE_READ) == -EINVAL


def test_populate_needs_the_keys_right() -> None:
    world = World(cr4=x86.CR4_PKE)
    world.cpu = replace(world.cpu, pkru=2 << 2)
    vma = mapped(world, USER_AREA, 1)
    world.user.vmas.replace(vma, replace(vma, protection_key=1))
    assert advise(world, 0, 1, madvise.MADV_POPULATE_WRITE) == -EINVAL
    assert advise(world, 0, 1, madvise.MADV_POPULATE_READ) == 0


@pytest.mark.parametrize(("version", "above"), [((6, 1), True), ((6, 12), False)])
def test_populate_over_a_hole(version: tuple[int, int], above: bool) -> None:
    world = World(version)
    mapped(world, USER_AREA, 4)
    do_munmap(world.memory, world.user, USER_AREA + PAGE, PAGE)
    assert advise(world, 0, 4, madvise.MADV_POPULATE_READ) == -ENOMEM
    assert pte(world, USER_AREA)
    assert bool(pte(world, USER_AREA + 2 * PAGE)) is above
