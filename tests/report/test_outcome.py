from __future__ import annotations

import pytest

from pagefault.report.outcome import consequences, handled_by, headline, type_words
from pagefault.scenes import Played
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


def test_types_show_their_operands_only() -> None:
    assert type_words(ExceptionEntry(0, 0, 0, 0, type="uaccess")) == "uaccess"
    entry = ExceptionEntry(0, 0, 0, 0, type="imm_reg", register="rax", immediate=-14, flags=("clear_dx",))
    assert type_words(entry) == "imm_reg(reg=rax, imm=-14, clear_dx)"
    assert type_words(ExceptionEntry(0, 0, 0, 0, type="imm_reg", register="rax")) == "imm_reg(reg=rax, imm=0)"


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
