"""Run a program: boot a kernel, give it files, let the program run, and tell what happened."""

from __future__ import annotations

import posixpath
import signal as signals
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from mmap import mmap
from os import fspath, strerror
from pathlib import Path
from random import Random
from typing import BinaryIO

from ..errors import BadInput
from ..fs.devices import NullDevice, Stream
from ..fs.namespace import Namespace
from ..fs.open_file import O_RDONLY, O_WRONLY
from ..fs.program import read_program
from ..images.elf import map_file
from ..images.vmlinux import Vmlinux
from ..machine.boot import DEFAULT_FEATURES
from ..machine.fault_log import FaultLog
from ..machine.machine import Machine
from ..tables.inode import FileSystem, Inode
from ..tables.swap_space import SwapSpace
from ..vocabulary.address import PAGE
from ..vocabulary.fault_record import FaultRecord
from ..vocabulary.mm_settings import MmSettings
from .execve import exec_program
from .fault_recorder import FaultRecorder
from .observer import Observer
from .system import System
from .table import TABLE
from .task import UserTask

XSTATE = frozenset({"fpu", "fxsr", "xsave", "pku", "ospke", "fsgsbase"})
FEATURES = DEFAULT_FEATURES | XSTATE
"""The CPU that programs run on: what the kernel tests of it, and what its signal frames hold."""
DEFAULT_RAM = 512 << 20
DEFAULT_BUDGET, DEFAULT_FAULT_LIMIT = 2_000_000_000, 10_000_000
MOST_NAMED = 4
"""How many of those that wait for ever are named."""


@dataclass(frozen=True, slots=True)
class GivenFile:
    """A file of the host's that the program finds at `guest`; what it made of it is written back only if `writable`."""

    host: Path
    guest: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Execution:
    """
    What became of a program. `exit_status` is 0 to 255, or `signal` is the name of what killed it; both are None if it
    had not ended when a bound `stopped` it, or nothing could go on (empty: nothing stopped it). `notes` are what it
    asked for and this system lacks.
    """

    log: FaultLog
    exit_status: int | None
    signal: str | None
    notes: tuple[str, ...]
    instructions: int
    stopped: str


class HostFile:
    """
    The content of a file of the host's, mapped. Files are memory while a program runs: nothing is ever written here.

    Errors: BadInput for what is no regular file.
    """

    def __init__(self, path: Path) -> None:
        empty = path.is_file() and not path.stat().st_size
        self.content: bytes | mmap = b"" if empty else map_file(str(path))

    @property
    def size(self) -> int:
        return len(self.content)

    def read(self, offset: int, length: int) -> bytes:
        return self.content[offset : offset + length]

    def write(self, offset: int, data: bytes) -> None:
        """Not while the program runs: `write_back` does it at the end."""


def execute(
    program: str | Path,
    arguments: Sequence[str] = (),
    *,
    kernel: str | Path | None = None,
    environment: Mapping[str, str] | None = None,
    files: Sequence[GivenFile] = (),
    seed: int | None = None,
    thp: str = "always",
    levels: int = 4,
    ram: int = DEFAULT_RAM,
    swap: int = 0,
    budget: int = DEFAULT_BUDGET,
    fault_limit: int = DEFAULT_FAULT_LIMIT,
    stdout: BinaryIO | None = None,
    stderr: BinaryIO | None = None,
    on_fault: Callable[[FaultRecord], None] | None = None,
) -> Execution:
    """
    Run a static x86-64 Linux program with all that it starts, until the last of them has ended or a bound is reached:
    `budget` instructions, `fault_limit` faults. It sees its own file, `files` and nothing else of the host's; what it
    writes to descriptors 1 and 2 goes to `stdout` and `stderr` (None: nowhere). `on_fault` is told of each fault at
    once.

    Errors: BadInput for a file that is no static x86-64 program, that is missing or cannot be written back.
    """
    program = Path(program)
    own = GivenFile(program, posixpath.normpath(posixpath.join("/", fspath(program))))
    hosts = {file.guest: file for file in (own, *files)}
    check_program(program)
    recorder = FaultRecorder(on_fault, {guest: file.host for guest, file in hosts.items()})
    system = recorder.system = boot_system(kernel, recorder, thp=thp, levels=levels, ram=ram, swap=swap, seed=seed)
    system.stdout, system.stderr, system.budget, system.fault_limit = stdout, stderr, budget, fault_limit
    inodes = {
        guest: add_file(system.namespace, guest, file.host, writable=file.writable) for guest, file in hosts.items()
    }
    task = start_program(system, str(program), [str(program), *arguments], environment or {}, inodes[own.guest])
    system.run()
    for guest, file in hosts.items():
        if file.writable and inodes[guest].links:
            write_back(system, inodes[guest], file.host)
    return ended(system, task, recorder.log)


def check_program(path: Path) -> None:
    """Is it a program that can be run here? Errors: BadInput says what is wrong with it."""
    read_program(HostFile(path).content, str(path))


def ended(system: System, task: UserTask, log: FaultLog) -> Execution:
    """How the first program ended, if it did."""
    status, killed = task.status, (task.status or 0) & 0x7F
    return Execution(
        log,
        None if status is None or killed else status >> 8,
        signal_name(killed) if killed else None,
        tuple(system.notes),
        system.instructions,
        system.stopped or stuck(system),
    )


def signal_name(number: int) -> str:
    """SIGSEGV, or SIG35 for one without a name."""
    names = {one.value: one.name for one in signals.Signals}
    return names.get(number, f"SIG{number}")


def stuck(system: System) -> str:
    """Who waits for what will never come, when nobody can run any more; empty if all have ended."""
    waiting = [task for task in system.tasks.values() if task.thread is not None and not task.exiting]
    if not waiting:
        return ""
    calls = (TABLE[task.orig_rax].name if task.orig_rax in TABLE else "stopped" for task in waiting[:MOST_NAMED])
    named = ", ".join(f"{task.comm}[{task.pid}] in {call}" for task, call in zip(waiting, calls, strict=False))
    more = f" and {len(waiting) - MOST_NAMED} more" if len(waiting) > MOST_NAMED else ""
    return f"deadlock: nobody will wake {named}{more}"


def write_back(system: System, inode: Inode, path: Path) -> None:
    """
    What the program made of a file that was given to be written to. One that is as it was is left alone.

    Errors: BadInput if it cannot be written.
    """
    memory, before = system.machine.mm, HostFile(path)
    pages = {
        index: (memory.ram.read(frame, PAGE) or b"")[: inode.size - index * PAGE]
        for index, frame in inode.cache.items()
    }
    if memory.swap is not None:
        pages |= {
            index: memory.swap.read(slot)[: inode.size - index * PAGE] for index, slot in sorted(inode.swapped.items())
        }
    if inode.size == before.size and all(before.read(i * PAGE, PAGE) == page for i, page in pages.items()):
        return
    try:
        with path.open("r+b") as file:
            file.truncate(0)
            file.truncate(inode.size)
            for index, page in pages.items():
                file.seek(index * PAGE)
                file.write(page)
    except OSError as error:
        raise BadInput(str(path), expected="a file that can be written", got=error.strerror or str(error)) from None


def boot_system(
    kernel: str | Path | Vmlinux | None,
    observer: Observer,
    *,
    thp: str = "never",
    levels: int = 4,
    ram: int = DEFAULT_RAM,
    swap: int = 0,
    seed: int | None = None,
) -> System:
    """
    A system with nothing in it: a booted kernel (by default the small one) on a CPU with 4 or 5 levels, and a swap
    space of that many bytes.

    With less than 512 MiB for everybody, all of transparent huge pages is off at boot, the huge zero page too (Kernel:
    mm/huge_memory.c hugepage_init(), v6.1); some RAM is always the kernel's own.
    """
    features = FEATURES | ({"la57"} if levels == 5 else set())
    settings = MmSettings(thp=thp, use_zero_page=ram > 512 << 20)
    machine = Machine.boot(kernel, features=features, ram=ram, settings=settings)
    machine.mm.swap = SwapSpace(swap) if swap else None
    return System(machine, observer, None if seed is None else Random(seed))


def start_program(
    system: System, path: str, arguments: Sequence[str], environment: Mapping[str, str], inode: Inode
) -> UserTask:
    """The first task, ready to run: `path` is the program's name, `arguments` begin with argument zero."""
    machine = system.machine
    inode.mode |= 0o111
    task = system.new_task(path.rsplit("/", 1)[-1][:15], machine.current, None, {})
    task.files.install(NullDevice("/dev/null", O_RDONLY))
    for stream in (system.stdout, system.stderr):
        task.files.install(Stream("output", O_WRONLY, stream=stream, access=system.access))
    variables = [f"{name}={value}" for name, value in environment.items()]

    def encoded(strings: Sequence[str]) -> list[bytes]:
        return [string.encode("utf-8", "surrogateescape") + b"\0" for string in strings]

    def first() -> None:
        result = exec_program(system, task, path, inode, encoded(arguments), encoded(variables))
        system.observer.leave(task, "execve", result)
        if result < 0:
            system.stopped = f"execve: {strerror(-result)}"

    system.start(task, first)
    return task


def add_file(namespace: Namespace, guest: str, host: Path, *, writable: bool = False, cold: bool = False) -> Inode:
    """
    Give a file of the host's, that can be executed if it can there; `cold`: it is on a device, and not in the page
    cache yet.
    """
    backing = HostFile(host)
    kind = FileSystem.DISK if cold else FileSystem.SHMEM
    mode = 0o100644 | host.stat().st_mode & 0o111
    return namespace.add(guest, backing.size, backing, kind=kind, writable=writable, mode=mode)
