"""The page faults of a program, counted: by what was done for them, and by where they were."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from ..vocabulary.fault_record import FaultRecord
from .exception_table import shown
from .fault_lines import weight
from .maps_line import area
from .page import Line, Span, Table

MOST_ROWS = 10
"""Rows of a table, unless told otherwise."""
MOST_KEPT = 1 << 16
"""Places that are counted each by itself: a program may run, and fault, anywhere."""
NO_AREA = "no area"
OTHERS = "(others)"
Key = TypeVar("Key")


@dataclass(slots=True)
class FaultSummary:
    """
    Counts. `causes` is by (action, mode, "major", "minor" or ""), with numbers in an action written N; `areas` by the
    area's label; `symbols` by (mode, function), or the page of the code where there is no symbol.
    """

    total: int = 0
    kernel: int = 0
    major: int = 0
    minor: int = 0
    pids: set[int] = field(default_factory=set)
    causes: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    areas: Counter[str] = field(default_factory=Counter)
    symbols: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, record: FaultRecord) -> None:
        """Count one more."""
        mode, weighs = "kernel" if record.kernel else "user", weight(record)
        self.total += 1
        self.kernel += record.kernel
        self.major += weighs == "major"
        self.minor += weighs == "minor"
        self.pids.add(record.pid)
        self.causes[cause(record.action), mode, weighs] += 1
        where = area(record.vma)
        bounded(self.areas, where.label if where else NO_AREA, OTHERS)
        bounded(self.symbols, (mode, function(record)), (mode, OTHERS))


def summarize(records: Iterable[FaultRecord]) -> FaultSummary:
    """Count all of them."""
    summary = FaultSummary()
    for record in records:
        summary.add(record)
    return summary


def cause(action: str) -> str:
    """An action without what differs from one fault to the next."""
    return re.sub(r"\bN neighbour\b", "N neighbours", re.sub(r"\b\d+\b", "N", action)) or "nothing"


def function(record: FaultRecord) -> str:
    """The function that faulted, or the page of its code."""
    if not record.symbol:
        return f"{record.ip & ~0xFFF:#x}"
    return re.sub(r"\+0x[0-9a-f]+", "", record.symbol)


def bounded(counts: Counter[Key], key: Key, others: Key) -> None:
    """Count a key, or the others once there are very many."""
    counts[key if key in counts or len(counts) < MOST_KEPT else others] += 1


def told(summary: FaultSummary, most: int = MOST_ROWS) -> Iterator[Line | Table]:
    """Totals, and three tables with at most so many rows each."""
    processes = "" if len(summary.pids) < 2 else f" of {len(summary.pids):,} processes"
    modes = f"{summary.total - summary.kernel:,} in user mode, {summary.kernel:,} in kernel mode"
    yield (
        Span(f"{summary.total:,} page fault{'' if summary.total == 1 else 's'}{processes}", "title"),
        f": {modes}; {summary.minor:,} minor, {summary.major:,} major",
    )
    if summary.total:
        yield from table(summary, ("what was done", "mode", "counted as"), summary.causes.most_common(), most)
        yield from table(summary, ("area",), [((name,), count) for name, count in summary.areas.most_common()], most)
        yield from table(summary, ("mode", "function"), summary.symbols.most_common(), most)


def table(
    summary: FaultSummary, headings: tuple[str, ...], rows: Sequence[tuple[tuple[str, ...], int]], most: int
) -> Iterator[Line | Table]:
    """The first rows, with their shares; and how many there are below."""
    cells = [(f"{count:,}", f"{count / summary.total:.1%}", *map(shown, key)) for key, count in rows[:most]]
    yield ()
    yield Table(("faults", "share", *headings), cells, right=frozenset({0, 1}))
    if rest := rows[most:]:
        yield (f"and {len(rest):,} more, with {sum(count for _, count in rest):,} faults",)
