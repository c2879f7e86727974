"""userfaultfd: first touches that somebody else answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from syscalls.saying import said
from syscalls.scenario import prints_as_on_linux


@pytest.mark.parametrize("name", ["uffd", "uffd-shared", "uffd-sigbus"])
def test_as_on_linux(tmp_path: Path, name: str) -> None:
    prints_as_on_linux(tmp_path, name)


def test_a_descriptor_duplicated_onto_itself_by_its_low_bits(tmp_path: Path) -> None:
    body = 'long fd = sys(userfaultfd, 1); say("", sys(dup2, fd, fd | 1l << 32) == fd);'
    assert said(tmp_path, body) == [1]
