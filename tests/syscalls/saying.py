"""Programs that say numbers, run on the small kernel."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from pagefault.syscalls.execution import GivenFile, execute
from syscalls.programs import built


def said(folder: Path, body: str, files: Sequence[GivenFile] = (), before: str = "") -> list[int]:
    """
    The numbers that a program says, one a line; its count of faults, which comes last, is left out. `before` stands in
    front of the program.
    """
    output = io.BytesIO()
    ended = execute(built(folder, body, before=before), thp="never", stdout=output, ram=64 << 20, files=files)
    assert (ended.stopped, ended.exit_status) == ("", 0)
    return [int(line.rpartition(" ")[2], 0) for line in output.getvalue().decode().splitlines()[:-1]]


def say(*calls: str) -> str:
    """The statements that say what these calls answer."""
    return "".join(f'say("", {call});' for call in calls)
