from __future__ import annotations

import io
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefault.report.page import Page
from pagefault.report.timeline import (
    HUGE,
    KINDS,
    MOST_BANDS,
    WIDE_GAP,
    half_blocks,
    kind_of,
    shared_out,
    time_words,
    timeline,
    write_in_terminal,
)
from pagefault.vocabulary.fault_record import FaultRecord
from report.recorded_faults import RECORD, recorded_log

HEAP = "10000000-20000000 rw-p 0 [heap]"


def fault(page: int, time: int, action: str = "own page", vma: str = HEAP) -> FaultRecord:
    return replace(RECORD, address=(page << 12) + 0x123, time_ns=time, action=action, vma=vma)


def kinds(*names: str) -> list[int]:
    return [kind_of(name) + 1 for name in names]


@pytest.mark.parametrize(
    ("action", "name"),
    [
        ("zero page", "zero page"),
        ("zero page copied on write", "copied on write"),
        ("own page", "own page"),
        ("stack grown, own page", "stack grown"),
        ("mapped with 15 neighbours", "mapped from the page cache"),
        ("reused", "reused"),
        ("huge page", "huge page"),
        ("huge zero page", "huge page"),
        ("zero page mapped", "zero page"),
        ("zeroed page of its own", "own page"),
        ("16 pages of the page cache mapped", "mapped from the page cache"),
        ("page-cache page copied", "copied on write"),
        ("shared page made writable", "reused"),
        ("swapped in", "swapped in"),
        ("fixed up with -EFAULT", "fixed up or signalled"),
        ("SIGBUS BUS_ADRERR", "fixed up or signalled"),
        ("access flags updated", "something else"),
    ],
)
def test_what_a_handler_did_has_a_colour(action: str, name: str) -> None:
    assert KINDS[kind_of(action)].name == name


def test_colours_and_letters_are_distinct() -> None:
    assert len({kind.colour for kind in KINDS}) == len({kind.letter for kind in KINDS}) == len(KINDS)


def test_pages_go_up_and_time_goes_right() -> None:
    touched = timeline([fault(0x10000, 100), fault(0x10003, 103, "zero page"), fault(0x10002, 101)], columns=4, rows=4)
    own, zero = kinds("own page", "zero page")
    assert len(touched.bands) == 1
    assert touched.bands[0].cells.tolist() == [[own, 0, 0, 0], [0, 0, 0, 0], [0, own, 0, 0], [0, 0, 0, zero]]
    assert (touched.start, touched.end) == (100, 103)
    assert touched.kinds == {kind_of("own page"): 2, kind_of("zero page"): 1}
    assert (touched.bands[0].first, touched.bands[0].last, touched.bands[0].label) == (0x10000, 0x10003, "rw-p [heap]")


def test_of_several_in_a_cell_the_most_telling_shows() -> None:
    for actions in (("own page", "SIGSEGV SEGV_MAPERR"), ("SIGSEGV SEGV_MAPERR", "own page")):
        touched = timeline([fault(1, 5, actions[0]), fault(1, 5, actions[1])], columns=3, rows=3)
        assert touched.bands[0].cells.max() == kind_of("SIGSEGV SEGV_MAPERR") + 1


def test_what_lies_between_areas_is_cut_out() -> None:
    stack = "7ffffffde000-7ffffffff000 rw-p 0 [stack]"
    touched = timeline([fault(0x10000, 1), fault(0x7FFFFFFFE, 2, vma=stack), fault(0x30000, 3, vma="")], 10, 10)
    assert [(band.label, len(band.cells)) for band in touched.bands] == [
        ("rw-p [heap]", 1),
        ("no area", 1),
        ("rw-p [stack]", 1),
    ]


def test_an_area_that_grows_is_one_band() -> None:
    grown = "7ffffffdd000-7ffffffff000 rw-p 0 [stack]"
    vmas = ("7ffffffde000-7ffffffff000 rw-p 0 [stack]", grown)
    touched = timeline([fault(0x7FFFFFFE0 + number, number, vma=vma) for number, vma in enumerate(vmas)], 10, 10)
    assert [band.label for band in touched.bands] == ["rw-p [stack]"]


def test_a_long_stretch_without_faults_is_cut_out() -> None:
    for gap, bands in ((WIDE_GAP, 1), (WIDE_GAP + 1, 2)):
        assert len(timeline([fault(100, 1), fault(100 + gap, 2)], 10, 10).bands) == bands


def test_there_are_never_too_many_bands() -> None:
    records = [fault(number * (WIDE_GAP + 2 + number), number) for number in range(10 * MOST_BANDS)]
    bands = timeline(records, 50, 50).bands
    assert len(bands) == MOST_BANDS
    assert sum(int((band.cells > 0).any(axis=0).sum()) for band in bands) >= 50
    assert [band.first == band.last for band in bands] == [False] + [True] * (MOST_BANDS - 1), "the widest gaps are cut"
    assert all(before.last < after.first for before, after in pairwise(bands))


def test_two_areas_in_one_band_are_both_told() -> None:
    mixed = [fault(5, 1), fault(6, 2, vma="5000-8000 r-xp 0 /bin/x"), fault(5, 3)]
    assert [band.label for band in timeline(mixed, 5, 5).bands] == ["rw-p [heap]", "r-xp /bin/x"]
    same_page = [fault(5, 1), fault(5, 2, vma="5000-8000 r-xp 0 /bin/x"), fault(5, 3)]
    assert [band.label for band in timeline(same_page, 5, 5).bands] == ["rw-p [heap] and 1 more"]


def test_a_huge_page_fills_all_its_pages() -> None:
    touched = timeline([fault(3 * HUGE + 7, 0, "huge page"), fault(3 * HUGE - 1, 9)], columns=10, rows=HUGE + 1)
    [band] = touched.bands
    assert (band.first, band.last) == (3 * HUGE - 1, 4 * HUGE - 1)
    assert len(band.cells) == HUGE + 1
    assert (band.cells[1:, 0] == kind_of("huge page") + 1).all()
    assert band.cells[0].tolist() == [0] * 9 + kinds("own page")


def test_what_lies_in_a_huge_page_is_in_its_band() -> None:
    inside = fault(300, 3, vma="5000-8000 r-xp 0 /bin/x")
    touched = timeline([fault(0, 1, "huge page"), fault(10, 2), inside], columns=10, rows=10)
    assert [(band.first, band.last, band.label) for band in touched.bands] == [(0, HUGE - 1, "rw-p [heap] and 1 more")]


def test_small_bands_are_seen_beside_large_ones() -> None:
    assert shared_out([1, 1, 10_000], 20) == [1, 1, 20]
    assert shared_out([100, 100, 100], 30) == [10, 10, 10]
    assert shared_out([100, 10_000], 110) == [10, 100]


def test_times_and_addresses_at_their_ends() -> None:
    records = [fault(0, 0), replace(fault(0, 2**64 - 1), address=2**64 - 1)]
    touched = timeline(records, 10, 10)
    assert len(touched.bands) == 2
    assert touched.bands[-1].cells[0, -1]


@given(
    st.lists(st.tuples(st.integers(0, 2**52 - 1), st.integers(0, 2**40), st.sampled_from(KINDS)), min_size=1),
    st.integers(1, 50),
    st.integers(1, 50),
)
def test_every_fault_is_in_the_picture(faults: list[tuple[int, int, object]], columns: int, rows: int) -> None:
    records = [fault(page, time, getattr(kind, "name", "")) for page, time, kind in faults]
    touched = timeline(records, columns, rows)
    assert sum(touched.kinds.values()) == len(records)
    for record in records:
        page = record.address >> 12
        [band] = [each for each in touched.bands if each.first <= page <= each.last]
        row = max(number for number in range(len(band.cells)) if band.page(number) <= page)
        near = band.cells[max(0, row - 1) : row + 2]
        assert near.max() >= kind_of(record.action) + 1
        assert band.cells.shape[1] == columns


@pytest.mark.parametrize(
    ("nanoseconds", "longest", "words"),
    [
        (0, 9_999, "0 ns"),
        (9_999, 9_999, "9,999 ns"),
        (1_500, 10_000, "1.5 µs"),
        (25_000_000, 25_000_000, "25.0 ms"),
        (1_000_000_000, 10_000_000_000, "1.0 s"),
    ],
)
def test_times_have_a_unit_that_fits(nanoseconds: int, longest: int, words: str) -> None:
    assert time_words(nanoseconds, longest) == words


def test_no_fault_is_no_picture() -> None:
    touched = timeline([], 10, 10)
    assert (touched.bands, touched.columns) == ((), 10)


def shown(records: list[FaultRecord], *, colour: bool, width: int = 40) -> str:
    file = io.StringIO()
    write_in_terminal(records, Page(terminal=colour, colour=colour, width=width, file=file))
    return file.getvalue()


def test_a_pipe_gets_letters() -> None:
    records = [
        fault(0x10000, 0),
        fault(0x10001, 500_000_000, "SIGSEGV SEGV_ACCERR"),
        fault(0x10000, 10**9, "zero page"),
    ]
    assert shown(records, colour=False, width=44).splitlines() == [
        "rw-p [heap], 2 pages",
        "        10001000 |            X",
        "        10000000 | o                      z",
        "                   0.0 ms        1,000.0 ms",
        "                   X  fixed up or signalled: 1",
        "                   o  own page: 1",
        "                   z  zero page: 1",
    ]


def test_a_terminal_gets_two_rows_a_line_in_colour() -> None:
    records = [fault(0x10000, 0), fault(0x10001, 0, "zero page"), fault(0x10002, 1)]
    lines = shown(records, colour=True).splitlines()
    assert len(lines) == 1 + 2 + 1 + 2
    own, zero = (KINDS[kind_of(name)].colour for name in ("own page", "zero page"))
    rgb = ";".join(str(int(zero[at : at + 2], 16)) for at in (1, 3, 5))
    assert f"38;2;{rgb};48;2;" in lines[2]
    assert "▀" in lines[2]
    assert "▄" in lines[1]
    assert half_blocks(2, 1) == ("▀", f"{KINDS[1].colour} on {KINDS[0].colour}")
    assert half_blocks(0, kind_of("own page") + 1) == ("▄", own)
    assert half_blocks(3, 0) == ("▀", KINDS[2].colour)
    assert half_blocks(0, 0) == (" ", "")


@pytest.mark.parametrize("name", ["mixed-walk", "oom", "signals", "busybox-sort"])
@pytest.mark.parametrize("colour", [False, True])
def test_real_programs_fit_the_terminal(name: str, colour: bool) -> None:
    import re

    lines = re.sub(r"\x1b\[[\d;]*m", "", shown(list(recorded_log(name)), colour=colour, width=100)).splitlines()
    assert max(map(len, lines)) <= 100
    assert 8 < len(lines) < 110


def test_a_real_walk_touches_what_it_touched() -> None:
    log = recorded_log("mixed-walk")
    touched = timeline(log, columns=2000, rows=100_000)
    pages = {band.first + int(row) for band in touched.bands for row in np.flatnonzero((band.cells > 0).any(axis=1))}
    assert pages == {record.address >> 12 for record in log}


def test_names_cannot_command_the_terminal() -> None:
    assert "\x1b" not in shown([fault(1, 1, vma="1000-2000 r-xp 0 /tmp/\x1b]0;x\x07")], colour=False)
