from __future__ import annotations

from dataclasses import replace

import pytest

from pagefault.report.fault_lines import HEADING, access_words, fault_line, style, weight
from pagefault.report.page import Page, plain
from report.recorded_faults import RECORD, recorded_log


def test_a_line_says_all_of_it_in_columns() -> None:
    lines = plain([HEADING, fault_line(RECORD), fault_line(replace(RECORD, kernel=True, symbol="", vma=""))])
    heading, user, kernel = lines.splitlines()
    assert heading.split() == ["seconds", "pid", "mode", "address", "access", "handled", "at"]
    handled = "    0x7ffff7bba6dd write denied 0x7  minor copied on write             "
    assert user.startswith(" 12.345678901  1000 user   " + handled + "fill+0x19: movb %al, (%rdi)  in ")
    assert user.endswith("  in 7ffff7bb9000-7ffff7bf9000 rw-p 0 /data")
    assert kernel == " 12.345678901  1000 kernel " + handled + "0x401259: movb %al, (%rdi)  in no area"


def test_columns_stand_under_their_headings_for_real_faults() -> None:
    heading, *lines = plain([HEADING, *map(fault_line, recorded_log("signals"))]).splitlines()
    assert len(lines) > 20
    handled, at, access = (
        heading.index("handled"),
        heading.index("at", heading.index("handled")),
        heading.index("access "),
    )
    assert {line[:handled][-1] + line[at - 1] for line in lines} == {"  "}
    assert {line[access - 1] for line in lines} == {" "}
    assert not any(line[place] == " " for line in lines for place in (handled, at, access))
    address = heading.index("address") + len("address")
    assert {line[:address].rpartition(" ")[2][:2] for line in lines} == {"0x"}


@pytest.mark.parametrize(
    ("error_code", "words"),
    [
        (0x0, "read absent"),
        (0x6, "write absent"),
        (0x7, "write denied"),
        (0x14, "fetch absent"),
        (0x15, "fetch denied"),
        (0x25, "read by key"),
        (0xD, "read reserved"),
        (0x2F, "write by key"),
    ],
)
def test_what_was_tried_and_why_it_failed(error_code: int, words: str) -> None:
    assert access_words(error_code) == words


@pytest.mark.parametrize(
    ("results", "major", "expected"),
    [
        (("ok",), False, "minor"),
        (("MAJOR|RETRY", "ok"), True, "major"),
        (("NOPAGE",), False, "minor"),
        (("LOCKED|COMPLETED",), False, "minor"),
        ((), False, ""),
        (("RETRY",), False, ""),
        (("SIGBUS",), False, ""),
        (("MAJOR|SIGBUS",), True, ""),
        (("RETRY", "ok"), False, "minor"),
    ],
)
def test_what_counts_as_minor_or_major(results: tuple[str, ...], major: bool, expected: str) -> None:
    assert weight(replace(RECORD, results=results, major=major)) == expected


def test_what_failed_is_told_apart() -> None:
    failed = ["fixed up with -EFAULT", "SIGSEGV SEGV_MAPERR", "SIGBUS BUS_ADRERR", "oops", "out of memory"]
    assert {style(replace(RECORD, action=action)) for action in failed} == {"bad"}
    assert style(RECORD) == "good"
    assert style(replace(RECORD, major=True)) == "strong"


def test_a_terminal_gets_colours() -> None:
    coloured = Page(terminal=True, colour=True, width=100).styled(
        fault_line(replace(RECORD, action="SIGSEGV SEGV_MAPERR"))
    )
    assert "\x1b[31m\x1b[1mminor SIGSEGV SEGV_MAPERR" in coloured


def test_names_cannot_command_the_terminal() -> None:
    hostile = replace(RECORD, symbol="f\x1b[2J+0x1", vma="1000-2000 r-xp 0 /tmp/\x1b]0;x\x07")
    assert "\x1b" not in plain([fault_line(hostile)])
