from __future__ import annotations

import io

import pytest

from pagefault.report.page import Line, Page, Span, Table, aligned, folded, plain, prose

TABLE = Table(("n", "what"), [("1", "short"), ("22", "a longer cell")], right=frozenset({0}))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def page_on(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, **environment: str) -> Page:
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Page.of_stdout()


def test_a_pipe_gets_plain_aligned_text(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    page_on(out, monkeypatch).write((Span("title", "title"), " and more"), TABLE)
    assert out.getvalue() == "title and more\n n  what\n 1  short\n22  a longer cell\n"


def test_a_terminal_gets_colour_and_a_drawn_table(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Terminal()
    page_on(out, monkeypatch).write((Span("title", "title"),), TABLE)
    assert "\x1b[" in out.getvalue()
    assert "╭" in out.getvalue()
    assert "a longer cell" in out.getvalue()


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colour_can_be_forbidden(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    out = Terminal()
    page_on(out, monkeypatch, **environment).write((Span("title", "title"),), TABLE)
    assert "\x1b[" not in out.getvalue()
    assert "╭" in out.getvalue()


def test_cells_are_not_taken_for_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Terminal()
    page_on(out, monkeypatch, NO_COLOR="1").write(Table(("area",), [("rw-p [red]stack[/red]",)]))
    assert "[red]stack[/red]" in out.getvalue()


def test_a_wide_last_column_is_wrapped_under_itself() -> None:
    lines = list(aligned(Table(("scene", "outcome"), [("one", "word " * 30)])))
    assert max(map(len, lines)) <= 100
    assert len(lines) > 2
    assert all(line.startswith(" " * 7 + "word") for line in lines[2:])


def test_a_few_wide_cells_stick_out_instead_of_pushing_all_columns() -> None:
    lines = list(aligned(Table(("symbol", "to"), [("f" * 60, "+0x1"), ("g", "+0x2")])))
    assert lines[1].endswith("f  +0x1")
    assert lines[2] == "g".ljust(40) + "  +0x2"


def test_prose_is_wrapped_and_indented() -> None:
    text = plain(prose("word " * 50, indent=3))
    assert all(line.startswith("   word") and len(line) <= 100 for line in text.splitlines())


def test_a_long_line_folds_under_its_last_part() -> None:
    line: Line = ("     ", Span("label   ", "strong"), "word " * 30)
    lines = plain(folded(line)).splitlines()
    assert lines[0].startswith("     label   word")
    assert all(text.startswith(" " * 13 + "word") for text in lines[1:])
    assert max(map(len, lines)) <= 100


def test_what_fits_is_left_alone() -> None:
    assert list(folded(("a  b", " c"))) == [("a  b", " c")]


def drawn(monkeypatch: pytest.MonkeyPatch, table: Table, columns: int) -> list[str]:
    out = Terminal()
    monkeypatch.setenv("COLUMNS", str(columns))
    page_on(out, monkeypatch, NO_COLOR="1").write(table)
    return out.getvalue().splitlines()


FAULTS = Table(
    ("fault", "at", "access", "handled by"),
    [("1", "copy_user_generic+0xd/0x2c", "the kernel reads 0x7ffff7fff000", "exception table (uaccess)")],
)


@pytest.mark.parametrize("columns", [74, 76, 80, 88, 95, 99, 100, 140])
def test_a_narrow_terminal_splits_no_word(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    lines = drawn(monkeypatch, FAULTS, columns)
    words = {word for line in lines for word in line.replace("│", " ").split()}
    assert {"copy_user_generic+0xd/0x2c", "0x7ffff7fff000", "exception", "(uaccess)", "handled"} <= words
    assert max(map(len, lines)) <= columns


def test_a_terminal_that_is_wide_enough_has_a_line_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(drawn(monkeypatch, FAULTS, 140)) == 5


def test_what_is_too_wide_even_so_is_split_and_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = drawn(monkeypatch, Table(("a", "b"), [("x" * 50, "y" * 50)]), 60)
    with_address = drawn(monkeypatch, Table(("a", "b"), [("x" * 70, "reads 0x7ffff7fff000")]), 60)
    assert any("0x7ffff7fff000" in line for line in with_address)
    assert "".join(lines).count("x") == "".join(lines).count("y") == 50
    assert max(map(len, lines)) <= 60
