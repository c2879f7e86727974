"""
The oops of a live machine: what the kernel would print about a fault that nothing repaired.

Ask right after the call that died: the stack, the page tables and the code are read as they are now.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ..arch import x86, x86_64
from ..arch.architectures import architecture_of
from ..errors import Absent, Unsupported
from ..evidence.oops_report import (
    ControlRegisters,
    CorruptedPageTable,
    DieLine,
    OopsReport,
    PageFaultWords,
    PageTableWords,
    Preface,
    RegisterFrame,
    SegmentRegisters,
    StackGuard,
    StackTrace,
    TaskLine,
    TraceLine,
    style,
    taint_letters,
)
from ..evidence.oops_writing import EPILOGUE_SIZE, PROLOGUE_SIZE
from ..tables.frames import Interrupted, Stack, stack_trace
from ..tables.orc import OrcEntry, OrcTable, OrcTables
from ..tables.pagetable import read_linear
from ..vocabulary.address import PAGE
from ..vocabulary.outcome import Oops
from ..vocabulary.walk import Mapped
from .event import FaultEvent

if TYPE_CHECKING:
    from .machine import Machine

HARDWARE = "pagefault, an {} machine emulated by Unicorn"
EFLAGS_RF = 1 << 16
"""Set in the copy that a fault pushes. Manual: Intel SDM vol. 3B, 17.3.1.1."""
GENERAL_PROTECTION = "general protection fault"
NAMES_32 = ("pdpt", "pde", "pte")
BAD_PAGE_TABLE, GUARD_PAGE, PAGE_FAULT = "Bad pagetable", "stack guard page", "Oops"


def oops_of(machine: Machine, event: FaultEvent, number: int | None = None) -> OopsReport:
    """
    The oops that `event` ended in. It is the `number`th since boot; by default, the latest.

    Errors: Unsupported if `event` did not end in an oops.

    Kernel: arch/x86/mm/fault.c page_fault_oops(), pgtable_bad(); arch/x86/kernel/traps.c handle_stack_overflow(),
    exc_general_protection(), v6.1.
    Differs: user code that is stopped by a supervisor's access is not met here, nor an oops on any stack but a task's.
    """
    outcome = event.decision.outcome
    if not isinstance(outcome, Oops) or outcome.reason.startswith("Kernel panic"):
        raise Unsupported(f"the oops of {outcome}", why="the kernel prints something else, or nothing")
    number, first = number or max(1, machine.die_counter), machine.first_oops or event
    what = what_died(outcome.reason)
    modules = tuple(reversed(machine.modules))  # the latest is printed first
    frame, read_fault = register_frame(machine, event)
    summary, summary_read_fault = register_frame(machine, first)
    cr2 = event.fault.registers["cr2"] if event.fault.address is None else event.fault.address
    control = control_registers(event, cr2 if read_fault is None else read_fault)
    again = control if summary_read_fault is None else replace(control, cr2=summary_read_fault)
    return OopsReport(
        style=style(machine.booted.image.version, machine.form.bits),
        preface=preface(machine, event, what),
        die=DieLine(what, 0 if what == GUARD_PAGE else event.fault.error_code & 0xFFFF, number, configuration(machine)),
        task=task_line(machine, event, number, modules),
        hardware=HARDWARE.format(machine.form.name),
        notes=(),
        frame=frame,
        control=control,
        user_bases=None,
        trace=call_trace(machine, event),
        modules=tuple(f"{name}({module_taints(machine)})" for name in modules),
        cr2=event.fault.address if what == PAGE_FAULT else None,
        end_trace=0,
        summary=(summary, again),
    )


def what_died(reason: str) -> str:
    """The start of the die line, from the handler's reason."""
    if GENERAL_PROTECTION in reason or reason == BAD_PAGE_TABLE:
        return reason
    return GUARD_PAGE if reason.startswith(GUARD_PAGE) else PAGE_FAULT


def preface(machine: Machine, event: FaultEvent, what: str) -> Preface | None:
    """The lines before the die line. A #GP has none."""
    fault, address = event.fault, event.fault.address
    if address is None:
        return None
    if what == GUARD_PAGE:
        return StackGuard("TASK", address, *stack_of(machine, event))
    tables = page_table_words(machine, event)
    if what == BAD_PAGE_TABLE:
        return CorruptedPageTable(event.task[0], address, tables)
    return PageFaultWords(address, fault.error_code, tables, execute=execute_words(event))


def execute_words(event: FaultEvent) -> str | None:
    """
    What stopped a fetch from a page that is there: "nx", "smep", or neither.

    Kernel: arch/x86/mm/fault.c show_fault_oops(), v6.12. Differs: v6.1 looks for NX in the last entry only.
    """
    end = event.before.end
    if not event.fault.fetch or not isinstance(end, Mapped):
        return None
    if not end.executable:
        return "nx"
    return "smep" if event.state.smep and event.before.entries[0].value & x86.USER else None


def page_table_words(machine: Machine, event: FaultEvent) -> PageTableWords:
    """
    The entries on the way to the faulting address. With four levels the p4d is the pgd once more, and counts as the
    first that may be absent. What the CPU takes for reserved bits does not stop the kernel here.

    Kernel: arch/x86/mm/fault.c dump_pagetable(); arch/x86/include/asm/pgtable.h pgd_present(), p4d_offset(), v6.1.
    Differs: x86-32 does not look at tables above the direct map; here they never are.
    """
    address, cpu = event.fault.address or 0, event.state
    entries: list[tuple[str, int]] = []
    table = cpu.root
    form = architecture_of(cpu)
    shape = form.geometry(cpu)
    names = NAMES_32[-len(shape.levels) :] if form.bits == 32 else tuple(level.name.upper() for level in shape.levels)
    for name, level in zip(names, shape.levels, strict=True):
        slot = table + (address >> level.shift & level.entries - 1) * shape.entry_size
        value = machine.ram.read_entry(slot, shape.entry_size)
        if value is None:
            return PageTableWords(tuple(entries), bad=form.bits == 64)
        entries.append((name, value))
        if name == "PGD" and not cpu.la57:
            entries.append(("P4D", value))
        if not value & x86.PRESENT or form.is_leaf(level, value):
            break
        table = value & x86.PHYSICAL_MASK
    return PageTableWords(tuple(entries))


def configuration(machine: Machine) -> tuple[str, ...]:
    """
    How the kernel was built, from its banner and its symbols. There is no page-table isolation in this machine.

    Kernel: arch/x86/kernel/dumpstack.c __die_header(); init/Makefile (UTS_VERSION), v6.1.
    """
    version, symbols = machine.booted.image.banner.partition(" #")[2].split(), machine.booted.image.symbols
    preempt = "PREEMPT_RT" if "PREEMPT_RT" in version else "PREEMPT"
    words = {
        preempt: any(word.startswith("PREEMPT") for word in version),
        "SMP": "SMP" in version,
        "KASAN": symbols.get("kasan_report") is not None,
        "NOPTI": symbols.get("pti_init") is not None,
    }
    return tuple(word for word, present in words.items() if present)


def task_line(machine: Machine, event: FaultEvent, number: int, modules: tuple[str, ...]) -> TaskLine:
    """
    Debian adds its package's version to the line. All tasks are root's.

    Kernel: lib/dump_stack.c dump_stack_print_info(), v6.1; kernel/panic.c add_taint(): an oops, a warning and a module
    from outside each leave a letter.
    """
    banner = machine.booted.image.banner
    release, number_of_build = banner.split()[2], re.search(r" (#\S+)", banner)
    package = re.search(r"#.* (Debian \S+)", banner)
    build = (number_of_build[1] if number_of_build else "") + (f"  {package[1]}" if package else "")
    letters = ("D" if number > 1 else "") + ("W" if machine.log else "") + (module_taints(machine) if modules else "")
    comm, pid = event.task
    return TaskLine(0, pid, comm, release, build, taint_letters(letters))


def module_taints(machine: Machine) -> str:
    """Ours are out of tree, and unsigned where that matters. Kernel: kernel/module/main.c load_module(), v6.1."""
    return "OE" if machine.booted.image.symbols.get("mod_verify_sig") is not None else "O"


def register_frame(machine: Machine, event: FaultEvent) -> tuple[RegisterFrame, int | None]:
    """
    The interrupted registers and the code around them; and where reading that code faulted, if it did.

    The bytes are copied by copy_from_kernel_nofault(), which does not try what is not the kernel's (then nothing
    faults) and otherwise fails at the first byte that is not mapped (then CR2 has its address).

    Kernel: arch/x86/kernel/dumpstack.c copy_code(), show_opcodes(), v6.1.
    """
    registers, cpu, form = event.fault.registers, event.state, machine.form
    ip, start = event.fault.ip, event.fault.ip - PROLOGUE_SIZE & (1 << form.bits) - 1
    size, code, fault = PROLOGUE_SIZE + 1 + EPILOGUE_SIZE, b"", None
    if may_be_read(machine, start, cpu):
        code = read_linear(machine.ram, cpu.root, start, size, cpu)
        fault = start + len(code) if len(code) < size else None
    segments = registers["ds"], registers["es"], registers["fs"], registers["gs"]
    frame = RegisterFrame(
        cs=registers["cs"],
        where=machine.symbols.format(ip),
        ss=registers["ss"],
        eflags=registers["eflags"] | EFLAGS_RF,
        values={name: registers[name] for name in form.general_registers},
        code=code if len(code) == size else None,
        code_at=start if len(code) < size else None,
        segments=segments if form.bits == 32 else None,
    )
    return frame, fault


def may_be_read(machine: Machine, start: int, cpu: x86.CpuState) -> bool:
    """
    Does the kernel try to read its own memory at `start`?

    Kernel: arch/x86/mm/maccess.c copy_from_kernel_nofault_allowed(), v6.1: one for x86-32, one for x86-64.
    """
    if machine.form.bits == 32:
        return start >= machine.area.task_size_max
    vsyscall = start & -PAGE == x86_64.VSYSCALL
    return start >= x86_64.address_map(cpu).task_size_max + PAGE and x86_64.canonical(start, cpu) and not vsyscall


def control_registers(event: FaultEvent, cr2: int) -> ControlRegisters:
    """Differs: MSR_KERNEL_GS_BASE, the user's GS base, is always 0."""
    registers, cpu = event.fault.registers, event.state
    segments = SegmentRegisters(
        fs_base=registers["fs_base"],
        fs=registers["fs"],
        gs_base=registers["gs_base"],
        gs=registers["gs"],
        kernel_gs_base=0,
        ds=registers["ds"],
        es=registers["es"],
    )
    return ControlRegisters(
        segments=segments if architecture_of(cpu).bits == 64 else None,
        cr0=cpu.cr0,
        cr2=cr2,
        cr3=cpu.cr3,
        cr4=cpu.cr4,
        pkru=cpu.pkru if cpu.pke else None,
    )


def stack_of(machine: Machine, event: FaultEvent) -> tuple[int, int]:
    """The kernel stack (low, high) of the task that faulted."""
    tasks = (process.task for process in machine.processes if process.task.pid == event.task[1])
    return next(tasks, machine.current.task).stack


def call_trace(machine: Machine, event: FaultEvent) -> tuple[StackTrace, ...]:
    """
    The task's stack, as far as it goes: the machine calls functions directly, so there is no system call at its end.
    """
    registers, (low, high) = event.fault.registers, stack_of(machine, event)
    sp = registers[machine.names["sp"]]
    start = sp if low <= sp < high else low
    stack = Stack(low, high, start, read_linear(machine.ram, event.state.root, start, high - start, event.state))
    if machine.form.bits == 32:
        found_32 = frame_pointer_trace(machine, event, stack)
        return (StackTrace("", found_32),) if found_32 else ()
    lines: list[TraceLine | RegisterFrame] = []
    for found in stack_trace(
        registers, stack, partial(orc_find, machine, orc_tables(machine)), partial(is_text, machine)
    ):
        if isinstance(found, Interrupted):
            break  # this machine takes no interrupts: whatever stands there, nothing was interrupted
        lines.append(TraceLine(machine.symbols.format(found.address), found.reliable))
    return (StackTrace("TASK", tuple(lines)),)


def frame_pointer_trace(machine: Machine, event: FaultEvent, stack: Stack) -> tuple[TraceLine, ...]:
    """
    x86-32's stack: there are no ORC tables, and Debian's kernels keep frame pointers. A call of address 0 has left a
    return address, and no frame yet.

    Kernel: arch/x86/kernel/unwind_frame.c __unwind_start(), unwind_next_frame(), v6.1.
    """
    word = machine.form.bits // 8
    words = {
        stack.start + at: int.from_bytes(stack.data[at : at + word], "little")
        for at in range(0, len(stack.data) - word + 1, word)
    }
    base = event.fault.registers["ebp"]
    following: int | None = None
    if event.fault.ip == 0:
        base, following = stack.start - word, base
    lines = []
    for address, value in words.items():
        if not is_text(machine, value):
            continue
        lines.append(TraceLine(machine.symbols.format(value), address == base + word))
        if address == base + word:
            above = words.get(base, 0) if following is None else following
            base, following = above if above > base else 0, None
    return tuple(lines)


def is_text(machine: Machine, address: int) -> bool:
    """
    Is it an address of the kernel's code, or of a module's?

    Kernel: kernel/extable.c kernel_text_address(), v6.1. Differs: code made at run time (BPF, kprobes) does not exist.
    """
    if is_kernel_text(machine, address):
        return True
    symbol = machine.symbols.at(address)
    if symbol is None or symbol.module is None:
        return False
    end = machine.walk(address).end
    return isinstance(end, Mapped) and end.executable


def is_kernel_text(machine: Machine, address: int) -> bool:
    return any(first <= address < last for first, last in machine.booted.image.executable)


def orc_find(machine: Machine, tables: OrcTables, address: int) -> OrcEntry | None:
    """
    What lies between the kernel's text and its init text is data, and has no entry.

    Kernel: arch/x86/kernel/unwind_orc.c orc_find(), v6.1.
    """
    return tables.find(address) if is_kernel_text(machine, address) else None


def orc_tables(machine: Machine) -> OrcTables:
    """
    The kernel's ORC table. Without one, and in modules (ours have none), frame pointers are followed instead.
    """
    image = machine.booted.image
    try:
        ip = image.between(".orc_unwind_ip", "__start_orc_unwind_ip", "__stop_orc_unwind_ip")
        entries = image.between(".orc_unwind", "__start_orc_unwind", "__stop_orc_unwind")
    except Absent:
        return OrcTables(())
    if ip is None or entries is None:
        return OrcTables(())
    start, end = image.executable[0][0], max(last for _, last in image.executable)
    return OrcTables([OrcTable(ip[0], bytes(ip[1]), bytes(entries[1]), start=start, end=end, where=str(image.path))])
