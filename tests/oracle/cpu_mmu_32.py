"""
The oracle for x86-32: Unicorn in 32-bit mode, where QEMU's own code walks two-level and PAE tables.

Like `cpu_mmu`, with a program of 32 bits. It is mapped at one address under both formats of tables: the last entry of
the table at the top leads to it with two levels; PAE's last of four entries leads to a table of its own choice, whose
last entry does.
"""

from __future__ import annotations

import ctypes
from typing import Any

import unicorn
from unicorn import unicorn_const
from unicorn import x86_const as uc_x86

from oracle.cpu_mmu import (
    BREAKPOINT,
    DONE,
    KERNEL_CODE,
    LINK,
    ROOT,
    USER_CODE,
    WATCHED,
    Observed,
)
from pagefault.arch import x86, x86_32
from pagefault.arch.x86 import CpuState
from pagefault.machine.cpu import MemoryFault, Trapped
from pagefault.machine.mmu import Mmu
from pagefault.machine.unicorn_cpu import UnicornCpu
from pagefault.memory.ram import Ram
from pagefault.vocabulary.access import Access, AccessKind
from pagefault.vocabulary.address import PAGE

KERNEL_TEXT, USER_TEXT = 0xFFE0_0000, 0xFFE0_1000
TABLE = x86.PRESENT | x86.WRITABLE | x86.USER | x86.ACCESSED | x86.DIRTY
LINK_ENTRY = LINK | TABLE
UNDER_PAE = PAGE
"""The frame that PAE's last top entry leads to: the second of the random tables."""
PROGRAMS = {
    AccessKind.READ: (0x00, b"\x8b\x07" + DONE),  # mov (%edi),%eax
    AccessKind.WRITE: (0x10, b"\x89\x37" + DONE),  # mov %esi,(%edi)
    AccessKind.FETCH: (0x20, b"\xff\xe7"),  # jmp *%edi
}
SET_PKRU = (0x40, b"\x0f\x01\xef\xff\xe5")  # wrpkru; jmp *%ebp
TO_USER = (0x50, b"\x89\xda\x0f\x35")  # mov %ebx,%edx; sysexit
MSR_SYSENTER_CS, MSR_EFER = 0x174, 0xC000_0080


def install_program(ram: Ram) -> None:
    """The program, and the table that maps it under both formats."""
    for code in (KERNEL_CODE, USER_CODE):
        for offset, instructions in (*PROGRAMS.values(), SET_PKRU, TO_USER):
            ram.write(code + offset, instructions)
    readable = x86.PRESENT | x86.ACCESSED | x86.DIRTY
    for size, first in ((4, 512), (8, 0)):
        ram.write_entry(LINK + first * size, KERNEL_CODE | readable, size)
        ram.write_entry(LINK + (first + 1) * size, USER_CODE | readable | x86.USER, size)


def program_slots(state: CpuState) -> dict[int, int]:
    """The entries in the random tables that lead to the program, each with what it must hold."""
    if not state.pae:
        return {ROOT + PAGE - 4: LINK_ENTRY}
    return {state.root + 3 * 8: UNDER_PAE | x86.PRESENT, UNDER_PAE + PAGE - 8: LINK_ENTRY}


def entry_point(access: Access, state: CpuState) -> tuple[int, dict[str, int]]:
    """Where the program starts for this access, and the registers it wants."""
    start = (USER_TEXT if access.user else KERNEL_TEXT) + PROGRAMS[access.kind][0]
    registers = {"edi": access.address, "eflags": state.eflags}
    if access.user:
        registers |= {"ebx": start}
        start = KERNEL_TEXT + TO_USER[0]
    if state.cr4 & x86.CR4_PKE:
        registers |= {"ebp": start, "eax": state.pkru, "ecx": 0, "edx": 0}
        start = KERNEL_TEXT + SET_PKRU[0]
    return start, registers


class CpuMmu32:
    """One emulated CPU over `ram`, put back to its first state before each access."""

    def __init__(self, ram: Ram) -> None:
        self._uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_32)
        self._uc.ctl_set_cpu_model(uc_x86.UC_CPU_X86_ICELAKE_SERVER)
        self._uc.mem_map_ptr(0, ram.size, unicorn.UC_PROT_ALL, ram.host_address)
        self._uc.hook_add(unicorn.UC_HOOK_INTR, self._interrupt)
        self._vector: int | None = None
        self._uc.msr_write(MSR_SYSENTER_CS, 0x60)
        self._start = self._uc.context_save()
        self._error_code_at = self._find_error_code(ram)

    def access(self, access: Access, state: CpuState, value: int = 0) -> Observed:
        """Make one access in this state; `value` is what a write stores."""
        self._run(access, state, value)
        match self._vector:
            case x if x == BREAKPOINT:
                return Observed(None, value=self._read("EAX") if access.kind is AccessKind.READ else None)
            case None:
                return Observed(None, in_ram=False)
            case x86.TRAP_PF:
                return Observed(self._vector, self._read("CR2"), self._error_code())
            case vector:
                return Observed(vector, error_code=self._error_code())

    def forget_code(self) -> None:
        """The program's own bytes changed behind the emulator's back."""
        self._uc.ctl_flush_tb()

    def program_slots(self, state: CpuState) -> frozenset[int]:
        return frozenset(program_slots(state))

    def _run(self, access: Access, state: CpuState, value: int) -> None:
        start, registers = entry_point(access, state)
        uc, self._vector = self._uc, None
        uc.context_restore(self._start)
        uc.msr_write(MSR_EFER, state.efer)
        registers |= {"esi": value, "cr3": state.cr3, "cr4": state.cr4, "cr0": state.cr0}
        for name, number in registers.items():
            uc.reg_write(getattr(uc_x86, f"UC_X86_REG_{name.upper()}"), number)
        uc.ctl(unicorn_const.UC_CTL_TLB_FLUSH, unicorn_const.UC_CTL_IO_WRITE)
        try:
            uc.emu_start(start, 0)
        except unicorn.UcError as error:
            outside = (unicorn.UC_ERR_READ_UNMAPPED, unicorn.UC_ERR_WRITE_UNMAPPED, unicorn.UC_ERR_FETCH_UNMAPPED)
            if error.errno not in outside:
                raise

    def _interrupt(self, uc: Any, vector: int, _data: Any) -> None:
        if self._vector is None:
            self._vector = vector
        uc.emu_stop()

    def _read(self, name: str) -> int:
        return int(self._uc.reg_read(getattr(uc_x86, f"UC_X86_REG_{name}")))

    def _context(self) -> bytes:
        saved = self._uc.context_save()
        return ctypes.string_at(saved.context, saved.size)

    def _error_code(self) -> int:
        return int.from_bytes(self._context()[self._error_code_at :][:4], "little")

    def _find_error_code(self, ram: Ram) -> int:
        """The one place in a saved context that holds the right code after each of these faults."""
        kept = ram.read(0, WATCHED) or b""
        install_program(ram)
        state = CpuState(cr3=ROOT, cr4=x86.CR4_PAE, efer=x86.EFER_NXE)
        for slot, value in program_slots(state).items():
            ram.write_u64(slot, value)
        known = {
            Access(0, AccessKind.READ): 0,
            Access(0, AccessKind.WRITE): x86.PF_WRITE,
            Access(0, AccessKind.FETCH): x86.PF_INSTR,
            Access(0, AccessKind.READ, user=True): x86.PF_USER,
            Access(KERNEL_TEXT, AccessKind.WRITE): x86.PF_WRITE | x86.PF_PROT,
        }
        places: set[int] | None = None
        for access, code in known.items():
            self._run(access, state, 0)
            assert self._vector == x86.TRAP_PF, (access, self._vector)
            context, want = self._context(), code.to_bytes(4, "little")
            found = {at for at in range(0, len(context), 4) if context[at : at + 4] == want}
            places = found if places is None else places & found
        ram.write(0, kept)
        assert places
        (place,) = places
        return place


class OurCpu32:
    """The same program on the machine's CPU in 32-bit mode, which asks our MMU: a new one for each access."""

    def __init__(self, ram: Ram) -> None:
        self._ram = ram

    def access(self, access: Access, state: CpuState, value: int = 0) -> Observed:
        """Make one access of a supervisor's: to get to user mode needs an MSR that the machine has no use for."""
        cpu = UnicornCpu(self._ram, Mmu(self._ram), state)
        start, registers = entry_point(access, state)
        cpu.write_many(registers | {"esi": value})
        match cpu.run(start, 0, 10):
            case Trapped(vector=x) if x == BREAKPOINT:
                return Observed(None, value=cpu.read("eax") if access.kind is AccessKind.READ else None)
            case MemoryFault() as stop:
                fault = x86_32.fault(stop.walk, stop.access, stop.state, cpu.registers())
                if fault is None:
                    return Observed(None, in_ram=False)
                return Observed(fault.vector, fault.address, fault.error_code)
            case stop:
                raise AssertionError(stop)

    def forget_code(self) -> None:
        """Nothing to forget: each access has a CPU of its own."""

    def program_slots(self, state: CpuState) -> frozenset[int]:
        return frozenset(program_slots(state))
