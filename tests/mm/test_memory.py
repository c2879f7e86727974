"""Frames are counted: each is freed when its last user goes, and none before."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import assert_never

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.world import World
from mm.touching import ANONYMOUS, areas, disk_file, mapped, touch
from pagefault.arch import x86
from pagefault.handler.vmf import PAGE_NONE, SPECIAL
from pagefault.memory.pages import PageFlag
from pagefault.memory.ram import HUGE, FrameAllocator
from pagefault.mm.brk import do_brk
from pagefault.mm.mmap import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED
from pagefault.mm.mprotect import do_mprotect_pkey
from pagefault.mm.munmap import do_munmap, entries
from pagefault.tables.inode import FileSystem, Inode
from pagefault.vocabulary.address import PAGE, PAGE_SHIFT
from pagefault.vocabulary.vma import Vma


def test_inodes_have_numbers_of_their_own() -> None:
    memory = World().memory
    first, second = (memory.new_inode(name, FileSystem.SHMEM) for name in "ab")
    assert {first.number, second.number, 0} == {0, first.number, second.number}
    assert memory.inodes == {first.number: first, second.number: second}
    assert first.number != second.number
    second.links, second.users = 0, 1
    memory.put_inode(second)
    assert memory.new_inode("c", FileSystem.SHMEM).number > second.number


def test_words_are_ram_itself() -> None:
    world = World()
    world.memory.words(0x3008, 2)[1] = 0x1234
    assert world.ram.read_u64(0x3010) == 0x1234


def test_the_last_user_s_going_frees_a_page() -> None:
    world = World()
    frame, free = world.memory.new_page(), world.frames.free
    world.memory.pages.refcount[frame >> PAGE_SHIFT] += 1
    world.memory.pages.set(frame, PageFlag.DIRTY)
    world.memory.put_page(frame)
    assert world.frames.free == free
    assert world.memory.pages.has(frame, PageFlag.DIRTY)
    world.memory.put_page(frame)
    assert world.frames.free == free + 1
    assert not world.memory.pages.has(frame, PageFlag.DIRTY), "the next user knows nothing of it"


def test_an_entry_that_goes_is_a_user_and_a_mapping_less() -> None:
    world = World()
    frame = world.memory.new_page()
    pages, number = world.memory.pages, frame >> PAGE_SHIFT
    pages.refcount[number], pages.mapcount[number] = 3, 2
    world.memory.remove_rmap(frame)
    assert (pages.refcount[number], pages.mapcount[number]) == (2, 1)


def test_a_huge_page_is_given_back_whole() -> None:
    world = World(ram=2 * HUGE)
    start, free = world.frames.peek_huge(), world.frames.free
    assert start is not None
    world.frames.take_huge(start)
    world.memory.pages.refcount[start >> PAGE_SHIFT] = 1
    world.memory.pages.set(start, PageFlag.HUGE)
    world.memory.put_page(start)
    assert world.frames.free == free
    assert world.frames.peek_huge() == start


def test_a_page_of_a_file_is_read_once() -> None:
    world = World()
    memory = world.memory
    inode = memory.new_inode("a file", FileSystem.DISK, PAGE + 10, disk_file(PAGE + 10))
    for at in world.frames.peek(2):
        world.ram.fill(at, PAGE, 0xEE)
    frame = memory.page_cache_page(inode, 1)
    assert world.ram.read(frame, PAGE) == b"\2" * 10 + bytes(PAGE - 10), "zeros behind the end"
    assert memory.page_cache_page(inode, 1) == frame
    number = frame >> PAGE_SHIFT
    assert (memory.pages.refcount[number], memory.pages.mapcount[number]) == (1, 0)
    assert (memory.pages.inode[number], memory.pages.index[number]) == (inode.number, 1)


@pytest.mark.parametrize("links", [0, 1])
def test_what_has_no_name_and_no_user_is_gone(links: int) -> None:
    world = World()
    free = world.frames.free
    inode = world.memory.new_inode("a file", FileSystem.SHMEM, 3 * PAGE)
    inode.links, inode.users = links, 2
    for index in range(3):
        world.memory.page_cache_page(inode, index)
    world.memory.put_inode(inode)
    assert world.frames.free == free - 3
    world.memory.put_inode(inode)
    assert world.frames.free == (free - 3 if links else free)
    assert (inode.number in world.memory.inodes) is bool(links)


# -------------------------------------------------------------------------------------------------- random programs

BASE, SLOTS = 0x4000_0000 - 4 * PAGE, 8
"""Pages on both sides of the reach of one page table."""
HEAP = 0x7000_0000
START, COUNT = st.integers(0, SLOTS - 1), st.integers(1, SLOTS)


@dataclass(frozen=True)
class Map:
    first: int
    count: int
    protection: int
    kind: str


@dataclass(frozen=True)
class Unmap:
    first: int
    count: int


@dataclass(frozen=True)
class Protect:
    first: int
    count: int
    protection: int


@dataclass(frozen=True)
class Touch:
    address: int
    write: bool


@dataclass(frozen=True)
class Brk:
    pages: int


Call = Map | Unmap | Protect | Touch | Brk
KINDS, RIGHTS = st.sampled_from(["own", "file", "shared"]), st.sampled_from([0, 1, 3, 7])
PLACES = st.one_of(START.map(lambda page: BASE + page * PAGE), st.integers(0, 4).map(lambda page: HEAP + page * PAGE))
CALLS: st.SearchStrategy[Call] = st.one_of(
    st.builds(Map, START, COUNT, RIGHTS, KINDS),
    st.builds(Unmap, START, COUNT),
    st.builds(Protect, START, COUNT, RIGHTS),
    st.builds(Touch, PLACES, st.booleans()),
    st.builds(Touch, PLACES, st.just(True)),
    st.builds(Brk, st.integers(-1, 5)),
)


class Counting(FrameAllocator):
    """Knows which frames are out, so that none is given back twice or handed out twice."""

    out: set[int]

    def take(self, frame: int | None = None) -> int:
        taken = super().take(frame)
        assert taken not in self.out, "handed out twice"
        self.out.add(taken)
        return taken

    def release(self, frame: int) -> None:
        assert frame in self.out, "given back twice"
        self.out.remove(frame)
        super().release(frame)


def check(world: World) -> None:
    """Every count is what the page tables and page caches say, and every frame that is out has a user."""
    pages, mapcount = world.memory.pages, Counter[int]()
    for vma in world.user.vmas:
        for _, value, address in entries(world.memory, world.user, vma.start, vma.end):
            assert value & (x86.PRESENT | PAGE_NONE)
            if value & SPECIAL:
                assert value & x86.PHYSICAL_MASK == world.zero_page
                assert not value & x86.WRITABLE
            else:
                mapcount[value & x86.PHYSICAL_MASK] += 1
            if not vma.write:
                assert not value & x86.WRITABLE
            assert bool(value & x86.PRESENT) is vma.accessible, hex(address)
    cached = Counter(frame for inode in world.memory.inodes.values() for _, frame in inode.cache.items())
    for frame in mapcount | cached:
        number = frame >> PAGE_SHIFT
        assert pages.mapcount[number] == mapcount[frame]
        assert pages.refcount[number] == mapcount[frame] + cached[frame]
        assert pages.has(frame, PageFlag.ANON) is (frame not in cached)
    below = sum(len(tables_of(world)[depth]) for depth in range(3))
    frames = world.frames
    assert isinstance(frames, Counting)
    assert len(frames.out) == below + len(mapcount | cached), "a frame has got lost"


def tables_of(world: World) -> list[set[int]]:
    """The frames of page tables that the user's half leads to, by depth."""
    found, above = [], {world.user.root}
    for depth in range(3):
        words = [word for table in above for word in world.memory.words(table, 256 if depth == 0 else 512).tolist()]
        above = {word & x86.PHYSICAL_MASK for word in words if word & x86.PRESENT}
        found.append(above)
    return found


@given(st.lists(CALLS, max_size=40), st.sampled_from([(5, 19), (6, 1), (6, 12)]))
def test_no_frame_is_lost_and_none_is_freed_twice(calls: list[Call], version: tuple[int, int]) -> None:
    """
    Random system calls and touches, against a model of what each page is: its rights, and what a read finds there. In
    the end all is unmapped, and every frame is free again.
    """
    world = World(version)
    frames = Counting(world.frames.peek(1)[0], world.ram.size)
    frames.out, world.frames = set(), frames
    world.tables = world.memory.tables = type(world.tables)(world.ram, world.cpu, frames.take)
    memory, mm = world.memory, world.user
    mm.start_brk = mm.brk = HEAP
    file = memory.new_inode("a file", FileSystem.DISK, 5 * PAGE + 1, disk_file(5 * PAGE + 1))
    file.users = 1
    model: dict[int, Page] = {}
    for call in calls:
        carry_out(call, world, file, model)
        check(world)
        agree(world, model)
    assert do_munmap(memory, mm, 0, memory.task_size_max) == 0
    assert areas(world) == []
    assert file.users == 1
    assert list(memory.inodes.values()) == [file], "shared anonymous memory is gone with its last mapping"
    file.links = 0
    memory.put_inode(file)
    assert frames.out == set()
    assert not memory.pages.refcount.any()
    assert not memory.pages.mapcount.any()


class Page:
    """What a page should be: its rights, and the file and page it maps (None: private memory)."""

    def __init__(self, protection: int, kind: str, index: int) -> None:
        self.protection, self.kind, self.index = protection, kind, index
        self.stamp: int | None = None


def carry_out(call: Call, world: World, file: Inode, model: dict[int, Page]) -> None:
    memory, mm = world.memory, world.user
    match call:
        case Map(first, count, protection, kind):
            flags = MAP_FIXED | {"own": ANONYMOUS, "file": MAP_PRIVATE, "shared": MAP_SHARED | MAP_ANONYMOUS}[kind]
            mapped(world, BASE + first * PAGE, count, protection, flags, file if kind == "file" else None)
            for index in range(count):
                model[BASE + (first + index) * PAGE] = Page(protection, kind, index)
        case Unmap(first, count):
            assert do_munmap(memory, mm, BASE + first * PAGE, count * PAGE) == 0
            for address in range(BASE + first * PAGE, BASE + (first + count) * PAGE, PAGE):
                model.pop(address, None)
        case Protect(first, count, protection):
            error = do_mprotect_pkey(memory, mm, BASE + first * PAGE, count * PAGE, protection)
            for address in range(BASE + first * PAGE, BASE + (first + count) * PAGE, PAGE):
                if address not in model:
                    assert error < 0
                    return
                model[address].protection = protection
            assert error == 0
        case Touch(address, write):
            touch_page(world, address, model, write=write)
        case Brk(pages):
            assert do_brk(memory, mm, HEAP + pages * PAGE + 1) == (mm.brk if pages < 0 else HEAP + pages * PAGE + 1)
            for index in range(6):
                wanted = pages + 1 if pages >= 0 else -(-(mm.brk - HEAP) // PAGE)
                if index >= wanted:
                    model.pop(HEAP + index * PAGE, None)
                else:
                    model.setdefault(HEAP + index * PAGE, Page(3, "own", 0))
        case _:
            assert_never(call)


def touch_page(world: World, address: int, model: dict[int, Page], *, write: bool) -> None:
    page = model.get(address)
    if page is None or not page.protection & (2 if write else 7):
        return
    how = touch(world, address, write=write)
    beyond = page.kind == "file" and page.index > 5
    assert (how == "BadArea") is (beyond and page.stamp is None), how
    end = world.context.walk(address).end
    physical = getattr(end, "physical", None)
    assert (physical is None) is (how == "BadArea")
    if physical is not None and write:
        assert getattr(end, "writable", False)
        page.stamp = 0x80 | address >> PAGE_SHIFT & 0x7F
        world.ram.write(physical, bytes([page.stamp]))


def agree(world: World, model: dict[int, Page]) -> None:
    """The areas are the model's, and so is the content of each page that is there."""
    assert {address for start, end in areas(world) for address in range(start, end, PAGE)} == set(model)
    for address, page in model.items():
        vma = world.user.vmas.vma_lookup(address)
        assert vma is not None
        assert (vma.read, vma.write, vma.execute) == tuple(bool(page.protection & bit) for bit in (1, 2, 4))
        assert vma.shared is (page.kind == "shared")
        physical = getattr(world.context.walk(address).end, "physical", None)
        if physical is not None:
            read = page.index + 1 if page.kind == "file" else 0
            assert (world.ram.read(physical, 1) or b"")[0] == (page.stamp or read)
    assert_merged(list(world.user.vmas))


def assert_merged(vmas: list[Vma]) -> None:
    """No two neighbours of private memory that were never touched are left apart."""
    for low, high in pairwise(vmas):
        same = (low.read, low.write, low.execute, low.flags) == (high.read, high.write, high.execute, high.flags)
        if low.end == high.start and same and low.inode == high.inode == 0:
            assert low.anon_vma != high.anon_vma
            assert low.anon_vma
            assert high.anon_vma
