"""
Whole programs with what they print on Linux: `scenarios/NAME.c` begins with its promise and ends with its output.

The output is that of a real kernel, and the same programs can be run on one.
"""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import pytest
from lab.build import BARE, COMMON, PROGRAMS

from pagefault.syscalls.execution import execute

SOURCES = Path(__file__).parent / "scenarios"
BUDGET = 400_000_000


def prints_as_on_linux(folder: Path, name: str, kernel: Path | None = None) -> None:
    """Build the program, run it, and compare. The number of faults is not its promise."""
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc here")
    source, program = SOURCES / f"{name}.c", folder / name
    command = ["gcc", *COMMON, *BARE, f"-I{PROGRAMS}", f"-I{SOURCES}", str(source), "-o", str(program)]
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    assert not done.returncode, done.stderr
    expected = source.read_text().rpartition("/* Prints:\n")[2].removesuffix("*/\n").splitlines()
    output = io.BytesIO()
    execution = execute(program, kernel=kernel, thp="never", stdout=output, ram=128 << 20, budget=BUDGET)
    printed = [line for line in output.getvalue().decode().splitlines() if not line.startswith("faults =")]
    assert printed == expected
    assert execution.stopped == ""
    assert execution.notes == ()
