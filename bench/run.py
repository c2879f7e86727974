"""
What pagefault reaches on this machine: faults a second, walks a second, and how long the commands take.

Every row is the median of several runs, with the lowest and the highest. The commands run as processes of their own.
A real kernel is measured if the tests have one in their cache (`make test` fetches it), or if --kernel names one.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

from pagefault import PAGE, Machine
from pagefault.tables.pagetable import walk

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from beside_guest import NoGuestError, measure  # the cache below is the tests'
from debian_kernel import cached_vmlinux
from foreign_kernel import cached_foreign_kernels

CALLS, PAGES, WALKS = 2_000, 512, 20_000
CALL = "_copy_from_user dst src+1p-40 64 --user src=2p --hole src+1p:1p --kernel-buffer dst=64".split()

LAUNCHER = """
import resource, subprocess, sys, time
start = time.perf_counter()
command = [sys.executable, "-m", "pagefault", *sys.argv[1:]]
status = subprocess.run(command, stdout=subprocess.DEVNULL).returncode
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""
"""A process's peak counts from its fork: it starts at the size of whoever starts it, so a small one has to."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure pagefault.")
    parser.add_argument("--kernel", type=Path, help="a vmlinux with symbols (default: the one in the tests' cache)")
    parser.add_argument("--runs", type=int, default=5, help="how often each thing is measured (default: 5)")
    options = parser.parse_args()
    real = options.kernel or cached_vmlinux("6.1")

    print(
        f"Python {platform.python_version()}, unicorn {version('unicorn')}, {os.cpu_count()} CPUs, {platform.machine()}"
    )
    print(f"{'':44} {'median':>12} {'lowest':>12} {'highest':>12}")
    for label, kernel in (("small kernel", None), ("real kernel", real)):
        if label == "small kernel" or kernel:
            machine = Machine.boot(kernel)
            row(f"faulting calls a second, {label}", options.runs, faulting_calls, machine)
            row(f"first touches a second, {label}", options.runs, first_touches, machine)
    row("walks a second", options.runs, walks, Machine.boot())
    command("pagefault run", options.runs, "run")
    if not real:
        print("no real kernel: `make test` fetches one, --kernel names one")
        return
    beside_a_guest(real)
    print(f"on {real.name}, {real.stat().st_size >> 20} MiB:")
    command("pagefault run --kernel", options.runs, "run", "--kernel", str(real))
    command("pagefault call", options.runs, "call", str(real), *CALL)
    command("pagefault extable", options.runs, "extable", str(real))
    command("pagefault extable --source", options.runs, "extable", str(real), "--source")
    command("pagefault extable --audit", 1, "extable", str(real), "--audit")
    for foreign in cached_foreign_kernels():
        image = foreign.boot
        print(f"on {foreign.architecture}'s {image.name}, {image.stat().st_size >> 20} MiB:")
        command("pagefault extable", options.runs, "extable", str(image))
        peer(options.runs, image)
    trees = [(len(list(foreign.modules.rglob("*.ko*"))), foreign.modules) for foreign in cached_foreign_kernels()]
    if trees:
        count, tree = max(trees)
        print(f"on {tree.name}'s {count} modules:")
        command("pagefault extable", 1, "extable", str(tree))


def beside_a_guest(image: Path) -> None:
    """A running program's faults and faulting system calls: in a QEMU guest, in our machine, and the ratio."""
    try:
        found = measure(image)
    except NoGuestError as reason:
        print(f"no guest to compare with: {reason}")
        return
    for kind, what in (("touches", "first touches a second, a program's"), ("calls", "faulting system calls a second")):
        guest, ours = (statistics.median(found[who][kind]) for who in ("guest", "ours"))
        show(f"{what}, in QEMU", found["guest"][kind], "{:,.0f}")
        show(f"{what}, here", found["ours"][kind], "{:,.0f}")
        print(f"{'':4}{'ratio':40} {ours / guest:12.3f}")


def peer(runs: int, image: Path) -> None:
    """What people use today to get symbols into a boot image, on the same one in the same minute."""
    program = shutil.which("vmlinux-to-elf")
    if program is None:
        print(f"{'vmlinux-to-elf':44} {'not here: put it on PATH':>38}")
        return
    walls = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(min(runs, 2)):
            start = time.perf_counter()
            done = subprocess.run([program, image, Path(folder) / "elf"], capture_output=True, check=False)
            walls.append(time.perf_counter() - start)
    show(f"vmlinux-to-elf: wall, s{' (it FAILED)' if done.returncode else ''}", walls, "{:.2f}")


def faulting_calls(machine: Machine) -> float:
    """A copy that runs into a hole 40 bytes in: 24 are left. ERMS code faults twice: the fixup goes on by bytes."""
    src = machine.user.mmap(length=2 * PAGE, populate=True)
    machine.user.munmap(src + PAGE, PAGE)
    dst = machine.kmalloc(64)

    def calls() -> None:
        for _ in range(CALLS):
            machine.call("_copy_from_user", dst, src + PAGE - 40, 64)

    assert machine.call("_copy_from_user", dst, src + PAGE - 40, 64) == 24
    rate = CALLS / seconds(calls)
    machine.events.clear()
    machine.user.munmap(src, PAGE)
    return rate


def first_touches(machine: Machine) -> float:
    """A copy out of anonymous memory that was never touched: one #PF a page, resolved by demand paging."""
    src = machine.user.mmap(length=PAGES * PAGE)
    dst = machine.kmalloc(64)

    def touches() -> None:
        for page in range(PAGES):
            machine.call("_copy_from_user", dst, src + page * PAGE, 64)

    rate = PAGES / seconds(touches)
    assert len(machine.events) >= PAGES
    machine.events.clear()
    machine.user.munmap(src, PAGES * PAGE)
    return rate


def walks(machine: Machine) -> float:
    """The reference walk, four levels down to a user page."""
    address = machine.user.mmap(length=PAGE, populate=True)
    root, state = machine.user.mm.root, machine.booted.state

    def walk_often() -> None:
        for _ in range(WALKS):
            walk(machine.ram, root, address, state)

    return WALKS / seconds(walk_often)


def seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def row(label: str, runs: int, measure: Callable[[Machine], float], machine: Machine) -> None:
    measure(machine)  # the first fills caches, ours and the CPU's
    show(label, [measure(machine) for _ in range(runs)], "{:,.0f}")


def command(label: str, runs: int, *arguments: str) -> None:
    """Wall time and peak resident memory of `pagefault ARGUMENTS`."""
    walls, peaks = zip(*processes(runs, arguments), strict=True)
    show(f"{label}: wall, s", walls, "{:.2f}")
    show(f"{label}: peak resident, MiB", peaks, "{:,.0f}")


def processes(runs: int, arguments: tuple[str, ...]) -> Iterator[tuple[float, float]]:
    for _ in range(runs):
        told = subprocess.run([sys.executable, "-c", LAUNCHER, *arguments], stdout=subprocess.PIPE, check=False)
        if told.returncode not in (0, 1):  # 1 is an answer: the audit has findings
            sys.exit(f"pagefault {' '.join(arguments)} ended with status {told.returncode}")
        wall, peak = map(float, told.stdout.split())
        yield wall, peak / 1024


def show(label: str, values: list[float] | tuple[float, ...], form: str) -> None:
    cells = (form.format(pick(values)) for pick in (statistics.median, min, max))
    print(f"{label:44} " + " ".join(f"{cell:>12}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
