"""`pagefault exec`: run a program, and print every page fault that it takes."""

from __future__ import annotations

import os
import posixpath
import re
import shlex
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import BadInput
from .exec_output import FORMATS, PICTURES, Ended, Telling, Wanted, binary
from .watched_region import WatchedRegion

if TYPE_CHECKING:
    from ..syscalls.execution import GivenFile

STOPPED = 124
"""What timeout(1) says of a program that it ended."""
DEFAULT_INSTRUCTIONS, DEFAULT_FAULTS = 2_000_000_000, 10_000_000
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
LEAST_RAM, MOST_RAM = 16 << 20, 1 << 40
"""Bytes; what the machine takes of its host is what the program touches."""
EPILOG = """\b
The log is a line a fault: time in seconds (an instruction is a nanosecond), process, mode,
address, what was tried and the error code, what the handler did and whether it counts as minor
or major, the code, and the area. It goes to standard error, as strace's does; the program's
output goes where it always does.

\b
Examples:
  pagefault exec ./hello
  pagefault exec --watch '[heap]' -o heap.svg --file words ./sort words
  pagefault exec --format ftrace -o trace.txt --kernel vmlinux /bin/busybox true
  pagefault exec --json ./hello | jq '.faults[] | select(.counted == "major")'

\b
Exit status: the program's own, 128 and the signal's number if one killed it, 124 if a bound
stopped it, 2 if the input was bad.
"""


@click.command("exec", epilog=EPILOG, context_settings={"allow_interspersed_args": False})
@click.argument("program")
@click.argument("arguments", metavar="[ARG]...", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="The log: a line a fault (the default); the summary "
    "alone; the lines of the tracepoints page_fault_user and page_fault_kernel; one JSON document.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="The same as --format json. The document goes to standard output, "
    "and holds the program's output; with -o it goes to the file.",
)
@click.option(
    "-o",
    "outputs",
    metavar="FILE",
    multiple=True,
    help="Write the log to FILE; if its name ends in .svg or "
    ".png, draw in it which pages faulted when. May be given for both.",
)
@click.option("--timeline", is_flag=True, help="Draw which pages faulted when at the end of the log.")
@click.option(
    "--summary/--no-summary",
    default=None,
    help="Count the faults by cause and by place at the end of the log. The default is to do so, but not for ftrace.",
)
@click.option(
    "--watch",
    "watched",
    metavar="REGION",
    multiple=True,
    help="Tell of this region's faults only: START-END in hexadecimal, or an area's name: [heap], [stack], a file.",
)
@click.option(
    "--kernel",
    metavar="IMAGE",
    help="A vmlinux: its code does the user copies in system calls, and its "
    "version decides how faults are handled. By default the small kernel in this package.",
)
@click.option(
    "--file",
    "files",
    metavar="HOST[:GUEST]",
    multiple=True,
    help="Let the program read a file, as GUEST. "
    "Without it, the name is the same; the program's current directory is /.",
)
@click.option("--writable-file", "writable_files", metavar="HOST[:GUEST]", multiple=True, help="Let it write to one.")
@click.option(
    "--env",
    "environment",
    metavar="NAME[=VALUE]",
    multiple=True,
    help="Set a variable, to its value here if there is none. The environment is empty otherwise.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, (1 << 64) - 1),
    help="Randomise the address space, from this number. By default it is not.",
)
@click.option(
    "--thp",
    type=click.Choice(("always", "madvise", "never")),
    default="always",
    show_default=True,
    help="Transparent huge pages.",
)
@click.option("--levels", type=click.Choice(("4", "5")), default="4", show_default=True, help="Levels of page tables.")
@click.option("--ram", metavar="SIZE", default="512M", show_default=True, help="Physical memory.")
@click.option("--swap", metavar="SIZE", help="Swap space, as fast as memory. By default there is none.")
@click.option(
    "--instructions",
    type=click.IntRange(1),
    default=DEFAULT_INSTRUCTIONS,
    show_default=True,
    help="Stop after so many instructions of all processes; a system call counts as 1,000.",
)
@click.option(
    "--faults",
    type=click.IntRange(1),
    default=DEFAULT_FAULTS,
    show_default=True,
    help="Stop after so many page faults.",
)
def exec_(
    program: str,
    arguments: tuple[str, ...],
    form: str | None,
    as_json: bool,
    outputs: tuple[str, ...],
    timeline: bool,
    summary: bool | None,
    watched: tuple[str, ...],
    kernel: str | None,
    files: tuple[str, ...],
    writable_files: tuple[str, ...],
    environment: tuple[str, ...],
    seed: int | None,
    thp: str,
    levels: str,
    ram: str,
    swap: str | None,
    instructions: int,
    faults: int,
) -> int:
    """
    Run a static x86-64 Linux program, and print every page fault as it happens: strace for page faults.

    PROGRAM runs in user mode on the emulated CPU, with its children, and faults are handled the way Linux does. It sees
    no file of this machine but itself and those given with --file. Options stand before PROGRAM.
    """
    from ..syscalls.execution import execute

    kernel = None if kernel == "small" else kernel
    form = chosen_form(form, as_json)
    pictures = tuple(path for path in outputs if path.lower().endswith(PICTURES))
    wanted = Wanted(
        form,
        chosen_log([path for path in outputs if path not in pictures]),
        form != "ftrace" if summary is None else summary,
        timeline,
        pictures,
        tuple(map(WatchedRegion.of, watched)),
        shlex.join((program, *arguments)),
        kernel,
        {"program": program, "arguments": list(arguments), "kernel": kernel},
    )
    given = [given_file(text, False) for text in files] + [given_file(text, True) for text in writable_files]
    variables, memory = environment_of(environment), size("--ram", ram, LEAST_RAM)
    with Telling(wanted) as telling:
        ended = execute(
            Path(program),
            arguments,
            kernel=Path(kernel) if kernel else None,
            environment=variables,
            files=given,
            seed=seed,
            thp=thp,
            levels=int(levels),
            ram=memory,
            swap=size("--swap", swap, 0) if swap else 0,
            budget=instructions,
            fault_limit=faults,
            stdout=binary(telling.stdout),
            stderr=binary(telling.stderr),
            on_fault=telling.on_fault,
        )
        telling.end(ended)
    return exit_status(ended)


def chosen_form(form: str | None, as_json: bool) -> str:
    """What --format and --json mean together."""
    if as_json and form not in (None, "json"):
        raise BadInput("--format", expected="json beside --json", got=str(form))
    return "json" if as_json else form or FORMATS[0]


def chosen_log(paths: Sequence[str]) -> str | None:
    """The one file that the log goes to, if any."""
    if len(paths) > 1:
        raise BadInput("-o", expected="one file for the log (and any number of .svg and .png)", got=", ".join(paths))
    return paths[0] if paths else None


def given_file(text: str, writable: bool) -> GivenFile:
    """
    HOST or HOST:GUEST. The name in the guest is absolute; a relative one is from /, where the program is.

    Errors: BadInput if there is no such file.
    """
    from ..syscalls.execution import GivenFile

    host, _, guest = text.partition(":")
    if not host or not Path(host).is_file():
        raise BadInput("--writable-file" if writable else "--file", expected="a file (HOST or HOST:GUEST)", got=text)
    return GivenFile(Path(host), posixpath.normpath(posixpath.join("/", guest or host)), writable)


def environment_of(settings: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE, or NAME for what it is here (nothing, if it is not set)."""
    values: dict[str, str] = {}
    for text in settings:
        name, equals, value = text.partition("=")
        if not name:
            raise BadInput("--env", expected="NAME=VALUE or NAME", got=repr(text))
        if equals or name in os.environ:
            values[name] = value if equals else os.environ[name]
    return values


def size(option: str, text: str, least: int) -> int:
    """Bytes of "512M"."""
    found = re.fullmatch(r"(\d{1,13})([kmgt]?)", text.lower())
    value = int(found[1]) * UNITS[found[2]] if found else -1
    if not least <= value <= MOST_RAM:
        raise BadInput(option, expected=f"a size from {least >> 20}M to 1T, such as 512M", got=text)
    return value


def exit_status(ended: Ended) -> int:
    """As a shell would say it."""
    if ended.stopped:
        return STOPPED
    if ended.signal:
        return 128 + getattr(signal, ended.signal, 0)
    return ended.exit_status or 0
