"""execve: what fails, what is kept, and who is left."""

from __future__ import annotations

from errno import EACCES, ENOEXEC
from pathlib import Path

import pytest

from pagefault.syscalls.execution import GivenFile
from syscalls.saying import said
from syscalls.scenario import prints_as_on_linux


@pytest.mark.parametrize("name", ["exec-errors", "exec-large", "exec-thread"])
def test_as_on_linux(tmp_path: Path, name: str) -> None:
    prints_as_on_linux(tmp_path, name)


def test_a_file_that_nobody_may_execute(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(b"nothing")
    body = """
    static char *none[] = {"x", 0};
    say("", sys(execve, "/plain", none, 0)); say("", sys(execve, "/ready", none, 0));
    """
    ready = tmp_path / "ready"
    ready.write_bytes(b"nothing")
    ready.chmod(0o755)
    files = [GivenFile(plain, "/plain"), GivenFile(ready, "/ready")]
    assert said(tmp_path, body, files) == [-EACCES, -ENOEXEC]
