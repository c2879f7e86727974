"""Faults on the kernel's part of x86-32's address space, by two levels and by PAE, in every era."""

from __future__ import annotations

import pytest

from handler.world_32 import KERNEL_RW, STATES, World32, page_fault_32
from pagefault.handler import handle_page_fault
from pagefault.handler.kernel_address import vmalloc_fault
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.effect import WriteEntry
from pagefault.vocabulary.outcome import Oops, Resolved
from pagefault.vocabulary.walk import Mapped, NotPresent

P, W, U, RSVD = 1, 2, 4, 8
FAULTING, NOT_FAULTING = [(4, 19), (5, 7), (5, 9), (6, 1), (6, 12)], [(5, 8)]


@pytest.fixture(params=STATES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def with_vmalloc(mode: str, version: tuple[int, int] = (6, 1)) -> tuple[World32, int]:
    """The master table maps an address, in a pmd that the process's table lacks."""
    world = World32(mode, version)
    address = world.area.vmalloc_start + (8 << 20)
    world.tables.map(world.init_mm_root, address, 3 * PAGE, KERNEL_RW)
    return world, address


@pytest.mark.parametrize("version", FAULTING)
def test_the_pmd_is_copied_from_the_master_table(mode: str, version: tuple[int, int]) -> None:
    world, address = with_vmalloc(mode, version)
    assert isinstance(world.context.walk(address).end, NotPresent)
    decision = handle_page_fault(page_fault_32(address + 8, W), world.context)
    assert decision.outcome == Resolved("vmalloc entry copied from init_mm")
    value = world.ram.read_entry(world.slot(world.init_mm_root, address), world.entry_size) or 0
    level = {"two levels": "pgd", "PAE": "pmd"}[mode]
    slot = world.slot(world.mm.root, address)
    assert decision.effects == (WriteEntry(level, slot, value, address + 8, world.entry_size),)
    assert decision.trail[-1].function == "vmalloc_fault"
    world.apply(decision.effects)
    end = world.context.walk(address).end
    assert isinstance(end, Mapped)
    assert end.physical == 3 * PAGE


@pytest.mark.parametrize("version", NOT_FAULTING)
def test_in_5_8_nothing_was_copied_at_fault_time(mode: str, version: tuple[int, int]) -> None:
    world, address = with_vmalloc(mode, version)
    decision = handle_page_fault(page_fault_32(address, 0), world.context)
    assert isinstance(decision.outcome, Oops)
    assert "vmalloc_fault" not in [step.function for step in decision.trail]


@pytest.mark.parametrize("code", [P, P | W, U, RSVD | P])
def test_only_a_supervisor_s_access_to_nothing_qualifies(mode: str, code: int) -> None:
    world, address = with_vmalloc(mode)
    assert vmalloc_fault(page_fault_32(address, code), world.context) is None


def test_only_vmalloc_space_qualifies(mode: str) -> None:
    world = World32(mode)
    for address in (world.area.vmalloc_end, world.area.vmalloc_start - (16 << 20)):
        world.tables.map(world.init_mm_root, address, 3 * PAGE, KERNEL_RW)
        assert vmalloc_fault(page_fault_32(address, 0), world.context) is None, hex(address)


def test_what_the_master_table_lacks_is_an_oops(mode: str) -> None:
    world, address = with_vmalloc(mode)
    assert vmalloc_fault(page_fault_32(address + PAGE, 0), world.context) is None
    decision = handle_page_fault(page_fault_32(address + PAGE, 0), world.context)
    assert decision.outcome == Oops("unable to handle page fault")


def test_a_large_page_of_the_master_table_s_is_copied_whole(mode: str) -> None:
    world = World32(mode)
    size = 1 << world.tables.levels[-2].shift
    address = world.area.vmalloc_start + 2 * size & -size
    slot = world.slot(world.init_mm_root, address)
    world.ram.write_entry(slot, size | KERNEL_RW | 0x80, world.entry_size)
    decision = handle_page_fault(page_fault_32(address + 5, 0), world.context)
    assert isinstance(decision.outcome, Resolved)
    world.apply(decision.effects)
    end = world.context.walk(address + 5).end
    assert isinstance(end, Mapped)
    assert (end.physical, end.page_size) == (size + 5, size)


@pytest.mark.parametrize("write", [False, True])
def test_a_user_page_is_had_with_tables_of_this_shape(mode: str, write: bool) -> None:
    world = World32(mode)
    world.add(0x0804_8000, 4)
    decision = handle_page_fault(page_fault_32(0x0804_9123, W if write else 0), world.context)
    assert isinstance(decision.outcome, Resolved)
    world.apply(decision.effects)
    way = world.context.walk(0x0804_9123)
    assert isinstance(way.end, Mapped)
    assert way.end.writable is write
    assert way.end.user
    assert (way.end.physical & -PAGE == world.zero_page) is not write
    assert way.end.executable is (mode == "two levels"), "there is no NX without PAE"
    assert [entry.value & 0xFFF for entry in way.entries[:-1]] == ([1, 0x67] if mode == "PAE" else [0x67])


def test_a_null_pointer_of_the_kernel_s_is_an_oops(mode: str) -> None:
    decision = handle_page_fault(page_fault_32(0x10, 0), World32(mode).context)
    assert decision.outcome == Oops("kernel NULL pointer dereference")
