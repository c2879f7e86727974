"""Small programs that a test writes itself, in C on top of lab.h."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from lab.build import BARE, COMMON, PROGRAMS


def built(folder: Path, body: str, *, name: str = "program", before: str = "") -> Path:
    """A static program whose `program(long *stack)` is `body`; `before` stands in front of it."""
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc here")
    source = f'#include "lab.h"\n{before}\nstatic void program(long *stack)\n{{\n(void)stack;\n{body}\n}}\n'
    flags = [*COMMON, *BARE, f"-I{PROGRAMS}"]
    command = ["gcc", *flags, "-x", "c", "-", "-o", str(folder / name)]
    done = subprocess.run(command, input=source, text=True, capture_output=True, check=False)
    assert not done.returncode, done.stderr
    return folder / name
