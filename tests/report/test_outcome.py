from __future__ import annotations

import pytest

from pagefault.arch.x86 import CpuState
from pagefault.report.outcome import consequences, effect_words, handled_by, headline, register_value, type_words
from pagefault.scenes import Played
from pagefault.vocabulary.effect import (
    CopyFrame,
    Effect,
    FlushPage,
    GrowStack,
    ResetFpu,
    SetRegister,
    TakeFrame,
    Warn,
    WriteEntry,
    ZeroFrame,
)
from pagefault.vocabulary.exception_entry import ExceptionEntry
from pagefault.vocabulary.outcome import FixedUp, Oops, Outcome, OutOfMemory, Resolved, Retry, Signal, Spurious

ENTRY = ExceptionEntry(7, 0x1000, 0x2000, 0x3000, type="ucopy_len", register="rdx", immediate=8)


@pytest.mark.parametrize(
    ("outcome", "words", "style"),
    [
        (Resolved("zero page mapped"), "resolved: zero page mapped", "good"),
        (Spurious(), "spurious: the tables permit it", "good"),
        (FixedUp(ENTRY, 0x3000), "fixed up: entry 7, type ucopy_len(reg=rdx, imm=8)", "good"),
        (Signal("SIGSEGV", "SEGV_MAPERR", 0x10), "signal SIGSEGV (SEGV_MAPERR)", "bad"),
        (Oops("SMAP violation"), "oops: SMAP violation", "bad"),
        (Retry("the lock was dropped"), "retry: the lock was dropped", "good"),
        (OutOfMemory(3), "out of memory: 3 frames needed", "bad"),
    ],
)
def test_headlines(outcome: Outcome, words: str, style: str) -> None:
    assert headline(outcome) == (words, style)


@pytest.mark.parametrize(
    ("effect", "words"),
    [
        (TakeFrame(0x5000, "pte table"), "take the free frame 0x5000 for a pte table"),
        (ZeroFrame(0x5000), "fill 0x5000 with zeros"),
        (CopyFrame(0x1000, 0x5000), "copy the page at 0x1000 to 0x5000"),
        (WriteEntry("pte", 0x5FF8, 0x7067, 0), "write pte[511] at 0x5ff8 := 0x7067 -> USR RW ACC DRT x"),
        (FlushPage(0x1234), "flush 0x1000 from the TLB"),
        (GrowStack(0x9000, 0x4000), "grow the stack's area down from 0x9000 to 0x4000"),
        (SetRegister("rcx", 24), "rcx := 0x18 (24)"),
        (ResetFpu(), "put the FPU into its initial state"),
        (Warn("General protection fault"), "warn: General protection fault"),
    ],
)
def test_effects(effect: Effect, words: str) -> None:
    assert effect_words(effect, CpuState()) == words


def test_types_show_their_operands_only() -> None:
    assert type_words(ExceptionEntry(0, 0, 0, 0, type="uaccess")) == "uaccess"
    entry = ExceptionEntry(0, 0, 0, 0, type="imm_reg", register="rax", immediate=-14, flags=("clear_dx",))
    assert type_words(entry) == "imm_reg(reg=rax, imm=-14, clear_dx)"
    assert type_words(ExceptionEntry(0, 0, 0, 0, type="imm_reg", register="rax")) == "imm_reg(reg=rax, imm=0)"


@pytest.mark.parametrize(
    ("value", "words"),
    [((1 << 64) - 14, "0xfffffffffffffff2 (-EFAULT)"), (24, "0x18 (24)"), (3, "0x3"), (1 << 40, "0x10000000000")],
)
def test_register_values(value: int, words: str) -> None:
    assert register_value(value) == words


@pytest.mark.parametrize(
    ("scene", "act", "who"),
    [
        ("null-read", 0, "nobody"),
        ("copy-from-user", 0, "exception table (uaccess)"),
        ("demand-paging", 0, "demand paging"),
        ("spurious", 0, "spurious_kernel_fault()"),
        ("vmalloc-other", 0, "vmalloc_fault()"),
    ],
)
def test_who_handled_it(played: dict[str, Played], scene: str, act: int, who: str) -> None:
    assert handled_by(played[scene].acts[act].result.events[0]) == who


def test_consequences_end_with_where_it_goes_on(played: dict[str, Played]) -> None:
    symbols = played["null-read"].machine.symbols
    ends = {
        name: consequences(played[name].acts[0].result.events[-1], symbols)[-1]
        for name in ("copy-from-user", "demand-paging", "null-read")
    }
    assert ends["copy-from-user"].startswith("execution goes on at ")
    assert ends["demand-paging"].endswith("is restarted")
    assert ends["null-read"].startswith("null-read (pid ")
