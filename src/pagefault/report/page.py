"""
What a report is made of, lines and tables, and how it gets out: with colour and drawn tables to a terminal, as plain
aligned text to a pipe.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TextIO

import click

PIPE_WIDTH = 100
"""Columns that a report in a pipe stays within."""
WIDEST = 40
"""Columns of a table in a pipe are padded to at most this."""
NARROWEST = 24
"""Text is not wrapped to less than this."""
STYLES: dict[str, dict[str, Any]] = {
    "title": {"bold": True, "fg": "cyan"},
    "strong": {"bold": True},
    "quiet": {"dim": True},
    "code": {"fg": "yellow"},
    "good": {"fg": "green"},
    "bad": {"fg": "red", "bold": True},
}


class Span(NamedTuple):
    """A piece of a line, and a name in STYLES."""

    text: str
    style: str


Line = tuple[str | Span, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Column headings and rows of cells; `right` are the columns whose cells are numbers."""

    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    right: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Page:
    """Where a report goes: is it a terminal, may it have colours, how wide is it? No `file` is standard output."""

    terminal: bool
    colour: bool
    width: int
    file: TextIO | None = None

    @classmethod
    def of_stdout(cls) -> Page:
        """The page that standard output is."""
        return cls.of(sys.stdout)

    @classmethod
    def of(cls, file: TextIO) -> Page:
        """The page that a file is. NO_COLOR (https://no-color.org) and a dumb terminal forbid colours."""
        terminal = file.isatty()
        colour = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        return cls(terminal, colour, terminal_width() if terminal else PIPE_WIDTH, file)

    def write(self, *items: Line | Table) -> None:
        """Write lines and tables, in order."""
        for item in items:
            if isinstance(item, Table):
                self._table(item)
            else:
                click.echo(self.styled(item), file=self.file, color=self.colour)

    def styled(self, line: Line) -> str:
        """The line as text, with terminal codes if there is to be colour."""
        parts = (part if isinstance(part, str) else self._span(part) for part in line)
        return "".join(parts).rstrip()

    def _span(self, span: Span) -> str:
        return click.style(span.text, **STYLES[span.style]) if self.colour else span.text

    def _table(self, table: Table) -> None:
        if not self.terminal:
            for text in aligned(table):
                click.echo(text, file=self.file)
            return
        import rich.box
        import rich.console
        import rich.table
        import rich.text

        drawn = rich.table.Table(box=rich.box.ROUNDED)
        widths = column_widths(table, self.width - 3 * len(table.headings) - 1)
        for index, (heading, width) in enumerate(zip(table.headings, widths, strict=True)):
            justify: Literal["right", "left"] = "right" if index in table.right else "left"
            drawn.add_column(heading, justify=justify, overflow="fold", width=width)
        for row in table.rows:
            drawn.add_row(*map(rich.text.Text, row))
        system: Literal["auto"] | None = "auto" if self.colour else None
        file = self.file or sys.stdout
        console = rich.console.Console(file=file, color_system=system, width=self.width, highlight=False)
        console.print(drawn)


def column_widths(table: Table, room: int) -> list[int]:
    """
    Widths at which no word of a table is split: each column has at least its longest word, and what is left of `room`
    goes to those that lack most. If the words alone are too wide, the widest columns split theirs.
    """
    columns = list(zip(table.headings, *table.rows, strict=True))
    natural = [max(map(len, column)) for column in columns]
    widths = [max(len(word) for cell in column for word in cell.split() or [""]) for column in columns]
    while sum(widths) > room > len(widths):
        widths[widths.index(max(widths))] -= 1
    for _ in range(min(room, sum(natural)) - sum(widths)):
        lacking = [full - width for full, width in zip(natural, widths, strict=True)]
        widths[lacking.index(max(lacking))] += 1
    return widths


def terminal_width() -> int:
    """Columns of the terminal, within reason."""
    return max(60, min(shutil.get_terminal_size().columns, 200))


def aligned(table: Table) -> Iterator[str]:
    """The table as text: columns two spaces apart, each as wide as its widest cell; a few very wide cells stick out."""
    rows = [table.headings, *table.rows]
    widths = [min(WIDEST, max(len(row[index]) for row in rows)) for index in range(len(table.headings))]
    room = PIPE_WIDTH - sum(width + 2 for width in widths[:-1])
    for row in rows:
        *cells, last = (
            cell.rjust(width) if index in table.right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        first, *more = wrapped(last.rstrip(), room) if last.strip() and len(last) > room >= NARROWEST else [last]
        yield "  ".join((*cells, first)).rstrip()
        for text in more:
            yield " " * (PIPE_WIDTH - room) + text


def prose(text: str, indent: int = 0, width: int = PIPE_WIDTH) -> Iterator[Line]:
    """Sentences as lines no wider than `width`."""
    for text_line in wrapped(text, width - indent):
        yield (" " * indent + text_line,)


def wrapped(text: str, width: int) -> list[str]:
    """Text in lines no wider than `width`, broken at spaces only."""
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def folded(line: Line, width: int = PIPE_WIDTH) -> Iterator[Line]:
    """A line as it is if it fits; else its last part is wrapped, each piece under the first."""
    *parts, last = line or ("",)
    before = sum(len(part if isinstance(part, str) else part.text) for part in parts)
    text = last if isinstance(last, str) else last.text
    if before + len(text) <= width or width - before < NARROWEST:
        yield line
        return
    for piece in wrapped(text, width - before):
        yield (*parts, piece if isinstance(last, str) else Span(piece, last.style))
        parts = [" " * before]


def plain(items: Iterable[Line]) -> str:
    """Lines as they look in a pipe."""
    page = Page(terminal=False, colour=False, width=PIPE_WIDTH)
    return "\n".join(page.styled(item) for item in items)
