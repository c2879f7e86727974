"""
What CPUID says in the guest: `python -m lab.cpuid` records it for each CPU model that programs are recorded with.

A program of libc's takes other ways on another CPU, so the CPU that we emulate has to say the same.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from lab.build import CPU_OF_LIBC
from lab.guest import Guest, NoGuestError
from lab.kernels import kernel
from lab.record import CPUS, RECORDINGS

LAB = Path(__file__).resolve().parent
MARK = "cpuid: "
MODELS = ("max", CPU_OF_LIBC)


def path(model: str) -> Path:
    """The file for a CPU model of QEMU's."""
    return RECORDINGS / "cpuid" / f"{model}.txt"


def read(model: str) -> dict[tuple[int, int], tuple[int, int, int, int]]:
    """(leaf, subleaf) -> eax, ebx, ecx, edx."""
    found = {}
    for line in path(model).read_text().splitlines():
        if not line.startswith("#"):
            leaf, subleaf, *registers = (int(word, 16) for word in line.split())
            found[leaf, subleaf] = (registers[0], registers[1], registers[2], registers[3])
    return found


def record(model: str) -> str:
    """The file's text."""
    with tempfile.TemporaryDirectory(prefix="pagefault-lab-") as folder:
        program = Path(folder) / "cpuid"
        subprocess.run(["gcc", "-O1", "-static", "-o", str(program), str(LAB / "cpuid.c")], check=True)
        running = kernel("6.1")
        with Guest(running.boot, files={"/cpuid": program}, script="/cpuid", cpus=CPUS, cpu=model) as guest:
            lines = [line.split(MARK, 1)[1] for line in guest.serial.splitlines() if MARK in line]
    return f"# leaf subleaf eax ebx ecx edx; qemu-system-x86_64 -accel tcg -cpu {model}\n" + "\n".join(lines) + "\n"


def main() -> int:
    try:
        for model in MODELS:
            path(model).parent.mkdir(exist_ok=True)
            path(model).write_text(record(model))
    except NoGuestError as reason:
        print(reason, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
