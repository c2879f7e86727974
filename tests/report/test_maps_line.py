from __future__ import annotations

import pytest

from pagefault.report.maps_line import Area, area
from report.recorded_faults import recording


@pytest.mark.parametrize(
    ("line", "expected", "label"),
    [
        (
            "7ffff79b9000-7ffff7bb9000 rw-s 0 /dev/zero (deleted)",
            Area(0x7FFFF79B9000, 0x7FFFF7BB9000, "rw-s", 0, "/dev/zero (deleted)"),
            "rw-s /dev/zero (deleted)",
        ),
        (
            "00401000-00402000 r-xp 00001000        /bin/cat",
            Area(0x401000, 0x402000, "r-xp", 0x1000, "/bin/cat"),
            "r-xp /bin/cat",
        ),
        ("1000-2000 ---p 0", Area(0x1000, 0x2000, "---p", 0, ""), "---p anonymous"),
    ],
)
def test_an_area(line: str, expected: Area, label: str) -> None:
    held = area(line)
    assert held == expected
    assert held is not None
    assert held.label == label


@pytest.mark.parametrize("line", ["", "1000-2000", "1000-2000 rw 0", "x-y rw-p 0 [heap]"])
def test_no_area(line: str) -> None:
    assert area(line) is None


def test_every_area_of_a_real_program_is_read() -> None:
    lines = [" ".join(line.split(" | ")[0].split()) for line in recording("busybox-sort").vmas]
    assert len(lines) > 8
    assert all(area(line) is not None for line in lines)
