"""The forms in which `pagefault extable` answers, and writing them: to standard output, or whole to a file."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import BadInput

if TYPE_CHECKING:
    from ..report.page import Line

FORMS = {
    "list": ("table", "json", "csv", "parquet", "arrow"),
    "at": ("table", "json"),
    "summary": ("table", "json", "svg", "png"),
    "audit": ("table", "json", "sarif"),
    "diff": ("table", "json", "html"),
}
"""What is done -> the forms its answer can have, the usual one first."""
ALL_FORMS = tuple(dict.fromkeys(form for forms in FORMS.values() for form in forms))
BINARY = frozenset(("parquet", "arrow", "png"))
SUFFIXES = {**{f".{form}": form for form in ALL_FORMS}, ".txt": "table", ".feather": "arrow", ".htm": "html"}
STANDARD_OUTPUT = "-"


@dataclass(frozen=True, slots=True)
class Output:
    """The form of an answer, and the file that it goes to; None is standard output."""

    form: str
    path: str | None = None

    @classmethod
    def chosen(cls, action: str, form: str | None, path: str | None) -> Output:
        """
        What `--format`, `--json` and `-o` mean for an action: without a format, it is the file's by its name.

        Errors: BadInput if the answer has no such form, or a file's name does not tell.
        """
        path = None if path == STANDARD_OUTPUT else path
        forms = FORMS[action]
        if form is None and path is not None:
            form = SUFFIXES.get(Path(path).suffix.lower())
            if form is None:
                expected = f"a file name that ends in {', '.join(f'.{each}' for each in forms)}, or --format"
                raise BadInput("-o", expected=expected.replace(".table", ".txt"), got=repr(path))
        form = form or forms[0]
        if form not in forms:
            whose = "a listing" if action == "list" else f"--{action}"
            raise BadInput("--format", expected=f"{', '.join(forms)} for {whose}", got=form)
        if form in BINARY and path is None and sys.stdout.isatty():
            raise BadInput(
                "standard output", expected=f"a file (-o FILE.{form}) or a pipe for {form}", got="a terminal"
            )
        return cls(form, path)

    @property
    def width(self) -> int | None:
        """Columns of the terminal that is written to; None if it is a pipe or a file, where lines may be long."""
        from ..report.page import Page

        page = Page.of_stdout()
        return page.width if page.terminal and self.path is None else None

    def lines(self, lines: Iterable[Line]) -> None:
        """Write a report for people."""
        from ..report.page import Page, plain

        if self.path is None:
            Page.of_stdout().write(*lines)
        else:
            write_whole(self.path, (plain(lines) + "\n").encode("utf-8", "backslashreplace"))

    def json(self, **content: Any) -> None:
        """Write one JSON document."""
        import json

        from ..report.as_json import document

        self.data(json.dumps(document("extable", **content), indent=2).encode() + b"\n")

    def data(self, data: bytes) -> None:
        """Write a file's content."""
        if self.path is None:
            click.echo(data, nl=False)
        else:
            write_whole(self.path, data)


def write_whole(path: str, data: bytes) -> None:
    """
    Write a file so that it is there whole or as it was before, whatever happens in between. A device or a pipe is
    simply written to.

    Errors: BadInput if that cannot be.
    """
    target = os.path.realpath(path)
    try:
        try:
            special = not stat.S_ISREG(Path(target).stat().st_mode)
        except FileNotFoundError:
            special = False
        if special:
            Path(target).write_bytes(data)
            return
        beside = f"{target}.{os.getpid()}.part"
        # The mode that any new file has here: umask takes from it what it should.
        number = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            with os.fdopen(number, "wb") as file:
                file.write(data)
            Path(beside).replace(target)
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise
    except OSError as error:
        expected = "a file that can be written"
        raise BadInput(path, expected=expected, got=error.strerror or str(error)) from None
