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
