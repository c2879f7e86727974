"""
The text of an oops on x86, as Linux 6.x prints it, as a record that holds all it says.

    BUG: unable to handle page fault for address: …   why: `PageFaultWords`, or another `Preface`
    #PF: … (2 lines)
    PGD … P4D … PUD … PMD … PTE …                      `PageTableWords`
    Oops: 0003 [#1] PREEMPT SMP NOPTI                  `DieLine`
    CPU: 0 PID: 86 Comm: … Tainted: …                  `TaskLine`
    Hardware name: …
    RIP: … Code: … RSP: … RAX: …                       `RegisterFrame`
    FS:  … CR0: … CR2: … PKRU: …                       `ControlRegisters`
    Call Trace: <TASK> … </TASK>                       `StackTrace`; registers found on a stack are a RegisterFrame
    Modules linked in: …
    CR2: …                                             only after a page fault
    ---[ end trace 0000000000000000 ]---
    RIP: … to PKRU: …                                  the executive summary: the registers of the *first* oops

x86-32 says the same in other words: EIP without its segment, registers of 8 digits, *pdpt, *pde and *pte for the
tables, the segment registers with the general ones, and no name for a task's stack.

The kernel cannot always read the code around RIP. The attempt then faults, so that the CR2 among the registers is the
address of that read; the `CR2:` line by itself tells the address of the fault that is reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

TAINTS = (
    ("P", "PROPRIETARY_MODULE"), ("F", "FORCED_MODULE"), ("S", "CPU_OUT_OF_SPEC"), ("R", "FORCED_RMMOD"),
    ("M", "MACHINE_CHECK"), ("B", "BAD_PAGE"), ("U", "USER"), ("D", "DIE"), ("A", "OVERRIDDEN_ACPI_TABLE"),
    ("W", "WARN"), ("C", "CRAP"), ("I", "FIRMWARE_WORKAROUND"), ("O", "OOT_MODULE"), ("E", "UNSIGNED_MODULE"),
    ("L", "SOFTLOCKUP"), ("K", "LIVEPATCH"), ("X", "AUX"), ("T", "RANDSTRUCT"), ("N", "TEST"),
)  # fmt: skip
"""Kernel: kernel/panic.c taint_flags[], v6.12; v6.1 has the letters only."""


@dataclass(frozen=True, slots=True)
class OopsStyle:
    """
    What changed in the words from kernel to kernel.

    `die_prefix`: "Oops: " comes before every die line, also before one that starts with Oops. `uid`: the CPU line has
    the task's effective user id. `taint_names`: a line spells the taints out. All are in v6.12's source and none in
    v6.1's; logs of v6.8 lack the first, those of v6.11 have the other two. `bits`: 64, or 32 for x86-32's words.

    Kernel: arch/x86/kernel/dumpstack.c __die_header(); lib/dump_stack.c dump_stack_print_info(), v6.1 and v6.12.
    """

    die_prefix: bool = False
    uid: bool = False
    taint_names: bool = False
    bits: int = 64


def style(version: tuple[int, int], bits: int = 64) -> OopsStyle:
    """The words of this kernel version."""
    return OopsStyle(die_prefix=version >= (6, 10), uid=version >= (6, 11), taint_names=version >= (6, 11), bits=bits)


@dataclass(frozen=True, slots=True)
class PageTableWords:
    """
    The entries that were looked at, as (PGD P4D PUD PMD PTE, value), on x86-32 as (pdpt pde pte, value), pdpt with PAE
    only; `bad`: the next one could not be read.
    """

    entries: tuple[tuple[str, int], ...]
    bad: bool = False


@dataclass(frozen=True, slots=True)
class PageFaultWords:
    """
    show_fault_oops(). `execute` is "nx" or "smep" if the kernel says what protection stopped a fetch, with `uid`.
    `descriptors` are the lines about IDT, LDTR and TR, printed when user code was stopped by a supervisor's access.
    """

    address: int
    error_code: int
    tables: PageTableWords
    execute: str | None = None
    uid: int = 0
    descriptors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CorruptedPageTable:
    """pgtable_bad(): a reserved bit is set in an entry for a user address."""

    comm: str
    address: int
    tables: PageTableWords


@dataclass(frozen=True, slots=True)
class StackGuard:
    """handle_stack_overflow(). The kernel hashes the three addresses unless told not to (no_hash_pointers)."""

    stack: str
    address: int
    low: int
    high: int


Preface = PageFaultWords | CorruptedPageTable | StackGuard


@dataclass(frozen=True, slots=True)
class DieLine:
    """`what` happened, the exception's error code (16 bits), which oops since boot, how the kernel is configured."""

    what: str
    error_code: int
    number: int
    configuration: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TaskLine:
    """
    `tainted` is the letters with their blanks, or None for "Not tainted" (see `taint_letters`); `build` is the rest of
    the line after the release. `uid` is printed in the styles that have it.
    """

    cpu: int
    pid: int
    comm: str
    release: str
    build: str
    tainted: str | None = None
    uid: int = 0
    kdump_loaded: bool = False


@dataclass(frozen=True, slots=True)
class RegisterFrame:
    """
    Registers of interrupted code. `where` is RIP as printed, a symbol or an address. `code` is the bytes around it, or
    None where they could not be read; `code_at` is then where they would start (None: no Code line at all). `values`
    has rsp and the general registers; rsp alone for a frame of which only that was saved. `segments` are x86-32's DS,
    ES, FS and GS; it does not print CS, which goes with SS.
    """

    cs: int
    where: str
    ss: int
    eflags: int
    values: Mapping[str, int]
    code: bytes | None = None
    code_at: int | None = None
    orig_rax: int | None = None
    segments: tuple[int, int, int, int] | None = None

    @property
    def user_mode(self) -> bool:
        return self.cs & 3 == 3


@dataclass(frozen=True, slots=True)
class SegmentRegisters:
    """What x86-64's CPU holds in them while it prints."""

    fs_base: int
    fs: int
    gs_base: int
    gs: int
    kernel_gs_base: int
    ds: int
    es: int


@dataclass(frozen=True, slots=True)
class ControlRegisters:
    """
    What the CPU holds while it prints. `segments` are x86-64's (x86-32 has them in a frame), `debug` is DR0 DR1 DR2 DR3
    DR6 DR7 if any is in use, `pkru` needs CR4.PKE.
    """

    segments: SegmentRegisters | None
    cr0: int
    cr2: int
    cr3: int
    cr4: int
    debug: tuple[int, int, int, int, int, int] | None = None
    pkru: int | None = None


@dataclass(frozen=True, slots=True)
class TraceLine:
    """A text address on the stack; not `reliable` (marked "?") if the unwinder did not report it."""

    where: str
    reliable: bool


@dataclass(frozen=True, slots=True)
class StackTrace:
    """
    One stack: its name (TASK, IRQ, …; a task's has none on x86-32), and what was found on it from the stack pointer up.
    """

    name: str
    lines: tuple[TraceLine | RegisterFrame, ...]


@dataclass(frozen=True, slots=True)
class OopsReport:
    """
    Everything an oops says. `preface` is None for a #GP. `notes` are lines about the task (Workqueue: …). `user_bases`,
    FS and GS, stand in for `control` when user code was interrupted. `cr2` is the line of its own, after a page fault.
    `summary` repeats the first oops since boot; None where the text stops before it.
    """

    style: OopsStyle
    preface: Preface | None
    die: DieLine
    task: TaskLine
    hardware: str | None
    notes: tuple[str, ...]
    frame: RegisterFrame
    control: ControlRegisters | None
    user_bases: tuple[int, int] | None
    trace: tuple[StackTrace, ...] | None
    modules: tuple[str, ...]
    cr2: int | None
    end_trace: int
    summary: tuple[RegisterFrame, ControlRegisters | None] | None


def taint_letters(letters: str) -> str | None:
    """
    The fixed-width text after "Tainted: " for a set of letters; None if there are none.

    Kernel: kernel/panic.c print_tainted(), v6.1.
    """
    return (
        "".join(letter if letter in letters else "G" if letter == "P" else " " for letter, _ in TAINTS)
        if letters
        else None
    )
