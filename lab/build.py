"""
The programs: what each promises, and how it is built.

The binaries are committed (programs/bin): a recording is of their addresses, and another compiler gives others.
`python -m lab.build` rebuilds them all; a test holds them to their source where the same compiler is.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab.guest import NoGuestError

PROGRAMS = Path(__file__).resolve().parent / "programs"
BINARIES = PROGRAMS / "bin"
COMPILER = BINARIES / "COMPILER"
"""What built them: the first line of `gcc --version`."""
COMMON = (
    "-static -O2 -fno-pie -no-pie -fno-stack-protector -fcf-protection=none -fno-ident -Wall -Wextra -Werror".split()
)
COMMON += "-Wl,--build-id=none -Wl,-z,max-page-size=4096 -Wl,-z,noexecstack".split()
BARE = "-nostdlib -ffreestanding -fno-asynchronous-unwind-tables -fno-builtin -mno-sse".split()
PROMISE = re.compile(r"/\* (.+) \*/\n")


@dataclass(frozen=True, slots=True)
class Program:
    """`arguments`: the command line in the guest. `binary`: None for busybox, which is the host's."""

    name: str
    promise: str
    arguments: tuple[str, ...]
    binary: Path | None
    only: str = ""
    """The one huge-page setting that it is recorded with; empty: all."""
    cpu: str = "max"
    """QEMU's CPU model."""


BUSYBOX = {
    "busybox-true": ("a real static program of libc starts and ends", ("true",)),
    "busybox-sort": ("a real applet reads a file, allocates and prints", ("sort", "-r", "/words")),
    "busybox-sha256sum": ("a real applet reads a file through a buffer", ("sha256sum", "/data")),
}
LIBC = {"libc"}
"""Programs with a libc: all others bring their own start (lab.h)."""
CPU_OF_LIBC = "max,-avx,-avx2,-f16c,-fma"
"""A libc chooses its routines by CPUID: a CPU without AVX, which the CPU that we emulate does not have either."""
LARGE = {"mixed-walk", "mixed-fork", "mixed-calls"}
"""Recorded in one configuration a kernel only."""


def programs() -> dict[str, Program]:
    """All of them, by name."""
    found = {}
    for source in sorted(PROGRAMS.glob("*.c")):
        match = PROMISE.match(source.read_text())
        assert match, f"{source} does not start with its promise"
        name, only = source.stem, "never" if source.stem in LARGE else ""
        cpu = CPU_OF_LIBC if name in LIBC else "max"
        found[name] = Program(name, match[1], (f"/lab/{name}",), BINARIES / name, only, cpu)
    for name, (promise, arguments) in BUSYBOX.items():
        found[name] = Program(name, promise, ("/lab/busybox", *arguments), None, cpu=CPU_OF_LIBC)
    return found


def busybox() -> Path:
    """The host's. Raises NoGuestError."""
    found = shutil.which("busybox")
    if found is None:
        raise NoGuestError("there is no busybox here (Debian: apt-get install busybox-static)")
    return Path(found)


def compiler() -> str:
    """Raises NoGuestError: no gcc here."""
    if shutil.which("gcc") is None:
        raise NoGuestError("there is no gcc here (Debian: apt-get install gcc libc6-dev)")
    return subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]


def build(name: str, folder: Path) -> Path:
    """Build one program into `folder`."""
    flags = [*COMMON, "-Wl,-s"] if name in LIBC else [*COMMON, *BARE]
    subprocess.run(["gcc", *flags, "-o", str(folder / name), f"{name}.c"], cwd=PROGRAMS, check=True)
    return folder / name


def build_all() -> None:
    BINARIES.mkdir(exist_ok=True)
    COMPILER.write_text(compiler() + "\n")
    for name, program in programs().items():
        if program.binary:
            build(name, BINARIES)


if __name__ == "__main__":
    build_all()
