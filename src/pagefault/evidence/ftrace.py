"""
The lines that the tracepoints exceptions:page_fault_user and page_fault_kernel leave in /sys/kernel/tracing/trace.

          a b-3 [c] x-141     [000] d....     4.165118: page_fault_user: address=init_task ip=0x40181b error_code=0x5
    TASK            -PID       CPU  context   seconds   event            CR2               where          hexadecimal

`write` and `read_line` are each other's inverse. The text tells less than the event held: time is rounded to
microseconds, and an address in the kernel's image or a module is printed as the symbol that it lies in, without the
offset (%ps).

Kernel: arch/x86/include/asm/trace/exceptions.h x86_exceptions; kernel/trace/trace_output.c trace_print_context();
kernel/kallsyms.c __sprint_symbol(); v6.1, and the same in v6.12.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ..errors import BadInput
from ..vocabulary.fault_record import FaultRecord

EVENTS = {False: "page_fault_user", True: "page_fault_kernel"}
"""By the mode of the code that faulted."""
PLACE = r"(?:0x[0-9a-f]{1,16}|[^\s=]+(?: \[[^\s\]]+\])?)"
LINE = re.compile(
    r" *(?P<comm>.*)-(?P<pid>\d{1,10}) +(?:\((?P<tgid>[ \d]{7,10}|-{7})\) )?\[(?P<cpu>\d{3,5})\] "
    r"(?P<context>[.dDbX][.NnpBLlb][.ZzHhs][.0-9a-f][.0-9a-f]{1,2}) +(?P<seconds>\d{1,12})\.(?P<micros>\d{6}): "
    rf"page_fault_(?P<mode>user|kernel): address=(?P<address>{PLACE}) ip=(?P<ip>{PLACE})"
    r" error_code=0x(?P<error_code>[0-9a-f]{1,16})"
)
"""The second letter of the context may be one of those that kernels after 6.12 have for lazy preemption."""
LONGEST = 1500
"""Characters of a line: names have 15, symbols 511 at most."""


@dataclass(frozen=True, slots=True)
class TracedFault:
    """
    What a line says. `address` and `ip` are numbers, or text where the kernel had a symbol: "name", "name [module]".
    `comm` is the name that the task had when the trace was read, "<...>" if that is not known; `tgid` is there if the
    option record-tgid was on, and -1 if it is not known.
    """

    comm: str
    pid: int
    cpu: int
    context: str
    time_us: int
    kernel: bool
    address: int | str
    ip: int | str
    error_code: int
    tgid: int | None = None


def traced(record: FaultRecord, symbol_of: Callable[[int], str] = lambda _: "") -> TracedFault:
    """
    What the tracepoint makes of a fault. `symbol_of` names addresses of the kernel's image and modules as %ps does, and
    says "" of all others. The kernel knows no user program's symbols.

    Kernel: kernel/trace/trace.c ns2usecs(), v6.1.
    """
    symbol = record.symbol if record.kernel else ""
    return TracedFault(
        record.comm,
        record.pid,
        record.cpu,
        record.context,
        (record.time_ns + 500) // 1000,
        record.kernel,
        symbol_of(record.address) or record.address,
        re.sub(r"\+0x[0-9a-f]+(/0x[0-9a-f]+)?", "", symbol) or symbol_of(record.ip) or record.ip,
        record.error_code,
    )


def write(fault: TracedFault) -> str:
    """The line, as /sys/kernel/tracing/trace and trace_pipe have it."""
    group = "" if fault.tgid is None else "(-------) " if fault.tgid < 0 else f"({fault.tgid:7d}) "
    seconds, micros = divmod(fault.time_us, 1_000_000)
    return (
        f"{fault.comm:>16}-{fault.pid:<7d} {group}[{fault.cpu:03d}] {fault.context} {seconds:5d}.{micros:06d}: "
        f"{EVENTS[fault.kernel]}: address={written(fault.address)} ip={written(fault.ip)} "
        f"error_code=0x{fault.error_code:x}"
    )


def written(place: int | str) -> str:
    """A number in hexadecimal, a symbol as it is."""
    return place if isinstance(place, str) else f"{place:#x}"


def read_line(line: str) -> TracedFault | None:
    """A line without its newline; None if it is another event's, or a comment."""
    found = LINE.fullmatch(line) if len(line) <= LONGEST else None
    if found is None:
        return None
    group = found["tgid"]
    return TracedFault(
        found["comm"],
        int(found["pid"]),
        int(found["cpu"]),
        found["context"],
        int(found["seconds"]) * 1_000_000 + int(found["micros"]),
        found["mode"] == "kernel",
        place(found["address"]),
        place(found["ip"]),
        int(found["error_code"], 16),
        None if group is None else -1 if "-" in group else int(group),
    )


def place(text: str) -> int | str:
    """The number, or the symbol, that `written` wrote."""
    return int(text, 16) if text.startswith("0x") else text


def read(lines: Iterable[str], where: str = "trace") -> Iterator[TracedFault]:
    """
    The page faults of a trace; other events, comments and empty lines are passed over.

    Errors: BadInput where a line is of these events, but not of this form.
    """
    for number, line in enumerate(lines, 1):
        fault = read_line(line.rstrip("\n"))
        if fault is None and any(f": {event}: " in line[:LONGEST] for event in EVENTS.values()):
            raise BadInput(f"{where}, line {number}", expected="a page fault's fields", got=repr(line[:LONGEST]))
        if fault is not None:
            yield fault
