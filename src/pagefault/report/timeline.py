"""
Which pages of the address space faulted when: a grid of pages over time, without what lies between the areas.

    touched = timeline(records, columns=120, rows=40)
    for band in touched.bands: …          # runs of pages, from the lowest address up; `cells` has the kinds of faults

The terminal's picture is made here, the SVG in `timeline_picture`.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..vocabulary.address import PAGE_SHIFT
from ..vocabulary.fault_record import FaultRecord
from .exception_table import shown
from .fault_lines import FAILED
from .maps_line import area

if TYPE_CHECKING:
    from rich.text import Text

    from .page import Page

Pages = npt.NDArray[np.int64]
Cells = npt.NDArray[np.uint8]
MOST_BANDS = 24
"""Beyond that, the smallest gaps are left in."""
WIDE_GAP = 1 << 10
"""Pages without a fault that are cut out even inside an area."""
HUGE = 512
"""Pages in one huge page (2 MiB)."""
NO_AREA = "no area"
MARGIN = 19
"""Columns of an address and the bar behind it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a handler does, as far as the picture tells it apart: by a word of the action."""

    name: str
    words: tuple[str, ...]
    letter: str
    colour: str


KINDS = (
    Kind("something else", (), "?", "#8c959f"),
    Kind("mapped from the page cache", ("mapped", "page cache"), "m", "#2f6db3"),
    Kind("zero page", ("zero page",), "z", "#c9a400"),
    Kind("own page", ("own page", "of its own"), "o", "#2d8653"),
    Kind("reused", ("reused", "writable"), "r", "#8b5a2b"),
    Kind("copied on write", ("copied",), "c", "#e07b26"),
    Kind("stack grown", ("stack grown",), "g", "#17a2b8"),
    Kind("huge page", ("huge",), "h", "#8250b8"),
    Kind("swapped in", ("swap",), "s", "#d6409f"),
    Kind("fixed up or signalled", FAILED, "X", "#d1242f"),
)
"""From the least telling to the most: of several in one cell, the last shows. Each colour reads on black and white."""


def kind_of(action: str) -> int:
    """The number in KINDS of an action; of several that fit, the last."""
    for number in range(len(KINDS) - 1, 0, -1):
        if any(word in action for word in KINDS[number].words):
            return number
    return 0


@dataclass(frozen=True, slots=True)
class Band:
    """
    Pages `first` to `last`, the numbers of the lowest and the highest. `label` is the area's. `cells[row, column]` is
    0, or 1 + the number of a kind; row 0 is the lowest address.
    """

    first: int
    last: int
    label: str
    cells: Cells

    def page(self, row: int) -> int:
        """The first page of a row."""
        return self.first + row * (self.last - self.first + 1) // len(self.cells)


@dataclass(frozen=True, slots=True)
class Timeline:
    """Bands by address; all have as many columns. `start` and `end` are in nanoseconds, `kinds` counts faults."""

    bands: tuple[Band, ...]
    columns: int
    start: int
    end: int
    kinds: Counter[int]


@dataclass(slots=True)
class Faults:
    """Page, time, kind and area of every fault, as arrays: 25 bytes each."""

    pages: array[int] = field(default_factory=lambda: array("q"))
    times: array[int] = field(default_factory=lambda: array("q"))
    kinds: array[int] = field(default_factory=lambda: array("B"))
    areas: array[int] = field(default_factory=lambda: array("q"))
    labels: dict[str, int] = field(default_factory=dict)

    def add(self, record: FaultRecord) -> None:
        where = area(record.vma)
        label = where.label if where else NO_AREA
        self.pages.append(record.address >> PAGE_SHIFT)
        self.times.append(min(record.time_ns, (1 << 63) - 1))
        self.kinds.append(kind_of(record.action))
        self.areas.append(self.labels.setdefault(label, len(self.labels)))


def timeline(records: Iterable[FaultRecord], columns: int, rows: int) -> Timeline:
    """
    The grid: `columns` of time, and about so many `rows` of pages, shared out to the bands by the square root of their
    length, so that a small one is seen beside a large one. A huge page fills all its pages.
    """
    faults = Faults()
    for record in records:
        faults.add(record)
    if not faults.pages:
        return Timeline((), columns, 0, 0, Counter())
    pages, times = np.frombuffer(faults.pages, np.int64), np.frombuffer(faults.times, np.int64)
    kinds, areas = np.frombuffer(faults.kinds, np.uint8), np.frombuffer(faults.areas, np.int64)
    huge = kinds == kind_of("huge page")
    lowest, highest = np.where(huge, pages & -HUGE, pages), np.where(huge, pages | HUGE - 1, pages)
    start, end = int(times.min()), int(times.max())
    column = scaled(times - start, end - start + 1, columns)
    order = np.argsort(lowest, kind="stable")
    cuts = cut(lowest[order], np.maximum.accumulate(highest[order]), areas[order])
    members = np.split(order, cuts)
    spans = [(int(lowest[each].min()), int(highest[each].max())) for each in members]
    heights = shared_out([last - first + 1 for first, last in spans], rows)
    names = list(faults.labels)
    bands = []
    for each, (first, last), height in zip(members, spans, heights, strict=True):
        cells = np.zeros((height, columns), np.uint8)
        low = scaled(lowest[each] - first, last - first + 1, height)
        high = scaled(highest[each] - first, last - first + 1, height)
        np.maximum.at(cells, (low, column[each]), kinds[each] + np.uint8(1))
        for at in np.flatnonzero(high > low).tolist():
            spot = cells[low[at] : high[at] + 1, column[each[at]]]
            np.maximum(spot, kinds[each[at]] + np.uint8(1), out=spot)
        bands.append(Band(first, last, label_of(areas[each], names), cells))
    counts = np.bincount(kinds, minlength=len(KINDS)).tolist()
    return Timeline(tuple(bands), columns, start, end, +Counter(dict(enumerate(counts))))


def scaled(values: Pages, extent: int, cells: int) -> Pages:
    """Which of so many cells each value from 0 below `extent` falls in. Exact unless the extent is beyond 2**52."""
    if extent <= cells:
        return values
    return np.minimum((values / extent * cells).astype(np.int64), cells - 1)


def cut(lowest: Pages, highest: Pages, areas: Pages) -> list[int]:
    """
    Where the sorted faults are divided into bands: indices of the first of each but the first. Areas are kept apart,
    and long stretches without a fault; if these are too many, the widest gaps count.
    """
    gaps = lowest[1:] - highest[:-1]
    candidates = np.flatnonzero((gaps > 0) & ((areas[1:] != areas[:-1]) | (gaps > WIDE_GAP)))
    widest = candidates[np.argsort(-gaps[candidates], kind="stable")[: MOST_BANDS - 1]]
    return [int(index) + 1 for index in np.sort(widest)]


def label_of(areas: Pages, names: Sequence[str]) -> str:
    """The label of a band: its area's, or of the one with most faults, and how many others there are."""
    counts = Counter(areas.tolist()).most_common()
    more = f" and {len(counts) - 1} more" if len(counts) > 1 else ""
    return shown(names[counts[0][0]]) + more


def shared_out(lengths: Sequence[int], rows: int) -> list[int]:
    """Rows for bands of these lengths in pages: at least one each, and never more than it has pages."""
    weights = [math.sqrt(length) for length in lengths]
    return [
        max(1, min(length, round(rows * weight / sum(weights))))
        for length, weight in zip(lengths, weights, strict=True)
    ]


def time_words(nanoseconds: int, longest: int) -> str:
    """A time, in a unit in which the longest of its kind has two digits or more."""
    for unit, size in (("s", 10**9), ("ms", 10**6), ("µs", 10**3)):
        if longest >= 10 * size:
            return f"{nanoseconds / size:,.1f} {unit}"
    return f"{nanoseconds:,} ns"


# ------------------------------------------------------------------------------------------------------------ terminal


def in_terminal(touched: Timeline, page: Page) -> Iterable[Text]:
    """
    Lines of the picture, the highest address first. With colour a character shows two rows (half blocks), without each
    row is a line of letters.
    """
    from rich.text import Text

    for band in reversed(touched.bands):
        pages = band.last - band.first + 1
        yield Text(f"{band.label}, {pages:,} {'page' if pages == 1 else 'pages'}", "bold" if page.colour else "")
        cells = band.cells
        if not page.colour:
            for row in range(len(cells) - 1, -1, -1):
                letters = "".join(" " if cell == 0 else KINDS[cell - 1].letter for cell in cells[row].tolist())
                yield Text(f"{band.page(row) << PAGE_SHIFT:>16x} | {letters}".rstrip())
            continue
        for row in range((len(cells) - 1) // 2 * 2, -1, -2):
            upper = cells[row + 1] if row + 1 < len(cells) else np.zeros(touched.columns, np.uint8)
            line = Text().append(f"{band.page(row) << PAGE_SHIFT:>16x} │ ", "dim")
            for above, below in zip(upper.tolist(), cells[row].tolist(), strict=True):
                line.append(*half_blocks(above, below))
            yield line
    yield from closing(touched, page)


def half_blocks(above: int, below: int) -> tuple[str, str]:
    """A character, and its style, that shows two cells."""
    if above and below:
        return "▀", f"{KINDS[above - 1].colour} on {KINDS[below - 1].colour}"
    if above or below:
        return "▀" if above else "▄", KINDS[(above or below) - 1].colour
    return " ", ""


def closing(touched: Timeline, page: Page) -> Iterable[Text]:
    """The axis of time, and what the colours or letters mean."""
    from rich.text import Text

    first, last = time_words(touched.start, touched.end), time_words(touched.end, touched.end)
    yield Text(" " * MARGIN + first + last.rjust(max(touched.columns - len(first), len(last) + 1)))
    for number, count in sorted(touched.kinds.items(), reverse=True):
        kind = KINDS[number]
        mark = Text("██ ", kind.colour) if page.colour else Text(f"{kind.letter}  ")
        yield Text(" " * MARGIN).append_text(mark).append(f"{kind.name}: {count:,}")


def write_in_terminal(records: Iterable[FaultRecord], page: Page) -> None:
    """Draw a picture as wide as the page, and about as high as a screen."""
    import sys

    from rich.console import Console

    touched = timeline(records, page.width - MARGIN - 1, 60 if page.colour else 30)
    console = Console(
        file=page.file or sys.stdout,
        width=page.width,
        force_terminal=page.colour,
        color_system="truecolor" if page.colour else None,
        highlight=False,
    )
    for line in in_terminal(touched, page):
        console.print(line, no_wrap=True, crop=False, soft_wrap=True)
