"""The programs' binaries are what their source makes."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab.build import BINARIES, COMPILER, build, compiler, programs
from lab.guest import NoGuestError

BUILT = [name for name, program in programs().items() if program.binary]


def test_there_is_no_binary_without_a_source() -> None:
    assert {path.name for path in BINARIES.iterdir()} == {*BUILT, COMPILER.name}


@pytest.mark.parametrize("name", BUILT)
def test_a_binary_is_built_from_its_source(name: str, tmp_path: Path) -> None:
    try:
        here = compiler()
    except NoGuestError as reason:
        pytest.skip(str(reason))
    if here != COMPILER.read_text().strip():
        pytest.skip(f"this is {here}; the binaries are {COMPILER.read_text().strip()}'s")
    assert build(name, tmp_path).read_bytes() == (BINARIES / name).read_bytes()
