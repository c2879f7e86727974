"""One page fault of a running program, as it is told: what happened, where, and what the handler did."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FaultRecord:
    """
    A page fault. `time_ns` is virtual time since the program's start: an instruction takes a nanosecond. `kernel` is
    the mode of the code that faulted, at `ip`; `address` is CR2.

    `symbol` is "name+0xoff" of `ip` (kernel code of a module: "name+0xoff [module]"), `instruction` its text, `vma` the
    area that holds `address`, as a line of /proc/PID/maps without device and inode: "start-end rwxp offset name".
    Each is empty if it is not known, or if there is none.

    `action` says what the handler did: "zero page", "own page", "mapped with 15 neighbours", "copied on write",
    "reused", "stack grown", "huge page", "fixed up with -EFAULT", "SIGSEGV SEGV_MAPERR", …; of several, in this order
    and with commas between them. `results` is what each call of handle_mm_fault() returned: "ok", or VM_FAULT_ names
    joined by "|"; empty if it was not called. `major` means that data had to be read.

    `context` is the five letters with which tracepoints say where the kernel was: interrupts off (d; D: bottom halves
    as well), need-resched, in an interrupt, preempt-depth, migrate-disable. Faults are entered with interrupts off.

    Kernel: kernel/trace/trace_output.c trace_print_lat_fmt(), v6.1.
    """

    time_ns: int
    pid: int
    comm: str
    cpu: int
    kernel: bool
    address: int
    error_code: int
    ip: int
    symbol: str
    instruction: str
    vma: str
    action: str
    results: tuple[str, ...]
    major: bool
    context: str = "d...."
