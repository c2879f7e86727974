"""
Routines for user memory on real kernels and in the machine: the same page faults, at the same instructions, with the
same error codes, and the same number of bytes left. On x86-32 a vmalloc fault, too.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from lab.oops import CALLS, SETUPS

from faulty_machine import FaultyMachine, recorded, vmlinux


@pytest.mark.parametrize("name", SETUPS)
def test_the_routines_take_the_same_faults(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    recording = recorded(CALLS, name)
    machine = FaultyMachine(SETUPS[name], recording, vmlinux(SETUPS[name], recording, request), tmp_path)
    assert {line: machine.call(line) for line, _ in recording.said} == dict(recording.said)
