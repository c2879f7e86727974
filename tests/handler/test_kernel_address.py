"""Faults on the kernel's half: each question's yes and its noes, in both eras."""

from __future__ import annotations

import pytest

from handler.world import AREA, DATA_PAGE, RO_PAGE, TEXT, World, page_fault
from pagefault.arch import x86
from pagefault.handler.decision import BadArea
from pagefault.handler.kernel_address import (
    DO_KERN_ADDR_FAULT,
    bad_kernel_address,
    spurious_kernel_fault,
    vmalloc_fault,
)
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.effect import WriteEntry
from pagefault.vocabulary.outcome import Resolved, Spurious
from pagefault.vocabulary.walk import Mapped

VMALLOC = AREA.vmalloc_start + 0x5000
P, W, U, RSVD, I, PK = 1, 2, 4, 8, 16, 32  # noqa: E741 -- I is the manual's letter for a fetch
NX = x86.EXECUTE_DISABLE


def with_vmalloc(version: tuple[int, int], address: int = VMALLOC) -> World:
    """The master table maps `address`; the process's table was made before that."""
    world = World(version)
    world.tables.map(world.init_mm_root, address, 3 * PAGE, 0x163 | NX)
    return world


def test_vmalloc_faulting_copies_the_top_level_entry() -> None:
    world = with_vmalloc((5, 7))
    fault = page_fault(VMALLOC + 8, W)
    answer = vmalloc_fault(fault, world.context)
    assert answer is not None
    index = VMALLOC >> 39 & 511
    master = world.ram.read_u64(world.init_mm_root + index * 8)
    assert answer.effects == (WriteEntry("pgd", world.user.root + index * 8, master or 0, VMALLOC + 8),)
    assert answer.outcome == Resolved("vmalloc entry copied from init_mm")
    world.apply(answer.effects)
    end = world.context.walk(VMALLOC).end
    assert isinstance(end, Mapped)
    assert end.physical == 3 * PAGE
    assert vmalloc_fault(fault, world.context) is None, (
        "the second time our entry is there: not this function's business"
    )


@pytest.mark.parametrize("version", [(5, 8), (5, 10), (6, 1), (6, 12)])
def test_vmalloc_faulting_is_gone_since_5_8(version: tuple[int, int]) -> None:
    assert vmalloc_fault(page_fault(VMALLOC, 0), with_vmalloc(version).context) is None


@pytest.mark.parametrize("code", [P, P | W, U, RSVD | P])
def test_only_a_supervisor_s_access_to_nothing_qualifies(code: int) -> None:
    assert vmalloc_fault(page_fault(VMALLOC, code), with_vmalloc((5, 7)).context) is None


@pytest.mark.parametrize("address", [AREA.vmalloc_start - PAGE, AREA.vmalloc_end, AREA.vmemmap, TEXT + (64 << 20)])
def test_only_vmalloc_space_qualifies(address: int) -> None:
    world = with_vmalloc((5, 7), address)
    assert vmalloc_fault(page_fault(address, 0), world.context) is None


def test_what_the_master_table_lacks_cannot_be_copied() -> None:
    world = with_vmalloc((5, 7))
    assert vmalloc_fault(page_fault(VMALLOC + PAGE, 0), world.context) is None


@pytest.mark.parametrize(
    ("address", "code"),
    [(DATA_PAGE, P | W), (TEXT, P | I)],
)
def test_a_stale_translation_is_spurious(address: int, code: int) -> None:
    answer = spurious_kernel_fault(page_fault(address, code), World().context)
    assert answer is not None
    assert answer.outcome == Spurious()
    assert answer.effects == (), "the fault itself made the CPU drop its translation"


@pytest.mark.parametrize(
    ("address", "code"),
    [
        (RO_PAGE, P | W),  # the table does not permit it
        (TEXT, P | W),
        (DATA_PAGE, P | I),
        (DATA_PAGE, P),  # a read
        (DATA_PAGE, W),  # not present
        (DATA_PAGE, P | W | U),
        (DATA_PAGE, P | W | RSVD),
        (DATA_PAGE, P | W | PK),
        (DATA_PAGE, P | W | I),
        (DATA_PAGE + (1 << 30), P | W),  # not mapped at all
    ],
)
def test_what_is_not_spurious(address: int, code: int) -> None:
    assert spurious_kernel_fault(page_fault(address, code), World().context) is None


def test_the_pmd_above_a_pte_is_asked_too() -> None:
    world = World()
    pmd = world.context.init_mm_walk(DATA_PAGE).entries[-2]
    assert pmd.level == "pmd"
    world.ram.write_u64(pmd.physical, pmd.value & ~x86.WRITABLE)
    assert spurious_kernel_fault(page_fault(DATA_PAGE, P | W), world.context) is None
    world.ram.write_u64(pmd.physical, pmd.value | NX)
    assert spurious_kernel_fault(page_fault(TEXT, P | I), world.context) is not None, "another pmd"


def test_the_master_table_is_asked_not_ours() -> None:
    """The kernel looks in init_mm: here ours still says read-only."""
    world = World()
    ours = world.context.walk(DATA_PAGE).entries[0]
    world.ram.write_u64(ours.physical, 0)
    assert spurious_kernel_fault(page_fault(DATA_PAGE, P | W), world.context) is not None


def test_large_kernel_pages_are_asked_at_their_own_level() -> None:
    world = World()
    address = AREA.page_offset + (4 << 30)
    world.tables.map_range(world.init_mm_root, address, 2 << 20, 2 << 20, 0x163 | NX)
    assert spurious_kernel_fault(page_fault(address + 0x1234, P | W), world.context) is not None
    assert spurious_kernel_fault(page_fault(address + 0x1234, P | I), world.context) is None


def test_everything_else_is_a_bad_area() -> None:
    answer = bad_kernel_address(page_fault(DATA_PAGE, 0), World().context)
    assert answer is not None
    assert answer.outcome == BadArea("SEGV_MAPERR")


def test_the_kernel_s_order() -> None:
    assert (vmalloc_fault, spurious_kernel_fault, bad_kernel_address) == DO_KERN_ADDR_FAULT
