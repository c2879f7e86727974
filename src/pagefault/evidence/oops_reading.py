"""
Reading the text of x86's oopses back into `evidence.oops_report.OopsReport`: from a serial console, dmesg or a journal,
with or without timestamps, among any other lines.

A line is recognised by what it says. Lines that belong to no oops are skipped wherever they stand: consoles are shared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..arch.x86 import CR4_PKE
from ..arch.x86_32 import KERNEL_CS, USER_CS
from ..errors import BadInput
from .oops_report import (
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
    TaskLine,
    TraceLine,
)
from .oops_writing import REGISTER_ROWS, REGISTER_ROWS_32, shown

MAX_LINE = 4096
"""Longer lines are no console's: one record holds about 1,000 characters."""
STAMP = re.compile(r"(?:\S.{0,80}? kernel: ?)?(?:<\d{1,3}>)?(?:\[ *\d{1,10}\.\d{1,9}\](?:\[ *[CT]\d{1,10}\])? ?)?")
HEX = r"([0-9a-f]{1,16})"

EXECUTE = re.compile(
    r"(kernel tried to execute NX-protected page|unable to execute userspace code).*\(uid: (\d{1,10})\)"
)
ADDRESS = re.compile(rf"BUG: (?:kernel NULL pointer dereference,|unable to handle page fault for) address: {HEX}")
ERROR_CODE = re.compile(rf"#PF: error_code\(0x{HEX}\)")
DESCRIPTORS = re.compile(r"(?:IDT|LDTR|TR): ")
CORRUPTED = re.compile(rf"(.{{1,20}}): Corrupted page table at address {HEX}")
GUARD = re.compile(rf"BUG: (\S{{1,20}}) stack guard page was hit at {HEX} \(stack is {HEX}\.\.{HEX}\)")
TABLES = re.compile(r"PGD [0-9a-f]|\*pd(?:pt|e) = [0-9a-f]")
ENTRY = re.compile(rf"(PGD|P4D|PUD|PMD|PTE) {HEX}")
ENTRY_32 = re.compile(rf"\*(pdpt|pde|pte) = {HEX}")
DIE = re.compile(r"(Oops: )?(\S.{0,150}): ([0-9a-f]{4}) \[#(\d{1,10})\]((?: [A-Z_]{2,20})*)")
TASK = re.compile(
    r"CPU: (\d{1,6}) (?:UID: (\d{1,10}) )?PID: (\d{1,10}) Comm: (.{1,20}?) (Kdump: loaded )?"
    r"(?:Not tainted|Tainted: ([A-Z ]{1,40})) (\d\S*) ?(.*)"
)
TAINT_NAMES = re.compile(r"Tainted: \[")
HARDWARE = re.compile(r"Hardware name: (.*)")
RIP = re.compile(r"RIP: (?P<cs>[0-9a-f]{4}):(?P<where>.+)|EIP: (?P<where_32>.+)")
CODE = re.compile(r"Code: ((?:[0-9a-f]{2} ){42})<([0-9a-f]{2})> ((?:[0-9a-f]{2} ?){21})")
NO_CODE = re.compile(rf"Code: Unable to access opcode bytes at (?:RIP )?0x{HEX}\.")
RSP = re.compile(rf"RSP: ([0-9a-f]{{4}}):{HEX} EFLAGS: {HEX}(?: ORIG_RAX: {HEX})?")
REGISTERS = re.compile(rf"(R[A-Z0-9]{{2}}): {HEX} (R[A-Z0-9]{{2}}): {HEX} (R[A-Z0-9]{{2}}): {HEX}")
BASES = re.compile(rf"FS:  {HEX}\({HEX}\) GS:{HEX}\({HEX}\) knlGS:{HEX}")
USER_BASES = re.compile(rf"FS:  {HEX} GS:  {HEX}")
SEGMENTS = re.compile(rf"CS:  {HEX} DS: {HEX} ES: {HEX} CR0: {HEX}")
CONTROL = re.compile(rf"CR2: {HEX} CR3: {HEX} CR4: {HEX}")
REGISTERS_32 = re.compile(" ".join(rf"(E[A-Z]{{2}}): {HEX}" for _ in range(4)))
SEGMENTS_32 = re.compile(rf"DS: {HEX} ES: {HEX} FS: {HEX} GS: {HEX} SS: {HEX} EFLAGS: {HEX}")
CONTROL_32 = re.compile(rf"CR0: {HEX} CR2: {HEX} CR3: {HEX} CR4: {HEX}")
DEBUG = re.compile(rf"DR[03]: {HEX} DR[16]: {HEX} DR[27]: {HEX}(?: DR3: {HEX})?|DR6: {HEX} DR7: {HEX}")
PKRU = re.compile(rf"PKRU: {HEX}")
STACK = re.compile(r" <(/?)([#A-Z_]{1,40})>")
CALL = re.compile(r" (\? )?([^ +]{1,512}\+0x[0-9a-f]+/0x[0-9a-f]+.{0,100}|0x[0-9a-f]+)")
MODULES = re.compile(r"Modules linked in:(?: (.*))?")
CR2 = re.compile(rf"CR2: {HEX}")
END = re.compile(rf"---\[ end trace {HEX} \]---")
NAMES = {shown(name): name for row in REGISTER_ROWS for name in row}
NAMES_32 = {name.upper(): name for row in REGISTER_ROWS_32 for name in row}
REGISTER_COUNT = {32: 8, 64: 16}


def read(text: str, where: str = "oops") -> OopsReport:
    """
    The first oops in `text`.

    Errors: BadInput if there is none, or if it lacks a line that the rest needs.
    """
    for report in read_all(text, where):
        return report
    raise BadInput(where, expected="an oops (a line like 'Oops: 0000 [#1] SMP')", got="none")


def read_all(text: str, where: str = "oops") -> list[OopsReport]:
    """Every oops in `text`, in order. One that the text cuts off before its end-of-trace line is left out."""
    builders: list[Builder] = []
    current = Builder(where)
    for line in text.splitlines():
        if len(line) > MAX_LINE:
            continue
        line = line[stamp.end() :] if (stamp := STAMP.match(line)) else line
        if current.done or (current.die and starts(line)):
            builders.append(current)
            current = Builder(where)
        current.take(line)
    builders.append(current)
    return [builder.report() for builder in builders if builder.end_trace is not None]


def starts(line: str) -> bool:
    """Does an oops begin here? (A #GP's begins with the die line.)"""
    return any(each.match(line) for each in (EXECUTE, ADDRESS, CORRUPTED, GUARD, DIE))


def numbers(found: re.Match[str]) -> list[int]:
    """Every group there is as the hexadecimal number it is."""
    return [int(group, 16) for group in found.groups() if group is not None]


@dataclass(slots=True)
class FrameBuilder:
    """A register frame under construction, and the control registers that may follow it."""

    bits: int
    cs: int
    where: str
    code: bytes | None = None
    code_at: int | None = None
    stack: tuple[int, int, int | None] = (0, 0, None)
    values: dict[str, int] = field(default_factory=dict)
    control: dict[str, int] = field(default_factory=dict)
    debug: list[int] = field(default_factory=list)
    user_bases: tuple[int, int] | None = None
    segments: tuple[int, int, int, int] | None = None

    @classmethod
    def at(cls, found: re.Match[str]) -> FrameBuilder:
        """From a RIP: or EIP: line."""
        if found["where_32"] is not None:
            return cls(32, KERNEL_CS, found["where_32"])
        return cls(64, int(found["cs"], 16), found["where"])

    def take(self, line: str) -> bool:
        """Take a line of a frame; False if it is none. What came first stays: a later frame may have lost its RIP."""
        if found := CODE.fullmatch(line):
            if self.code is None and self.code_at is None:
                self.code = bytes.fromhex(found[1] + found[2] + found[3])
        elif found := NO_CODE.match(line):
            if self.code is None and self.code_at is None:
                self.code_at = int(found[1], 16)
        elif self.bits == 32:
            return self.take_32(line)
        elif found := RSP.match(line):
            if "rsp" not in self.values:
                self.stack = int(found[1], 16), int(found[3], 16), int(found[4], 16) if found[4] else None
                self.values["rsp"] = int(found[2], 16)
        elif (found := REGISTERS.match(line)) and {found[1], found[3], found[5]} <= NAMES.keys():
            self.values = {NAMES[found[i]]: int(found[i + 1], 16) for i in (1, 3, 5)} | self.values
        elif found := BASES.match(line):
            self.keep(("fs_base", "fs", "gs_base", "gs", "kernel_gs_base"), numbers(found))
        elif found := USER_BASES.match(line):
            self.user_bases = self.user_bases or (int(found[1], 16), int(found[2], 16))
        elif found := SEGMENTS.match(line):
            self.keep(("ds", "es", "cr0"), numbers(found)[1:])
        elif found := CONTROL.match(line):
            self.keep(("cr2", "cr3", "cr4"), numbers(found))
        elif found := DEBUG.match(line):
            self.debug += numbers(found)
        elif found := PKRU.match(line):
            self.keep(("pkru",), numbers(found))
        else:
            return False
        return True

    def take_32(self, line: str) -> bool:
        if (found := REGISTERS_32.match(line)) and set(found.groups()[::2]) <= NAMES_32.keys():
            self.values = {NAMES_32[found[i]]: int(found[i + 1], 16) for i in (1, 3, 5, 7)} | self.values
        elif found := SEGMENTS_32.match(line):
            if self.segments is None:
                ds, es, fs, gs, ss, eflags = numbers(found)
                self.segments, self.stack = (ds, es, fs, gs), (ss, eflags, None)
                self.cs = USER_CS if ss & 3 == 3 else KERNEL_CS
        elif found := CONTROL_32.match(line):
            self.keep(("cr0", "cr2", "cr3", "cr4"), numbers(found))
        elif found := DEBUG.match(line):
            self.debug += numbers(found)
        else:
            return False
        return True

    def keep(self, names: tuple[str, ...], values: list[int]) -> None:
        self.control = dict(zip(names, values, strict=True)) | self.control

    @property
    def whole(self) -> bool:
        """Has every line come?"""
        cr4 = self.control.get("cr4")
        return cr4 is not None and ("pkru" in self.control or not cr4 & CR4_PKE)

    def frame(self, source: str) -> RegisterFrame:
        sp = "rsp" if self.bits == 64 else "esp"
        if sp not in self.values or (self.bits == 32 and (len(self.values) != 8 or self.segments is None)):
            wanted = "an RSP: line after RIP:" if self.bits == 64 else "ESP: and DS: lines after EIP:"
            raise BadInput(source, expected=wanted, got="none")
        ss, eflags, orig_rax = self.stack
        whole = len(self.values) == REGISTER_COUNT[self.bits]
        values = self.values if whole else {sp: self.values[sp]}
        return RegisterFrame(self.cs, self.where, ss, eflags, values, self.code, self.code_at, orig_rax, self.segments)

    def control_registers(self) -> ControlRegisters | None:
        c, d = self.control, self.debug
        if not ({"fs_base", "ds", "cr2"} if self.bits == 64 else {"cr2"}) <= c.keys():
            return None
        names = ("fs_base", "fs", "gs_base", "gs", "kernel_gs_base", "ds", "es")
        return ControlRegisters(
            segments=SegmentRegisters(*(c[name] for name in names)) if self.bits == 64 else None,
            cr0=c["cr0"],
            cr2=c["cr2"],
            cr3=c["cr3"],
            cr4=c["cr4"],
            debug=(d[0], d[1], d[2], d[3], d[4], d[5]) if len(d) == 6 else None,
            pkru=c.get("pkru"),
        )


class Builder:
    """One oops under construction, fed line by line."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.done = False
        self.execute: tuple[str, int] | None = None
        self.fault: list[int] = []
        self.descriptors: list[str] = []
        self.tables: list[tuple[str, int]] = []
        self.bad = False
        self.preface: CorruptedPageTable | StackGuard | None = None
        self.die: tuple[str, str, int, int, tuple[str, ...]] | None = None
        self.task: TaskLine | None = None
        self.uid = self.taint_names = False
        self.hardware: str | None = None
        self.notes: list[str] = []
        self.frames: list[FrameBuilder] = []
        self.stacks: list[tuple[str, list[TraceLine | FrameBuilder]]] | None = None
        self.in_stack = False
        self.modules: tuple[str, ...] | None = None
        self.cr2: int | None = None
        self.end_trace: int | None = None

    def take(self, line: str) -> None:
        """Look at one line; what is not understood is skipped."""
        if self.die is None:
            self.before_die(line)
        elif not self.frames and (found := RIP.match(line)):
            self.frames.append(FrameBuilder.at(found))
        elif not self.frames:
            self.before_registers(line)
        elif self.end_trace is not None:
            self.summary(line)
        elif self.modules is None:
            self.in_trace(line)
        elif found := END.match(line):
            self.end_trace = int(found[1], 16)
        elif (found := CR2.fullmatch(line)) and self.cr2 is None:
            self.cr2 = int(found[1], 16)

    def before_die(self, line: str) -> None:
        if found := EXECUTE.match(line):
            self.execute = ("nx" if "NX" in found[1] else "smep"), int(found[2])
        elif found := ADDRESS.match(line):
            self.fault, self.tables, self.bad = [int(found[1], 16)], [], False
        elif found := ERROR_CODE.match(line):
            self.fault = [*self.fault[:1], int(found[1], 16)]
        elif found := CORRUPTED.match(line):
            self.preface = CorruptedPageTable(found[1], int(found[2], 16), PageTableWords(()))
            self.tables, self.bad = [], False
        elif found := GUARD.match(line):
            address, low, high = (int(found[i], 16) for i in (2, 3, 4))
            self.preface = StackGuard(found[1], address, low, high)
        elif TABLES.match(line):
            self.tables = [(name, int(value, 16)) for name, value in (ENTRY.findall(line) or ENTRY_32.findall(line))]
        elif line == "BAD":
            self.bad = True
        elif DESCRIPTORS.match(line) and self.fault:
            self.descriptors.append(line)
        elif found := DIE.fullmatch(line.rstrip()):
            self.die = found[1] or "", found[2], int(found[3], 16), int(found[4]), tuple(found[5].split())

    def before_registers(self, line: str) -> None:
        if found := TASK.match(line):
            cpu, uid, pid, comm, kdump, tainted, release, build = found.groups()
            self.uid = uid is not None
            self.task = TaskLine(int(cpu), int(pid), comm, release, build, tainted, int(uid or 0), bool(kdump))
        elif TAINT_NAMES.match(line):
            self.taint_names = True
        elif found := HARDWARE.match(line):
            self.hardware = found[1]
        elif self.task is not None and re.match(r"(Workqueue|Stopper|Sched_ext): ", line):
            self.notes.append(line)

    def in_trace(self, line: str) -> None:
        if found := MODULES.match(line):
            self.modules = tuple(found[1].split(" ")) if found[1] else ()
        elif line == "Call Trace:":
            self.stacks, self.in_stack = [], False
        elif self.stacks is None:
            self.frames[0].take(line)
        elif found := STACK.fullmatch(line):
            self.in_stack = not found[1]
            if self.in_stack:
                self.stacks.append((found[2], []))
        elif self.in_stack or self.unnamed(line):
            items = self.stacks[-1][1]
            last = items[-1] if items else None
            if found := RIP.match(line):
                items.append(FrameBuilder.at(found))
            elif isinstance(last, FrameBuilder) and last.take(line):
                pass
            elif found := CALL.fullmatch(line):
                items.append(TraceLine(found[2], not found[1]))

    def unnamed(self, line: str) -> bool:
        """Does a task's stack begin here, which has no name on x86-32?"""
        if self.stacks is None or self.frames[0].bits == 64 or not (CALL.fullmatch(line) or RIP.match(line)):
            return False
        self.stacks.append(("", []))
        self.in_stack = True
        return True

    def summary(self, line: str) -> None:
        if found := RIP.match(line):
            self.done = len(self.frames) > 1
            if not self.done:
                self.frames.append(FrameBuilder.at(found))
        elif len(self.frames) > 1 and not self.frames[1].take(line):
            self.done = self.frames[1].whole

    def report(self) -> OopsReport:
        assert self.die is not None
        assert self.end_trace is not None
        if self.task is None:
            raise BadInput(self.source, expected="a line 'CPU: … PID: … Comm: …' after the die line", got="none")
        prefix, what, code, number, configuration = self.die
        frame = self.frames[0]
        style = OopsStyle(bool(prefix), self.uid, self.taint_names, frame.bits)
        summary = self.frames[1] if len(self.frames) > 1 else None
        return OopsReport(
            style=style,
            preface=self.whole_preface(),
            die=DieLine(what, code, number, configuration),
            task=self.task,
            hardware=self.hardware,
            notes=tuple(self.notes),
            frame=frame.frame(self.source),
            control=frame.control_registers(),
            user_bases=frame.user_bases,
            trace=None if self.stacks is None else tuple(self.stack(name, items) for name, items in self.stacks),
            modules=self.modules or (),
            cr2=self.cr2,
            end_trace=self.end_trace,
            summary=None if summary is None else (summary.frame(self.source), summary.control_registers()),
        )

    def stack(self, name: str, items: Iterable[TraceLine | FrameBuilder]) -> StackTrace:
        return StackTrace(name, tuple(i if isinstance(i, TraceLine) else i.frame(self.source) for i in items))

    def whole_preface(self) -> Preface | None:
        tables = PageTableWords(tuple(self.tables), self.bad)
        if isinstance(self.preface, StackGuard):
            return self.preface
        if self.preface is not None:
            return CorruptedPageTable(self.preface.comm, self.preface.address, tables)
        if not self.fault:
            return None
        if len(self.fault) != 2:
            raise BadInput(self.source, expected="a line '#PF: error_code(…)' after the address", got="none")
        execute, uid = self.execute or (None, 0)
        address, error_code = self.fault
        return PageFaultWords(address, error_code, tables, execute, uid, tuple(self.descriptors))
