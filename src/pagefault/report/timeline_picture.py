"""
Which pages of the address space faulted when, drawn: SVG or PNG, with matplotlib.

It has its own background, so that it reads on a light page and on a dark one, and the same input gives the same file,
to the byte, with the same release of matplotlib. All cells of one kind in one band are one path.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

from ..errors import Absent
from ..vocabulary.address import PAGE_SHIFT
from .picture import FAINT, INK, PAPER
from .timeline import KINDS, Band, Cells, Timeline, time_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, TOP, BOTTOM = 1600, 110, 64
"""Of the picture, in pixels; its height depends on the bands."""
LEFT = 360
"""Where time begins: addresses and names are to the left of it."""
COLUMNS, ROWS, CELL = 405, 220, 3
"""Cells of the grid, and a cell's edge in pixels: the grid is 1215 pixels wide."""
GAP, LOWEST_BAND = 14, 30
"""Between two bands, and the least height of one, so that its name fits."""
BAND_PAPER = "#eef1f4"
LABEL = 42
"""Characters of a name that fit."""


def picture(touched: Timeline, title: str, subtitle: str, form: Literal["svg", "png"]) -> bytes:
    """
    The picture as a file's content. The timeline should have COLUMNS columns and about ROWS rows.

    Errors: Absent without matplotlib, or if there is no fault to draw.
    """
    if not touched.bands:
        raise Absent("page faults to draw", where=title)
    check_can_draw()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.hashsalt": "pagefault",
        "svg.fonttype": "none",
        "font.family": "monospace",
        "font.monospace": ["DejaVu Sans Mono"],  # ships with matplotlib
        "text.parse_math": False,
        "path.simplify": False,
    }
    heights = [max(LOWEST_BAND, len(band.cells) * CELL) for band in touched.bands]
    height = TOP + sum(heights) + GAP * (len(heights) - 1) + BOTTOM
    with mpl.rc_context(settings):
        figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72, facecolor=PAPER)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_xlim(0, WIDTH)
        axes.set_ylim(0, height)
        axes.axis("off")
        axes.text(24, height - 30, title, size=22, weight="bold", color=INK, va="center")
        axes.text(24, height - 60, subtitle, size=13, color=FAINT, va="center")
        legend(axes, touched, height - 88)
        y = float(BOTTOM)
        for band, band_height in zip(touched.bands, heights, strict=True):
            draw_band(axes, band, y, band_height)
            y += band_height + GAP
        time_axis(axes, touched)
        target = io.BytesIO()
        metadata = {"Date": None, "Creator": None, "Title": title} if form == "svg" else {"Software": None}
        figure.savefig(target, format=form, dpi=72 if form == "svg" else 144, facecolor=PAPER, metadata=metadata)
    return target.getvalue()


def check_can_draw() -> None:
    """Errors: Absent without matplotlib."""
    if find_spec("matplotlib") is None:
        hint = "install it with `pip install 'pagefault[picture]'`, or take --timeline"
        raise Absent("matplotlib, which draws", where="this Python", hint=hint)


def legend(axes: Axes, touched: Timeline, y: float) -> None:
    """A box and a name for each kind that there is, with its count."""
    from matplotlib.patches import Rectangle

    x = 24.0
    for number, count in sorted(touched.kinds.items(), reverse=True):
        kind = KINDS[number]
        axes.add_patch(Rectangle((x, y - 6), 13, 12, facecolor=kind.colour, linewidth=0))
        text = f"{kind.name} {count:,}"
        axes.text(x + 19, y, text, size=12, color=INK, va="center")
        x += 19 + len(text) * 7.3 + 18


def draw_band(axes: Axes, band: Band, y: float, height: float) -> None:
    """A band's paper, its name and addresses, and its cells: one path for each kind."""
    from matplotlib.patches import PathPatch, Rectangle
    from matplotlib.path import Path

    width = COLUMNS * CELL
    axes.add_patch(Rectangle((LEFT, y), width, height, facecolor=BAND_PAPER, linewidth=0))
    name = band.label if len(band.label) <= LABEL else band.label[: LABEL - 1] + "…"
    pages = band.last - band.first + 1
    axes.text(LEFT - 10, y + height - 7, name, size=11, color=INK, va="center", ha="right", weight="bold")
    span = f"{band.first << PAGE_SHIFT:x} to {(band.last + 1 << PAGE_SHIFT) - 1:x}, "
    span += f"{pages:,} {'page' if pages == 1 else 'pages'}"
    axes.text(LEFT - 10, y + height - 21, span, size=10, color=FAINT, va="center", ha="right")
    row_height = height / len(band.cells)
    for number, kind in enumerate(KINDS):
        vertices: list[tuple[float, float]] = []
        for column, first, count in runs(band.cells, number + 1):
            left, low = LEFT + column * CELL, y + first * row_height
            right, high = left + CELL, low + count * row_height
            vertices += [(left, low), (right, low), (right, high), (left, high), (left, low)]
        if vertices:
            codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * (len(vertices) // 5)
            axes.add_patch(PathPatch(Path(vertices, codes), facecolor=kind.colour, linewidth=0))


def runs(cells: Cells, value: int) -> Iterator[tuple[int, int, int]]:
    """Column, first row and length of every run of cells in a column that hold the value."""
    for column in (cells == value).any(axis=0).nonzero()[0].tolist():
        row = 0
        for held, group in groupby(cells[:, column].tolist()):
            length = len(list(group))
            if held == value:
                yield column, row, length
            row += length


def time_axis(axes: Axes, touched: Timeline) -> None:
    """Five times, below the lowest band."""
    for quarter in range(5):
        x = LEFT + COLUMNS * CELL * quarter / 4
        time = touched.start + (touched.end - touched.start) * quarter // 4
        axes.plot([x, x], [BOTTOM - 10, BOTTOM - 4], color=FAINT, linewidth=1)
        place = ("left", "center", "center", "center", "right")[quarter]
        axes.text(x, BOTTOM - 22, time_words(time, touched.end), size=11, color=FAINT, va="center", ha=place)
    note = "virtual time: an instruction takes a nanosecond"
    axes.text(LEFT, BOTTOM - 44, note, size=11, color=FAINT, va="center")
