"""
The oracle: Unicorn in its default mode (UC_TLB_CPU), where QEMU's own code walks the guest's tables.

It tells whether an access goes through, the vector and CR2 if it does not, and leaves the accessed and dirty bits in
RAM. The error code is not in Unicorn's interface. It is in the CPU's saved context, at a place found by a few faults
whose codes are beyond doubt.

The program that makes the access lies in RAM too, mapped by one table that points to itself, so that its address is the
same with four levels and with five.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any, Protocol

import unicorn
from unicorn import unicorn_const
from unicorn import x86_const as uc_x86

from pagefault.arch import x86, x86_64
from pagefault.arch.x86 import CpuState
from pagefault.machine.cpu import MemoryFault, Trapped
from pagefault.machine.mmu import Mmu
from pagefault.machine.unicorn_cpu import UnicornCpu
from pagefault.memory.ram import Ram
from pagefault.vocabulary.access import Access, AccessKind
from pagefault.vocabulary.address import PAGE

RAM_SIZE = 2 << 30
MAXPHYADDR = 40
"""CPUID.80000008H:EAX of the model that is asked."""
TABLES = 8
ROOT = 0
"""Frames 0 to 7 are tables at random, of any level; the first is the top."""
LINK, KERNEL_CODE, USER_CODE = (n * PAGE for n in (TABLES, TABLES + 1, TABLES + 2))
WATCHED = (TABLES + 3) * PAGE
"""What is compared and restored around each access: the tables and the program."""
LINK_SLOT = ROOT + 511 * 8
LINK_ENTRY = LINK | x86.PRESENT | x86.WRITABLE | x86.USER | x86.ACCESSED | x86.DIRTY
KERNEL_TEXT, USER_TEXT = 0xFFFF_FFFF_FFE0_0000, 0xFFFF_FFFF_FFE0_1000

DONE = b"\xcc"
"""int3: interrupt 3 says that everything before it has happened."""
PROGRAMS = {
    AccessKind.READ: (0x00, b"\x48\x8b\x07" + DONE),  # mov (%rdi),%rax
    AccessKind.WRITE: (0x10, b"\x48\x89\x37" + DONE),  # mov %rsi,(%rdi)
    AccessKind.FETCH: (0x20, b"\xff\xe7"),  # jmp *%rdi
}
SET_PKRU = (0x40, b"\x0f\x01\xef\x41\xff\xe0")  # wrpkru; jmp *%r8
TO_USER = (0x50, b"\x4c\x89\xc9\x48\x0f\x07")  # mov %r9,%rcx; sysretq
BREAKPOINT = 3


@dataclass(frozen=True, slots=True)
class Observed:
    """
    What came of an access: `vector` is None if it went through, then `value` is what a read got. `in_ram` is False for
    an access that was permitted, to a physical address where there is no RAM.
    """

    vector: int | None
    cr2: int | None = None
    error_code: int | None = None
    value: int | None = None
    in_ram: bool = True


def install_program(ram: Ram) -> None:
    """The program, and the table that maps it: once for each RAM. The top table's last entry must be LINK_ENTRY."""
    for code in (KERNEL_CODE, USER_CODE):
        for offset, instructions in (*PROGRAMS.values(), SET_PKRU, TO_USER):
            ram.write(code + offset, instructions)
    readable = x86.PRESENT | x86.ACCESSED | x86.DIRTY
    ram.write_u64(LINK, KERNEL_CODE | readable)
    ram.write_u64(LINK + 8, USER_CODE | readable | x86.USER)
    ram.write_u64(LINK + 511 * 8, LINK_ENTRY)


def entry_point(access: Access, state: CpuState) -> tuple[int, dict[str, int]]:
    """Where the program starts for this access, and the registers it wants."""
    start = (USER_TEXT if access.user else KERNEL_TEXT) + PROGRAMS[access.kind][0]
    registers = {"rdi": access.address, "eflags": state.eflags}
    if access.user:
        registers |= {"r9": start, "r11": state.eflags}
        start = KERNEL_TEXT + TO_USER[0]
    if state.pke:
        registers |= {"r8": start, "rax": state.pkru, "rcx": 0, "rdx": 0}
        start = KERNEL_TEXT + SET_PKRU[0]
    return start, registers


class Asked(Protocol):
    """Somebody who makes an access and says what came of it."""

    def access(self, access: Access, state: CpuState, value: int = 0) -> Observed:
        """Make one access in this state; `value` is what a write stores."""

    def forget_code(self) -> None:
        """The program's own bytes changed behind the emulator's back."""

    def program_slots(self, state: CpuState) -> frozenset[int]:
        """The entries in the random tables that lead to the program: to be left alone."""


class OurCpu:
    """The same program on the machine's CPU, which asks our MMU: a new one for each access."""

    def __init__(self, ram: Ram) -> None:
        self._ram = ram

    def access(self, access: Access, state: CpuState, value: int = 0) -> Observed:
        cpu = UnicornCpu(self._ram, Mmu(self._ram), state)
        start, registers = entry_point(access, state)
        cpu.write_many(registers | {"rsi": value})
        match cpu.run(start, 0, 10):
            case Trapped(vector=x) if x == BREAKPOINT:
                return Observed(None, value=cpu.read("rax") if access.kind is AccessKind.READ else None)
            case MemoryFault() as stop:
                fault = x86_64.fault(stop.walk, stop.access, stop.state, cpu.registers())
                if fault is None:
                    return Observed(None, in_ram=False)
                return Observed(fault.vector, fault.address, fault.error_code)
            case stop:
                raise AssertionError(stop)

    def forget_code(self) -> None:
        """Nothing to forget: each access has a CPU of its own."""

    def program_slots(self, state: CpuState) -> frozenset[int]:
        return frozenset((LINK_SLOT,))


class CpuMmu:
    """One emulated CPU over `ram`, put back to its first state before each access."""

    def __init__(self, ram: Ram) -> None:
        self._uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
        self._uc.ctl_set_cpu_model(uc_x86.UC_CPU_X86_ICELAKE_SERVER)
        self._uc.mem_map_ptr(0, ram.size, unicorn.UC_PROT_ALL, ram.host_address)
        self._uc.hook_add(unicorn.UC_HOOK_INTR, self._interrupt)
        self._vector: int | None = None
        self._uc.msr_write(0xC000_0080, CpuState().efer)
        self._start = self._uc.context_save()
        self._error_code_at = self._find_error_code(ram)

    def access(self, access: Access, state: CpuState, value: int = 0) -> Observed:
        """Make one access in this state; `value` is what a write stores."""
        self._run(access, state, value)
        match self._vector:
            case x if x == BREAKPOINT:
                return Observed(None, value=self._read("RAX") if access.kind is AccessKind.READ else None)
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
        return frozenset((LINK_SLOT,))

    def _run(self, access: Access, state: CpuState, value: int) -> None:
        start, registers = entry_point(access, state)
        uc, self._vector = self._uc, None
        uc.context_restore(self._start)
        uc.msr_write(0xC000_0080, state.efer)
        registers |= {"rsi": value, "cr3": state.cr3, "cr4": state.cr4, "cr0": state.cr0}
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
        ram.write_u64(LINK_SLOT, LINK_ENTRY)
        state = CpuState(cr3=ROOT)
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
            assert self._vector == x86.TRAP_PF
            context, want = self._context(), code.to_bytes(4, "little")
            found = {at for at in range(0, len(context), 4) if context[at : at + 4] == want}
            places = found if places is None else places & found
        ram.write(0, kept)
        assert places
        (place,) = places
        return place
