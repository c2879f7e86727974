"""Printing `evidence.oops_report.OopsReport` as Linux 6.x prints an oops, line for line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from ..arch.x86 import PF_INSTR, PF_PK, PF_PROT, PF_RSVD, PF_USER, PF_WRITE
from ..vocabulary.address import PAGE
from .oops_report import (
    TAINTS,
    ControlRegisters,
    CorruptedPageTable,
    DieLine,
    OopsReport,
    OopsStyle,
    PageFaultWords,
    PageTableWords,
    Preface,
    RegisterFrame,
    SegmentRegisters,
    StackGuard,
    StackTrace,
    TraceLine,
)

PROLOGUE_SIZE, EPILOGUE_SIZE = 42, 21
"""Bytes of code before and after the one at RIP. Kernel: arch/x86/kernel/dumpstack.c show_opcodes(), v6.1."""
REGISTER_ROWS = (
    ("rax", "rbx", "rcx"),
    ("rdx", "rsi", "rdi"),
    ("rbp", "r8", "r9"),
    ("r10", "r11", "r12"),
    ("r13", "r14", "r15"),
)
REGISTER_ROWS_32 = (("eax", "ebx", "ecx", "edx"), ("esi", "edi", "ebp", "esp"))


def write(report: OopsReport) -> str:
    """The lines, as a console shows them without timestamps."""
    return "".join(f"{line}\n" for line in lines(report))


def lines(report: OopsReport) -> Iterator[str]:
    """
    Kernel: arch/x86/mm/fault.c page_fault_oops(); arch/x86/kernel/dumpstack.c __die(), oops_end(), v6.1 and v6.12.
    """
    if report.preface is not None:
        yield from preface_lines(report.preface, report.frame.user_mode, report.style.bits)
    yield die_line(report.die, report.style)
    yield from task_lines(report)
    yield from frame_lines(report.frame)
    if report.control is not None:
        yield from control_lines(report.control, report.frame.cs)
    if report.user_bases is not None:
        yield "FS:  {:016x} GS:  {:016x}".format(*report.user_bases)
    if report.trace is not None:
        yield from trace_lines(report.trace)
    yield " ".join(("Modules linked in:", *report.modules))
    if report.cr2 is not None:
        yield f"CR2: {report.cr2:016x}"
    yield f"---[ end trace {report.end_trace:016x} ]---"
    if report.summary is not None:
        frame, control = report.summary
        yield from frame_lines(frame)
        if control is not None:
            yield from control_lines(control, frame.cs)


def preface_lines(preface: Preface, user_mode: bool, bits: int) -> Iterator[str]:
    """What is said before the die line."""
    match preface:
        case PageFaultWords():
            yield from page_fault_lines(preface, user_mode, bits)
            yield from page_table_lines(preface.tables)
        case CorruptedPageTable(comm, address, tables):
            yield f"{comm}: Corrupted page table at address {address:x}"
            yield from page_table_lines(tables)
        case StackGuard(stack, address, low, high):
            yield f"BUG: {stack} stack guard page was hit at {address:016x} (stack is {low:016x}..{high:016x})"
        case _:
            assert_never(preface)


def page_fault_lines(words: PageFaultWords, user_mode: bool, bits: int) -> Iterator[str]:
    """
    Kernel: arch/x86/mm/fault.c show_fault_oops(), v6.1.
    Differs: AMD's RMP violation (in v6.12) is not worded.
    """
    if words.execute == "nx":
        yield f"kernel tried to execute NX-protected page - exploit attempt? (uid: {words.uid})"
    elif words.execute == "smep":
        yield f"unable to execute userspace code (SMEP?) (uid: {words.uid})"
    code = words.error_code
    null = words.address < PAGE and not user_mode
    what = "kernel NULL pointer dereference," if null else "unable to handle page fault for"
    yield f"BUG: {what} address: {words.address:0{bits // 4}x}"
    who = "user" if code & PF_USER else "supervisor"
    access = "instruction fetch" if code & PF_INSTR else "write access" if code & PF_WRITE else "read access"
    yield f"#PF: {who} {access} in {'user' if user_mode else 'kernel'} mode"
    if not code & PF_PROT:
        why = "not-present page"
    elif code & PF_RSVD:
        why = "reserved bit violation"
    else:
        why = "protection keys violation" if code & PF_PK else "permissions violation"
    yield f"#PF: error_code(0x{code:04x}) - {why}"
    yield from words.descriptors


def page_table_lines(tables: PageTableWords) -> Iterator[str]:
    """
    A blank follows each value but a pte's, and on x86-32 each.

    Kernel: arch/x86/mm/fault.c dump_pagetable(), v6.1: one for x86-32, one for x86-64.
    """
    if tables.entries and tables.entries[0][0].islower():
        digits = 16 if tables.entries[0][0] == "pdpt" else 8
        yield "".join(f"*{name} = {value:0{digits}x} " for name, value in tables.entries)
    elif tables.entries:
        yield "".join(f"{name} {value:x}" + ("" if name == "PTE" else " ") for name, value in tables.entries)
    if tables.bad:
        yield "BAD"


def die_line(die: DieLine, words: OopsStyle) -> str:
    """Kernel: arch/x86/kernel/dumpstack.c __die_header(), v6.1 and v6.12."""
    prefix = "Oops: " if words.die_prefix else ""
    return " ".join((f"{prefix}{die.what}: {die.error_code:04x} [#{die.number}]", *die.configuration))


def task_lines(report: OopsReport) -> Iterator[str]:
    """Kernel: lib/dump_stack.c dump_stack_print_info(), v6.1 and v6.12."""
    task = report.task
    uid = f"UID: {task.uid} " if report.style.uid else ""
    kdump = "Kdump: loaded " if task.kdump_loaded else ""
    tainted = "Not tainted" if task.tainted is None else f"Tainted: {task.tainted}"
    yield f"CPU: {task.cpu} {uid}PID: {task.pid} Comm: {task.comm} {kdump}{tainted} {task.release} {task.build}"
    if report.style.taint_names and task.tainted is not None:
        yield "Tainted: " + ", ".join(f"[{letter}]={name}" for letter, name in TAINTS if letter in task.tainted)
    if report.hardware is not None:
        yield f"Hardware name: {report.hardware}"
    yield from report.notes


def frame_lines(frame: RegisterFrame) -> Iterator[str]:
    """
    Kernel: arch/x86/kernel/process_64.c __show_regs(); process_32.c __show_regs(); dumpstack.c show_iret_regs(),
    show_ip(), v6.1.
    """
    if frame.segments is not None:
        yield f"EIP: {frame.where}"
        yield from code_lines(frame)
        for names in REGISTER_ROWS_32:
            yield " ".join(f"{name.upper()}: {frame.values[name]:08x}" for name in names)
        segments = "DS: {:04x} ES: {:04x} FS: {:04x} GS: {:04x}".format(*frame.segments)
        yield f"{segments} SS: {frame.ss:04x} EFLAGS: {frame.eflags:08x}"
        return
    yield f"RIP: {frame.cs:04x}:{frame.where}"
    yield from code_lines(frame)
    orig = "" if frame.orig_rax is None else f" ORIG_RAX: {frame.orig_rax:016x}"
    yield f"RSP: {frame.ss:04x}:{frame.values['rsp']:016x} EFLAGS: {frame.eflags:08x}{orig}"
    for row in REGISTER_ROWS:
        if row[0] in frame.values:
            yield " ".join(f"{shown(name)}: {frame.values[name]:016x}" for name in row)


def code_lines(frame: RegisterFrame) -> Iterator[str]:
    """Kernel: arch/x86/kernel/dumpstack.c show_opcodes(), v6.1."""
    if frame.code is not None:
        before, at, after = frame.code[:PROLOGUE_SIZE], frame.code[PROLOGUE_SIZE], frame.code[PROLOGUE_SIZE + 1 :]
        yield f"Code: {before.hex(' ')} <{at:02x}> {after.hex(' ')}"
    elif frame.code_at is not None:
        yield f"Code: Unable to access opcode bytes at 0x{frame.code_at:x}."


def shown(name: str) -> str:
    """R08, where the manual says R8."""
    return f"R0{name[1]}" if len(name) == 2 else name.upper()


def control_lines(control: ControlRegisters, cs: int) -> Iterator[str]:
    """Kernel: arch/x86/kernel/process_64.c __show_regs(); process_32.c __show_regs(), v6.1."""
    c = control
    if c.segments is None:
        yield f"CR0: {c.cr0:08x} CR2: {c.cr2:08x} CR3: {c.cr3:08x} CR4: {c.cr4:08x}"
        if c.debug is not None:
            yield "DR0: {:08x} DR1: {:08x} DR2: {:08x} DR3: {:08x}".format(*c.debug[:4])
            yield "DR6: {:08x} DR7: {:08x}".format(*c.debug[4:])
        return
    yield from segment_lines(c.segments, cs, c.cr0)
    yield f"CR2: {c.cr2:016x} CR3: {c.cr3:016x} CR4: {c.cr4:016x}"
    if c.debug is not None:
        yield "DR0: {:016x} DR1: {:016x} DR2: {:016x}".format(*c.debug[:3])
        yield "DR3: {:016x} DR6: {:016x} DR7: {:016x}".format(*c.debug[3:])
    if c.pkru is not None:
        yield f"PKRU: {c.pkru:08x}"


def segment_lines(segments: SegmentRegisters, cs: int, cr0: int) -> Iterator[str]:
    s = segments
    yield f"FS:  {s.fs_base:016x}({s.fs:04x}) GS:{s.gs_base:016x}({s.gs:04x}) knlGS:{s.kernel_gs_base:016x}"
    yield f"CS:  {cs:04x} DS: {s.ds:04x} ES: {s.es:04x} CR0: {cr0:016x}"


def trace_lines(trace: tuple[StackTrace, ...]) -> Iterator[str]:
    """Kernel: arch/x86/kernel/dumpstack.c __show_trace_log_lvl(), printk_stack_address(), v6.1."""
    yield "Call Trace:"
    for stack in trace:
        if stack.name:
            yield f" <{stack.name}>"
        for line in stack.lines:
            match line:
                case TraceLine(where, reliable):
                    yield f" {'' if reliable else '? '}{where}"
                case RegisterFrame():
                    yield from frame_lines(line)
        if stack.name:
            yield f" </{stack.name}>"
