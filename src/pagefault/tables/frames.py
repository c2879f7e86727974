"""
Following a kernel stack from frame to frame, and printing what lies on it the way an oops does.

The stack is scanned word by word: every text address is a line. The unwinder goes along, from the interrupted registers
from caller to caller; an address in the slot that it says holds a return address is reliable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..vocabulary.address import PAGE
from .orc import OrcEntry

WORD = 8
PT_REGS = (
    *("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi"),
    *("orig_rax", "rip", "cs", "eflags", "rsp", "ss"),
)
"""Kernel: arch/x86/include/asm/ptrace.h struct pt_regs, v6.1."""
IRET_FRAME = PT_REGS.index("rip")
"""From here on it is what the CPU itself pushes."""
NULL_CALL = OrcEntry("rsp", WORD, "undefined", 0, "call", signal=False)
FRAME_POINTER = OrcEntry("rbp", 2 * WORD, "prev_sp", -2 * WORD, "call", signal=False)
"""
For a call of address 0, and for code that no table covers.

Kernel: arch/x86/kernel/unwind_orc.c null_orc_entry, orc_fp_entry, v6.1.
"""

Lookup = Callable[[int], OrcEntry | None]


@dataclass(frozen=True, slots=True)
class Stack:
    """A kernel stack, low <= a < high, of which `data` is the part from `start` up."""

    low: int
    high: int
    start: int
    data: bytes

    def word(self, address: int) -> int | None:
        """Eight bytes, or None outside the part we have."""
        at = address - self.start
        return int.from_bytes(self.data[at : at + WORD], "little") if 0 <= at <= len(self.data) - WORD else None

    def words(self, address: int, count: int) -> list[int] | None:
        """Several, or None if one of them is outside."""
        found = [word for index in range(count) if (word := self.word(address + index * WORD)) is not None]
        return found if len(found) == count else None


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Registers that lie on the stack at `address`: whole, or from rip on only."""

    address: int
    registers: Mapping[str, int]

    @property
    def whole(self) -> bool:
        return "r15" in self.registers

    @property
    def user_mode(self) -> bool:
        return self.registers["cs"] & 3 == 3


@dataclass(frozen=True, slots=True)
class TextAddress:
    """A text address found on the stack, and whether the unwinder reported it."""

    address: int
    reliable: bool


class Unwinder:
    """
    From the registers of an interruption to each caller in turn: `ip`, `sp` and `bp` are those of the present frame,
    `regs` is set when it is one that was interrupted. `done` once there is no further frame, or none can be found.

    Kernel: arch/x86/kernel/unwind_orc.c unwind_next_frame(), v6.1 and v6.12.
    Differs: one stack only; return addresses replaced by ftrace and kretprobes are not looked up.
    """

    def __init__(self, registers: Mapping[str, int], stack: Stack, lookup: Lookup) -> None:
        self._stack, self._lookup = stack, lookup
        self.ip, self.sp, self.bp = registers["rip"], registers["rsp"], registers["rbp"]
        self.signal = True
        self.regs: Interrupted | None = Interrupted(0, registers)
        self._earlier: Interrupted | None = None
        self.done = not stack.low <= self.sp < stack.high
        self.next()

    @property
    def return_slot(self) -> int | None:
        """Where the present frame's return address lies."""
        if self.done:
            return None
        return self.sp - WORD if self.regs is None else self.regs.address + IRET_FRAME * WORD

    def next(self) -> None:
        """Go on to the caller."""
        if self.done:
            return
        if self.regs is not None and self.regs.user_mode:
            self.done = True
            return
        entry = self._entry()
        before = self.sp
        self.done = not self._step(entry) or (self._stack.low <= self.sp < self._stack.high and self.sp <= before)

    def _entry(self) -> OrcEntry:
        """A return address may be that of the next function: it is the call before it that counts."""
        ip = self.ip if self.signal else self.ip - 1
        return NULL_CALL if ip == 0 else self._lookup(ip) or FRAME_POINTER

    def _step(self, entry: OrcEntry) -> bool:
        """Apply one entry; False if it leads nowhere."""
        sp = self._caller_sp(entry)
        if sp is None:
            return False
        match entry.type:
            case "call":
                ip = self._stack.word(sp - WORD)
                if ip is None:
                    return False
                self.ip, self.sp, self.regs, self._earlier = ip, sp, None, None
            case "regs":
                words = self._stack.words(sp, len(PT_REGS))
                if words is None:
                    return False
                self.regs, self._earlier = Interrupted(sp, dict(zip(PT_REGS, words, strict=True))), None
                self.ip, self.sp = self.regs.registers["rip"], self.regs.registers["rsp"]
            case "regs_partial":
                words = self._stack.words(sp, len(PT_REGS) - IRET_FRAME)
                if words is None:
                    return False
                self._earlier = self.regs if self.regs is not None and self.regs.whole else self._earlier
                pushed = dict(zip(PT_REGS[IRET_FRAME:], words, strict=True))
                self.regs = Interrupted(sp - IRET_FRAME * WORD, pushed)
                self.ip, self.sp = pushed["rip"], pushed["rsp"]
            case _:
                return False
        self.signal = entry.type != "call" if entry.signal is None else entry.signal
        return self._caller_bp(entry, sp)

    def _caller_sp(self, entry: OrcEntry) -> int | None:
        match entry.sp_base:
            case "rsp":
                return self.sp + entry.sp_offset
            case "rbp":
                return self.bp + entry.sp_offset
            case "rsp_indirect":
                word = self._stack.word(self.sp)
                return None if word is None else word + entry.sp_offset
            case "rbp_indirect":
                return self._stack.word(self.bp + entry.sp_offset)
            case "r10" | "r13" | "rdi" | "rdx":
                return self._saved(entry.sp_base)
            case _:
                return None

    def _caller_bp(self, entry: OrcEntry, sp: int) -> bool:
        match entry.bp_base:
            case "undefined":
                saved = self._saved("rbp")
                self.bp = self.bp if saved is None else saved
                return True
            case "prev_sp":
                word = self._stack.word(sp + entry.bp_offset)
            case "rbp":
                word = self._stack.word(self.bp + entry.bp_offset)
            case _:
                word = None
        if word is not None:
            self.bp = word
        return word is not None

    def _saved(self, register: str) -> int | None:
        """A register of the interrupted frame, if we are at one."""
        if self.regs is None:
            return None
        source = self.regs if self.regs.whole else self._earlier
        return None if source is None else source.registers[register]


def stack_trace(
    registers: Mapping[str, int], stack: Stack, lookup: Lookup, is_text: Callable[[int], bool]
) -> list[TextAddress | Interrupted]:
    """
    What an oops prints between <TASK> and </TASK>, given the registers of the kernel code that was interrupted.

    Kernel: arch/x86/kernel/dumpstack.c __show_trace_log_lvl(), v6.1.
    """
    found: list[TextAddress | Interrupted] = []
    unwinder = Unwinder(registers, stack, lookup)
    start = registers["rsp"] + WORD - 1 & -WORD
    if not stack.low <= start < stack.high:
        # It may have run over into the guard page below.
        start = start + PAGE - 1 & -PAGE
    regs = None if unwinder.done else unwinder.regs
    found += [regs] if regs is not None else []
    if not stack.low <= start < stack.high:
        return found
    for slot in range(start, stack.high, WORD):
        address = stack.word(slot)
        if address is None or not is_text(address):
            continue
        if regs is None or slot != regs.address + IRET_FRAME * WORD:
            reliable = slot == unwinder.return_slot
            found.append(TextAddress(address, reliable))
            if not reliable:
                continue
        unwinder.next()
        regs = None if unwinder.done else unwinder.regs
        found += [regs] if regs is not None else []
    return found
