"""What /proc says of an address space."""

from __future__ import annotations

from dataclasses import replace

import pytest

from handler.world import USER_AREA, World
from mm.touching import RW, mapped, pte, touch
from pagefault.arch import x86
from pagefault.memory.pages import PageFlag
from pagefault.mm.mmap import MAP_ANONYMOUS, MAP_FIXED, MAP_SHARED, PROT_EXEC, PROT_READ
from pagefault.mm.smaps import (
    PageRun,
    pagemap,
    smap_gather_stats,
    vm_flags,
    vma_name,
    vma_offset,
    vma_rights,
)
from pagefault.tables.inode import FileSystem
from pagefault.tables.swap_space import SwapSpace, swap_entry
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.vma import Vma, VmFlag

SHARED = MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED


def counts(world: World, address: int = USER_AREA) -> dict[str, int]:
    """What is not zero of the area."""
    vma = world.user.vmas.vma_lookup(address)
    assert vma is not None
    return {name: count for name, count in smap_gather_stats(world.memory, world.user, vma).items() if count}


def set_pte(world: World, address: int, value: int) -> None:
    world.tables.write(world.tables.entry_slot(world.user.root, address), value)


def own_pages(world: World) -> None:
    """One read, two written."""
    mapped(world, USER_AREA, 4)
    touch(world, USER_AREA, write=False)
    touch(world, USER_AREA + PAGE)
    touch(world, USER_AREA + 2 * PAGE)


def test_an_areas_name() -> None:
    world = World()
    mm = world.user
    mm.start_brk, mm.brk, mm.start_stack = 0x60_0000, 0x60_2000, 0x70_1234
    inode = world.memory.new_inode("/a/file", FileSystem.DISK, PAGE)
    names = {
        Vma(0x60_0000, 0x60_1000): "[heap]",
        Vma(0x70_0000, 0x70_2000): "[stack]",
        Vma(0x71_0000, 0x72_0000): "",
        Vma(0x71_0000, 0x72_0000, name="mine"): "mine",
        Vma(0x60_0000, 0x60_1000, inode=inode.number): "/a/file",
    }
    assert [vma_name(world.memory, mm, vma) for vma in names] == list(names.values())


@pytest.mark.parametrize(("version", "name"), [((6, 1), "[heap]"), ((6, 12), "")])
def test_what_only_touches_the_heap(version: tuple[int, int], name: str) -> None:
    world = World(version)
    world.user.start_brk, world.user.brk = 0x60_0000, 0x60_2000
    for vma in (Vma(0x5F_0000, 0x60_0000), Vma(0x60_2000, 0x61_0000)):
        assert vma_name(world.memory, world.user, vma) == name


def test_rights_and_offset() -> None:
    world = World()
    file = world.memory.new_inode("/a/file", FileSystem.DISK, 8 * PAGE)
    special = world.memory.new_inode("[vdso]", FileSystem.SPECIAL, 8 * PAGE)
    assert vma_rights(Vma(0, PAGE, write=False, execute=True)) == "r-xp"
    assert vma_rights(Vma(0, PAGE, read=False, flags=VmFlag.MAYSHARE)) == "-w-s"
    offsets = [
        vma_offset(world.memory, Vma(0, PAGE, inode=number, pgoff=2)) for number in (0, file.number, special.number)
    ]
    assert offsets == [0, 2 * PAGE, 0]


def test_flags_in_the_order_of_the_kernels_bits() -> None:
    world = World()
    vma = mapped(world, USER_AREA, 1, PROT_READ | PROT_EXEC)
    assert vm_flags(world.memory, vma) == ["rd", "ex", "mr", "mw", "me", "sd"]
    shared = mapped(world, USER_AREA, 1, RW, SHARED)
    assert vm_flags(world.memory, shared) == ["rd", "wr", "sh", "mr", "mw", "me", "ms", "sd"]
    many = replace(
        vma, grows_down=True, flags=VmFlag.LOCKED | VmFlag.SEQ_READ | VmFlag.NOHUGEPAGE | VmFlag.UFFD_MISSING
    )
    assert vm_flags(world.memory, many) == ["rd", "ex", "gd", "um", "lo", "sr", "nh"]


@pytest.mark.parametrize(("version", "word"), [((6, 1), "??"), ((6, 12), "lf")])
def test_lock_on_fault_has_a_word_since(version: tuple[int, int], word: str) -> None:
    assert vm_flags(World(version).memory, Vma(0, PAGE, flags=VmFlag.LOCKONFAULT)) == ["rd", "wr", word]


def test_own_pages_count_and_the_zero_page_does_not() -> None:
    world = World()
    own_pages(world)
    eight = {"Rss": 8, "Pss": 8, "Pss_Dirty": 8, "Private_Dirty": 8, "Referenced": 8, "Anonymous": 8}
    assert counts(world) == eight


def test_a_page_that_two_map() -> None:
    world = World()
    own_pages(world)
    frame = pte(world, USER_AREA + PAGE) & x86.PHYSICAL_MASK
    world.memory.pages.mapcount[frame >> 12] = 2
    found = counts(world)
    assert (found["Shared_Dirty"], found["Private_Dirty"], found["Pss"]) == (4, 4, 6)


def test_clean_old_and_lazily_free() -> None:
    world = World()
    own_pages(world)
    value = pte(world, USER_AREA + PAGE)
    set_pte(world, USER_AREA + PAGE, value & ~(x86.ACCESSED | x86.DIRTY))
    world.memory.pages.set(value & x86.PHYSICAL_MASK, PageFlag.LAZYFREE)
    found = counts(world)
    assert (found["Private_Clean"], found["Referenced"], found["LazyFree"]) == (4, 4, 4)
    world.memory.pages.set(value & x86.PHYSICAL_MASK, PageFlag.DIRTY | PageFlag.REFERENCED)
    found = counts(world)
    assert (found["Private_Dirty"], found["Referenced"]) == (8, 8)
    assert "LazyFree" not in found


def test_locked_pages() -> None:
    world = World()
    own_pages(world)
    (vma,) = world.user.vmas
    world.user.vmas.replace(vma, replace(vma, flags=vma.flags | VmFlag.LOCKED))
    assert counts(world)["Locked"] == 8
    words = {run.words for run in pagemap(world.memory, world.user)}
    assert words == {("present", "zero"), ("present", "exclusive", "anon", "unevictable")}


def test_swapped_pages() -> None:
    world = World()
    own_pages(world)
    world.memory.swap = SwapSpace(16 * PAGE)
    world.memory.swap.count[5] = 2
    set_pte(world, USER_AREA + 3 * PAGE, swap_entry(5))
    assert (counts(world)["Swap"], counts(world)["SwapPss"], counts(world)["Rss"]) == (4, 2, 8)
    assert [run.words for run in pagemap(world.memory, world.user)][-1] == ("swapped",)


@pytest.mark.parametrize(("shared", "swap"), [(True, 12), (False, 8)])
def test_swapped_pages_of_shared_memory(shared: bool, swap: int) -> None:
    world = World()
    vma = mapped(world, USER_AREA, 4, RW, SHARED)
    world.memory.inodes[vma.inode].swapped.update({0: 1, 1: 2, 2: 3, 9: 4})
    touch(world, USER_AREA + 3 * PAGE)
    world.user.vmas.replace(vma, replace(vma, shared=shared))
    set_pte(world, USER_AREA, pte(world, USER_AREA + 3 * PAGE))
    assert counts(world)["Swap"] == swap


def test_runs_of_pages_that_look_alike() -> None:
    world = World()
    own_pages(world)
    mapped(world, USER_AREA + 4 * PAGE, 2, RW, SHARED)
    touch(world, USER_AREA + 4 * PAGE)
    assert list(pagemap(world.memory, world.user)) == [
        PageRun(USER_AREA, 1, ("present", "zero")),
        PageRun(USER_AREA + PAGE, 2, ("present", "exclusive", "anon")),
        PageRun(USER_AREA + 4 * PAGE, 1, ("present", "shared", "exclusive")),
    ]


def test_a_huge_page() -> None:
    world = World(ram=2048 * PAGE)
    start, frame = 0x4000_0000, 4 << 20
    world.area(start, 1024)
    flags = x86.PRESENT | x86.USER | x86.WRITABLE | x86.ACCESSED | x86.DIRTY
    world.tables.map_range(world.user.root, start, frame, 2 << 20, flags)
    world.memory.pages.new_huge(frame, start >> 12)
    found = counts(world, start)
    assert (found["Rss"], found["AnonHugePages"], found["Private_Dirty"]) == (2048, 2048, 2048)
    assert list(pagemap(world.memory, world.user)) == [PageRun(start, 512, ("present", "exclusive", "anon", "huge"))]
