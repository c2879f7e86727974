"""Signals that are delivered: nested handlers, restarted system calls, frames that cannot be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from syscalls.scenario import prints_as_on_linux


@pytest.mark.parametrize("name", ["nested", "restart", "frame-on-guard"])
def test_as_on_linux(tmp_path: Path, name: str) -> None:
    prints_as_on_linux(tmp_path, name)
