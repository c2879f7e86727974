"""First touches of memory that is a file's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.world import USER_AREA, World
from mm.touching import disk_file
from pagefault.arch import x86
from pagefault.handler.decision import Answer, BadArea
from pagefault.handler.handle_mm_fault import handle_mm_fault
from pagefault.memory.pages import PageFlag
from pagefault.tables.inode import FileSystem, Inode
from pagefault.vocabulary.address import PAGE, PAGE_SHIFT
from pagefault.vocabulary.effect import AddToPageCache, GetPage, PrepareAnonVma, TakeFrame
from pagefault.vocabulary.mm_settings import MmSettings
from pagefault.vocabulary.outcome import Resolved, Retry
from pagefault.vocabulary.readahead import Readahead
from pagefault.vocabulary.vm_fault import FaultFlag, VmFault
from pagefault.vocabulary.vma import Vma

WRITE, FIRST = FaultFlag.WRITE, FaultFlag.ALLOW_RETRY
AGAIN = FIRST | FaultFlag.TRIED
WINDOW = 16


def file_world(
    kind: FileSystem = FileSystem.DISK, pages: int = 64, *, cached: range = range(0), around: int = WINDOW
) -> tuple[World, Inode]:
    world = World(ram=512 * PAGE)
    world.memory.settings = MmSettings(fault_around_bytes=around * PAGE)
    backing = disk_file(pages * PAGE) if kind is FileSystem.DISK else None
    inode = world.memory.new_inode("a file", kind, pages * PAGE, backing)
    inode.readahead = Readahead(pages=0)
    for index in cached:
        world.memory.page_cache_page(inode, index)
    return world, inode


def area_of(world: World, inode: Inode, start: int = USER_AREA, pages: int = 64, **rights: bool | int) -> Vma:
    return world.area(start, pages, **{"inode": inode.number, "pgoff": 0} | rights)


def fault(world: World, address: int, flags: FaultFlag = FIRST) -> Answer:
    """Decide and carry out."""
    vma = world.user.vmas.vma_lookup(address)
    assert vma is not None
    answer = handle_mm_fault(world.context, world.user, vma, address, flags)
    world.apply(answer.effects)
    return answer


def present(world: World, vma: Vma) -> list[int]:
    """The pages of the area that have an entry."""
    pages = range((vma.end - vma.start) // PAGE)
    return [page for page in pages if entry(world, vma.start + page * PAGE) & x86.PRESENT]


def entry(world: World, address: int) -> int:
    found = world.tables.entry(world.user.root, address)
    return found.value if found is not None else 0


def counts(world: World, frame: int) -> tuple[int, int]:
    return int(world.memory.pages.refcount[frame >> PAGE_SHIFT]), int(world.memory.pages.mapcount[frame >> PAGE_SHIFT])


# --------------------------------------------------------------------------------------------------- fault around


@pytest.mark.parametrize(
    ("start", "pages", "touched", "expected"),
    [
        (0, 64, 20, range(16, 32)),  # aligned by address
        (0, 64, 16, range(16, 32)),
        (0, 64, 31, range(16, 32)),
        (5, 60, 0, range(16)),  # from where the area begins: the window is as long as ever
        (5, 60, 10, range(16)),
        (5, 60, 11, range(11, 27)),  # the next window, of this area's pages
        (0, 20, 18, range(16, 20)),  # to where the area ends
    ],
)
def test_a_read_maps_a_window_of_the_page_cache(start: int, pages: int, touched: int, expected: range) -> None:
    """`start` is the area's first page, counted from an aligned address; the others count from the area's."""
    world, inode = file_world(cached=range(64))
    vma = area_of(world, inode, USER_AREA + start * PAGE, pages)
    answer = fault(world, vma.start + touched * PAGE)
    assert answer.result == VmFault.NOPAGE
    assert answer.outcome == Resolved(f"{len(expected)} pages of the page cache mapped")
    assert present(world, vma) == list(expected)


def test_the_window_ends_with_the_page_table() -> None:
    world, inode = file_world(cached=range(64))
    edge = USER_AREA + (2 << 20)
    vma = area_of(world, inode, edge - 10 * PAGE, 40)
    fault(world, edge - 2 * PAGE)
    assert present(world, vma) == list(range(10))


def test_the_window_ends_with_the_file() -> None:
    world, inode = file_world(cached=range(64))
    inode.size = 19 * PAGE + 1
    vma = area_of(world, inode)
    fault(world, USER_AREA + 17 * PAGE)
    assert present(world, vma) == [16, 17, 18, 19]


def test_pages_that_are_not_cached_and_entries_that_hold_something_are_left() -> None:
    world, inode = file_world(cached=range(4, 12, 2))
    vma = area_of(world, inode)
    mine = world.memory.new_page()
    world.tables.map(world.user.root, USER_AREA + 6 * PAGE, mine, x86.PRESENT | x86.USER)
    fault(world, USER_AREA + 4 * PAGE)
    assert present(world, vma) == [4, 6, 8, 10]
    assert entry(world, USER_AREA + 6 * PAGE) & x86.PHYSICAL_MASK == mine
    assert counts(world, inode.cache.get(6) or 0) == (1, 0)
    assert counts(world, inode.cache.get(8) or 0) == (2, 1)


@given(st.sets(st.integers(0, 39)), st.integers(0, 31), st.integers(1, 40), st.integers(0, 39), st.integers(0, 8))
def test_what_is_mapped_around_a_fault(cached: set[int], start: int, pages: int, touched: int, pgoff: int) -> None:
    """Against the words of the kernel: inside the window, the area, the page table and the file, and in the cache."""
    world, inode = file_world(pages=40)
    for index in cached:
        world.memory.page_cache_page(inode, index)
    edge = USER_AREA + (2 << 20)
    vma = area_of(world, inode, edge - 16 * PAGE + start * PAGE, pages, pgoff=pgoff)
    touched %= pages
    address = vma.start + touched * PAGE
    fault(world, address)
    from_ = max(address & -WINDOW * PAGE, vma.start)
    to = min(from_ + WINDOW * PAGE, vma.end, edge if address < edge else edge + (2 << 20))
    around = {page for page in range((from_ - vma.start) // PAGE, (to - vma.start) // PAGE) if page + pgoff in cached}
    assert set(present(world, vma)) - {touched} == around - {touched}


def test_every_page_mapped_around_is_young_and_read_only() -> None:
    world, inode = file_world(cached=range(4))
    area_of(world, inode, shared=True)
    fault(world, USER_AREA)
    assert {entry(world, USER_AREA + page * PAGE) & 0xFFF for page in range(4)} == {
        x86.PRESENT | x86.USER | x86.ACCESSED
    }


def test_around_one_page_is_nothing_around() -> None:
    world, inode = file_world(cached=range(4), around=1)
    vma = area_of(world, inode)
    answer = fault(world, USER_AREA + PAGE)
    assert answer.outcome == Resolved("page-cache page mapped")
    assert answer.result == VmFault.LOCKED
    assert present(world, vma) == [1]


# --------------------------------------------------------------------------------------------- a page that is missing


def test_a_page_of_a_disk_is_read_and_asked_for_again() -> None:
    world, inode = file_world(cached=range(3, 5))
    vma = area_of(world, inode)
    answer = fault(world, USER_AREA)
    assert answer.outcome == Retry("the page was read")
    assert answer.result == VmFault.MAJOR | VmFault.RETRY
    assert present(world, vma) == [3, 4], "its neighbours are mapped all the same"
    assert inode.cache.get(0) is not None
    again = fault(world, USER_AREA, AGAIN)
    assert (again.outcome, again.result) == (Resolved("1 pages of the page cache mapped"), VmFault.NOPAGE)
    assert world.ram.read(entry(world, USER_AREA) & x86.PHYSICAL_MASK, PAGE) == b"\1" * PAGE


def test_who_cannot_wait_gets_the_page_at_once() -> None:
    world, inode = file_world()
    area_of(world, inode)
    assert fault(world, USER_AREA, FaultFlag(0)).outcome == Resolved("page-cache page mapped")
    assert counts(world, inode.cache.get(0) or 0) == (2, 1)


def test_a_page_of_tmpfs_is_made_without_waiting() -> None:
    world, inode = file_world(FileSystem.SHMEM)
    area_of(world, inode)
    (frame,) = world.frames.peek(1)
    world.ram.fill(frame, PAGE, 0xEE)
    answer = fault(world, USER_AREA)
    assert answer.outcome == Resolved("page-cache page mapped")
    assert answer.result == VmFault.LOCKED
    assert world.ram.read(entry(world, USER_AREA) & x86.PHYSICAL_MASK, PAGE) == bytes(PAGE)


@pytest.mark.parametrize("flags", [FaultFlag(0), WRITE])
@pytest.mark.parametrize("shared", [False, True])
def test_beyond_the_end_is_sigbus(flags: FaultFlag, shared: bool) -> None:
    world, inode = file_world(cached=range(64))
    inode.size = 2 * PAGE + 1
    vma = area_of(world, inode, shared=shared)
    answer = fault(world, USER_AREA + 3 * PAGE, FIRST | flags)
    assert answer.outcome == BadArea("BUS_ADRERR", "SIGBUS")
    assert answer.result == VmFault.SIGBUS
    assert present(world, vma) == ([] if flags else [0, 1, 2]), "a read maps the neighbours first"
    assert isinstance(fault(world, USER_AREA + 2 * PAGE, FIRST | flags).outcome, Resolved)


# ---------------------------------------------------------------------------------------------------------- writes


def test_a_private_write_copies() -> None:
    world, inode = file_world(cached=range(2))
    vma = area_of(world, inode)
    answer = fault(world, USER_AREA + PAGE, FIRST | WRITE)
    assert answer.outcome == Resolved("page-cache page copied")
    assert answer.result == VmFault.LOCKED
    assert any(isinstance(effect, PrepareAnonVma) for effect in answer.effects)
    value, cached = entry(world, USER_AREA + PAGE), inode.cache.get(1)
    frame = value & x86.PHYSICAL_MASK
    assert frame != cached
    assert value & (x86.WRITABLE | x86.DIRTY) == x86.WRITABLE | x86.DIRTY
    assert world.ram.read(frame, PAGE) == b"\2" * PAGE
    assert world.memory.pages.has(frame, PageFlag.ANON)
    assert counts(world, cached or 0) == (1, 0)
    assert present(world, vma) == [1], "a write maps nothing around"


def test_a_private_write_to_a_page_that_must_be_read_first() -> None:
    world, inode = file_world()
    area_of(world, inode)
    assert fault(world, USER_AREA, FIRST | WRITE).result == VmFault.MAJOR | VmFault.RETRY
    assert fault(world, USER_AREA, AGAIN | WRITE).result == VmFault.LOCKED
    assert world.ram.read(entry(world, USER_AREA) & x86.PHYSICAL_MASK, PAGE) == b"\1" * PAGE
    assert counts(world, inode.cache.get(0) or 0) == (1, 0)


@pytest.mark.parametrize(
    ("flags", "result"), [(FIRST, VmFault.LOCKED | VmFault.COMPLETED), (FaultFlag(0), VmFault.LOCKED)]
)
def test_a_shared_write_makes_the_page_dirty(flags: FaultFlag, result: VmFault) -> None:
    world, inode = file_world(cached=range(2))
    area_of(world, inode, shared=True)
    answer = fault(world, USER_AREA + PAGE, flags | WRITE)
    frame = inode.cache.get(1) or 0
    assert (answer.outcome, answer.result) == (Resolved("page-cache page mapped for writing"), result)
    assert entry(world, USER_AREA + PAGE) & x86.PHYSICAL_MASK == frame
    assert entry(world, USER_AREA + PAGE) & (x86.WRITABLE | x86.DIRTY) == x86.WRITABLE | x86.DIRTY
    assert world.memory.pages.has(frame, PageFlag.DIRTY)
    assert counts(world, frame) == (2, 1)


def test_the_second_to_write_a_page_of_tmpfs_need_not_wait() -> None:
    world, inode = file_world(FileSystem.SHMEM)
    for start in (USER_AREA, USER_AREA + 64 * PAGE):
        area_of(world, inode, start, shared=True)
    results = [fault(world, start, FIRST | WRITE).result for start in (USER_AREA, USER_AREA + 64 * PAGE)]
    assert results == [VmFault.LOCKED | VmFault.COMPLETED, VmFault.LOCKED]


def test_frames_are_taken_for_what_is_made_only() -> None:
    world, inode = file_world(cached=range(1))
    area_of(world, inode)
    fault(world, USER_AREA)

    def taken(page: int, flags: FaultFlag) -> int:
        answer = fault(world, USER_AREA + page * PAGE, flags)
        effects = answer.effects
        assert sum(isinstance(effect, GetPage) for effect in effects) == (not flags & WRITE)
        assert sum(isinstance(effect, AddToPageCache) for effect in effects) == 1
        return sum(isinstance(effect, TakeFrame) for effect in effects)

    assert taken(1, FaultFlag(0)) == 1
    assert taken(2, WRITE) == 2
