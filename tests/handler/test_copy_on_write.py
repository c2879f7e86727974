"""Writes to pages that are there."""

from __future__ import annotations

from dataclasses import replace

from handler.world import World
from pagefault.arch import x86
from pagefault.arch.x86 import SOFT_DIRTY
from pagefault.handler.anonymous import SPECIAL, PteFault
from pagefault.handler.copy_on_write import access_flags, do_wp_page
from pagefault.vocabulary.effect import CopyFrame, FlushPage, TakeFrame, WriteEntry
from pagefault.vocabulary.outcome import Resolved
from pagefault.vocabulary.vma import Vma

P, RW, US, A, D, NX = (
    *(x86.PRESENT, x86.WRITABLE, x86.USER, x86.ACCESSED, x86.DIRTY),
    x86.EXECUTE_DISABLE,
)
AREA = Vma(0x5000, 0x9000)
FRAME, SLOT, OURS = 0x20000, 0x30018, 0x40000


def pte_fault(world: World, value: int, vma: Vma = AREA, *, write: bool = True) -> PteFault:
    return PteFault(0x6000, SLOT, value, write, vma, FRAME, world.context)


def test_the_page_of_zeros_is_copied() -> None:
    world = World()
    answer = do_wp_page(pte_fault(world, world.zero_page | P | US | A | SPECIAL | NX))
    assert answer.outcome == Resolved("zero page copied on write")
    assert answer.effects == (
        TakeFrame(FRAME),
        CopyFrame(world.zero_page, FRAME),
        WriteEntry("pte", SLOT, FRAME | P | RW | US | A | D | SOFT_DIRTY | NX, 0x6000),
        FlushPage(0x6000),
    )


def test_a_page_that_nobody_shares_is_taken_over() -> None:
    answer = do_wp_page(pte_fault(World(), OURS | P | US | NX))
    assert answer.outcome == Resolved("page reused")
    assert answer.effects == (
        WriteEntry("pte", SLOT, OURS | P | RW | US | A | D | SOFT_DIRTY | NX, 0x6000),
        FlushPage(0x6000),
    )


def test_ptrace_gives_no_right_to_write() -> None:
    answer = do_wp_page(pte_fault(World(), OURS | P | US, replace(AREA, write=False)))
    assert answer.effects[0] == WriteEntry("pte", SLOT, OURS | P | US | A | D | SOFT_DIRTY, 0x6000)


def test_access_flags() -> None:
    value = OURS | P | RW | US
    read, write = (access_flags(pte_fault(World(), value, write=write)) for write in (False, True))
    assert read.effects == (WriteEntry("pte", SLOT, value | A, 0x6000), FlushPage(0x6000))
    assert write.effects == (WriteEntry("pte", SLOT, value | A | D | SOFT_DIRTY, 0x6000), FlushPage(0x6000))
    assert read.outcome == write.outcome == Resolved("access flags updated")
