"""Pages that are brought in without a fault: what is asked for, and what errors cost."""

from __future__ import annotations

from errno import EFAULT, ENOMEM

import pytest

from handler.world import USER_AREA, World
from mm.touching import RW, disk_file, mapped, pte, touch
from pagefault.arch import x86
from pagefault.memory.ram import FrameAllocator
from pagefault.mm.gup import faultin_page, follow_page, handle_fault, mm_populate, populate_vma_page_range
from pagefault.mm.mmap import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PROT_READ
from pagefault.tables.inode import FileSystem
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.outcome import Resolved
from pagefault.vocabulary.vm_fault import FaultFlag, VmFault
from pagefault.vocabulary.vma import MAY_ALL, VmFlag

READ = FaultFlag.ALLOW_RETRY | FaultFlag.KILLABLE
WRITE = READ | FaultFlag.WRITE
Told = list[tuple[int, FaultFlag, tuple[VmFault, ...]]]


def told(world: World) -> Told:
    """What is told of pages from now on: (page of the area, flags, results)."""
    heard: Told = []
    world.memory.populated = lambda mm, address, flags, results: heard.append(
        ((address - USER_AREA) // PAGE, flags, results)
    )
    return heard


def populate(world: World, first: int, pages: int) -> None:
    mm_populate(world.memory, world.user, USER_AREA + first * PAGE, pages * PAGE)


def test_writable_private_memory_is_populated_by_writing() -> None:
    world = World()
    mapped(world, USER_AREA, 4)
    heard = told(world)
    populate(world, 1, 2)
    assert heard == [(1, WRITE, (VmFault(0),)), (2, WRITE, (VmFault(0),))]
    assert [bool(pte(world, USER_AREA + page * PAGE) & x86.WRITABLE) for page in range(4)] == [False, True, True, False]


def test_what_is_there_is_not_asked_for_again_unless_it_must_be_copied() -> None:
    world = World((6, 12))
    mapped(world, USER_AREA, 2)
    touch(world, USER_AREA)
    touch(world, USER_AREA + PAGE, write=False)
    heard = told(world)
    populate(world, 0, 2)
    assert heard == [(1, WRITE, (VmFault(0),))]
    assert pte(world, USER_AREA + PAGE) & x86.PHYSICAL_MASK != world.zero_page


@pytest.mark.parametrize("shared", [False, True])
def test_read_only_and_shared_memory_is_populated_by_reading(shared: bool) -> None:
    world = World()
    flags = MAP_ANONYMOUS | MAP_FIXED | (MAP_SHARED if shared else MAP_PRIVATE)
    mapped(world, USER_AREA, 2, RW if shared else PROT_READ, flags)
    heard = told(world)
    populate(world, 0, 2)
    assert [flag for _, flag, _ in heard] == [READ, READ]


def test_a_page_of_a_disk_is_waited_for() -> None:
    world = World()
    inode = world.memory.new_inode("a file", FileSystem.DISK, PAGE, disk_file(PAGE))
    mapped(world, USER_AREA, 1, PROT_READ, MAP_PRIVATE | MAP_FIXED, inode)
    heard = told(world)
    populate(world, 0, 1)
    assert heard == [(0, READ, (VmFault.MAJOR | VmFault.RETRY, VmFault.NOPAGE))]


@pytest.mark.parametrize("flags", [VmFlag.IO, VmFlag.PFNMAP, VmFlag.LOCKONFAULT])
def test_areas_that_are_left_out(flags: VmFlag) -> None:
    world = World()
    world.area(flags=MAY_ALL | flags)
    heard = told(world)
    populate(world, 0, 4)
    assert heard == []


def test_an_error_costs_the_rest_of_its_area_only() -> None:
    """A page that cannot be had is asked for twice, if there was one before it: the first time ends the batch."""
    world = World()
    inode = world.memory.new_inode("a file", FileSystem.SHMEM, PAGE)
    mapped(world, USER_AREA, 3, RW, MAP_SHARED | MAP_FIXED, inode)
    mapped(world, USER_AREA + 3 * PAGE, 1, 0)
    mapped(world, USER_AREA + 4 * PAGE, 1)
    heard = told(world)
    populate(world, 0, 5)
    assert [(page, results[0]) for page, _, results in heard] == [
        (0, VmFault.LOCKED),
        (1, VmFault.SIGBUS),
        (1, VmFault.SIGBUS),
        (4, VmFault(0)),
    ]


def test_how_many_there_were_or_the_error() -> None:
    world = World()
    inode = world.memory.new_inode("a file", FileSystem.SHMEM, 2 * PAGE)
    vma = mapped(world, USER_AREA, 3, RW, MAP_SHARED | MAP_FIXED, inode)

    def got(first: int, pages: int) -> int:
        start = USER_AREA + first * PAGE
        return populate_vma_page_range(world.memory, world.user, vma, start, start + pages * PAGE)

    assert (got(0, 2), got(1, 2), got(2, 1)) == (2, 1, -EFAULT)
    nothing = mapped(world, USER_AREA, 3, 0)
    assert populate_vma_page_range(world.memory, world.user, nothing, USER_AREA, nothing.end) == -EFAULT


def test_no_frame_is_left() -> None:
    world = World()
    vma = mapped(world, USER_AREA, 2)
    world.frames = FrameAllocator(0, 0)
    assert faultin_page(world.memory, world.user, vma, USER_AREA, WRITE) == -ENOMEM
    populate(world, 0, 2)
    assert pte(world, USER_AREA) == 0


def test_a_fault_is_asked_until_there_is_an_answer() -> None:
    world = World()
    inode = world.memory.new_inode("a file", FileSystem.DISK, PAGE, disk_file(PAGE))
    vma = mapped(world, USER_AREA, 1, RW, MAP_SHARED | MAP_FIXED, inode)
    heard = told(world)
    answer = handle_fault(world.memory, world.user, vma, USER_AREA, WRITE)
    assert isinstance(answer.outcome, Resolved)
    ((_, flags, results),) = heard
    assert flags == WRITE
    assert results[0] == VmFault.MAJOR | VmFault.RETRY
    assert results[-1] == answer.result


def test_following_to_a_page() -> None:
    world = World()
    mapped(world, USER_AREA, 4)

    def follow(page: int, *, write: bool = False) -> int | None:
        return follow_page(world.memory, world.user, USER_AREA + page * PAGE + 0x123, write=write)

    assert follow(0) is None
    touch(world, USER_AREA)
    touch(world, USER_AREA + PAGE, write=False)
    assert follow(0, write=True) == follow(0) == (pte(world, USER_AREA) & x86.PHYSICAL_MASK) + 0x123
    assert follow(1) == world.zero_page + 0x123
    assert follow(1, write=True) is None
    assert follow(2) is None


def test_following_into_a_large_page() -> None:
    world = World()
    world.tables.map_range(world.user.root, 0x4000_0000, 0x20_0000, 0x20_0000, 7)
    assert follow_page(world.memory, world.user, 0x4001_2345, write=True) == 0x21_2345
