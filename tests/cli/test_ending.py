from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from pagefault.cli.ending import Commands
from pagefault.errors import BadInput, Unsupported

Process = Callable[..., "subprocess.CompletedProcess[str]"]


def ending(action: Callable[[], int | None]) -> tuple[int, str, str]:
    group = Commands("group")
    group.add_command(click.Command("go", callback=action))
    result = CliRunner().invoke(group, ["go"], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def raising(error: BaseException) -> Callable[[], int | None]:
    def act() -> int | None:
        raise error

    return act


@pytest.mark.parametrize("status", [0, 1, 7])
def test_a_command_returns_its_status(status: int) -> None:
    assert ending(lambda: status) == (status, "", "")


def test_nothing_is_success() -> None:
    assert ending(lambda: None) == (0, "", "")


@pytest.mark.parametrize(
    "error",
    [BadInput("file", expected="x", got="y\nz"), Unsupported("that", why="because"), click.ClickException("no")],
)
def test_our_errors_are_one_line_and_status_2(error: Exception) -> None:
    status, out, err = ending(raising(error))
    assert (status, out) == (2, "")
    assert err.startswith("pagefault: ")
    assert err.count("\n") == 1


def test_other_errors_are_bugs_and_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        ending(raising(ZeroDivisionError()))


def test_an_interrupt_is_130() -> None:
    status, out, _ = ending(raising(KeyboardInterrupt()))
    assert (status, out) == (130, "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [("extable", "small"), ("run", "null-read"), ("extable", "small", "--json")])
def test_a_reader_who_goes_away_is_no_error(
    environment: dict[str, str], arguments: tuple[str, ...], unbuffered: str
) -> None:
    program = [sys.executable, "-m", "pagefault", *arguments]
    environment = {**environment, "PYTHONUNBUFFERED": unbuffered}
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a system without /dev/full")
@pytest.mark.parametrize(
    "arguments", [("extable", "small"), ("run", "--list"), ("extable", "small", "--json"), ("--help",), ("call", "-h")]
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_one_line(environment: dict[str, str], arguments: tuple[str, ...], unbuffered: str) -> None:
    program = [sys.executable, "-m", "pagefault", *arguments]
    environment = {**environment, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=environment)
    assert done.returncode == 2
    assert done.stderr == "pagefault: standard output: No space left on device\n"


def test_no_standard_output_is_one_line(environment: dict[str, str]) -> None:
    program = f"import os; os.close(1); os.execv({sys.executable!r}, ['python', '-m', 'pagefault', 'extable', 'small'])"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (2, "pagefault: standard output: it is closed\n")


def test_an_error_about_a_file_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(FileNotFoundError):
        ending(raising(FileNotFoundError(2, "No such file", "one of ours")))
