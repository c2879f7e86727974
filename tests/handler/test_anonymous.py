"""First touches."""

from __future__ import annotations

from dataclasses import replace

import pytest

from handler.world import World, vmf_of
from pagefault.arch import x86
from pagefault.arch.x86 import SOFT_DIRTY
from pagefault.handler.anonymous import do_anonymous_page, own_page, prepare_anon_vma
from pagefault.handler.decision import Answer
from pagefault.handler.vmf import SPECIAL, Vmf
from pagefault.vocabulary.effect import Effect, NewAnonPage, PrepareAnonVma, TakeFrame, WriteEntry, ZeroFrame
from pagefault.vocabulary.outcome import Resolved
from pagefault.vocabulary.vm_fault import FaultFlag
from pagefault.vocabulary.vma import Vma

P, RW, US, A, D, NX = (
    *(x86.PRESENT, x86.WRITABLE, x86.USER, x86.ACCESSED, x86.DIRTY),
    x86.EXECUTE_DISABLE,
)
AREA = Vma(0x5000, 0x9000, pgoff=0x105)
SLOT = 0x30018


def vmf(world: World, vma: Vma = AREA, *, write: bool = True) -> Vmf:
    return vmf_of(world, vma, 0x6000, FaultFlag.WRITE if write else FaultFlag(0), slot=SLOT)


def touched(world: World, vma: Vma = AREA, *, write: bool = True) -> tuple[Answer, tuple[Effect, ...]]:
    fault = vmf(world, vma, write=write)
    return do_anonymous_page(fault), tuple(fault.plan.effects)


def test_a_read_gets_the_page_of_zeros_read_only() -> None:
    world = World()
    answer, effects = touched(world, write=False)
    assert answer.outcome == Resolved("zero page mapped")
    assert effects == (WriteEntry("pte", SLOT, world.zero_page | P | US | A | SPECIAL | NX, 0x6000),)


def test_a_write_gets_a_zeroed_page_of_its_own() -> None:
    world = World()
    (frame,) = world.frames.peek(1)
    answer, effects = touched(world)
    assert answer.outcome == Resolved("zeroed page of its own")
    assert effects == (
        PrepareAnonVma(0x6000),
        TakeFrame(frame),
        ZeroFrame(frame),
        NewAnonPage(frame, 0x106),
        WriteEntry("pte", SLOT, frame | P | RW | US | A | D | SOFT_DIRTY | NX, 0x6000),
    )


def test_an_anon_vma_is_prepared_once() -> None:
    fault = vmf(World(), replace(AREA, anon_vma=3))
    prepare_anon_vma(fault)
    assert fault.plan.effects == []


def test_what_ptrace_writes_into_a_read_only_area_is_clean_and_read_only() -> None:
    _, effects = touched(World(), replace(AREA, write=False))
    (entry,) = (effect for effect in effects if isinstance(effect, WriteEntry))
    assert entry.value & 0xFFF == P | US | A


@pytest.mark.parametrize(
    ("vma", "on", "off"),
    [
        (replace(AREA, execute=True), P | US | RW, NX),
        (replace(AREA, write=False), P | US | NX, RW),  # written by ptrace: no right to write for the program
        (replace(AREA, protection_key=5), 5 << 59 | RW, 10 << 59),
    ],
)
def test_the_pte_s_rights_are_the_vma_s(vma: Vma, on: int, off: int) -> None:
    value = own_page(vmf(World(), vma), 0x20000)
    assert value & on == on
    assert not value & off


def test_execute_disable_is_not_set_on_a_cpu_without_it() -> None:
    """It would be a reserved bit there."""
    world = World()
    world.cpu = replace(world.cpu, efer=world.cpu.efer & ~x86.EFER_NXE)
    assert not own_page(vmf(world), 0x20000) & NX
