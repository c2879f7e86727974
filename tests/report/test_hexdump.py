from __future__ import annotations

from pagefault.machine.machine import Machine
from pagefault.report.hexdump import LINES, hexdump, memory
from pagefault.report.page import plain
from pagefault.vocabulary.address import PAGE


def test_bytes_and_text() -> None:
    text = plain(hexdump([(0x1000, b"hello, \x00world\xff and more")]))
    assert text.splitlines() == [
        "0000000000001000  68 65 6c 6c 6f 2c 20 00  77 6f 72 6c 64 ff 20 61  hello, .world. a",
        "0000000000001010  6e 64 20 6d 6f 72 65                              nd more",
    ]


def test_repeated_lines_become_one_star() -> None:
    lines = plain(hexdump([(0, bytes(64) + b"x")])).splitlines()
    assert [line[:16] for line in lines] == ["0" * 16, "*", "0000000000000040"]


def test_a_long_piece_is_cut() -> None:
    data = b"".join(number.to_bytes(16, "little") for number in range(2 * LINES))
    lines = plain(hexdump([(0, data)])).splitlines()
    assert len(lines) == LINES + 1
    assert lines[-1] == "…"


def test_a_hole_is_not_mapped(bad_copy: tuple[Machine, int, int]) -> None:
    machine, _, end = bad_copy
    machine.user.write(end - 4, b"last")
    pieces = memory(machine, end - 4, 4 + PAGE)
    assert pieces == [(end - 4, b"last"), (end, None)]
    assert plain(hexdump(pieces)).splitlines()[1] == f"{end:016x}  not mapped"


def test_pages_in_a_row_that_are_not_mapped_are_one_line() -> None:
    pieces = [(page * PAGE, None) for page in range(256)] + [(256 * PAGE, b"x"), (257 * PAGE, None), (258 * PAGE, None)]
    assert [line.strip() for line in plain(hexdump(pieces)).splitlines()] == [
        "0000000000000000  not mapped, nor the next 255 pages",
        "0000000000100000  78" + " " * 48 + "x",
        "0000000000101000  not mapped, nor the next 1 page",
    ]


def test_the_same_bytes_after_a_hole_are_shown_again() -> None:
    lines = plain(hexdump([(0, bytes(16)), (PAGE, None), (2 * PAGE, bytes(16))])).splitlines()
    assert [int(line[:16], 16) for line in lines] == [0, PAGE, 2 * PAGE]
