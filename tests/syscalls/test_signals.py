"""System calls about signals."""

from __future__ import annotations

from pathlib import Path

import pytest

from syscalls.scenario import prints_as_on_linux


@pytest.mark.parametrize("name", ["oneshot", "altstack", "kill-errors"])
def test_as_on_linux(tmp_path: Path, name: str) -> None:
    prints_as_on_linux(tmp_path, name)
