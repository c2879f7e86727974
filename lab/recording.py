"""
What a real kernel did with one program: the file format of lab/recordings, read and written. README.md describes it.

`parse(text)` and `Recording.text()` are each other's inverse.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

VERSION = "lab recording 1"
SECTIONS = ("events", "output", "vmas", "pages")
FAULT_RESULTS = {
    0x1: "OOM", 0x2: "SIGBUS", 0x4: "MAJOR", 0x10: "HWPOISON", 0x20: "HWPOISON_LARGE", 0x40: "SIGSEGV", 0x100: "NOPAGE",
    0x200: "LOCKED", 0x400: "RETRY", 0x800: "FALLBACK", 0x1000: "DONE_COW", 0x2000: "NEEDDSYNC", 0x4000: "COMPLETED",
    0x8: "WRITE",
}  # fmt: skip
"""What handle_mm_fault() returns; v6.12 has no WRITE. Kernel: include/linux/mm_types.h vm_fault_reason, v6.1."""


class NotARecordingError(Exception):
    """The text is not of the format; the message says which line."""


@dataclass(frozen=True, slots=True)
class Fault:
    """An exception: the tracepoint page_fault_user or page_fault_kernel, and what handle_mm_fault() then said.

    `results` is empty if it was not asked (no vma, no right, page faults disabled); two or more if asked again.
    """

    process: int
    kernel: bool
    address: int
    error_code: int
    ip: int
    symbol: str
    """Of a kernel-mode `ip`: name+0xoffset. Empty in user mode."""
    results: tuple[str, ...]
    PATTERN: ClassVar = re.compile(r"(\d+) (user|kernel) (\w+) error (\w+) ip (\w+)(?: ([^ =]\S*))?(?: = (\S+))?")

    def __str__(self) -> str:
        mode = "kernel" if self.kernel else "user"
        head = f"{self.process} {mode} {self.address:x} error {self.error_code:x} ip {self.ip:x}"
        return (
            head + (f" {self.symbol}" if self.symbol else "") + (f" = {','.join(self.results)}" if self.results else "")
        )


@dataclass(frozen=True, slots=True)
class Populate:
    """handle_mm_fault() called by the kernel for a page it wants: populate, mlock, execve's strings."""

    process: int
    address: int
    flags: int
    """FAULT_FLAG_*: WRITE 1, REMOTE 0x80 (another's mm, or the one that execve is making), UNSHARE 0x400."""
    result: str
    PATTERN: ClassVar = re.compile(r"(\d+) populate (\w+) flags (\w+) = (\S+)")

    def __str__(self) -> str:
        return f"{self.process} populate {self.address:x} flags {self.flags:x} = {self.result}"


@dataclass(frozen=True, slots=True)
class Enter:
    """A system call's number and arguments."""

    process: int
    name: str
    arguments: tuple[int, ...]
    PATTERN: ClassVar = re.compile(r"(\d+) enter (\w+)\(([\w, ]*)\)")

    def __str__(self) -> str:
        return f"{self.process} enter {self.name}({', '.join(f'{value:x}' for value in self.arguments)})"


@dataclass(frozen=True, slots=True)
class Leave:
    """A system call's result: a value, or -errno."""

    process: int
    name: str
    result: int
    PATTERN: ClassVar = re.compile(r"(\d+) leave (\w+) = (-?\w+)")

    def __str__(self) -> str:
        return f"{self.process} leave {self.name} = {self.result:x}"


@dataclass(frozen=True, slots=True)
class Exec:
    """From here on the process has the new program's memory."""

    process: int
    PATTERN: ClassVar = re.compile(r"(\d+) exec")

    def __str__(self) -> str:
        return f"{self.process} exec"


@dataclass(frozen=True, slots=True)
class Fork:
    process: int
    child: int
    PATTERN: ClassVar = re.compile(r"(\d+) fork (\d+)")

    def __str__(self) -> str:
        return f"{self.process} fork {self.child}"


@dataclass(frozen=True, slots=True)
class Exit:
    process: int
    PATTERN: ClassVar = re.compile(r"(\d+) exit")

    def __str__(self) -> str:
        return f"{self.process} exit"


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal delivered: number, si_code, and the handler's address (0: the default)."""

    process: int
    number: int
    code: int
    handler: int
    PATTERN: ClassVar = re.compile(r"(\d+) signal (\d+) code (-?\d+) handler (\w+)")

    def __str__(self) -> str:
        return f"{self.process} signal {self.number} code {self.code} handler {self.handler:x}"


Event: TypeAlias = Fault | Populate | Enter | Leave | Exec | Fork | Exit | Signal
CALL = re.compile(r"(\d+) call (\w+)\(([\w, ]*)\) = (-?\w+)")


@dataclass(frozen=True, slots=True)
class Recording:
    """One program on one kernel. `header` keeps its order; `vmas` and `pages` are those when the program ended."""

    header: dict[str, str]
    events: tuple[Event, ...]
    output: tuple[str, ...]
    vmas: tuple[str, ...]
    pages: tuple[str, ...]

    @property
    def faults(self) -> tuple[Fault, ...]:
        return tuple(event for event in self.events if isinstance(event, Fault))

    def text(self) -> str:
        lines = [f"# {VERSION}", *(f"{key}: {value}" for key, value in self.header.items())]
        for name, section in zip(SECTIONS, (written(self.events), self.output, self.vmas, self.pages), strict=True):
            lines += ["", f"[{name}]", *section]
        return "\n".join(lines) + "\n"


def written(events: tuple[Event, ...]) -> Iterator[str]:
    """One line an event; a system call in which nothing happened is one line for both its ends."""
    rest = iter(enumerate(events))
    for index, event in rest:
        after = events[index + 1] if index + 1 < len(events) else None
        if isinstance(event, Enter) and isinstance(after, Leave) and event.process == after.process:
            next(rest)
            arguments = ", ".join(f"{value:x}" for value in event.arguments)
            yield f"{event.process} call {event.name}({arguments}) = {after.result:x}"
        else:
            yield str(event)


def parse(text: str) -> Recording:
    """Raises NotARecordingError."""
    head, *sections = re.split(r"\n\n\[(events|output|vmas|pages)\](?=\n)", text)
    first, *header = head.split("\n")
    if first != f"# {VERSION}" or tuple(sections[::2]) != SECTIONS or not all(": " in line for line in header):
        raise NotARecordingError(f"a recording starts with '# {VERSION}', a header and the sections {SECTIONS}")
    events, output, vmas, pages = (tuple(section.strip("\n").split("\n")) for section in sections[1::2])
    return Recording(
        dict(line.split(": ", 1) for line in header),
        tuple(event for line in kept(events) for event in read_line(line)),
        kept(output),
        kept(vmas),
        kept(pages),
    )


def kept(lines: tuple[str, ...]) -> tuple[str, ...]:
    return () if lines == ("",) else lines


def read_line(line: str) -> Iterator[Event]:
    """The one event of a line, or the two of a `call`."""
    if match := CALL.fullmatch(line):
        yield Enter(int(match[1]), match[2], numbers(match[3]))
        yield Leave(int(match[1]), match[2], int(match[4], 16))
    elif match := Fault.PATTERN.fullmatch(line):
        where = (int(match[3], 16), int(match[4], 16), int(match[5], 16))
        results = tuple(match[7].split(",")) if match[7] else ()
        yield Fault(int(match[1]), match[2] == "kernel", *where, match[6] or "", results)
    elif match := Populate.PATTERN.fullmatch(line):
        yield Populate(int(match[1]), int(match[2], 16), int(match[3], 16), match[4])
    elif match := Enter.PATTERN.fullmatch(line):
        yield Enter(int(match[1]), match[2], numbers(match[3]))
    elif match := Leave.PATTERN.fullmatch(line):
        yield Leave(int(match[1]), match[2], int(match[3], 16))
    elif match := Exec.PATTERN.fullmatch(line):
        yield Exec(int(match[1]))
    elif match := Fork.PATTERN.fullmatch(line):
        yield Fork(int(match[1]), int(match[2]))
    elif match := Exit.PATTERN.fullmatch(line):
        yield Exit(int(match[1]))
    elif match := Signal.PATTERN.fullmatch(line):
        yield Signal(int(match[1]), int(match[2]), int(match[3]), int(match[4], 16))
    else:
        raise NotARecordingError(f"not an event: {line}")


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word, 16) for word in text.split(", ")) if text else ()


def results(value: int) -> str:
    """handle_mm_fault()'s return value in words: "ok" for none of the bits."""
    return "|".join(name for bit, name in sorted(FAULT_RESULTS.items()) if value & bit) or "ok"
