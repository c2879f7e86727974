from __future__ import annotations

from dataclasses import replace

import pytest

from pagefault.cli.watched_region import WatchedRegion
from pagefault.errors import BadInput
from report.recorded_faults import RECORD, recorded_log


@pytest.mark.parametrize("text", ["7ffff7bba000-7ffff7bbb000", "0x7ffff7bba6dd-0x7FFFF7BBA6DE", "0-ffffffffffffffff"])
def test_a_range_that_holds_the_address(text: str) -> None:
    assert WatchedRegion.of(text).holds(RECORD)


@pytest.mark.parametrize("text", ["7ffff7bb9000-7ffff7bba6dd", "7ffff7bba6de-7ffff7bbb000"])
def test_a_range_that_does_not(text: str) -> None:
    assert not WatchedRegion.of(text).holds(RECORD)


@pytest.mark.parametrize(("name", "holds"), [("/data", True), ("data", True), ("dat", False), ("[heap]", False)])
def test_an_area_by_its_name(name: str, holds: bool) -> None:
    assert WatchedRegion.of(name).holds(RECORD) is holds


def test_a_name_with_a_dash_is_a_name_unless_both_halves_are_hexadecimal() -> None:
    record = replace(RECORD, vma="400000-401000 r-xp 0 /bin/mixed-walk")
    assert WatchedRegion.of("mixed-walk").holds(record)
    assert WatchedRegion.of("feed-ffff") == WatchedRegion(0xFEED, 0xFFFF)
    assert WatchedRegion.of("/bin/feed-ffff").name == "/bin/feed-ffff"


def test_where_there_is_no_area_only_a_range_holds() -> None:
    nowhere = replace(RECORD, vma="")
    assert not WatchedRegion.of("/data").holds(nowhere)
    assert WatchedRegion.of("7ffff7bba000-7ffff7bbb000").holds(nowhere)


def test_real_faults_of_an_area() -> None:
    log = recorded_log("busybox-sort")
    heap = [record for record in log if WatchedRegion.of("[heap]").holds(record)]
    assert len(heap) == 12
    assert all(record.vma.endswith("[heap]") for record in heap)


@pytest.mark.parametrize("text", ["", "2000-1000", "1000-1000"])
def test_what_is_no_region(text: str) -> None:
    with pytest.raises(BadInput, match="--watch"):
        WatchedRegion.of(text)
