"""Page faults of a running system as records, for those who read them: when, where, and what the handler did."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from ..arch import x86
from ..errors import BadInput
from ..handler.decision import Decision
from ..images.elf import Elf
from ..machine.event import HandledFault
from ..machine.fault_log import FaultLog
from ..tables.address_space import AddressSpace
from ..tables.inode import Inode
from ..tables.symbols import SymbolTable
from ..vocabulary.address import PAGE_MASK, PAGE_SHIFT
from ..vocabulary.effect import GrowStack
from ..vocabulary.fault_record import FaultRecord
from ..vocabulary.outcome import FixedUp, Oops, OutOfMemory, Resolved, Retry, Signal, Spurious
from ..vocabulary.vm_fault import VmFault
from ..vocabulary.vma import Vma
from .observer import Observer

if TYPE_CHECKING:
    from .system import System
    from .task import UserTask

KERNEL_HALF = 1 << 63
WORDS = {
    "zero page mapped": "zero page",
    "zeroed page of its own": "own page",
    "page reused": "reused",
    "page copied on write": "copied on write",
    "page-cache page copied": "copied from the page cache",
    "page-cache page mapped for writing": "mapped for writing",
    "huge page of its own": "huge page",
    "huge zero page mapped": "huge zero page",
}
"""What the handler calls it, in the shorter words of a log; others stand as they are."""
FAULT_AROUND = re.compile(r"(\d+) pages of the page cache mapped")
ENTERED, WITHOUT_BOTTOM_HALVES = "d....", "D...."
"""FaultRecord's `context`."""
COPIES_FPU = "copy_fpstate_to_sigframe"
"""Writes the signal frame's FPU state with bottom halves off. Kernel: arch/x86/kernel/fpu/signal.c, v6.1."""


class FaultRecorder(Observer):
    """
    Keeps every page fault in `log`, and tells `on_fault` of it at once. `files` are the given ones, by their names in
    the guest: programs' symbols are read from them. `system` is to be set before anything runs: it is made with its
    observer.
    """

    system: System

    def __init__(
        self, on_fault: Callable[[FaultRecord], None] | None = None, files: Mapping[str, Path] | None = None
    ) -> None:
        self.log = FaultLog(self._symbol_of)
        self._on_fault, self._files = on_fault, files or {}
        self._programs: dict[str, tuple[AddressSpace, SymbolTable, int]] = {}
        """
        By a program's name, what it ran in last, its symbols, and how far it lies from where it was linked. Other
        threads and children of the same program have the same.
        """

    def fault(self, task: UserTask, event: HandledFault) -> None:
        fault, mm = event.fault, task.process.mm
        if fault.vector != x86.TRAP_PF or fault.address is None:
            return
        kernel = not fault.user_mode
        if not kernel and (task.comm not in self._programs or self._programs[task.comm][0] is not mm):
            self._programs[task.comm] = mm, *self._program(mm)
        vma, inodes = mm.vmas.vma_lookup(fault.address), self.system.machine.mm.inodes
        self.log.append(
            time_ns=self.system.scheduler.now,
            pid=task.pid,
            comm=task.comm,
            cpu=0,
            kernel=kernel,
            address=fault.address,
            error_code=fault.error_code,
            ip=fault.ip,
            vma=maps_line(vma, mm, inodes) if vma else "",
            action=action(event.decision, fault.address),
            results=tuple(result.words() for result in event.results),
            major=any(result & VmFault.MAJOR for result in event.results),
            context=self._context(fault.ip) if kernel else ENTERED,
            code=self.system.machine.read_code(fault.ip),
        )
        if self._on_fault is not None:
            self._on_fault(self.log[-1])

    def _symbol_of(self, comm: str, kernel: bool, ip: int) -> str:
        """name+0xoff, by the kernel's symbols or the program's own."""
        if kernel:
            found = self.system.machine.symbols.at(ip)
        else:
            _, symbols, moved = self._programs[comm]
            found = symbols.at(ip - moved)
        if found is None:
            return ""
        return f"{found.name}+{found.offset:#x}" + (f" [{found.module}]" if found.module else "")

    def _context(self, ip: int) -> str:
        found = self.system.machine.symbols.at(ip)
        return WITHOUT_BOTTOM_HALVES if found and found.name == COPIES_FPU else ENTERED

    def _program(self, mm: AddressSpace) -> tuple[SymbolTable, int]:
        """The symbols of the program in `mm`, none if its file has none or breaks off; and how far it was moved."""
        inode = self.system.machine.mm.inodes.get(mm.exe)
        name = inode.name if inode else ""
        try:
            program = Elf.open(self._files[name])
            symbols = program.symbols(kernel_half=0)
        except (KeyError, BadInput):
            return SymbolTable.empty(name), 0  # the kernel does not read them: it runs all the same
        mapped = [vma.start for vma in mm.vmas if vma.inode == mm.exe]
        linked = [segment.virtual & PAGE_MASK for segment in program.segments]
        moved = min(mapped) - min(linked) if program.type == "ET_DYN" and mapped and linked else 0
        return symbols, moved


def action(decision: Decision, address: int) -> str:
    """What the handler did, in the words of FaultRecord."""
    grown = "stack grown, " if any(isinstance(effect, GrowStack) for effect in decision.effects) else ""
    match decision.outcome:
        case Resolved(how=how):
            return grown + resolved(how)
        case Spurious():
            return "spurious"
        case FixedUp():
            return "fixed up with -EFAULT" if address < KERNEL_HALF else "fixed up"
        case Signal(name=name, code=code):
            return f"{name} {code}"
        case Oops(reason=reason):
            return f"oops: {reason}"
        case Retry(why=why):
            return grown + why
        case OutOfMemory():
            return "out of memory"
    assert_never(decision.outcome)


def resolved(how: str) -> str:
    """What was done for a good address."""
    if (found := FAULT_AROUND.fullmatch(how)) is None:
        return WORDS.get(how, how)
    neighbours = int(found[1]) - 1
    if not neighbours:
        return "page-cache page mapped"
    return f"mapped with {neighbours} neighbour{'s' * (neighbours > 1)}"


def maps_line(vma: Vma, mm: AddressSpace, inodes: Mapping[int, Inode]) -> str:
    """
    An area as /proc/PID/maps has it, without device and inode; a name's line ends are escaped.

    Kernel: fs/proc/task_mmu.c show_map_vma(), v6.1.
    """
    rights = "".join(letter if has else "-" for letter, has in (("r", vma.read), ("w", vma.write), ("x", vma.execute)))
    name = vma.name or (inodes[vma.inode].name if vma.inode in inodes else "")
    if not name and not vma.inode:
        if vma.start <= mm.brk and vma.end >= mm.start_brk:
            name = "[heap]"
        elif vma.start <= mm.start_stack <= vma.end:
            name = "[stack]"
    offset = vma.pgoff << PAGE_SHIFT if vma.inode else 0
    return f"{vma.start:x}-{vma.end:x} {rights}{'s' if vma.shared else 'p'} {offset:x} {name}".rstrip().replace(
        "\n", "\\012"
    )
