"""mprotect(): what it refuses, which areas it leaves, and what becomes of the pages that are there."""

from __future__ import annotations

from dataclasses import replace
from errno import EACCES, EINVAL, ENOMEM

import pytest

from handler.world import USER_AREA, World
from mm.touching import ANONYMOUS, RW, areas, disk_file, mapped, pte, touch
from pagefault.arch import x86
from pagefault.handler.vmf import PAGE_NONE
from pagefault.memory.pages import PageFlag
from pagefault.mm.mmap import MAP_FIXED, MAP_NORESERVE, MAP_PRIVATE, MAP_SHARED, PROT_EXEC, PROT_READ, PROT_WRITE
from pagefault.mm.mprotect import do_mprotect_pkey
from pagefault.mm.munmap import do_munmap
from pagefault.tables.inode import FileSystem
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.vm_fault import FaultFlag
from pagefault.vocabulary.vma import MAY_ALL, VmFlag


def protect(world: World, first: int, pages: int, protection: int, key: int | None = None) -> int:
    return do_mprotect_pkey(world.memory, world.user, USER_AREA + first * PAGE, pages * PAGE, protection, key)


@pytest.mark.parametrize(
    ("address", "length", "error"),
    [
        (USER_AREA + 1, PAGE, EINVAL),
        (USER_AREA, 0, 0),
        (USER_AREA, (1 << 64) - PAGE, ENOMEM),
        (USER_AREA - PAGE, PAGE, ENOMEM),
        (USER_AREA - PAGE, 2 * PAGE, ENOMEM),
        (USER_AREA + 4 * PAGE, PAGE, ENOMEM),
        ((1 << 47) - PAGE, PAGE, ENOMEM),
    ],
)
def test_what_is_refused_changes_nothing(address: int, length: int, error: int) -> None:
    world = World()
    mapped(world, USER_AREA, 4)
    assert do_mprotect_pkey(world.memory, world.user, address, length, PROT_READ) == -error
    assert all(vma.write for vma in world.user.vmas)


@pytest.mark.parametrize("pages", [4, (1 << 47) // PAGE])
def test_what_lies_before_a_hole_is_changed_all_the_same(pages: int) -> None:
    world = World()
    mapped(world, USER_AREA, 4)
    do_munmap(world.memory, world.user, USER_AREA + 2 * PAGE, PAGE)
    assert protect(world, 1, pages, PROT_READ) == -ENOMEM
    assert [vma.write for vma in world.user.vmas] == [True, False, True]


@pytest.mark.parametrize("right", [PROT_READ, PROT_WRITE, PROT_EXEC])
def test_a_right_that_may_not_be_had(right: int) -> None:
    may = {PROT_READ: VmFlag.MAYREAD, PROT_WRITE: VmFlag.MAYWRITE, PROT_EXEC: VmFlag.MAYEXEC}[right]
    world = World()
    world.area(read=False, write=False, flags=MAY_ALL & ~may)
    assert protect(world, 0, 4, right) == -EACCES
    assert protect(world, 0, 4, 7 & ~right) == 0


@pytest.mark.parametrize(
    ("first", "pages", "expected"),
    [(0, 4, ["r"]), (0, 1, ["r", "rw"]), (3, 1, ["rw", "r"]), (1, 2, ["rw", "r", "rw"])],
)
def test_an_area_is_cut_and_becomes_whole_again(first: int, pages: int, expected: list[str]) -> None:
    world = World()
    whole = mapped(world, USER_AREA, 4)
    for page in range(4):
        touch(world, USER_AREA + page * PAGE)
    assert protect(world, first, pages, PROT_READ) == 0
    assert ["rw" if vma.write else "r" for vma in world.user.vmas] == expected
    assert protect(world, 0, 4, RW) == 0
    assert areas(world) == [(whole.start, whole.end)]


def test_a_part_joins_the_neighbour_that_it_equals_now() -> None:
    world = World()
    mapped(world, USER_AREA, 2, PROT_READ)
    mapped(world, USER_AREA + 2 * PAGE, 2, PROT_READ | PROT_EXEC)
    protect(world, 2, 1, PROT_READ)
    assert areas(world) == [(USER_AREA, USER_AREA + 3 * PAGE), (USER_AREA + 3 * PAGE, USER_AREA + 4 * PAGE)]


def test_memory_that_becomes_writable_counts_as_promised_for_good() -> None:
    world = World()
    mapped(world, USER_AREA, 1, PROT_READ)
    mapped(world, USER_AREA + PAGE, 1, PROT_READ, ANONYMOUS | MAP_FIXED | MAP_NORESERVE)
    protect(world, 0, 2, RW)
    protect(world, 0, 2, PROT_READ)
    assert [bool(vma.flags & VmFlag.ACCOUNT) for vma in world.user.vmas] == [True, False]


@pytest.mark.parametrize(
    ("protection", "on", "off"),
    [
        (PROT_READ, x86.PRESENT | x86.USER | x86.EXECUTE_DISABLE, x86.WRITABLE | PAGE_NONE),
        (PROT_READ | PROT_EXEC, x86.PRESENT | x86.USER, x86.WRITABLE | x86.EXECUTE_DISABLE),
        (0, PAGE_NONE, x86.PRESENT | x86.WRITABLE | x86.USER),
    ],
)
def test_the_entries_have_the_new_rights_and_keep_the_rest(protection: int, on: int, off: int) -> None:
    world = World()
    mapped(world, USER_AREA, 3)
    touch(world, USER_AREA + PAGE)
    before, flushes = pte(world, USER_AREA + PAGE), world.flushes
    protect(world, 0, 3, protection)
    after = pte(world, USER_AREA + PAGE)
    kept = x86.PHYSICAL_MASK | x86.DIRTY | x86.ACCESSED | x86.SOFT_DIRTY
    assert after & kept == before & kept
    assert after & on == on
    assert not after & off
    assert pte(world, USER_AREA) == pte(world, USER_AREA + 2 * PAGE) == 0
    assert world.flushes > flushes
    protect(world, 0, 3, RW)
    assert pte(world, USER_AREA + PAGE) == before


def test_only_the_range_s_entries_change() -> None:
    world = World()
    mapped(world, USER_AREA, 3)
    for page in range(3):
        touch(world, USER_AREA + page * PAGE)
    protect(world, 1, 1, PROT_READ)
    assert [bool(pte(world, USER_AREA + page * PAGE) & x86.WRITABLE) for page in range(3)] == [True, False, True]


def test_no_change_is_no_flush() -> None:
    world = World()
    mapped(world, USER_AREA, 1)
    flushes = world.flushes
    assert protect(world, 0, 1, RW) == 0
    assert world.flushes == flushes


def test_a_protection_key_is_put_into_areas_and_entries_and_stays() -> None:
    world = World(cr4=x86.CR4_PKE)
    mapped(world, USER_AREA, 2)
    touch(world, USER_AREA)
    assert protect(world, 0, 1, RW, key=5) == -EINVAL, "a key has to be allocated"
    world.user.pkey_allocation_map |= 1 << 5
    assert protect(world, 0, 1, RW, key=5) == 0
    assert [vma.protection_key for vma in world.user.vmas] == [5, 0]
    assert pte(world, USER_AREA) >> x86.PROTECTION_KEY_SHIFT & 15 == 5
    protect(world, 0, 1, PROT_READ)
    assert [vma.protection_key for vma in world.user.vmas] == [5, 0]
    assert pte(world, USER_AREA) >> x86.PROTECTION_KEY_SHIFT & 15 == 5


@pytest.mark.parametrize(
    ("version", "exclusive", "dirty", "softdirty", "writable"),
    [
        ((5, 19), True, True, True, False),
        ((6, 1), True, True, True, True),
        ((6, 1), True, False, True, False),
        ((6, 1), False, True, True, False),  # another process has it too
        ((6, 1), True, True, False, False),  # somebody wants to know of the next write, and this is one
        ((6, 12), True, False, True, True),
        ((6, 12), False, True, True, False),
    ],
)
def test_pages_that_would_only_be_reused_become_writable_at_once(
    version: tuple[int, int], exclusive: bool, dirty: bool, softdirty: bool, writable: bool
) -> None:
    world = World(version)
    mapped(world, USER_AREA, 1)
    touch(world, USER_AREA)
    protect(world, 0, 1, PROT_READ)
    value = pte(world, USER_AREA)
    world.tables.write(
        world.tables.entry_slot(world.user.root, USER_AREA),
        value & ~(x86.DIRTY | x86.SOFT_DIRTY) | (x86.DIRTY if dirty else 0) | (x86.SOFT_DIRTY if softdirty else 0),
    )
    if not exclusive:
        world.memory.pages.clear(value & x86.PHYSICAL_MASK, PageFlag.EXCLUSIVE)
    (vma,) = world.user.vmas
    world.user.vmas.replace(vma, replace(vma, flags=vma.flags if softdirty else vma.flags & ~VmFlag.SOFTDIRTY))
    protect(world, 0, 1, RW)
    assert bool(pte(world, USER_AREA) & x86.WRITABLE) is writable


def test_the_page_of_zeros_never_becomes_writable() -> None:
    world = World((6, 12))
    mapped(world, USER_AREA, 1, PROT_READ)
    touch(world, USER_AREA, write=False)
    world.memory.pages.set(world.zero_page, PageFlag.EXCLUSIVE)
    protect(world, 0, 1, RW)
    assert not pte(world, USER_AREA) & x86.WRITABLE
    assert touch(world, USER_AREA) == "zero page copied on write"


@pytest.mark.parametrize(
    ("kind", "flags", "write", "writable"),
    [
        (FileSystem.DISK, MAP_SHARED, False, False),  # the file system wants to know of the first write
        (FileSystem.DISK, MAP_SHARED, True, True),  # it knows
        (FileSystem.SHMEM, MAP_SHARED, False, True),
        (FileSystem.DISK, MAP_PRIVATE, False, False),  # copied first
    ],
)
def test_pages_of_files(kind: FileSystem, flags: int, write: bool, writable: bool) -> None:
    world = World()
    inode = world.memory.new_inode("a file", kind, PAGE, disk_file(PAGE))
    mapped(world, USER_AREA, 1, RW if write else PROT_READ, flags | MAP_FIXED, inode)
    touch(world, USER_AREA, write=write)
    protect(world, 0, 1, PROT_READ | PROT_EXEC)
    protect(world, 0, 1, RW)
    assert bool(pte(world, USER_AREA) & x86.WRITABLE) is writable


@pytest.mark.parametrize(
    ("version", "written", "stays"), [((6, 1), False, True), ((6, 12), False, False), ((6, 12), True, True)]
)
def test_what_was_promised_and_never_used_is_given_back(version: tuple[int, int], written: bool, stays: bool) -> None:
    world = World(version)
    mapped(world, USER_AREA, 1)
    if written:
        touch(world, USER_AREA)
    assert protect(world, 0, 1, PROT_READ) == 0
    (vma,) = world.user.vmas
    assert bool(vma.flags & VmFlag.ACCOUNT) is stays


def test_locked_pages_become_own_pages_when_they_may_be_written() -> None:
    world = World()
    vma = mapped(world, USER_AREA, 2, PROT_READ)
    world.user.vmas.replace(vma, replace(vma, flags=vma.flags | VmFlag.LOCKED))
    touch(world, USER_AREA, write=False)
    heard: list[FaultFlag] = []
    world.memory.populated = lambda _mm, _address, flags, _results: heard.append(flags)
    assert protect(world, 0, 2, RW) == 0
    assert all(pte(world, USER_AREA + page * PAGE) & x86.WRITABLE for page in range(2))
    assert heard == [FaultFlag.WRITE] * 2, "mprotect() keeps the lock, so nothing may wait"
