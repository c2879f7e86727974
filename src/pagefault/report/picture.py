"""
Which functions and subsystems hold the entries, drawn: a treemap as SVG or PNG, and bars for a terminal.

The treemap is matplotlib's, its layout squarify's. It has its own background, so that it reads on a light page and on
a dark one, and the same input gives the same file, to the byte, with the same release of matplotlib.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from ..errors import Absent
from ..survey.summary import Count, Subsystem
from .page import Line, Span

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 1600, 1000
"""Of the picture, in pixels; an SVG has it as its size and scales."""
MARGIN, TOP = 24, 96
HEADER = 24
"""A subsystem's line of text above its functions."""
MOST_FUNCTIONS = 60
"""Boxes a subsystem is divided into; the rest share one."""
ADVANCE, LINE_HEIGHT = 0.605, 1.22
"""A character's width and a line's height in a monospaced font, in font sizes."""
SMALLEST, LARGEST = 7.0, 19.0
PAPER, INK, FAINT = "#fcfcfb", "#1f2328", "#59636e"
HUES = ("#2f6db3", "#c4561a", "#2d8653", "#8250b8", "#a3741a", "#b8336a", "#17808a", "#5b6b2a", "#6e7681")
"""One for each of the largest subsystems, the last for all others; each dark enough for white text."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle, in pixels from the lower left corner."""

    x: float
    y: float
    width: float
    height: float


# ------------------------------------------------------------------------------------------------------------ terminal


def bars(rows: Sequence[tuple[str, int]], width: int) -> Iterator[Line]:
    """Names, numbers, and bars as long as the numbers, in `width` columns."""
    if not rows:
        return
    most = max(count for _, count in rows)
    label = max(len(name) for name, _ in rows)
    digits = len(f"{most:,}")
    room = max(8, width - label - digits - 4)
    for name, count in rows:
        yield name.ljust(label), "  ", f"{count:,}".rjust(digits), "  ", Span(bar(count, most, room), "code")


def bar(count: int, most: int, room: int) -> str:
    """A bar to the eighth of a column; what is there at all is seen."""
    eighths = max(1, round(count / most * room * 8)) if count else 0
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


# ------------------------------------------------------------------------------------------------------------- treemap


def treemap(groups: Sequence[Subsystem], title: str, subtitle: str, form: Literal["svg", "png"]) -> bytes:
    """
    The picture as a file's content: an area for each group, in it one for each function, as large as its entries are
    many.

    Errors: Absent without matplotlib and squarify, or if there is nothing to draw.
    """
    groups = [group for group in groups if group.entries]
    if not groups:
        raise Absent("entries to draw", where=title)
    try:
        import matplotlib as mpl
        import squarify
        from matplotlib.figure import Figure
    except ImportError:
        hint = "install them with `pip install 'pagefault[picture]'`, or read the bars that --summary prints"
        raise Absent("matplotlib and squarify, which draw", where="this Python", hint=hint) from None
    settings: Any = {
        "svg.hashsalt": "pagefault",
        "svg.fonttype": "none",
        "font.family": "monospace",
        "font.monospace": ["DejaVu Sans Mono"],  # ships with matplotlib
        "text.parse_math": False,
        "path.simplify": False,
    }
    with mpl.rc_context(settings):
        figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72), dpi=72, facecolor=PAPER)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_xlim(0, WIDTH)
        axes.set_ylim(0, HEIGHT)
        axes.axis("off")
        axes.text(MARGIN, HEIGHT - 30, title, size=22, weight="bold", color=INK, va="center")
        axes.text(MARGIN, HEIGHT - 62, subtitle, size=13, color=FAINT, va="center")
        legend(axes)
        draw(axes, groups, squarify)
        target = io.BytesIO()
        metadata = {"Date": None, "Creator": None, "Title": title} if form == "svg" else {"Software": None}
        figure.savefig(target, format=form, dpi=72 if form == "svg" else 144, facecolor=PAPER, metadata=metadata)
    return target.getvalue()


def legend(axes: Axes) -> None:
    """What strong and pale mean."""
    x, y = float(WIDTH - MARGIN), HEIGHT - 62
    for text, strength in (("other (MSRs, FPU, kernel memory, …)", 0.42), ("user memory", 1.0)):
        x -= len(text) * ADVANCE * 12
        axes.text(x, y, text, size=12, color=FAINT, va="center")
        x -= 20
        rectangle(axes, Box(x, y - 6, 13, 12), HUES[0], strength)
        x -= 18


def draw(axes: Axes, groups: Sequence[Subsystem], squarify: ModuleType) -> None:
    """All groups, largest at the left, laid out by the library of that name."""
    whole = Box(MARGIN, MARGIN, WIDTH - 2 * MARGIN, HEIGHT - TOP - MARGIN)
    total = sum(group.entries for group in groups)
    ordered = sorted(groups, key=lambda group: (-group.entries, group.name))
    boxes = divided(whole, [each.entries for each in ordered], squarify)
    for number, (group, box) in enumerate(zip(ordered, boxes, strict=True)):
        hue = HUES[min(number, len(HUES) - 1)]
        inner = inset(box, 2)
        header = HEADER if inner.height > 2.2 * HEADER and inner.width > 60 else 0
        if header:
            label = f"{group.name}  {group.entries:,}"
            fitting = int(inner.width / (ADVANCE * 13))
            texts = (f"{label} ({group.entries / total:.0%})", label, group.name)
            shortened = group.name[: max(0, fitting - 1)] + "…"
            text = next((each for each in texts if len(each) <= fitting), shortened)
            axes.text(inner.x + 3, inner.y + inner.height - 10, text, size=13, weight="bold", color=hue, va="center")
        body = Box(inner.x, inner.y, inner.width, inner.height - header)
        shares = gathered(group.functions)
        for share, place in zip(shares, divided(body, [each.entries for each in shares], squarify), strict=True):
            function(axes, share, inset(place, 0.75), hue)


def gathered(shares: Sequence[Count]) -> list[Count]:
    """The largest shares, and one for all others if there are many more."""
    ordered = sorted(shares, key=lambda share: (-share.entries, share.name))
    head, rest = ordered[:MOST_FUNCTIONS], ordered[MOST_FUNCTIONS:]
    if len(rest) < 2:
        return ordered
    head.append(
        Count(f"{len(rest):,} more functions", sum(each.entries for each in rest), sum(each.user for each in rest))
    )
    return sorted(head, key=lambda share: (-share.entries, share.name))


def function(axes: Axes, share: Count, box: Box, hue: str) -> None:
    """One function's box, with its name if there is room."""
    strong = share.user * 2 >= share.entries
    rectangle(axes, box, hue, 1.0 if strong else 0.42)
    fitted = fit(share.name, str(share.entries), box)
    if fitted is None:
        return
    size, (*lines, count) = fitted
    written = [(line, "normal") for line in lines] + [(count, "bold")] * bool(count)
    y = box.y + box.height / 2 + size * LINE_HEIGHT * (len(written) - 1) / 2
    for number, (line, weight) in enumerate(written):
        axes.text(
            box.x + box.width / 2,
            y - number * size * LINE_HEIGHT,
            line,
            size=round(size, 2),
            color="white" if strong else INK,
            weight=weight,
            ha="center",
            va="center_baseline",
        )


def rectangle(axes: Axes, box: Box, hue: str, strength: float) -> None:
    """A filled rectangle; `strength` 1 is the hue itself, less is paler."""
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((box.x, box.y), box.width, box.height, facecolor=mixed(hue, PAPER, strength), linewidth=0))


def mixed(colour: str, paper: str, strength: float) -> str:
    """Between two colours "#rrggbb"."""
    both = ((int(colour[i : i + 2], 16), int(paper[i : i + 2], 16)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(one * strength + other * (1 - strength)):02x}" for one, other in both)


def divided(box: Box, sizes: Sequence[int], squarify: ModuleType) -> list[Box]:
    """A box cut into pieces of these sizes, given largest first, each as square as can be."""
    normal = squarify.normalize_sizes(sizes, box.width, box.height)
    pieces: list[dict[str, Any]] = squarify.squarify(normal, 0, 0, box.width, box.height)
    # squarify counts y from where the largest piece is: that is to be on top.
    return [Box(box.x + p["x"], box.y + box.height - p["y"] - p["dy"], p["dx"], p["dy"]) for p in pieces]


def inset(box: Box, by: float) -> Box:
    """The box without a margin."""
    by = min(by, box.width / 4, box.height / 4)
    return Box(box.x + by, box.y + by, box.width - 2 * by, box.height - 2 * by)


def fit(name: str, count: str, box: Box) -> tuple[float, list[str]] | None:
    """
    The size of text, and the lines, at which a name fits a box: as large as can be, in as few lines, and with the count
    below it unless that costs much. None if there is no room for the name.
    """
    best: tuple[float, list[str]] | None = None
    parts = pieces_of(name)
    limits = {len("".join(parts[a:b])) for a in range(len(parts)) for b in range(a + 1, len(parts) + 1)}
    for limit in sorted(limits, reverse=True):
        lines = broken(parts, limit)
        for text in ([*lines, count], [*lines, ""]) if lines else ():
            rows = len(text) - (not text[-1])
            widest = max(map(len, text))
            size = min((box.width - 6) / (widest * ADVANCE), (box.height - 4) / (rows * LINE_HEIGHT), LARGEST)
            if size >= SMALLEST and (best is None or size > best[0] * 1.2):
                best = size, text
    return best


def pieces_of(name: str, most: int = 12) -> list[str]:
    """A name cut where a line may end: behind underscores, dots and spaces."""
    parts, word = [], ""
    for letter, following in zip(name, name[1:] + "a", strict=True):
        word += letter
        if letter in "_. " and following not in "_. " and word.strip("_. "):
            parts.append(word)
            word = ""
    parts = [*parts, word] if word else parts
    return parts if len(parts) <= most else [name]


def broken(parts: Sequence[str], limit: int) -> list[str] | None:
    """Parts in lines of at most `limit` characters; None if one part alone is longer."""
    lines = [""]
    for part in parts:
        if len(part) > limit:
            return None
        if len(lines[-1]) + len(part) <= limit:
            lines[-1] += part
        else:
            lines.append(part)
    return lines
