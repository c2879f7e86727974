"""fork(): what both have, what neither may write, what is not copied, and running out of memory in the middle."""

from __future__ import annotations

from dataclasses import replace
from errno import ENOMEM

import pytest

from handler.world import USER_AREA, World
from mm.touching import mapped, pte, touch
from pagefault.arch import x86
from pagefault.handler.vmf import SPECIAL
from pagefault.memory.pages import PageFlag
from pagefault.memory.ram import FrameAllocator
from pagefault.mm.exit_mmap import exit_mmap
from pagefault.mm.fork import anon_vma_fork, dup_mmap, is_cow_mapping, vma_needs_copy
from pagefault.mm.mmap import MAP_ANONYMOUS, MAP_FIXED, MAP_SHARED
from pagefault.tables.address_space import AddressSpace
from pagefault.vocabulary.address import PAGE, PAGE_SHIFT
from pagefault.vocabulary.vma import MAY_ALL, Vma, VmFlag

SHARED = MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED
TWO_MIB = 2 << 20


def forked(world: World) -> AddressSpace:
    child = AddressSpace(world.frames.take())
    world.ram.fill(child.root, PAGE)
    world.memory.spaces.append(child)
    assert dup_mmap(world.memory, world.user, child) == 0
    return child


def entry(world: World, mm: AddressSpace, address: int) -> int:
    found = world.tables.entry(mm.root, address)
    return found.value if found is not None else 0


def counts(world: World, value: int) -> tuple[int, int]:
    number = (value & x86.PHYSICAL_MASK) >> PAGE_SHIFT
    return int(world.memory.pages.refcount[number]), int(world.memory.pages.mapcount[number])


def flagged(world: World, first: Vma, flags: VmFlag) -> None:
    world.user.vmas.replace(first, replace(first, flags=first.flags | flags))


def test_private_pages_are_shared_and_nobody_may_write_them() -> None:
    world = World()
    mapped(world, USER_AREA, 4)
    touch(world, USER_AREA)
    before = pte(world, USER_AREA)
    child = forked(world)
    mine, its = pte(world, USER_AREA), entry(world, child, USER_AREA)
    assert before & x86.WRITABLE
    assert mine == before & ~x86.WRITABLE
    # Not accessed by the child yet, but dirty: the content is nowhere else.
    assert its == mine & ~x86.ACCESSED
    assert its & x86.DIRTY
    assert counts(world, its) == (2, 2)
    assert not world.memory.pages.has(its & x86.PHYSICAL_MASK, PageFlag.EXCLUSIVE)
    assert world.flushes


def test_the_first_writer_copies_and_the_last_owner_keeps_the_page() -> None:
    world = World()
    mapped(world, USER_AREA, 1)
    touch(world, USER_AREA)
    child = forked(world)
    assert touch(world, USER_AREA) == "page copied on write"
    world.mm, parent = child, world.user
    assert touch(world, USER_AREA) == "page reused"
    assert counts(world, entry(world, child, USER_AREA)) == (1, 1)
    assert counts(world, entry(world, parent, USER_AREA)) == (1, 1)


def test_the_zero_page_is_copied_without_being_counted() -> None:
    world = World()
    mapped(world, USER_AREA, 2)
    touch(world, USER_AREA)
    touch(world, USER_AREA + PAGE, write=False)
    child = forked(world)
    its = entry(world, child, USER_AREA + PAGE)
    assert its & SPECIAL
    assert its & x86.PHYSICAL_MASK == world.zero_page
    assert counts(world, its) == (0, 0)


def test_tables_are_copied_only_where_there_is_a_private_page() -> None:
    world = World()
    mapped(world, USER_AREA, 2)
    touch(world, USER_AREA, write=False)
    mapped(world, USER_AREA + TWO_MIB, 2, flags=SHARED)
    touch(world, USER_AREA + TWO_MIB)
    child = forked(world)
    assert [entry(world, child, at) for at in (USER_AREA, USER_AREA + TWO_MIB)] == [0, 0]
    # Written by the parent, shared memory stays writable.
    assert pte(world, USER_AREA + TWO_MIB) & x86.WRITABLE


def test_whole_tables_are_copied_place_by_place() -> None:
    world = World(ram=2048 * PAGE)
    mapped(world, USER_AREA, 600)
    pages = [0, 1, 511, 512, 599]
    for page in pages:
        touch(world, USER_AREA + page * PAGE)
    child = forked(world)
    there = [page for page in range(600) if entry(world, child, USER_AREA + page * PAGE)]
    assert there == pages
    assert {page: entry(world, child, USER_AREA + page * PAGE) & x86.PHYSICAL_MASK for page in pages} == {
        page: pte(world, USER_AREA + page * PAGE) & x86.PHYSICAL_MASK for page in pages
    }


@pytest.mark.parametrize("flag", [VmFlag.DONTCOPY, VmFlag.WIPEONFORK])
def test_what_is_not_to_be_inherited(flag: VmFlag) -> None:
    world = World()
    area = mapped(world, USER_AREA, 2)
    touch(world, USER_AREA)
    area = next(iter(world.user.vmas))
    flagged(world, area, flag)
    child = forked(world)
    found = child.vmas.vma_lookup(USER_AREA)
    assert (found is None) == (flag is VmFlag.DONTCOPY)
    assert found is None or not found.anon_vma
    assert entry(world, child, USER_AREA) == 0
    assert pte(world, USER_AREA) & x86.WRITABLE


def test_locks_and_userfaults_are_not_inherited_and_each_area_gets_its_own_anon_vma() -> None:
    world = World()
    mapped(world, USER_AREA, 1)
    touch(world, USER_AREA)
    area = next(iter(world.user.vmas))
    flagged(world, area, VmFlag.LOCKED | VmFlag.LOCKONFAULT | VmFlag.UFFD_MISSING | VmFlag.NOHUGEPAGE)
    world.user.brk, world.user.def_flags = 0x1234, VmFlag.LOCKED | VmFlag.NOHUGEPAGE
    child = forked(world)
    (its,) = child.vmas
    assert its.flags == area.flags | VmFlag.NOHUGEPAGE
    assert its.anon_vma not in (0, area.anon_vma)
    assert (child.brk, child.def_flags) == (0x1234, VmFlag.NOHUGEPAGE)
    assert not anon_vma_fork(world.memory, Vma(0, PAGE))


def test_which_areas_need_their_tables_copied() -> None:
    assert vma_needs_copy(Vma(0, PAGE, anon_vma=1))
    assert vma_needs_copy(Vma(0, PAGE, flags=MAY_ALL | VmFlag.PFNMAP))
    assert not vma_needs_copy(Vma(0, PAGE))
    assert is_cow_mapping(Vma(0, PAGE))
    assert not is_cow_mapping(Vma(0, PAGE, shared=True))
    assert not is_cow_mapping(Vma(0, PAGE, flags=VmFlag.MAYREAD))


def test_out_of_memory_in_the_middle_leaves_nothing_behind() -> None:
    world = World(ram=2048 * PAGE)
    for place in range(8):
        mapped(world, USER_AREA + place * TWO_MIB, 1)
        touch(world, USER_AREA + place * TWO_MIB)
    child = AddressSpace(world.frames.take())
    world.ram.fill(child.root, PAGE)
    world.memory.spaces.append(child)
    world.frames = FrameAllocator(1900 * PAGE, 1908 * PAGE)
    assert dup_mmap(world.memory, world.user, child) == -ENOMEM
    exit_mmap(world.memory, child)
    assert world.frames.free == 8
    for place in range(8):
        assert counts(world, pte(world, USER_AREA + place * TWO_MIB)) == (1, 1)
