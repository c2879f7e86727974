"""First touches."""

from __future__ import annotations

from dataclasses import replace

import pytest

from handler.world import World
from pagefault.arch import x86
from pagefault.arch.x86 import SOFT_DIRTY
from pagefault.handler.anonymous import SPECIAL, PteFault, do_anonymous_page, own_page
from pagefault.vocabulary.effect import FlushPage, TakeFrame, WriteEntry, ZeroFrame
from pagefault.vocabulary.outcome import Resolved
from pagefault.vocabulary.vma import Vma

P, RW, US, A, D, NX = (
    *(x86.PRESENT, x86.WRITABLE, x86.USER, x86.ACCESSED, x86.DIRTY),
    x86.EXECUTE_DISABLE,
)
AREA = Vma(0x5000, 0x9000)
FRAME, SLOT = 0x20000, 0x30018


def pte_fault(world: World, vma: Vma = AREA, *, write: bool = True) -> PteFault:
    return PteFault(0x6000, SLOT, 0, write, vma, FRAME, world.context)


def test_a_read_gets_the_page_of_zeros_read_only() -> None:
    world = World()
    answer = do_anonymous_page(pte_fault(world, write=False))
    assert answer.outcome == Resolved("zero page mapped")
    assert answer.effects == (WriteEntry("pte", SLOT, world.zero_page | P | US | A | SPECIAL | NX, 0x6000),)


def test_a_write_gets_a_zeroed_page_of_its_own() -> None:
    answer = do_anonymous_page(pte_fault(World()))
    assert answer.outcome == Resolved("zeroed page of its own")
    assert answer.effects == (
        TakeFrame(FRAME),
        ZeroFrame(FRAME),
        WriteEntry("pte", SLOT, FRAME | P | RW | US | A | D | SOFT_DIRTY | NX, 0x6000),
        FlushPage(0x6000),
    )


@pytest.mark.parametrize(
    ("vma", "on", "off"),
    [
        (replace(AREA, execute=True), P | US | RW, NX),
        (replace(AREA, write=False), P | US | NX, RW),  # written by ptrace: no right to write for the program
        (replace(AREA, protection_key=5), 5 << 59 | RW, 10 << 59),
    ],
)
def test_the_pte_s_rights_are_the_vma_s(vma: Vma, on: int, off: int) -> None:
    value = own_page(pte_fault(World(), vma))
    assert value & on == on
    assert not value & off


def test_execute_disable_is_not_set_on_a_cpu_without_it() -> None:
    """It would be a reserved bit there."""
    world = World()
    world.cpu = replace(world.cpu, efer=world.cpu.efer & ~x86.EFER_NXE)
    assert not own_page(pte_fault(world)) & NX
