"""What mmap() refuses, where it maps, and what the new area is."""

from __future__ import annotations

from errno import EACCES, EEXIST, EINVAL, ENOMEM, EOVERFLOW
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.world import MMAP_BASE, USER_AREA, World
from mm.touching import ANONYMOUS, RW, areas, mapped
from pagefault.arch import x86
from pagefault.mm.mmap import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_GROWSDOWN,
    MAP_LOCKED,
    MAP_NORESERVE,
    MAP_PRIVATE,
    MAP_SHARED,
    MAP_SHARED_VALIDATE,
    MAP_STACK,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
    do_mmap,
)
from pagefault.mm.unmapped_area import start_gap
from pagefault.tables.address_space import MMAP_MIN_ADDR, STACK_GUARD_GAP
from pagefault.tables.inode import FileSystem, Inode
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.vma import MAY_ALL, Vma, VmFlag

TOP = 0x7FFF_FFFF_F000
SHARED = MAP_SHARED | MAP_ANONYMOUS


def call(world: World, address: int = 0, length: int = PAGE, protection: int = RW, flags: int = ANONYMOUS) -> int:
    return do_mmap(world.memory, world.user, address, length, protection, flags)


def file_of(world: World, pages: int = 8) -> Inode:
    return world.memory.new_inode("/a/file", FileSystem.DISK, pages * PAGE)


@pytest.mark.parametrize(
    ("address", "length", "flags", "error"),
    [
        (0, 0, ANONYMOUS, EINVAL),
        (0, (1 << 64) - 1, ANONYMOUS, ENOMEM),
        (0, TOP + 1, ANONYMOUS, ENOMEM),
        (USER_AREA, PAGE, MAP_ANONYMOUS, EINVAL),
        (USER_AREA, PAGE, MAP_ANONYMOUS | MAP_SHARED_VALIDATE, EINVAL),
        (USER_AREA, PAGE, SHARED | MAP_GROWSDOWN, EINVAL),
        (USER_AREA + 1, PAGE, ANONYMOUS | MAP_FIXED, EINVAL),
        (TOP, PAGE, ANONYMOUS | MAP_FIXED, ENOMEM),
        (TOP + 1, PAGE, ANONYMOUS | MAP_FIXED, ENOMEM),
    ],
)
def test_what_is_refused(address: int, length: int, flags: int, error: int) -> None:
    world = World()
    before = world.snapshot()
    assert call(world, address, length, flags=flags) == -error
    assert world.snapshot() == before


def test_an_offset_that_overflows() -> None:
    world = World()
    assert do_mmap(world.memory, world.user, 0, PAGE, 1, MAP_PRIVATE, file_of(world), 1 << 52) == -EOVERFLOW


@pytest.mark.parametrize(
    ("protection", "flags", "readable", "writable", "error"),
    [
        (RW, MAP_SHARED, True, False, EACCES),
        (RW, MAP_PRIVATE, True, False, 0),
        (PROT_READ, MAP_SHARED, True, False, 0),
        (PROT_WRITE, MAP_SHARED, False, True, EACCES),
        (PROT_READ, MAP_PRIVATE, False, True, EACCES),
        (RW, MAP_SHARED_VALIDATE, True, True, 0),
        (RW, MAP_PRIVATE | MAP_GROWSDOWN, True, True, EINVAL),
    ],
)
def test_how_a_file_is_open(protection: int, flags: int, readable: bool, writable: bool, error: int) -> None:
    world = World()
    inode = file_of(world)
    got = do_mmap(world.memory, world.user, 0, PAGE, protection, flags, inode, readable=readable, writable=writable)
    assert got == (-error if error else MMAP_BASE - PAGE)
    assert inode.users == (0 if error else 1)


def test_a_file_that_cannot_be_written_is_shared_in_name_only() -> None:
    world = World()
    do_mmap(world.memory, world.user, 0, PAGE, PROT_READ, MAP_SHARED, file_of(world), writable=False)
    (vma,) = world.user.vmas
    assert not vma.shared
    assert vma.flags & (VmFlag.MAYSHARE | VmFlag.MAYWRITE) == VmFlag.MAYSHARE


@pytest.mark.parametrize("offset", [0, 3])
def test_an_area_of_a_file_begins_at_its_page(offset: int) -> None:
    world = World()
    vma = mapped(world, USER_AREA, 2, RW, MAP_PRIVATE | MAP_FIXED, inode := file_of(world), offset)
    assert (vma.inode, vma.pgoff, vma.shared) == (inode.number, offset, False)


def test_private_memory_is_numbered_by_its_address() -> None:
    assert mapped(World(), USER_AREA, 1).pgoff == USER_AREA >> 12


def test_shared_memory_is_a_file_without_a_name() -> None:
    world = World()
    first = mapped(world, USER_AREA, 2, RW, SHARED | MAP_FIXED)
    second = mapped(world, USER_AREA + 2 * PAGE, 1, RW, SHARED | MAP_FIXED)
    assert first.inode != second.inode, "each is a file of its own"
    inode = world.memory.inodes[first.inode]
    assert (inode.links, inode.users, inode.size, inode.swap_backed) == (0, 1, 2 * PAGE, True)
    assert (first.shared, first.pgoff, bool(first.flags & VmFlag.MAYSHARE)) == (True, 0, True)


@pytest.mark.parametrize(
    ("protection", "flags", "wanted"),
    [
        (RW, ANONYMOUS, VmFlag.ACCOUNT),
        (PROT_READ, ANONYMOUS, VmFlag(0)),
        (RW, ANONYMOUS | MAP_NORESERVE, VmFlag.NORESERVE),
        (RW, SHARED, VmFlag.MAYSHARE),
        (RW, ANONYMOUS | MAP_LOCKED, VmFlag.ACCOUNT | VmFlag.LOCKED),
    ],
)
def test_the_flags_of_an_area(protection: int, flags: int, wanted: VmFlag) -> None:
    vma = mapped(World(), USER_AREA, 1, protection, flags | MAP_FIXED)
    assert vma.flags == MAY_ALL | VmFlag.SOFTDIRTY | wanted


def test_every_new_area_has_what_mlockall_asked_for() -> None:
    world = World()
    world.user.def_flags = VmFlag.LOCKED
    assert mapped(world, USER_AREA, 1).flags & VmFlag.LOCKED


@pytest.mark.parametrize(("version", "without"), [((6, 1), False), ((6, 6), False), ((6, 7), True), ((6, 12), True)])
def test_a_stack_has_no_huge_pages_since_67(version: tuple[int, int], without: bool) -> None:
    vma = mapped(World(version), USER_AREA, 1, flags=ANONYMOUS | MAP_FIXED | MAP_STACK)
    assert bool(vma.flags & VmFlag.NOHUGEPAGE) is without


@pytest.mark.parametrize("bits", range(8))
def test_rights(bits: int) -> None:
    vma = mapped(World(), USER_AREA, 1, bits)
    assert (vma.read, vma.write, vma.execute) == (
        bool(bits & PROT_READ),
        bool(bits & PROT_WRITE),
        bool(bits & PROT_EXEC),
    )


# ----------------------------------------------------------------------------------------------------------- where


def test_the_highest_room_below_mmap_base() -> None:
    world = World()
    assert call(world, length=3 * PAGE) == MMAP_BASE - 3 * PAGE
    assert call(world, length=1) == MMAP_BASE - 4 * PAGE
    mapped(world, MMAP_BASE - 8 * PAGE, 1)
    assert call(world, length=4 * PAGE) == MMAP_BASE - 12 * PAGE, "three pages are left between"
    assert call(world, length=3 * PAGE) == MMAP_BASE - 7 * PAGE


def test_what_is_above_mmap_base_is_no_room() -> None:
    world = World()
    mapped(world, MMAP_BASE + 16 * PAGE, 1)
    assert call(world) == MMAP_BASE - PAGE


def test_a_stack_keeps_a_gap_below_itself() -> None:
    world = World()
    stack = mapped(world, MMAP_BASE - 8 * PAGE, 8, flags=ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN)
    assert start_gap(stack) == stack.start - STACK_GUARD_GAP
    assert call(world) == stack.start - STACK_GUARD_GAP - PAGE
    near = stack.start - STACK_GUARD_GAP
    assert call(world, near) != near
    assert call(world, near - 3 * PAGE) == near - 3 * PAGE


def test_a_stack_at_the_bottom_has_no_gap_below_zero() -> None:
    assert start_gap(Vma(PAGE, 2 * PAGE, grows_down=True)) == 0


@pytest.mark.parametrize(
    ("hint", "pages", "expected"),
    [
        (USER_AREA + 8 * PAGE, 1, USER_AREA + 8 * PAGE),
        (USER_AREA + 8 * PAGE + 0xFFF, 1, USER_AREA + 8 * PAGE),
        (USER_AREA - PAGE, 1, USER_AREA - PAGE),
        (USER_AREA - PAGE, 2, None),  # into what is there
        (USER_AREA + PAGE, 1, None),  # inside it
        (PAGE, 1, MMAP_MIN_ADDR),
        (MMAP_MIN_ADDR - 1, 1, MMAP_MIN_ADDR),
        (PAGE - 1, 1, None),  # the first page is no hint
        (TOP, 1, None),
    ],
)
def test_a_hint_is_taken_if_there_is_room(hint: int, pages: int, expected: int | None) -> None:
    world = World()
    mapped(world, USER_AREA, 4)
    assert call(world, hint, pages * PAGE) == (expected or MMAP_BASE - pages * PAGE)


def test_five_levels_are_for_those_who_ask() -> None:
    world = World(cr4=x86.CR4_LA57)
    assert world.memory.task_size_max == (1 << 56) - PAGE
    assert call(world) == MMAP_BASE - PAGE
    assert call(world, 1 << 50) == 1 << 50
    window = (1 << 47) - PAGE
    assert call(world, window - PAGE, 2 * PAGE) == MMAP_BASE - 3 * PAGE, "a hint may not reach across the line"
    mapped(world, 1 << 51, 1)
    high = call(world, 1 << 51)
    assert high == MMAP_BASE + world.memory.task_size_max - window - PAGE


def test_fixed_replaces_and_noreplace_does_not() -> None:
    world = World()
    mapped(world, USER_AREA, 4)
    assert call(world, USER_AREA + 3 * PAGE, 2 * PAGE, flags=ANONYMOUS | MAP_FIXED_NOREPLACE) == -EEXIST
    assert areas(world) == [(USER_AREA, USER_AREA + 4 * PAGE)]
    assert call(world, USER_AREA + 4 * PAGE, flags=ANONYMOUS | MAP_FIXED_NOREPLACE) == USER_AREA + 4 * PAGE
    mapped(world, USER_AREA + PAGE, 1, PROT_READ)
    assert [(vma.start, vma.write) for vma in world.user.vmas] == [
        (USER_AREA, True),
        (USER_AREA + PAGE, False),
        (USER_AREA + 2 * PAGE, True),
    ]


def test_no_room_is_left() -> None:
    world = World()
    mapped(world, PAGE, MMAP_BASE // PAGE - 2, PROT_READ)
    assert call(world) == MMAP_BASE - PAGE
    assert call(world) == MMAP_BASE, "above, when there is no room below"
    mapped(world, MMAP_BASE + PAGE, (TOP - MMAP_BASE) // PAGE - 1, PROT_READ)
    assert call(world) == -ENOMEM


def test_root_may_map_below_what_others_may() -> None:
    assert call(World(), MMAP_MIN_ADDR - PAGE, flags=ANONYMOUS | MAP_FIXED) == MMAP_MIN_ADDR - PAGE


def test_no_more_is_promised_than_there_is() -> None:
    world = World()
    pages = world.ram.size // PAGE
    assert call(world, length=(pages + 1) * PAGE) == -ENOMEM
    assert call(world, length=pages * PAGE) > 0
    assert call(world, length=(pages + 1) * PAGE, protection=PROT_READ) > 0
    assert call(world, length=(pages + 1) * PAGE, flags=ANONYMOUS | MAP_NORESERVE) > 0


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=20))
def test_no_two_areas_overlap(calls: list[tuple[int, bool]]) -> None:
    world = World()
    for pages, grows in calls:
        start = call(world, length=pages * PAGE, flags=ANONYMOUS | (MAP_GROWSDOWN if grows else 0))
        assert 0 < start < MMAP_BASE
    for low, high in pairwise(world.user.vmas):
        assert low.end <= start_gap(high) if high.grows_down and not low.grows_down else low.end <= high.start
    assert sum(end - start for start, end in areas(world)) == sum(pages for pages, _ in calls) * PAGE
