"""Faults on files of a device, with readahead: what is read, what is mapped, and who is asked to come again."""

from __future__ import annotations

from handler.world import USER_AREA, World
from mm.touching import disk_file
from pagefault.arch import x86
from pagefault.handler.decision import Answer
from pagefault.handler.handle_mm_fault import handle_mm_fault
from pagefault.memory.pages import PageFlag
from pagefault.tables.inode import FileSystem, Inode
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.readahead import Readahead
from pagefault.vocabulary.vm_fault import FaultFlag, VmFault
from pagefault.vocabulary.vma import VmFlag

FIRST, WRITE = FaultFlag.ALLOW_RETRY, FaultFlag.WRITE
AGAIN = FIRST | FaultFlag.TRIED
MAJOR_RETRY = VmFault.MAJOR | VmFault.RETRY


def file_world(pages: int = 65, **rights: bool | VmFlag) -> tuple[World, Inode]:
    world = World(ram=512 * PAGE)
    inode = world.memory.new_inode("a file", FileSystem.DISK, pages * PAGE, disk_file(pages * PAGE))
    world.area(USER_AREA, pages, **{"inode": inode.number, "pgoff": 0} | rights)
    return world, inode


def fault(world: World, page: int, flags: FaultFlag = FIRST) -> VmFault | None:
    vma = world.user.vmas.vma_lookup(USER_AREA)
    assert vma is not None
    answer: Answer = handle_mm_fault(world.context, world.user, vma, USER_AREA + page * PAGE, flags)
    world.apply(answer.effects)
    return answer.result


def present(world: World) -> list[int]:
    found = []
    for page in range(65):
        entry = world.tables.entry(world.user.root, USER_AREA + page * PAGE)
        found += [page] if entry is not None and entry.value & x86.PRESENT else []
    return found


def cached(inode: Inode) -> list[int]:
    return [index for index, _ in inode.cache.items()]


def test_a_walk_over_a_cold_file_as_recorded() -> None:
    """The lab's file-disk, with the area where a window begins: the marked pages fault on their own."""
    world, inode = file_world()
    assert fault(world, 40) == MAJOR_RETRY
    assert cached(inode) == list(range(24, 56))
    assert present(world) == []
    assert fault(world, 40, AGAIN) == VmFault.NOPAGE
    assert present(world) == list(range(32, 48))
    assert fault(world, 48) == VmFault.RETRY, "it has the mark"
    assert 49 in present(world), "its neighbours were mapped all the same"
    assert not world.memory.pages.has(inode.cache.get(48) or 0, PageFlag.READAHEAD)
    assert fault(world, 48) == VmFault.NOPAGE


def test_the_mark_brings_what_comes_next() -> None:
    world, inode = file_world(pages=65)
    fault(world, 20)
    assert (inode.readahead.start, cached(inode)) == (4, list(range(4, 36)))
    assert fault(world, 28) == VmFault.RETRY
    assert inode.readahead == Readahead(36, 32, 32, mmap_miss=0)
    assert cached(inode) == list(range(4, 65))


def test_who_was_here_before_is_not_asked_again() -> None:
    world, inode = file_world()
    assert fault(world, 40, FaultFlag(0)) == VmFault.MAJOR | VmFault.LOCKED
    assert fault(world, 48, AGAIN) == VmFault.LOCKED
    assert world.memory.pages.has(inode.cache.get(48) or 0, PageFlag.READAHEAD), "nor does he use up the mark"


def test_a_write_comes_back_major_and_locked() -> None:
    world, inode = file_world(shared=True)
    assert fault(world, 3, WRITE) == VmFault.MAJOR | VmFault.LOCKED
    world, inode = file_world()
    assert fault(world, 3, WRITE) == VmFault.MAJOR | VmFault.LOCKED
    frame = inode.cache.get(3) or 0
    assert not world.memory.pages.has(frame, PageFlag.DIRTY)


def test_a_page_read_at_random_comes_alone() -> None:
    world, inode = file_world(flags=VmFlag.RAND_READ)
    assert fault(world, 40) == MAJOR_RETRY
    assert cached(inode) == [40]
    assert inode.readahead == Readahead()


def test_misses_count_and_hits_count_back() -> None:
    world, inode = file_world()
    inode.readahead = Readahead(mmap_miss=50)
    fault(world, 40)
    assert inode.readahead.mmap_miss == 51
    fault(world, 40, AGAIN)
    assert inode.readahead.mmap_miss == 35, "sixteen were there"
    inode.readahead = Readahead(mmap_miss=3)
    fault(world, 17)
    assert inode.readahead.mmap_miss == 1, "eight more were, before one was missed"


def test_readahead_leaves_frames_for_the_page_itself_and_its_copy() -> None:
    world, inode = file_world()
    fault(world, 63)
    while world.frames.free > 4:
        world.memory.new_page()
    assert fault(world, 16, WRITE) == VmFault.MAJOR | VmFault.LOCKED
    assert cached(inode)[:3] == [0, 1, 16]
    assert world.frames.free == 0


def test_pages_without_content_are_left_to_their_own_fault() -> None:
    world = World(ram=512 * PAGE)
    inode = world.memory.new_inode("memory", FileSystem.SHMEM, 4 * PAGE)
    world.area(USER_AREA, 4, inode=inode.number, pgoff=0)
    for index in range(4):
        frame = world.memory.page_cache_page(inode, index)
        world.memory.pages.set(frame, PageFlag.FALLOCATED if index == 2 else PageFlag(0))
    assert fault(world, 0) == VmFault.NOPAGE
    assert present(world) == [0, 1, 3]
    assert fault(world, 2) == VmFault.LOCKED
