from __future__ import annotations

import json
from email.message import Message
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from pagefault.cli.extable_actions import (
    MOST_COMPLAINTS,
    audit_image,
    compare,
    documentation,
    list_entries,
    names,
    search,
)
from pagefault.cli.extable_choice import Choice
from pagefault.cli.extable_images import Beside, Opened
from pagefault.cli.extable_output import Output
from pagefault.errors import BadInput
from survey.made_up import several

LOAD = "<movq {(%rsi)}, %rax"
EVERYTHING = Choice({})


def opened(unreadable: int = 0) -> Opened:
    lines = [f"module {number} is broken" for number in range(unreadable)]
    return Opened("tree", ("a folder",), [], several("f", LOAD), None, lines)


@pytest.mark.parametrize(("unreadable", "lines"), [(1, 1), (MOST_COMPLAINTS, 10), (MOST_COMPLAINTS + 5, 11)])
def test_modules_that_cannot_be_read_are_told_of_and_the_others_listed(
    capsys: pytest.CaptureFixture[str], unreadable: int, lines: int
) -> None:
    assert list_entries(opened(unreadable), EVERYTHING, Output("table"), source=False) == 2
    out, err = capsys.readouterr()
    assert "movq (%rsi), %rax" in out
    assert err.count("\n") == lines
    assert err.startswith("pagefault: module 0 is broken\n")


def test_a_comparison_of_what_cannot_all_be_read_has_not_been_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(opened(), opened(1), EVERYTHING, Output("table")) == 2
    assert "module 0 is broken" in capsys.readouterr().err
    assert compare(opened(), opened(), EVERYTHING, Output("table")) == 0


def test_no_address_is_looked_up_in_a_folder() -> None:
    with pytest.raises(BadInput, match="one image"):
        search(opened(), "0x1000", Output("table"))


def test_an_audit_of_what_cannot_be_read_has_not_been_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.ko").write_bytes(b"This is no module." * 100)
    assert audit_image(str(tmp_path), Beside(), Output("table")) == 2
    out, err = capsys.readouterr()
    assert "a.ko" in err
    assert "clean" not in out
    assert "1 module could not be read" in out
    assert audit_image(str(tmp_path), Beside(), Output("json")) == 2
    document = json.loads(capsys.readouterr().out)
    assert document["clean"] is False
    assert "a.ko" in document["unreadable"][0]
    assert audit_image(str(tmp_path), Beside(), Output("sarif")) == 2
    [run] = json.loads(capsys.readouterr().out)["runs"]
    assert run["invocations"][0]["executionSuccessful"] is False


def test_the_documentations_address_is_the_installed_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Message()
    monkeypatch.setattr("importlib.metadata.metadata", lambda name: made)
    assert documentation() is None
    made["Project-URL"] = "Source, https://example.org/source"
    made["Project-URL"] = "Documentation, https://example.org/docs"
    assert documentation() == "https://example.org/docs"


def test_a_package_that_is_not_installed_has_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def metadata(name: str) -> Message:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.metadata", metadata)
    assert documentation() is None


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("/a/vmlinux-6.1", "/a/vmlinux-6.12", ("vmlinux-6.1", "vmlinux-6.12")),
        ("/a/vmlinux", "/b/vmlinux", ("/a/vmlinux", "/b/vmlinux")),
        ("/lib/modules/6.1/", "/lib/modules/6.12", ("6.1", "6.12")),
    ],
)
def test_images_are_called_by_what_tells_them_apart(old: str, new: str, expected: tuple[str, str]) -> None:
    assert names(old, new) == expected
