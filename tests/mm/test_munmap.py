"""What munmap() gives up: pages, areas, and the page tables that nobody else is within reach of."""

from __future__ import annotations

from errno import EINVAL, ENOMEM

import pytest

from handler.world import USER_AREA, World
from mm.touching import ANONYMOUS, areas, disk_file, mapped, pte, touch
from pagefault.arch import x86
from pagefault.memory.pages import PageFlag
from pagefault.mm.mmap import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PROT_READ
from pagefault.mm.munmap import do_munmap, entries, tables, zap_page_range
from pagefault.tables.inode import FileSystem
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.vma import VmFlag

RW = 3
PTE_REACH, PMD_REACH, PUD_REACH = 2 << 20, 1 << 30, 512 << 30
PLACE = 0x1000_4020_1000
"""The second page of the reach of a table of ptes, which is the second of its pmd table, which is the second, …"""


def unmap(world: World, start: int, pages: int = 1) -> int:
    return do_munmap(world.memory, world.user, start, pages * PAGE)


@pytest.mark.parametrize(
    ("address", "length"),
    [(1, PAGE), (USER_AREA, 0), (USER_AREA, 1 << 64), (1 << 47, PAGE), ((1 << 47) - PAGE, 1), (0, (1 << 47) + 1)],
)
def test_what_is_refused(address: int, length: int) -> None:
    assert do_munmap(World().memory, World().user, address, length) == -EINVAL


def test_a_hole_is_unmapped_without_a_word() -> None:
    world = World()
    assert unmap(world, USER_AREA, 4) == 0
    assert world.flushes == 0


def test_a_length_is_rounded_up() -> None:
    world = World()
    mapped(world, USER_AREA, 4)
    assert do_munmap(world.memory, world.user, USER_AREA, PAGE + 1) == 0
    assert areas(world) == [(USER_AREA + 2 * PAGE, USER_AREA + 4 * PAGE)]


def test_areas_are_cut_to_fit() -> None:
    world = World()
    mapped(world, USER_AREA, 4)
    mapped(world, USER_AREA + 6 * PAGE, 4, PROT_READ)
    for page in (0, 1, 3, 6, 7, 9):
        touch(world, USER_AREA + page * PAGE, write=False)
    assert unmap(world, USER_AREA + PAGE, 7) == 0
    assert areas(world) == [(USER_AREA, USER_AREA + PAGE), (USER_AREA + 8 * PAGE, USER_AREA + 10 * PAGE)]
    assert [bool(pte(world, USER_AREA + page * PAGE)) for page in range(10)] == [True] + 8 * [False] + [True]
    assert world.flushes
    upper = list(world.user.vmas)[1]
    assert upper.linear_page_index(upper.start) == upper.start >> 12


def test_private_pages_are_freed_and_the_page_of_zeros_is_not() -> None:
    world = World()
    mapped(world, USER_AREA, 4)
    touch(world, USER_AREA + 3 * PAGE, write=False)
    free = world.frames.free
    touch(world, USER_AREA)
    touch(world, USER_AREA + PAGE, write=False)
    assert world.frames.free == free - 1
    unmap(world, USER_AREA, 2)
    assert world.frames.free == free
    assert world.zero_page not in world.frames.peek(world.frames.free)


def test_a_page_that_another_maps_stays() -> None:
    world = World()
    inode = world.memory.new_inode("a file", FileSystem.DISK, PAGE, disk_file(PAGE))
    for start in (USER_AREA, USER_AREA + 2 * PAGE):
        mapped(world, start, 1, RW, MAP_SHARED | MAP_FIXED, inode)
        touch(world, start)
    frame = inode.cache.get(0)
    assert frame is not None
    assert world.memory.pages.mapcount[frame >> 12] == 2
    unmap(world, USER_AREA)
    assert world.memory.pages.mapcount[frame >> 12] == 1
    assert pte(world, USER_AREA + 2 * PAGE) & x86.PHYSICAL_MASK == frame
    unmap(world, USER_AREA + 2 * PAGE)
    assert inode.cache.get(0) == frame, "the page cache keeps it"
    assert inode.users == 0


def test_shared_anonymous_memory_goes_with_its_last_mapping() -> None:
    world = World()
    free = world.frames.free
    mapped(world, USER_AREA, 3, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED)
    touch(world, USER_AREA)
    touch(world, USER_AREA + 2 * PAGE)
    unmap(world, USER_AREA + PAGE)
    (inode,) = world.memory.inodes.values()
    assert (inode.users, len(inode.cache)) == (2, 2)
    unmap(world, USER_AREA, 3)
    assert not world.memory.inodes
    assert world.frames.free == free


@pytest.mark.parametrize("dirty", [False, True])
@pytest.mark.parametrize(
    ("young", "flags", "referenced"),
    [(True, VmFlag(0), True), (True, VmFlag.SEQ_READ, False), (False, VmFlag(0), False)],
)
def test_what_the_entry_says_of_a_file_s_page_is_kept(
    dirty: bool, young: bool, flags: VmFlag, referenced: bool
) -> None:
    world = World()
    inode = world.memory.new_inode("a file", FileSystem.SHMEM, PAGE)
    vma = world.area(pages=1, inode=inode.number, pgoff=0, shared=True, flags=flags)
    touch(world, USER_AREA, write=False)
    slot = world.tables.entry_slot(world.user.root, USER_AREA)
    set_ = (x86.DIRTY if dirty else 0) | (x86.ACCESSED if young else 0)
    world.tables.write(slot, pte(world, USER_AREA) & ~(x86.DIRTY | x86.ACCESSED) | set_)
    zap_page_range(world.memory, world.user, vma, USER_AREA, USER_AREA + PAGE)
    frame = inode.cache.get(0)
    assert frame is not None
    assert world.memory.pages.has(frame, PageFlag.DIRTY) is dirty
    assert world.memory.pages.has(frame, PageFlag.REFERENCED) is referenced


@pytest.mark.parametrize(
    ("distance", "freed"),
    [
        (PAGE, 0),  # in the same table of ptes
        (PTE_REACH - 2 * PAGE, 0),
        (PTE_REACH - PAGE, 1),  # in the next one
        (PMD_REACH - PTE_REACH - 2 * PAGE, 1),
        (PMD_REACH - PTE_REACH - PAGE, 2),
        (PUD_REACH - PMD_REACH - PTE_REACH - 2 * PAGE, 2),
        (PUD_REACH - PMD_REACH - PTE_REACH - PAGE, 3),
        (-PAGE, 0),
        (-2 * PAGE, 1),
        (-PTE_REACH - PAGE, 1),
        (-PTE_REACH - 2 * PAGE, 2),
        (-PMD_REACH - PTE_REACH - PAGE, 2),
        (-PMD_REACH - PTE_REACH - 2 * PAGE, 3),
    ],
)
def test_a_page_table_is_freed_when_no_area_is_within_its_reach(distance: int, freed: int) -> None:
    """Touched or not: the other area may need the table yet."""
    world = World()
    assert PLACE & PUD_REACH - 1 == PMD_REACH + PTE_REACH + PAGE
    mapped(world, PLACE, 1)
    mapped(world, PLACE + distance, 1, PROT_READ)
    touch(world, PLACE, write=False)
    free = world.frames.free
    unmap(world, PLACE)
    assert world.frames.free == free + freed
    levels = ["pte", "pmd", "pud", "pgd"]
    walk = world.context.walk(PLACE)
    assert walk.entries[-1].level == levels[freed]
    assert not walk.entries[-1].value


def test_tables_of_areas_that_go_together_go_together() -> None:
    world = World()
    free = world.frames.free
    for at in (0, PTE_REACH, PMD_REACH, 3 * PMD_REACH, PUD_REACH):
        mapped(world, USER_AREA + at, 2)
        touch(world, USER_AREA + at)
    unmap(world, USER_AREA, 2 * PUD_REACH // PAGE)
    assert world.frames.free == free


def test_the_kernel_s_half_is_left_alone() -> None:
    world = World()
    kernel = world.ram.read(world.user.root + PAGE // 2, PAGE // 2)
    mapped(world, USER_AREA, 1)
    touch(world, USER_AREA)
    do_munmap(world.memory, world.user, 0, world.memory.task_size_max)
    assert world.ram.read(world.user.root, PAGE) == bytes(PAGE // 2) + (kernel or b"")


def test_tables_and_entries_of_a_range() -> None:
    world = World()
    edge = USER_AREA + PTE_REACH
    mapped(world, edge - 4 * PAGE, 8)
    for address in (edge - 2 * PAGE, edge, edge + 3 * PAGE):
        touch(world, address)
    found = tables(world.memory, world.user, edge - 3 * PAGE, edge + 2 * PAGE)
    assert [(low, high) for _, low, high in found] == [(edge - 3 * PAGE, edge), (edge, edge + 2 * PAGE)]
    assert entries(world.memory, world.user, edge - 3 * PAGE, edge + 3 * PAGE) == [
        (world.tables.entry_slot(world.user.root, address), pte(world, address), address)
        for address in (edge - 2 * PAGE, edge)
    ]
    assert tables(world.memory, world.user, 1 << 40, 1 << 46) == []


def test_private_pages_of_a_file_leave_its_cache_alone() -> None:
    world = World()
    inode = world.memory.new_inode("a file", FileSystem.DISK, PAGE, disk_file(PAGE))
    mapped(world, USER_AREA, 1, RW, MAP_PRIVATE | MAP_FIXED, inode)
    free = world.frames.free
    touch(world, USER_AREA)
    unmap(world, USER_AREA)
    assert world.frames.free == free - 1, "the page of the page cache"
    assert world.memory.pages.mapcount[(inode.cache.get(0) or 0) >> 12] == 0


def test_a_range_that_wraps_at_the_first_page() -> None:
    world = World()
    mapped(world, 16 * PAGE, 2, flags=ANONYMOUS | MAP_FIXED)
    touch(world, 16 * PAGE)
    free = world.frames.free
    unmap(world, 0, 32)
    assert areas(world) == []
    assert world.frames.free == free + 4


@pytest.mark.parametrize("at_once", [True, False])
def test_freeing_own_pages_at_once_is_what_freeing_each_would_be(
    at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not at_once:
        monkeypatch.setattr("pagefault.mm.munmap.zap_own_pages", lambda *_: None)
    world = World(ram=2048 * PAGE)
    pages, free = world.memory.pages, world.frames.free
    mapped(world, USER_AREA, 600)
    for page in (0, 1, 2, 3, 515, 599):
        touch(world, USER_AREA + page * PAGE)
    touch(world, USER_AREA + 4 * PAGE, write=False)
    number = (pte(world, USER_AREA + PAGE) & x86.PHYSICAL_MASK) >> 12
    pages.refcount[number] = pages.mapcount[number] = 2
    unmap(world, USER_AREA, 599)
    assert (pages.refcount[number], pages.mapcount[number]) == (1, 1), "somebody else has it"
    assert pages.has(number << 12, PageFlag.ANON)
    assert pte(world, USER_AREA + 599 * PAGE) & x86.PRESENT
    unmap(world, USER_AREA + 599 * PAGE)
    assert int(pages.mapcount.sum()) == 1
    assert int((pages.flags != 0).sum()) == 1
    world.memory.remove_rmap(number << 12)
    assert world.frames.free == free


def test_too_many_areas_for_one_more(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    mapped(world, USER_AREA, 8)
    monkeypatch.setattr("pagefault.mm.vma_merge.MAX_MAP_COUNT", 1)
    assert unmap(world, USER_AREA + 2 * PAGE) == -ENOMEM
    assert unmap(world, USER_AREA) == 0, "an end may always go"
    assert unmap(world, USER_AREA + 6 * PAGE, 2) == 0


def test_the_vdso_is_not_cut() -> None:
    world = World()
    inode = world.memory.new_inode("[vdso]", FileSystem.SPECIAL, 2 * PAGE)
    world.area(pages=2, inode=inode.number, pgoff=0)
    inode.users = 1
    assert unmap(world, USER_AREA) == -EINVAL
    assert unmap(world, USER_AREA, 2) == 0
