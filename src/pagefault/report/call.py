"""One call: what was laid out for it, its faults in a line each, and how it ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from ..arch.architectures import architecture_with
from ..machine.event import CallResult
from ..tables.symbols import SymbolTable
from ..vocabulary.effect import Warn
from .explain import TOLD_IN_FULL, call_text, end_line
from .fault_story import access_words
from .kernel_words import kernel_words
from .outcome import handled_by
from .page import Line, Span, Table
from .returned import signed

TOLD = 40
"""Faults listed at most."""


def call_summary(result: CallResult, symbols: SymbolTable, log: Sequence[str] = ()) -> Iterator[Line | Table]:
    """The call, a table of its faults, the kernel's warnings (`log`), its own lines about an oops, and its end."""
    yield (Span(call_text(result), "code"),)
    if result.events:
        yield ()
        yield faults(result, symbols)
        if len(result.events) > TOLD:
            yield (f"and {len(result.events) - TOLD} faults more",)
        yield ()
    if log:
        yield from (*warnings(log), ())
    if oops := kernel_words(result):
        yield from ((line,) for line in (*oops, ""))
    yield end_line(result, symbols)


def faults(result: CallResult, symbols: SymbolTable) -> Table:
    """A row for each fault."""
    rows = [
        (
            str(number),
            symbols.format(event.fault.ip),
            f"{access_words(event.access)} {event.access.address:#x}" if event.access else "no memory",
            handled_by(event),
        )
        for number, event in enumerate(result.events[:TOLD], 1)
    ]
    return Table(("fault", "at", "access", "handled by"), rows, right=frozenset({0}))


def registers(values: dict[str, int]) -> Table:
    """The general registers after the call."""
    form = architecture_with(values)
    rows = [(name, f"{values[name]:#x}", str(signed(values[name], form.bits))) for name in form.general_registers]
    return Table(("register", "value", "signed"), rows, right=frozenset({1, 2}))


def warnings(log: Iterable[str], result: CallResult | None = None) -> Iterator[Line]:
    """What the kernel warned of, with a count if it did so repeatedly; not what the story of `result` tells anyway."""
    told = {
        effect.text
        for event in (result.events[:TOLD_IN_FULL] if result else ())
        for effect in event.decision.effects
        if isinstance(effect, Warn)
    }
    for text, count in Counter(log).items():
        if text not in told:
            times = f" ({count} times)" if count > 1 else ""
            yield ("the kernel warned: ", Span(text + times, "bad"))


def memory_table(regions: Sequence[tuple[str, str, int, int]]) -> Table:
    """What was laid out: (name, kind with rights and options, address, size) of each region."""
    rows = [(name, kind, f"{start:#x}", f"{start + size:#x}", str(size)) for name, kind, start, size in regions]
    return Table(("region", "kind", "start", "end", "bytes"), rows, right=frozenset({2, 3, 4}))
