"""The same program in a QEMU guest and in our machine: first touches and faulting system calls a second."""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from pathlib import Path

from lab.build import BARE, COMMON, PROGRAMS
from lab.guest import Guest, NoGuestError
from lab.kernels import kernel

from pagefault.syscalls.execution import add_file, boot_system, start_program
from pagefault.syscalls.observer import Observer
from pagefault.syscalls.task import UserTask

COUNT = 4096
SAID = re.compile(r"(touches|calls) = (\w+)")


def build(folder: Path) -> Path:
    """The program, built as the lab builds its own."""
    flags = [*COMMON, *BARE, f"-I{PROGRAMS}"]
    source = Path(__file__).parent / "programs" / "pace.c"
    subprocess.run(["gcc", *flags, "-o", str(folder / "pace"), str(source)], check=True)
    return folder / "pace"


def in_a_guest(program: Path) -> dict[str, list[float]]:
    """Its own word: kind -> times a second, one a round. Raises NoGuestError."""
    with Guest(kernel("6.1").boot, files={"/pace": program}, script="/pace", memory=512) as guest:
        found: dict[str, list[float]] = {}
        for kind, value in SAID.findall(guest.serial):
            found.setdefault(kind, []).append(COUNT / (int(value, 0) / 1e9))
        return found


class Watch(Observer):
    """Looks at the host's clock whenever the program looks at its own."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def leave(self, task: UserTask, name: str, result: int) -> None:
        if name == "clock_gettime":
            self.times.append(time.perf_counter())


def in_our_machine(program: Path, image: Path | None) -> dict[str, list[float]]:
    """By the host's clock: kind -> times a second, one a round."""
    watch = Watch()
    system = boot_system(image, watch)
    inode = add_file(system.namespace, "/pace", program)
    start_program(system, "/pace", ["/pace"], {}, inode)
    system.scheduler.run()
    pairs = list(zip(watch.times[::2], watch.times[1::2], strict=True))
    spent = [after - before for before, after in pairs]
    return {"touches": [COUNT / s for s in spent[::2]], "calls": [COUNT / s for s in spent[1::2]]}


def measure(image: Path | None) -> dict[str, dict[str, list[float]]]:
    """Both sides, in one run: who -> kind -> times a second."""
    with tempfile.TemporaryDirectory(prefix="pagefault-bench-") as folder:
        program = build(Path(folder))
        return {"guest": in_a_guest(program), "ours": in_our_machine(program, image)}


__all__ = ["NoGuestError", "measure"]
