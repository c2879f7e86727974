"""
Records the oopses of real kernels, and what their routines for user memory do: `python -m lab.oops [NAME…]`.

A guest has the module (faulty/) commit one bug after the other, each in a process of its own, and what the kernel
prints of each is written to recordings/oops/NAME.txt: a header, then under [LETTER PLACE] the lines without their
timestamps. Before that, it calls routines: recordings/calls/NAME.txt has under [ROUTINE ADDRESS LENGTH] each page fault
in kernel mode, and the result. NAME is the kernel's series and the CPU.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lab.faulty.build import build_init, build_module
from lab.guest import Guest, NoGuestError
from lab.kernels import Kernel, kernel

RECORDINGS = Path(__file__).resolve().parent / "recordings" / "oops"
CALLS = RECORDINGS.parent / "calls"
MEMORY = 1024
"""MiB. Enough for a 32-bit kernel to have all the lowmem there can be: its address map is then its largest."""
OPTIONS = "nokaslr norandmaps userpte=nohigh no_hash_pointers printk.devkmsg=on"
"""userpte=nohigh: with a page table in high memory, show_fault_oops() of 6.1 on x86-32 itself faults where it looks for
what forbids a fetch (lookup_address_in_pgd() takes the table's address to be in the direct map), and the oops of the
oops leaves the kernel without its lock."""
COMMON = """
r 10
w 18
x 0
r 20000000
w 20000000
u 20000000
x 20000000
r 10000000
w 10000000
w 10002000
x 10001000
x 10000000
x 10002000
r vmalloc-end
w module-text
w module-rodata
w kernel-rodata
"""
WITH_NX = """
x module-data
x kernel-data
x kmalloc
"""
"""Without NX these run whatever stands there as code."""
ONLY_64 = """
r dead000000000100
w dead000000000100
r ffffffffff000000
w 00ffffffffffff00
x ffffffffff600400
r below-stack
"""
ONLY_32 = """
r ffffff00
w ff700000
"""
ROUTINES = """
copy-from 10000010 20
copy-from 10003fff 1
copy-from 10003ff0 20
copy-from 10003f81 100
copy-from 10002ff9 40
copy-from 10004000 8
copy-from fffffff0 8
copy-to 10000000 10
copy-to 10000ff8 20
copy-to 10000ff3 20
copy-to 10003ff0 20
copy-to 10003f81 100
copy-to 10002000 4
strncpy 10000000 40
strncpy 10003ff8 40
strncpy 10004000 10
strnlen 10000000 40
strnlen 10003ff0 40
strnlen 10004000 10
"""
ROUTINES_32 = """
clear 10000004 20
clear 10003ff4 20
clear 10003ff3 33
clear 10002000 10
"""
"""On x86-64 it is inlined into its callers."""
ROUTINES_TWO_LEVEL = """
vmalloc 0 1000000
"""
"""With PAE the kernel's half of the tables is shared."""
STAMP = re.compile(r"^\[ *\d+\.\d+\] ", re.MULTILINE)
NOTHING = "nothing happened"
SAID = re.compile(r"^lab: (\w+) ?(.*)$")


@dataclass(frozen=True, slots=True)
class Setup:
    """
    What is booted: a key of lab.kernels.FLAVOURS on a CPU of QEMU's. `features` is what that has of the features that
    make a difference here, by the names of Machine.boot().
    """

    series: str
    name_of_cpu: str
    cpu: str
    features: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.series}.{self.name_of_cpu}"

    @property
    def bits(self) -> int:
        return 32 if "686" in self.series else 64

    @property
    def bugs(self) -> tuple[str, ...]:
        return lines(COMMON + ("nx" in self.features) * WITH_NX + (ONLY_32 if self.bits == 32 else ONLY_64))

    @property
    def calls(self) -> tuple[str, ...]:
        return lines(ROUTINES + (self.bits == 32) * ROUTINES_32 + (self.series == "6.1-686") * ROUTINES_TWO_LEVEL)


def lines(text: str) -> tuple[str, ...]:
    return tuple(line for line in text.splitlines() if line)


MAX = ("nx", "smep", "smap", "la57", "pku", "rep_good", "erms")
MAX_32 = ("nx", "smep", "smap")
SETUPS = {
    setup.name: setup
    for setup in (
        Setup("6.1", "max", "max", MAX),
        Setup("6.1", "qemu64", "qemu64", ("nx", "rep_good")),
        Setup("6.12", "max", "max", MAX),
        Setup("6.1-686", "max", "max", ("smep", "smap")),
        Setup("6.1-686-pae", "max", "max", MAX_32),
        Setup("6.1-686-pae", "plain", "max,nx=off,smep=off,smap=off", ()),
    )
}


@dataclass(frozen=True, slots=True)
class ModuleRecording:
    """`said`: each line that was written to the module, in order, and what the console showed."""

    header: dict[str, str]
    said: tuple[tuple[str, str], ...]

    def text(self) -> str:
        head = "".join(f"{key}: {value}\n" for key, value in self.header.items())
        return head + "".join(f"\n[{line}]\n{console}" for line, console in self.said)


def parse(text: str) -> ModuleRecording:
    head, *parts = re.split(r"^\n\[(\w[\w -]+)\]\n", text, flags=re.MULTILINE)
    header = dict(line.split(": ", 1) for line in head.splitlines())
    return ModuleRecording(header, tuple(zip(parts[::2], parts[1::2], strict=True)))


def listen(serial: str) -> ModuleRecording:
    """What the guest said -> a recording. Header: what the guest knew."""
    header: dict[str, str] = {}
    said: list[tuple[str, list[str]]] = []
    for line in STAMP.sub("", serial.replace("\r", "")).splitlines():
        match found := SAID.match(line):
            case None:
                if said:
                    said[-1][1].append(line)
            case _ if found[1] in {"banner", "text"}:
                header[found[1]] = found[2].strip()
            case _ if found[1] == "asked":
                said.append((found[2], []))
            case _ if found[1] in {"fault", "result"}:
                said[-1][1].append(f"{found[1]} {found[2]}")
            case _ if found[1] == "done" and not said[-1][1]:
                said[-1][1].append(NOTHING)
    return ModuleRecording(header, tuple((line, "".join(f"{each}\n" for each in console)) for line, console in said))


def record(setup: Setup, running: Kernel) -> tuple[ModuleRecording, ModuleRecording]:
    """Boot once, and let it happen: the bugs, and the calls."""
    with tempfile.TemporaryDirectory(prefix="pagefault-lab-") as folder:
        work = Path(folder)
        (work / "lines").write_text("".join(f"{line}\n" for line in setup.calls + setup.bugs))
        files = {"/lines": work / "lines", "/faulty.ko": build_module(running, work / "module")}
        init = build_init(running, work)
        with Guest(
            running.boot, files=files, init=init, qemu=running.qemu, memory=MEMORY, cpu=setup.cpu, options=OPTIONS
        ) as guest:
            said = listen(guest.serial)
    qemu = subprocess.run([running.qemu, "--version"], capture_output=True, text=True, check=True).stdout
    header = {
        "kernel": said.header["banner"],
        "machine": f"{qemu.splitlines()[0]}; {running.qemu} -accel tcg -cpu {setup.cpu} -smp 1 -m {MEMORY}",
        "options": OPTIONS,
        "text": said.header["text"],
    }
    calls = len(setup.calls)
    return ModuleRecording(header, said.said[calls:]), ModuleRecording(header, said.said[:calls])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Record what real kernels print about the module's bugs.")
    parser.add_argument("--into", type=Path, default=RECORDINGS.parent, help="where to write")
    parser.add_argument("name", nargs="*", metavar="NAME", help=f"these only: {', '.join(SETUPS)}")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.name) - set(SETUPS):
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    for folder in (RECORDINGS.name, CALLS.name):
        (asked.into / folder).mkdir(parents=True, exist_ok=True)
    try:
        for name, setup in SETUPS.items():
            if asked.name and name not in asked.name:
                continue
            bugs, calls = record(setup, kernel(setup.series))
            (asked.into / RECORDINGS.name / f"{name}.txt").write_text(bugs.text())
            (asked.into / CALLS.name / f"{name}.txt").write_text(calls.text())
            print(f"{name}: {len(bugs.said)} bugs, {len(calls.said)} calls", file=sys.stderr, flush=True)
    except NoGuestError as reason:
        print(reason, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
