"""Running the command line: in this process, or as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import pagefault
from cli.stand_in import StandIn, module
from pagefault.cli import main

Pagefault = Callable[..., Result]
Process = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run() -> Pagefault:
    """`run("extable", "small")`: the command's result, standard output and standard error apart."""
    return lambda *arguments: CliRunner().invoke(
        main, [str(argument) for argument in arguments], catch_exceptions=False
    )


@pytest.fixture
def environment() -> dict[str, str]:
    """This environment, with the package that is being tested in the path."""
    source = str(Path(pagefault.__file__).parent.parent)
    path = os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH", ""))))
    return {**os.environ, "PYTHONPATH": path}


@pytest.fixture
def python() -> str:
    """The interpreter that runs the tests."""
    return sys.executable


@pytest.fixture
def process(environment: dict[str, str]) -> Process:
    """`process("extable", "small")`: `python -m pagefault` as a process."""

    def start(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pagefault", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    return start


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """In the place of what runs programs."""
    made = StandIn()
    monkeypatch.setitem(sys.modules, "pagefault.syscalls.execution", module(made))
    return made
