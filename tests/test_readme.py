"""
The README's Python runs, and gives what it says.

A comment behind a statement is the value that the statement computes or assigns, with … for what may differ.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

README = Path(__file__).resolve().parent.parent / "README.md"


def test_the_python_in_the_readme_does_what_its_comments_say(
    vmlinux_61: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vmlinux").symlink_to(vmlinux_61.absolute())
    (tmp_path / "anonymous").symlink_to(README.parent / "lab/programs/bin/anonymous")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    compared = [promise for block in blocks for promise in play(block, names)]
    assert compared, "the README shows no value"
    for line, got, promised in compared:
        pattern = ".*".join(map(re.escape, promised.split("…")))
        assert re.fullmatch(pattern, got, re.DOTALL), f"{line}\ngives {got}"


def play(block: str, names: dict[str, object]) -> list[tuple[str, str, str]]:
    """Run a block in `names`; for each statement with a comment behind it: its line, its value, its comment."""
    promises, lines = [], block.splitlines()
    for statement in ast.parse(block).body:
        line = lines[(statement.end_lineno or 0) - 1]
        comment = line.encode()[statement.end_col_offset or 0 :].decode().strip()
        if isinstance(statement, ast.Expr):
            value = eval(compile(ast.Expression(statement.value), str(README), "eval"), names)
        else:
            exec(compile(ast.Module([statement], []), str(README), "exec"), names)
            value = names.get(assigned(statement))
        if comment.startswith("#"):
            promises.append((line.strip(), repr(value), comment.removeprefix("#").strip()))
    return promises


def assigned(statement: ast.stmt) -> str:
    """The name that a plain assignment sets."""
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)]):
            return name
        case _:
            return ""
