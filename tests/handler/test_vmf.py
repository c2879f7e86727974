"""The way down to an entry, the plan that grows on it, and the rights that an entry gets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from handler.world import USER_AREA, World, vmf_of
from handler.world_32 import STATES, World32
from pagefault.arch import x86
from pagefault.handler.vmf import PAGE_NONE, Plan, dirty_bits, page_protection, wants_writenotify, write_bit
from pagefault.memory.ram import FrameAllocator
from pagefault.tables.inode import FileSystem
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.effect import FlushPage, TakeFrame, WriteEntry, ZeroFrame
from pagefault.vocabulary.vm_fault import FaultFlag
from pagefault.vocabulary.vma import MAY_ALL, Vma, VmFlag

P, RW, US, A, NX = x86.PRESENT, x86.WRITABLE, x86.USER, x86.ACCESSED, x86.EXECUTE_DISABLE


def test_a_plan_looks_frames_up_and_takes_none() -> None:
    world = World()
    plan, free = Plan(world.context), world.frames.free
    assert (plan.frame("pte table"), plan.frame()) == (expected := world.frames.peek(2))
    assert plan.effects == [TakeFrame(expected[0], "pte table"), TakeFrame(expected[1], "page")]
    assert (world.frames.free, plan.needed, plan.out_of_frames) == (free, 2, False)


def test_a_plan_without_frames_says_so_and_how_many_it_needed() -> None:
    world = World()
    world.frames = FrameAllocator(PAGE, 2 * PAGE)
    plan = Plan(world.context)
    assert (plan.frame(), plan.frame(), plan.frame()) == (PAGE, 0, 0)
    assert (plan.needed, plan.out_of_frames) == (3, True)
    assert plan.effects == [TakeFrame(PAGE, "page")]


def test_effects_are_in_order() -> None:
    plan = Plan(World().context)
    plan.do(ZeroFrame(0), FlushPage(PAGE))
    plan.do(ZeroFrame(PAGE))
    assert plan.effects == [ZeroFrame(0), FlushPage(PAGE), ZeroFrame(PAGE)]


@pytest.mark.parametrize("level", ["pgd", "pud", "pmd", "pte"])
def test_the_way_down_makes_what_is_missing_above_the_level(level: str) -> None:
    world = World()
    vmf = vmf_of(world, world.area(), USER_AREA + PAGE)
    vmf.down_to(level)
    above = ["pgd", "pud", "pmd", "pte"].index(level)
    assert (vmf.level, vmf.value, vmf.plan.needed) == (level, 0, above)
    world.apply(tuple(vmf.plan.effects))
    assert vmf.slot == world.tables.entry_slot(world.user.root, USER_AREA + PAGE, level)
    again = vmf_of(world, world.area(), USER_AREA + PAGE)
    again.down_to(level)
    assert (again.slot, again.plan.effects) == (vmf.slot, [])


def test_the_way_down_reads_the_entry() -> None:
    world = World()
    world.tables.map(world.user.root, USER_AREA, 3 * PAGE, P | US)
    vmf = vmf_of(world, world.area(), USER_AREA + 0x123)
    vmf.down_to("pte")
    assert (vmf.value, vmf.frame, vmf.address) == (3 * PAGE | P | US, 3 * PAGE, USER_AREA)


def test_the_way_down_ends_at_a_large_page() -> None:
    world = World()
    world.tables.map_range(world.user.root, 0x4000_0000, 0x20_0000, 0x20_0000, P | US)
    vmf = vmf_of(world, world.area(0x4000_0000), 0x4000_3000)
    vmf.down_to("pte")
    assert (vmf.level, vmf.value & ~0xFFF, vmf.plan.effects) == ("pmd", 0x20_0000, [])


@pytest.mark.parametrize("mode", STATES)
def test_entries_have_the_architecture_s_size(mode: str) -> None:
    world = World32(mode)
    world.add(USER_AREA, 1)
    (vma,) = world.mm.vmas
    vmf = vmf_of(world, vma, USER_AREA)
    vmf.down_to("pte")
    vmf.set(0x123)
    entries = [effect for effect in vmf.plan.effects if isinstance(effect, WriteEntry)]
    assert {entry.size for entry in entries} == {world.entry_size}
    assert entries[-1] == WriteEntry("pte", vmf.slot, 0x123, USER_AREA, world.entry_size)


def test_what_is_asked_of_a_fault() -> None:
    vma = Vma(0x5000, 0x9000, pgoff=100)
    vmf = vmf_of(World(), vma, 0x7ABC, FaultFlag.WRITE)
    assert (vmf.write, vmf.index) == (True, 102)
    assert not vmf_of(World(), vma, 0x7ABC, FaultFlag.USER).write
    vmf.flush()
    assert vmf.plan.effects == [FlushPage(0x7000)]


def vma_of(world: World, kind: FileSystem | None, **rights: bool | int) -> Vma:
    vma = Vma(0x5000, 0x9000, **rights)  # type: ignore[arg-type]
    return replace(vma, inode=world.memory.new_inode("a file", kind, PAGE).number) if kind else vma


@pytest.mark.parametrize(
    ("kind", "rights", "expected"),
    [
        (None, {}, P | US | A | NX),
        (None, {"execute": True}, P | US | A),
        (None, {"write": False}, P | US | A | NX),
        (None, {"read": False, "write": False, "execute": True}, P | US | A),
        (None, {"protection_key": 9}, P | US | A | NX | 9 << 59),
        (None, {"read": False, "write": False}, PAGE_NONE | A),
        (None, {"read": False, "write": False, "protection_key": 9}, PAGE_NONE | A | 9 << 59),
        (FileSystem.SHMEM, {}, P | US | A | NX),
        (FileSystem.SHMEM, {"shared": True}, P | US | A | NX | RW),
        (FileSystem.SHMEM, {"shared": True, "write": False}, P | US | A | NX),
        (FileSystem.DISK, {"shared": True}, P | US | A | NX),
    ],
)
def test_the_bits_of_an_area(kind: FileSystem | None, rights: dict[str, bool | int], expected: int) -> None:
    world = World()
    assert page_protection(vma_of(world, kind, **rights), world.context) == expected


def test_two_levels_have_no_execute_disable() -> None:
    assert page_protection(Vma(0x5000, 0x9000), World32("two levels").context) == P | US | A
    assert page_protection(Vma(0x5000, 0x9000), World32("PAE").context) == P | US | A | NX


@pytest.mark.parametrize(
    ("kind", "rights", "wants"),
    [
        (FileSystem.DISK, {"shared": True}, True),
        (FileSystem.DISK, {"shared": True, "write": False}, False),
        (FileSystem.DISK, {}, False),
        (FileSystem.SHMEM, {"shared": True}, False),
        (None, {"shared": True, "flags": MAY_ALL | VmFlag.PFNMAP}, False),
    ],
)
def test_who_wants_to_know_of_the_first_write(
    kind: FileSystem | None, rights: dict[str, bool | int], wants: bool
) -> None:
    world = World()
    assert wants_writenotify(vma_of(world, kind, **rights), world.context) is wants


def test_bits_of_a_written_page() -> None:
    assert write_bit(Vma(0x5000, 0x9000)) == RW
    assert write_bit(Vma(0x5000, 0x9000, write=False)) == 0
    assert dirty_bits(World().context) == x86.DIRTY | x86.SOFT_DIRTY
    assert dirty_bits(World32("PAE").context) == x86.DIRTY
