from __future__ import annotations

import struct
import sys
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefault.errors import Absent
from pagefault.report.page import plain
from pagefault.report.picture import (
    ADVANCE,
    LINE_HEIGHT,
    MOST_FUNCTIONS,
    SMALLEST,
    Box,
    bar,
    bars,
    broken,
    divided,
    fit,
    gathered,
    mixed,
    pieces_of,
    treemap,
)
from pagefault.survey.summary import Count, Subsystem

GROUPS = [
    Subsystem("lib", (Count("copy_user_generic_unrolled", 18, 18), Count("csum_partial", 5, 4))),
    Subsystem("arch/x86", (Count("rdmsr_safe", 6, 0),)),
    Subsystem("empty", ()),
]
SVG = "{http://www.w3.org/2000/svg}"


def drawn(groups: list[Subsystem]) -> str:
    pytest.importorskip("matplotlib")
    pytest.importorskip("squarify")
    return treemap(groups, "a <title> & more", "what it shows", "svg").decode()


def test_bars_are_as_long_as_the_numbers() -> None:
    lines = plain(bars([("uaccess", 1000), ("rdmsr", 500), ("bpf", 1)], 40)).splitlines()
    assert [line.count("█") for line in lines] == [24, 12, 0]
    assert lines[2].endswith("▏")
    assert [line.split()[:2] for line in lines] == [["uaccess", "1,000"], ["rdmsr", "500"], ["bpf", "1"]]
    assert max(map(len, lines)) <= 40


def test_no_rows_are_no_bars() -> None:
    assert list(bars([], 40)) == []


@pytest.mark.parametrize(("count", "expected"), [(0, ""), (1, "▏"), (8, "█"), (9, "█▏"), (15, "█▉"), (80, "█" * 10)])
def test_a_bar_is_exact_to_an_eighth(count: int, expected: str) -> None:
    assert bar(count, 80, 10) == expected


def test_svg_holds_every_name_once() -> None:
    root = ET.fromstring(drawn(GROUPS))
    words = [text.text for text in root.iter(f"{SVG}text")]
    assert words[:2] == ["a <title> & more", "what it shows"]
    assert "".join(word or "" for word in words).count("copy_user_generic_unrolled") == 1
    assert "18" in words
    assert any(word and word.startswith("lib  23 (79%)") for word in words)
    assert not any(word and "empty" in word for word in words)


def test_svg_is_the_same_every_time_and_has_no_date() -> None:
    assert drawn(GROUPS) == drawn(GROUPS)
    assert "<dc:date>" not in drawn(GROUPS)


def test_svg_has_a_background_of_its_own() -> None:
    assert "fill: #fcfcfb" in drawn(GROUPS).partition("<text")[0]


def test_png() -> None:
    pytest.importorskip("matplotlib")
    data = treemap(GROUPS, "title", "subtitle", "png")
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (3200, 2000)
    assert data == treemap(GROUPS, "title", "subtitle", "png")


def test_names_that_look_like_formulas_are_drawn_as_they_are() -> None:
    root = ET.fromstring(drawn([Subsystem("lib", (Count("$x^2$", 3, 3),))]))
    assert "$x^2$" in [text.text for text in root.iter(f"{SVG}text")]


def test_nothing_to_draw() -> None:
    with pytest.raises(Absent, match="no entries to draw"):
        treemap([Subsystem("empty", ())], "title", "subtitle", "svg")


@pytest.mark.parametrize("library", ["matplotlib", "squarify"])
def test_without_the_libraries_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(Absent, match=r"pip install 'pagefault\[picture\]'"):
        treemap(GROUPS, "title", "subtitle", "svg")


def test_small_functions_share_a_box() -> None:
    large = [Count("a", 9, 9), Count("b", 8, 8), Count("c", 7, 7)]
    found = gathered([*(Count(f"f{i}", 2, 1) for i in range(MOST_FUNCTIONS)), *large])
    assert len(found) == MOST_FUNCTIONS + 1
    assert found[:4] == [*large, Count("3 more functions", 6, 3)]
    assert sum(each.entries for each in found) == 24 + 2 * MOST_FUNCTIONS


def test_one_more_function_keeps_its_name() -> None:
    shares = [Count(f"f{i:02}", 1, 1) for i in range(MOST_FUNCTIONS + 1)]
    assert gathered(shares) == shares


@given(st.lists(st.integers(1, 500), min_size=1, max_size=40))
def test_boxes_fill_their_place_by_size(sizes: list[int]) -> None:
    squarify = pytest.importorskip("squarify")
    sizes.sort(reverse=True)
    whole = Box(10, 20, 300, 200)
    boxes = divided(whole, sizes, squarify)
    for box, size in zip(boxes, sizes, strict=True):
        assert box.width * box.height == pytest.approx(60000 * size / sum(sizes))
        assert box.x >= 10 - 1e-6
        assert box.y >= 20 - 1e-6
        assert box.x + box.width <= 310 + 1e-6
        assert box.y + box.height <= 220 + 1e-6
    assert boxes[0].x == 10
    assert boxes[0].y + boxes[0].height == pytest.approx(220), "the largest is at the upper left"


@given(st.text("abc_.", min_size=1, max_size=40), st.floats(1, 400), st.floats(1, 300))
def test_text_fits_its_box(name: str, width: float, height: float) -> None:
    fitted = fit(name, "12", Box(0, 0, width, height))
    if fitted is None:
        return
    size, (*lines, count) = fitted
    assert "".join(lines) == name
    assert count in ("12", "")
    assert size >= SMALLEST
    assert max(map(len, lines)) * size * ADVANCE <= width
    assert (len(lines) + bool(count)) * size * LINE_HEIGHT <= height


def test_a_roomy_box_has_the_name_on_one_line_and_the_count() -> None:
    assert fit("copy_user_generic_unrolled", "18", Box(0, 0, 600, 300)) == (19.0, ["copy_user_generic_unrolled", "18"])
    assert fit("copy_user", "18", Box(0, 0, 8, 300)) is None


def test_names_break_behind_underscores() -> None:
    assert pieces_of("__copy_user_x") == ["__copy_", "user_", "x"]
    assert broken(["__copy_", "user_", "x"], 7) == ["__copy_", "user_x"]
    assert broken(["__copy_", "user_", "x"], 6) is None
    assert pieces_of("a_" * 50) == ["a_" * 50]


def test_colours_mix() -> None:
    assert mixed("#000000", "#ffffff", 1.0) == "#000000"
    assert mixed("#000000", "#ff8000", 0.5) == "#804000"
