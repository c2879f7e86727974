"""Where the entries are, to read: by handler type, table, section, subsystem and function, with bars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..survey.summary import Count, Summary
from .exception_table import count, shown
from .page import PIPE_WIDTH, Line, Span
from .picture import bars

MOST_ROWS = 20
GROUPS = {"source": "by folder of the source", "module": "by module"}
"""What the subsystems are; sections have a list of their own."""


def told(summary: Summary, width: int | None) -> Iterator[Line]:
    """All counts, as bars in `width` columns (None: a pipe's). A list with one row says nothing, but for the types."""
    total = summary.total
    where = count(len(summary.functions), "function", "functions")
    yield (f"{count(total.entries, 'entry', 'entries')} in {where}; {total.user:,} may be for user memory",)
    yield from rows("by handler type", summary.types, width)
    for title, counts in (("by table", summary.tables), ("by section", summary.sections)):
        if len(counts) > 1:
            yield from rows(title, counts, width)
    if summary.grouped_by in GROUPS:
        subsystems = [Count(each.name, each.entries, each.user) for each in summary.subsystems]
        yield from rows(GROUPS[summary.grouped_by], subsystems, width)
    yield from rows("by function", summary.functions, width)


def rows(title: str, counts: Sequence[Count], width: int | None) -> Iterator[Line]:
    """One list, its largest rows."""
    yield ()
    yield (Span(title, "title"),)
    yield from bars([(shown(each.name), each.entries) for each in counts[:MOST_ROWS]], width or PIPE_WIDTH)
    rest = counts[MOST_ROWS:]
    if rest:
        yield (f"and {len(rest):,} more, with {count(sum(each.entries for each in rest), 'entry', 'entries')}",)
