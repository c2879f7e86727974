from __future__ import annotations

import struct
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest

from pagefault.errors import Absent
from pagefault.report import timeline_picture
from pagefault.report.timeline import KINDS, Timeline, kind_of, timeline
from pagefault.report.timeline_picture import COLUMNS, ROWS, picture, runs
from report.recorded_faults import recorded_log

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def walk() -> Timeline:
    pytest.importorskip("matplotlib")
    return timeline(recorded_log("mixed-walk"), COLUMNS, ROWS)


def test_an_svg_names_areas_addresses_kinds_and_times(walk: Timeline) -> None:
    root = ET.fromstring(picture(walk, "Page faults of <walk> & co", "1,485 page faults", "svg"))
    words = [text.text or "" for text in root.iter(f"{SVG}text")]
    assert words[:2] == ["Page faults of <walk> & co", "1,485 page faults"]
    assert {"rw-s /dev/zero (deleted)", "rw-p /data", "403000 to 403fff, 1 page"} <= set(words)
    assert {"copied on write 306", "own page 562", "zero page 564", "mapped from the page cache 53"} <= set(words)
    assert {"1.0 µs", "743.0 µs", "1,485.0 µs"} <= set(words)


def test_every_kind_is_drawn_in_its_colour_and_no_other(walk: Timeline) -> None:
    drawn = picture(walk, "t", "s", "svg").decode()
    colours = {kind.colour for kind in KINDS if f"fill: {kind.colour}" in drawn}
    assert colours == {KINDS[number].colour for number in walk.kinds}


def test_as_many_cells_are_drawn_as_there_are(walk: Timeline) -> None:
    root = ET.fromstring(picture(walk, "t", "s", "svg"))
    colour = KINDS[kind_of("own page")].colour
    paths = [path.get("d", "") for path in root.iter(f"{SVG}path") if colour in (path.get("style") or "")]
    boxes = sum(path.count("M ") for path in paths)
    expected = sum(len(list(runs(band.cells, kind_of("own page") + 1))) for band in walk.bands)
    assert boxes == expected + 1, "and one in the legend"


def test_runs_are_the_cells_of_one_kind() -> None:
    cells = np.array([[1, 0, 2], [1, 0, 1], [2, 0, 1], [1, 0, 1]], np.uint8)
    assert list(runs(cells, 1)) == [(0, 0, 2), (0, 3, 1), (2, 1, 3)]
    assert list(runs(cells, 3)) == []


def test_it_is_the_same_every_time_and_has_no_date(walk: Timeline) -> None:
    drawn = picture(walk, "t", "s", "svg")
    assert drawn == picture(walk, "t", "s", "svg")
    assert b"<dc:date>" not in drawn
    assert b"fill: #fcfcfb" in drawn.partition(b"<text")[0]


def test_a_png(walk: Timeline) -> None:
    data = picture(walk, "t", "s", "png")
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">I", data[16:20]) == (3200,)


def test_nothing_to_draw() -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(Absent, match="no page faults to draw"):
        picture(timeline([], COLUMNS, ROWS), "t", "s", "svg")


def test_without_matplotlib_it_says_what_to_do(walk: Timeline, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: Any = lambda name: None  # noqa: E731 -- it stands in for a function
    monkeypatch.setattr(timeline_picture, "find_spec", nothing)
    with pytest.raises(Absent, match="pip install"):
        picture(walk, "t", "s", "svg")
