"""The same program in our machine: what happens there, as a recording of the lab's form."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lab import cpuid
from lab.build import busybox, programs
from lab.guest import NoGuestError
from lab.record import data, digest, words
from lab.recording import Enter, Event, Exec, Exit, Fault, Fork, Leave, Populate, Recording, Signal
from pagefault.fs.open_file import O_CREAT, O_RDWR, O_TRUNC, OpenFile
from pagefault.images.vmlinux import Vmlinux
from pagefault.machine.event import HandledFault
from pagefault.mm.memory import Memory
from pagefault.mm.smaps import pagemap, smap_gather_stats, vm_flags, vma_name, vma_offset, vma_rights
from pagefault.syscalls.cgroup import make_cgroup
from pagefault.syscalls.execution import add_file, boot_system, start_program
from pagefault.syscalls.observer import Observer
from pagefault.syscalls.system import System
from pagefault.syscalls.task import SIGCHLD, UserTask
from pagefault.tables.inode import FileSystem, Inode
from pagefault.tables.symbols import SymbolTable
from pagefault.vocabulary.address import PAGE, PAGE_SHIFT
from pagefault.vocabulary.vm_fault import FaultFlag, VmFault

SWAP_BYTES = 32 << 20
"""/dev/ram0."""
FIRST_PID = 1000
OUTPUT = "/tmp/output"


class Bytes:
    """A file's content out of memory."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def read(self, offset: int, length: int) -> bytes:
        return self._content[offset : offset + length]

    def write(self, offset: int, data: bytes) -> None:
        """Nowhere to write to."""


@dataclass
class Recorder(Observer):
    """Writes down what it is told."""

    symbols: SymbolTable = field(default_factory=lambda: SymbolTable.empty("no kernel"))
    events: list[Event] = field(default_factory=list)
    begun: dict[int, int] = field(default_factory=dict)

    def fault(self, task: UserTask, event: HandledFault) -> None:
        fault = event.fault
        if fault.vector != 14:
            return
        self._put(
            task,
            Fault(
                number(task),
                not fault.user_mode,
                fault.address or 0,
                fault.error_code,
                fault.ip,
                "" if fault.user_mode else self.symbols.format(fault.ip).split("/")[0],
                tuple(result.words() for result in event.results),
            ),
        )

    def waits(self, task: UserTask) -> None:
        # The recording has a fault where it begins.
        if task.pid not in self.begun:
            self.begun[task.pid] = len(self.events)
            self.events.append(Fault(number(task), False, 0, 0, 0, "", ()))

    def _put(self, task: UserTask, event: Fault | Populate) -> None:
        if task.pid in self.begun:
            self.events[self.begun.pop(task.pid)] = event
        else:
            self.events.append(event)

    def populate(self, task: UserTask, address: int, flags: FaultFlag, results: tuple[VmFault, ...]) -> None:
        self._put(task, Populate(number(task), address, int(flags), results[-1].words()))

    def enter(self, task: UserTask, name: str, arguments: tuple[int, ...]) -> None:
        self.events.append(Enter(number(task), name, arguments))

    def leave(self, task: UserTask, name: str, result: int) -> None:
        self.events.append(Leave(number(task), name, result))

    def exec(self, task: UserTask) -> None:
        self.events.append(Exec(number(task)))

    def fork(self, task: UserTask, child: UserTask) -> None:
        self.events.append(Fork(number(task), number(child)))

    def signal(self, task: UserTask, signal: int, code: int, handler: int) -> None:
        if (signal, handler) != (SIGCHLD, 0):
            self.events.append(Signal(number(task), signal, code, handler))

    def exit(self, task: UserTask) -> None:
        self.events.append(Exit(number(task)))


def number(task: UserTask) -> int:
    """1 for the program, 2, 3, … for its children."""
    return task.pid - FIRST_PID + 1


class Emulator:
    """One kernel's image, on which recorded programs are run again."""

    def __init__(self, vmlinux: Path) -> None:
        self._image = Vmlinux.open(vmlinux)

    def is_of(self, theirs: Recording) -> bool:
        """Is the image the very kernel of the recording? Only then does its code lie where the recording says."""
        return self._image.banner == theirs.header["kernel"]

    def cannot_run(self, theirs: Recording) -> str:
        """Why this recording cannot be compared; empty if it can."""
        program = programs()[theirs.header["program"]]
        try:
            mine = digest(program)
        except NoGuestError as reason:
            return str(reason)
        return "" if mine == theirs.header["binary"] else f"the {program.name} here is another than the recorded one"

    def run(self, theirs: Recording, configuration: str) -> Recording:
        """The recorded program in our machine: what it does there."""
        levels, huge = configuration.split("/")
        program, recorder = programs()[theirs.header["program"]], Recorder()
        system = boot_system(self._image, recorder, thp=huge, levels=int(levels[0]), swap=SWAP_BYTES)
        recorder.symbols = system.machine.symbols
        system.machine.cpu.identify(cpuid.read(program.cpu))
        furnish(system)
        path = program.arguments[0] if program.binary else "/lab/busybox"
        inode = add_file(system.namespace, path, program.binary or busybox(), writable=True)
        task = start_program(system, path, list(program.arguments), {}, inode)
        output = system.namespace.open(OUTPUT, O_RDWR | O_CREAT | O_TRUNC)
        assert isinstance(output, OpenFile)
        for fd in (1, 2):
            task.files.install(output, fd)
        last = Ended(system, task)
        system.on_end = last.look
        system.run()
        assert output.inode is not None
        lines = content(system, output.inode).decode("utf-8", "replace").splitlines()
        header = {**theirs.header, "end": ending(task, system)}
        return Recording(header, tuple(recorder.events), tuple(lines), last.vmas, last.pages)


@dataclass
class Ended:
    """What /proc says of the first task when it ends, before its memory goes."""

    system: System
    task: UserTask
    vmas: tuple[str, ...] = ()
    pages: tuple[str, ...] = ()

    def look(self, task: UserTask) -> None:
        """The sections of a recording."""
        if task is not self.task:
            return
        memory, mm = self.system.machine.mm, task.process.mm
        seen_by_the_observer(memory)
        lines = []
        for vma in mm.vmas:
            name = vma_name(memory, mm, vma)
            head = f"{vma.start:x}-{vma.end:x} {vma_rights(vma)} {vma_offset(memory, vma):x} {name}".rstrip()
            counts = {**smap_gather_stats(memory, mm, vma), "ProtectionKey": vma.protection_key}
            kept = ((word, count) for word, count in counts.items() if count and not word.startswith("Pss"))
            shown = " ".join(f"{word}:{count}" for word, count in kept)
            lines.append(f"{head} | {shown} | {' '.join(vm_flags(memory, vma))}")
        self.vmas = tuple(lines)
        runs = pagemap(memory, mm)
        self.pages = tuple(f"{run.address:x} {run.count} {' '.join(run.words)}" for run in runs)


def seen_by_the_observer(memory: Memory) -> None:
    """In the guest the observer runs too: its libc has read the vdso's first page."""
    for inode in memory.inodes.values():
        frame = inode.cache.get(0) if inode.name == "[vdso]" else None
        if frame is not None:
            memory.pages.mapcount[frame >> PAGE_SHIFT] += 1


def furnish(system: System) -> None:
    """The files that the lab's guest has."""
    space = system.namespace
    space.mount("/disk", FileSystem.DISK)
    space.add("/data", len(data()), Bytes(data()), writable=True)
    space.add("/disk/data", len(data()), Bytes(data()), kind=FileSystem.DISK, writable=True)
    make_cgroup(system, "/cgroup/small", limit=(4 << 20) // PAGE, swap_limit=0)
    text = words().encode()
    space.add("/words", len(text), Bytes(text), writable=True)


def content(system: System, inode: Inode) -> bytes:
    """All of a file, as its pages are now."""
    memory = system.machine.mm
    pages = (memory.ram.read(memory.page_cache_page(inode, index), PAGE) or b"" for index in range(inode.pages))
    return b"".join(pages)[: inode.size]


def ending(task: UserTask, system: System) -> str:
    """How the program ended, as a header says it; and what stopped our machine, if it did."""
    status = task.status
    end = "nothing" if status is None else f"killed by signal {status & 127}" if status & 127 else f"exit {status >> 8}"
    return f"{end}; {system.stopped}" if system.stopped else end
