"""
What `observe` sends out of the guest, read: the kernel's trace and /proc's texts -> a Recording without its header.

The trace's lines come from EVENTS. The page-fault tracepoints print addresses as symbols without an offset, which loses
them: event probes on the tracepoints print the fields' numbers.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from lab.recording import Enter, Event, Exec, Exit, Fault, Fork, Leave, Populate, Recording, Signal, results
from lab.system_calls import named

PROBES = (
    "e:lab/user exceptions.page_fault_user address=$address:x64 ip=$ip:x64 code=$error_code:x64",
    "e:lab/kernel exceptions.page_fault_kernel address=$address:x64 ip=$ip:x64 code=$error_code:x64",
    "p:lab/handle handle_mm_fault address=%si:x64 flags=%dx:x32 regs=%cx:x64",
    "r:lab/handled handle_mm_fault result=$retval:x32",
)
EVENTS = (
    "lab raw_syscalls task/task_rename sched/sched_process_fork sched/sched_process_exit signal/signal_deliver".split()
)
LINE = re.compile(r" *(?P<task>.+)-(?P<pid>\d+) +\[\d+\] \S+ +[\d.]+: (?P<event>\w+): (?P<text>.*)")
FIELD = re.compile(r"(\w+)=(\S+)")
EXECVE, SIGCHLD = 59, 17
GIVE_A_PID = {"fork", "vfork", "clone", "clone3", "wait4", "getpid", "gettid", "set_tid_address"}
TAKE_A_PID = {"wait4", "kill", "tkill", "tgkill", "process_vm_readv", "process_vm_writev"}
FIRST_PID = 1000
"""Process n is written as 999 + n, whatever number it had."""
PRESENT, SWAPPED, SHARED, EXCLUSIVE, UFFD_WP = 1 << 8, 1 << 7, 1 << 6, 1 << 1, 1 << 2
"""Of pagemap's bits from 55 up."""
KPAGEFLAGS = {12: "anon", 13: "swapcache", 18: "unevictable", 22: "huge", 24: "zero"}
"""Those that do not depend on when the kernel last went through its lists. Kernel: uapi/linux/kernel-page-flags.h."""
REMOTE = 0x80
STACK_TOP_MAX = {5: 2**56 - 4096, 4: 2**47 - 4096}
"""Where execve puts the strings before it knows the program. Kernel: arch/x86/include/asm/processor.h, v6.1."""


class TraceError(Exception):
    """The guest did not say what it should; the message has what it said."""


def sections(console: bytes) -> Iterator[dict[str, bytes]]:
    """One dictionary a run of `observe`: what each section holds. The first one holds "kallsyms" as well."""
    found: dict[str, bytes] = {}
    at = 0
    while at < len(console):
        end = console.index(b"\n", at)
        name, length = console[at + 1 : end].decode().split()
        found[name] = console[end + 1 : end + 1 + int(length)]
        at = end + 1 + int(length)
        if name == "end":
            yield found
            found = {}


def recording(found: dict[str, bytes], symbols: Symbols, levels: int) -> Recording:
    """Header: how the program ended, only."""
    status = dict(line.split() for line in found["status"].decode().splitlines())
    how = int(status["status"])
    ended = f"killed by signal {how & 0x7F}" if how & 0x7F else f"exit {how >> 8}"
    trace = found["trace"].decode()
    counts = re.search(r"entries-in-buffer/entries-written: (\d+)/(\d+)", trace)
    if not counts or counts[1] != counts[2]:
        raise TraceError(f"the trace buffer was too small: {counts[0] if counts else trace[:200]}")
    return Recording(
        {"end": ended},
        tuple(Reader(symbols, levels, int(status["pid"])).events(trace)),
        tuple(found["output"].decode(errors="backslashreplace").splitlines()),
        tuple(vmas(found.get("smaps", b"").decode())),
        tuple(pages(found.get("pages", b"").decode())),
    )


class Symbols:
    """The kernel's functions, by /proc/kallsyms."""

    def __init__(self, kallsyms: str) -> None:
        lines = (line.split() for line in kallsyms.splitlines())
        text = sorted((int(line[0], 16), index, line[2]) for index, line in enumerate(lines))
        self._addresses = [address for address, _, _ in text]
        self._names = [name for _, _, name in text]

    def at(self, address: int) -> str:
        """name+0xoffset; of several names the one that kallsyms has first."""
        index = bisect_right(self._addresses, address) - 1
        if index < 0:
            raise TraceError(f"no function of the kernel's holds {address:#x}")
        found = self._addresses[index]
        return f"{self._names[bisect_left(self._addresses, found)]}+0x{address - found:x}"


@dataclass
class Reader:
    symbols: Symbols
    levels: int
    first: int
    started: bool = False
    indices: dict[int, int] = field(default_factory=dict)
    """Process id -> 1, 2, …"""
    calls: dict[int, str] = field(default_factory=dict)
    asked: dict[int, dict[str, int]] = field(default_factory=dict)
    """Process -> arguments of the handle_mm_fault() it is in."""

    def events(self, trace: str) -> list[Event]:
        self.indices[self.first] = 1
        found: list[Event] = []
        for line in trace.splitlines():
            match = LINE.fullmatch(line)
            if match and int(match["pid"]) in self.indices:
                self.read(match, found)
        return found

    def read(self, line: re.Match[str], found: list[Event]) -> None:
        process, text = self.indices[int(line["pid"])], line["text"]
        fields = dict(FIELD.findall(text))
        match line["event"]:
            case "sys_enter":
                number, *values = re.findall(r"[\w-]+", text.removeprefix("NR "))
                name, count = named(int(number))
                self.calls[process] = name
                if int(number) == EXECVE and not self.started:
                    found.clear()  # what the observer did before
                    self.started = True
                    return
                arguments = [int(value, 16) for value in values[:count]]
                if name in TAKE_A_PID:
                    arguments[0] = self.pid(arguments[0])
                found.append(Enter(process, name, tuple(arguments)))
            case "sys_exit":
                result = int(text.split(" = ")[1])
                name = named(int(text.split()[1]))[0] if not text.startswith("NR -1") else self.calls.get(process, "?")
                if name in GIVE_A_PID:
                    result = self.pid(result)
                found.append(Leave(process, name, result if -4096 < result < 0 else result % 2**64))
            case "user" | "kernel" as mode:
                ip = int(fields["ip"], 16)
                symbol = self.symbols.at(ip) if mode == "kernel" else ""
                where = (int(fields["address"], 16), int(fields["code"], 16), ip, symbol)
                found.append(Fault(process, mode == "kernel", *where, ()))
            case "handle":
                self.asked[process] = {name: int(value, 16) for name, value in fields.items()}
            case "handled":
                self.handled(process, results(int(fields["result"], 16)), found)
            case "task_rename" if fields["pid"] == line["pid"]:
                if process == 1 and not any(isinstance(event, Exec) for event in found):
                    found[:] = [event for event in found if isinstance(event, Populate)]
                found.append(Exec(process))
            case "sched_process_fork":
                child = self.indices[int(fields["child_pid"])] = len(self.indices) + 1
                found.append(Fork(process, child))
            case "sched_process_exit":
                found.append(Exit(process))
            case "signal_deliver" if (int(fields["sig"]), fields["sa_handler"]) != (SIGCHLD, "0"):
                # An ignored SIGCHLD comes this far only because there is a tracer.
                handler = int(fields["sa_handler"], 16)
                found.append(Signal(process, int(fields["sig"]), int(fields["code"]), handler))

    def pid(self, number: int) -> int:
        return self.indices[number] + FIRST_PID - 1 if number in self.indices else number

    def handled(self, process: int, result: str, found: list[Event]) -> None:
        asked = self.asked.pop(process, None)
        if asked is None:
            return
        if not asked["regs"]:
            new_stack = asked["flags"] & REMOTE and asked["address"] >= STACK_TOP_MAX[4]
            moved = STACK_TOP_MAX[self.levels] - STACK_TOP_MAX[4] if new_stack else 0
            found.append(Populate(process, asked["address"] - moved, asked["flags"], result))
            return
        for index in range(len(found) - 1, -1, -1):
            event = found[index]
            if isinstance(event, Fault) and event.process == process:
                found[index] = replace(event, results=(*event.results, result))
                return


def vmas(smaps: str) -> Iterator[str]:
    """A line a vma: range, rights, offset, name | what is not zero in smaps, in KiB | VmFlags."""
    head, counts = "", list[str]()
    for line in smaps.splitlines():
        if match := re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) ([0-9a-f]+) \S+ \d+ *(.*)", line):
            head, counts = (
                f"{int(match[1], 16):x}-{int(match[2], 16):x} {match[3]} {int(match[4], 16):x} {match[5]}",
                [],
            )
        elif line.startswith("VmFlags:"):
            yield f"{head.rstrip()} | {' '.join(counts)} | {' '.join(line.split()[1:])}"
        else:
            name, value, *_ = line.split()
            if value != "0" and not name.startswith(("Size", "KernelPage", "MMUPage", "Pss", "THPel")):
                counts.append(f"{name}{value}")


def pages(text: str) -> Iterator[str]:
    """A line a run of pages that look alike: first address, how many, what they are."""
    runs: list[tuple[int, int, str]] = []
    for line in text.splitlines():
        address, count, entry, flags = line.split()
        if words := page_words(int(entry, 16), int(flags, 16)):
            start, length = int(address, 16), int(count)
            if runs and runs[-1][0] + runs[-1][1] * 4096 == start and runs[-1][2] == words:
                start, length = runs[-1][0], runs[-1][1] + length
                runs.pop()
            runs.append((start, length, words))
    return (f"{start:x} {length} {words}" for start, length, words in runs)


def page_words(entry: int, flags: int) -> str:
    """Empty for no page at all."""
    if not entry & (PRESENT | SWAPPED | UFFD_WP):
        return ""
    words = ["present" if entry & PRESENT else "swapped" if entry & SWAPPED else "marked"]
    words += ["shared"] if entry & SHARED else []
    words += ["exclusive"] if entry & EXCLUSIVE else []
    words += ["uffd-wp"] if entry & UFFD_WP else []
    return " ".join(words + [name for bit, name in KPAGEFLAGS.items() if flags >> bit & 1])
