"""A line for each page fault of a program, as it happens: strace for page faults."""

from __future__ import annotations

from ..arch.x86 import PF_INSTR, PF_PK, PF_PROT, PF_RSVD, PF_WRITE
from ..vocabulary.fault_record import FaultRecord
from .exception_table import shown
from .page import Line, Span

FAILED = ("SIG", "fixed up", "oops", "killed", "out of memory")
"""What an action contains that was not what the program wanted."""
NOT_COUNTED = frozenset("OOM SIGBUS HWPOISON HWPOISON_LARGE SIGSEGV FALLBACK RETRY".split())
"""Results with which a fault is neither minor nor major. Kernel: mm/memory.c mm_account_fault(), v6.1."""
HEADINGS = ("seconds".rjust(13), "pid".rjust(5), "mode".ljust(6), "address".rjust(18), "access".ljust(17))
HEADING: Line = (Span(" ".join((*HEADINGS, "handled".ljust(33), "at")), "quiet"),)


def fault_line(record: FaultRecord) -> Line:
    """When, who, where, why, what the handler did, and then what has no fixed width: the code, and the area."""
    seconds, rest = divmod(record.time_ns, 1_000_000_000)
    access = f"{access_words(record.error_code)} {record.error_code:#x}"
    handled = f"{weight(record)} {record.action}".lstrip()
    mode = Span("kernel", "code") if record.kernel else "user  "
    return (
        f"{seconds:3d}.{rest:09d} {record.pid:5d} ",
        mode,
        f" {record.address:#18x} {access:17} ",
        Span(handled.ljust(33), style(record)),
        f" {code_words(record)}  ",
        Span(f"in {shown(record.vma) or 'no area'}", "quiet"),
    )


def access_words(error_code: int) -> str:
    """
    What was tried and why it failed: "write absent", "read denied".

    Kernel: arch/x86/include/asm/trap_pf.h enum x86_pf_error_code, v6.1.
    """
    kind = "fetch" if error_code & PF_INSTR else "write" if error_code & PF_WRITE else "read"
    for bit, why in ((PF_PK, "by key"), (PF_RSVD, "reserved"), (PF_PROT, "denied")):
        if error_code & bit:
            return f"{kind} {why}"
    return f"{kind} absent"


def weight(record: FaultRecord) -> str:
    """
    "major" or "minor", as the kernel counts it; empty for a fault that it does not count.

    Kernel: mm/memory.c mm_account_fault(), v6.1.
    """
    if not record.results or not NOT_COUNTED.isdisjoint(record.results[-1].split("|")):
        return ""
    return "major" if record.major else "minor"


def code_words(record: FaultRecord) -> str:
    """Where the code is, and the instruction."""
    where = shown(record.symbol) or f"{record.ip:#x}"
    return f"{where}: {record.instruction}" if record.instruction else where


def style(record: FaultRecord) -> str:
    """Names in STYLES: what failed, what was slow, and all the rest."""
    if failed(record.action):
        return "bad"
    return "strong" if record.major else "good"


def failed(action: str) -> bool:
    """Did the program not get what it asked for?"""
    return any(word in action for word in FAILED)
