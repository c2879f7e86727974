from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import pytest

from pagefault.cli.extable_output import ALL_FORMS, BINARY, FORMS, Output, write_whole
from pagefault.errors import BadInput


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("action", FORMS)
def test_the_usual_form_is_a_table(action: str) -> None:
    assert Output.chosen(action, None, None) == Output("table")


@pytest.mark.parametrize(
    ("action", "form", "path", "expected"),
    [
        ("list", None, "a/b.csv", "csv"),
        ("list", None, "T.PARQUET", "parquet"),
        ("list", None, "t.feather", "arrow"),
        ("list", None, "t.txt", "table"),
        ("list", "json", "t.csv", "json"),
        ("list", "csv", "t", "csv"),
        ("summary", None, "t.svg", "svg"),
        ("audit", None, "t.sarif", "sarif"),
        ("diff", None, "t.html", "html"),
    ],
)
def test_a_file_s_name_says_the_form(action: str, form: str | None, path: str, expected: str) -> None:
    assert Output.chosen(action, form, path) == Output(expected, path)


@pytest.mark.parametrize(
    ("action", "form", "path", "words"),
    [
        ("list", None, "t", "--format"),
        ("list", None, "t.doc", "--format"),
        ("list", "svg", None, "for a listing, got svg"),
        ("list", None, "t.html", "for a listing, got html"),
        ("at", "csv", None, "table, json for --at, got csv"),
    ],
)
def test_forms_that_an_answer_does_not_have(action: str, form: str | None, path: str | None, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        Output.chosen(action, form, path)


@pytest.mark.parametrize("form", sorted(BINARY))
def test_nothing_binary_is_written_to_a_terminal(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    action = "summary" if form == "png" else "list"
    assert Output.chosen(action, form, None) == Output(form)
    monkeypatch.setattr("sys.stdout", Terminal())
    for path in (None, "-"):
        with pytest.raises(BadInput, match=rf"-o FILE\.{form}.*a terminal"):
            Output.chosen(action, form, path)
    assert Output.chosen(action, form, f"x.{form}").path == f"x.{form}"


def test_a_dash_is_standard_output() -> None:
    assert Output.chosen("list", "csv", "-") == Output("csv", None)


def test_every_form_can_be_asked_for() -> None:
    assert set(ALL_FORMS) == {form for forms in FORMS.values() for form in forms}
    assert set(ALL_FORMS) > BINARY


def test_lines_go_to_a_file_without_colour(tmp_path: Path) -> None:
    from pagefault.report.page import Span

    Output("table", str(tmp_path / "t.txt")).lines([("a ", Span("b", "bad")), ()])
    assert (tmp_path / "t.txt").read_text() == "a b\n\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_only_a_terminal_has_a_width(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    monkeypatch.setattr("sys.stdout", Terminal() if terminal else io.StringIO())
    assert (Output("table").width is not None) is terminal
    assert Output("table", "file").width is None


# -------------------------------------------------------------------------------------------------------------- writing


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    write_whole(str(tmp_path / "x"), b"new")
    assert (tmp_path / "x").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_what_was_there_is_replaced_or_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old, and longer than the new one")
    write_whole(str(path), b"new")
    assert path.read_bytes() == b"new"

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(str(path), b"newer")
    assert path.read_bytes() == b"new"
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


def test_a_new_file_has_the_usual_mode(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(str(tmp_path / "x"), b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder/file")
    write_whole(str(tmp_path / "link"), b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "file").read_bytes() == b"x"


def test_a_device_is_not_replaced() -> None:
    write_whole(os.devnull, b"x")
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


@pytest.mark.parametrize("name", ["no/such/folder", "."])
def test_what_cannot_be_written_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="expected a file that can be written, got "):
        write_whole(str(tmp_path / name), b"x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a system without /dev/full")
def test_a_full_disk_is_one_line() -> None:
    with pytest.raises(BadInput, match="No space left on device"):
        write_whole("/dev/full", b"x")
