"""
Which lines of an oops have to be the same in the machine as on a real kernel, and what in them cannot be.

`comparable` writes an oops with everything that UNEQUAL names taken out: what is left of two oopses of one bug is
equal, line by line. The list is this one; a test holds README.md to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from pagefault.arch import x86
from pagefault.evidence.oops import OopsReport, write
from pagefault.evidence.oops_report import (
    ControlRegisters,
    PageFaultWords,
    PageTableWords,
    RegisterFrame,
    StackGuard,
    StackTrace,
)

FRAME = 0x000F_FFFF_FFFF_F000
EFLAGS_RF, EFLAGS_PF, EFLAGS_AF = 1 << 16, 1 << 2, 1 << 4
CR4_OF_PAGING = (
    x86.CR4_PSE | x86.CR4_PAE | x86.CR4_PGE | x86.CR4_LA57 | x86.CR4_SMEP | x86.CR4_SMAP | x86.CR4_PKE | x86.CR4_PKS
)
STACK = 1 << 14
CALLER = "commit_with_known_registers+"
"""The function in the guest that calls the package's module; in the machine nobody does."""
MOVED = {"module-rodata", "module-data", "below-stack", "kmalloc"}
"""Places whose addresses are not the same."""
DATA = {"module-data", "kernel-data", "kmalloc"}
"""Places that are executed though they are data."""
OTHER_TABLES = {"kernel-rodata", "kernel-data", "kmalloc", "ffffffffff600400", "ffffff00", "ff700000"}


@dataclass(frozen=True, slots=True)
class Unequal:
    """`what` is not compared, because of `why`: chance, or a difference of the machine that is known."""

    what: str
    why: str


CHANCE = (
    Unequal("`Hardware name:`", "it is another machine"),
    Unequal("`PID:`", "it counts what has run before"),
    Unequal("frame numbers in page-table entries", "where a page lies; the entries' flags are compared"),
    Unequal(
        "`RSP`, `ESP`, and the stack's addresses",
        "where a stack lies; a register that points into it is compared as a distance",
    ),
    Unequal("GS's base, `CR3`", "where the per-CPU area and the tables lie"),
    Unequal("addresses of the module's constants and data, and of what kmalloc gives", "what else lies in their pages"),
    Unequal(
        "`Code:` and symbol where data was executed, the call trace where the module's was",
        "what lies around it; whether kallsyms lists data; the guest's module has ORC entries",
    ),
    Unequal(
        "`CR2:` among the registers of a #GP, or where data was executed",
        "it is left over from the last page fault, or from a look at the code there",
    ),
    Unequal(
        "the call trace above the module's functions, and `?` lines in it",
        "in the machine nobody calls them; what earlier calls left on the stack",
    ),
    Unequal("`PF` and `AF` in `EFLAGS` of a wild jump on x86-32", "flags of a subtraction from ESP"),
    Unequal("`RF` in `EFLAGS`", "a CPU sets it in what a fault pushes, QEMU does not"),
    Unequal("bits of `CR4` that are not of paging", "the CPU has other features besides"),
)
DIFFERENT = (
    Unequal(
        "page-table entries of the kernel's image, the direct map, the fixmap and the vsyscall page",
        "the kernel's boot leaves other tables and large pages there than the machine's",
    ),
    Unequal(
        "`D` in the module's read-only pages of 6.12",
        "that kernel clears it with the right to write, the machine as 6.1 does not",
    ),
)
UNEQUAL = CHANCE + DIFFERENT


def comparable(report: OopsReport, bug: str) -> list[str]:
    """The oops of one bug ("r 10") as lines, without what is not compared."""
    letter, place = bug.split()
    assert report.summary is not None
    preface, frame, summary = report.preface, report.frame, report.summary
    address = preface.address if preface is not None else None
    if isinstance(preface, StackGuard):
        low = preface.low
        preface = StackGuard(preface.stack, preface.address - low & (1 << 64) - 1, 0, preface.high - low)
    elif preface is not None:
        preface = replace(preface, tables=tables(preface.tables, place, new=report.style.die_prefix))
    flags = EFLAGS_PF | EFLAGS_AF if letter == "x" and report.style.bits == 32 else 0
    frame = registers(frame, flags, address)
    executed_data = letter == "x" and place in DATA
    if executed_data:
        frame = replace(frame, where="DATA", code=None, code_at=None)
    whole = replace(
        report,
        preface=preface,
        frame=frame,
        control=control(report.control, left_over=executed_data or preface is None),
        summary=(registers(summary[0], 0, None), control(summary[1], left_over=executed_data or preface is None)),
        trace=() if executed_data and place.startswith("module") else trace(report),
    )
    lines = [masked(line) for line in write(whole).splitlines()]
    if place in MOVED and isinstance(report.preface, PageFaultWords | StackGuard) and address is not None:
        width = report.style.bits // 4
        lines = [re.sub(f"(?:0x)?0*{address:0{width}x}", "ADDRESS", line) for line in lines]
    return lines


def tables(words: PageTableWords, place: str, *, new: bool) -> PageTableWords:
    if place in OTHER_TABLES:
        return PageTableWords(())
    entries = [(name, value & ~FRAME) for name, value in words.entries]
    if new and place.startswith("module-") and entries:
        name, value = entries[-1]
        entries[-1] = name, value & ~x86.DIRTY
    return PageTableWords(tuple(entries), words.bad)


def registers(frame: RegisterFrame, flags: int, hit: int | None) -> RegisterFrame:
    """Stack addresses as distances from the stack pointer, which is 0 then, but for the one that was `hit`."""
    sp = frame.values["rsp" if "rsp" in frame.values else "esp"]
    values = {
        name: value - sp if 0 <= value - sp < STACK and value != hit else value for name, value in frame.values.items()
    }
    return replace(frame, values=values, eflags=frame.eflags & ~(EFLAGS_RF | flags))


def control(found: ControlRegisters | None, *, left_over: bool) -> ControlRegisters | None:
    """`left_over`: CR2 is of another access than the oops is about."""
    if found is None:
        return None
    segments = found.segments and replace(found.segments, gs_base=0)
    return replace(found, segments=segments, cr2=0 if left_over else found.cr2, cr3=0, cr4=found.cr4 & CR4_OF_PAGING)


def trace(report: OopsReport) -> tuple[StackTrace, ...]:
    """The reliable lines up to the function that calls the package's module."""
    assert report.trace
    lines = []
    for line in report.trace[0].lines:
        if isinstance(line, RegisterFrame) or (line.reliable and line.where.startswith(CALLER)):
            break
        if line.reliable:
            lines.append(line)
    return (StackTrace(report.trace[0].name, tuple(lines)),)


def masked(line: str) -> str:
    line = re.sub(r"^Hardware name: .*", "Hardware name: …", line)
    return re.sub(r"\bPID: \d+", "PID: …", line)
