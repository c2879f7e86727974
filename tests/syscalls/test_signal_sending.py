"""Signals that are sent, wait and are merged; who sent them."""

from __future__ import annotations

from pathlib import Path

import pytest

from syscalls.scenario import prints_as_on_linux


@pytest.mark.parametrize("name", ["info"])
def test_as_on_linux(tmp_path: Path, name: str) -> None:
    prints_as_on_linux(tmp_path, name)
