"""
The oracle: Unicorn in its default mode (UC_TLB_CPU), where QEMU's own code walks the guest's tables.

It tells whether an access goes through, the vector and CR2 if it does not, and leaves the accessed and dirty bits in
RAM. The error code is not in Unicorn's interface. It is in the CPU's saved context, at a place found by a few faults
whose codes are beyond doubt.

The program that makes the access lies in RAM too, mapped by a table behind those at random. LONG_MODE's table points to
itself, so that the program's address is the same with four levels and with five. `cpu_mmu_32` has the one for 32 bits.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import unicorn
from unicorn import unicorn_const
from unicorn import x86_const as uc_x86

from pagefault.arch import x86
from pagefault.arch.architectures import architecture_of
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
TABLE = x86.PRESENT | x86.WRITABLE | x86.USER | x86.ACCESSED | x86.DIRTY
LINK_ENTRY = LINK | TABLE
MSR_SYSENTER_CS, MSR_EFER = 0x174, 0xC000_0080

DONE = b"\xcc"
"""int3: interrupt 3 says that everything before it has happened."""
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


@dataclass(frozen=True, slots=True)
class Program:
    """
    What makes the accesses in one mode of the CPU: a page of code for the supervisor at `text`, and the same for the
    user in the page behind it. Pieces of code have their offset in the page.
    """

    mode: int
    """Unicorn's."""
    text: int
    accesses: dict[AccessKind, tuple[int, bytes]]
    set_pkru: tuple[int, bytes]
    to_user: tuple[int, bytes]
    address: str
    value: str
    """The registers with the address, and what a write stores."""
    result: str
    """What a read fills, and has PKRU before."""
    after_pkru: str
    """Where `set_pkru` goes on."""
    user_state: Callable[[int, CpuState], dict[str, int]]
    """The registers that `to_user` wants, to go to an address."""
    cleared: tuple[str, ...]
    """Registers that are zero for WRPKRU."""
    msrs: dict[int, int]
    state: CpuState
    """One to begin with, that leads to the program."""
    map: Callable[[Ram], None]
    """Write the table that maps the two pages."""
    slots: Callable[[CpuState], dict[int, int]]
    """The entries in the random tables that lead to the program, each with what it must hold."""

    def install(self, ram: Ram) -> None:
        """The code, and the table that maps it: once for each RAM."""
        for page in (KERNEL_CODE, USER_CODE):
            for offset, instructions in (*self.accesses.values(), self.set_pkru, self.to_user):
                ram.write(page + offset, instructions)
        self.map(ram)

    def entry_point(self, access: Access, state: CpuState) -> tuple[int, dict[str, int]]:
        """Where the program starts for this access, and the registers it wants."""
        start = self.text + PAGE * access.user + self.accesses[access.kind][0]
        registers = {self.address: access.address, "eflags": state.eflags}
        if access.user:
            registers |= self.user_state(start, state)
            start = self.text + self.to_user[0]
        if state.cr4 & x86.CR4_PKE:
            registers |= {self.after_pkru: start, self.result: state.pkru, **dict.fromkeys(self.cleared, 0)}
            start = self.text + self.set_pkru[0]
        return start, registers


def map_itself(ram: Ram) -> None:
    """The table's own last entry is the one that the top table has for it: every level between is this table."""
    ram.write_u64(LINK, KERNEL_CODE | READABLE)
    ram.write_u64(LINK + 8, USER_CODE | READABLE | x86.USER)
    ram.write_u64(LINK + 511 * 8, LINK_ENTRY)


READABLE = x86.PRESENT | x86.ACCESSED | x86.DIRTY
LONG_MODE = Program(
    mode=unicorn.UC_MODE_64,
    text=0xFFFF_FFFF_FFE0_0000,
    accesses={
        AccessKind.READ: (0x00, b"\x48\x8b\x07" + DONE),  # mov (%rdi),%rax
        AccessKind.WRITE: (0x10, b"\x48\x89\x37" + DONE),  # mov %rsi,(%rdi)
        AccessKind.FETCH: (0x20, b"\xff\xe7"),  # jmp *%rdi
    },
    set_pkru=(0x40, b"\x0f\x01\xef\x41\xff\xe0"),  # wrpkru; jmp *%r8
    to_user=(0x50, b"\x4c\x89\xc9\x48\x0f\x07"),  # mov %r9,%rcx; sysretq
    address="rdi",
    value="rsi",
    result="rax",
    after_pkru="r8",
    user_state=lambda start, state: {"r9": start, "r11": state.eflags},
    cleared=("rcx", "rdx"),
    msrs={MSR_EFER: CpuState().efer},
    state=CpuState(cr3=ROOT),
    map=map_itself,
    slots=lambda state: {ROOT + 511 * 8: LINK_ENTRY},
)


class Asked(Protocol):
    """Somebody who makes an access and says what came of it."""

    def access(self, access: Access, state: CpuState, value: int = 0) -> Observed:
        """Make one access in this state; `value` is what a write stores."""

    def forget_code(self) -> None:
        """The program's own bytes changed behind the emulator's back."""

    def program_slots(self, state: CpuState) -> dict[int, int]:
        """The entries in the random tables that lead to the program: to be left alone."""


class OurCpu:
    """The same program on the machine's CPU, which asks our MMU: a new one for each access."""

    def __init__(self, ram: Ram, program: Program) -> None:
        self._ram, self._program = ram, program

    def access(self, access: Access, state: CpuState, value: int = 0) -> Observed:
        cpu = UnicornCpu(self._ram, Mmu(self._ram), state)
        start, registers = self._program.entry_point(access, state)
        cpu.write_many(registers | {self._program.value: value})
        match cpu.run(start, 0, 10):
            case Trapped(vector=x) if x == BREAKPOINT:
                return Observed(None, value=cpu.read(self._program.result) if access.kind is AccessKind.READ else None)
            case MemoryFault() as stop:
                fault = architecture_of(stop.state).fault(stop.walk, stop.access, stop.state, cpu.registers())
                if fault is None:
                    return Observed(None, in_ram=False)
                return Observed(fault.vector, fault.address, fault.error_code)
            case stop:
                raise AssertionError(stop)

    def forget_code(self) -> None:
        """Nothing to forget: each access has a CPU of its own."""

    def program_slots(self, state: CpuState) -> dict[int, int]:
        return self._program.slots(state)


class CpuMmu:
    """One emulated CPU over `ram`, put back to its first state before each access."""

    def __init__(self, ram: Ram, program: Program) -> None:
        self._program = program
        self._uc = unicorn.Uc(unicorn.UC_ARCH_X86, program.mode)
        self._uc.ctl_set_cpu_model(uc_x86.UC_CPU_X86_ICELAKE_SERVER)
        self._uc.mem_map_ptr(0, ram.size, unicorn.UC_PROT_ALL, ram.host_address)
        self._uc.hook_add(unicorn.UC_HOOK_INTR, self._interrupt)
        self._vector: int | None = None
        for register, number in program.msrs.items():
            self._uc.msr_write(register, number)
        self._start = self._uc.context_save()
        self._error_code_at = self._find_error_code(ram)

    def access(self, access: Access, state: CpuState, value: int = 0) -> Observed:
        """Make one access in this state; `value` is what a write stores."""
        self._run(access, state, value)
        match self._vector:
            case x if x == BREAKPOINT:
                return Observed(
                    None, value=self._read(self._program.result) if access.kind is AccessKind.READ else None
                )
            case None:
                return Observed(None, in_ram=False)
            case x86.TRAP_PF:
                return Observed(self._vector, self._read("cr2"), self._error_code())
            case vector:
                return Observed(vector, error_code=self._error_code())

    def forget_code(self) -> None:
        """The program's own bytes changed behind the emulator's back."""
        self._uc.ctl_flush_tb()

    def program_slots(self, state: CpuState) -> dict[int, int]:
        return self._program.slots(state)

    def _run(self, access: Access, state: CpuState, value: int) -> None:
        start, registers = self._program.entry_point(access, state)
        uc, self._vector = self._uc, None
        uc.context_restore(self._start)
        uc.msr_write(MSR_EFER, state.efer)
        registers |= {self._program.value: value, "cr3": state.cr3, "cr4": state.cr4, "cr0": state.cr0}
        for name, number in registers.items():
            uc.reg_write(register_number(name), number)
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
        return int(self._uc.reg_read(register_number(name)))

    def _context(self) -> bytes:
        saved = self._uc.context_save()
        return ctypes.string_at(saved.context, saved.size)

    def _error_code(self) -> int:
        return int.from_bytes(self._context()[self._error_code_at :][:4], "little")

    def _find_error_code(self, ram: Ram) -> int:
        """The one place in a saved context that holds the right code after each of these faults."""
        kept = ram.read(0, WATCHED) or b""
        self._program.install(ram)
        state = self._program.state
        for slot, entry in self.program_slots(state).items():
            ram.write_u64(slot, entry)
        known = {
            Access(0, AccessKind.READ): 0,
            Access(0, AccessKind.WRITE): x86.PF_WRITE,
            Access(0, AccessKind.FETCH): x86.PF_INSTR,
            Access(0, AccessKind.READ, user=True): x86.PF_USER,
            Access(self._program.text, AccessKind.WRITE): x86.PF_WRITE | x86.PF_PROT,
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


def register_number(name: str) -> int:
    """Unicorn's."""
    return int(getattr(uc_x86, f"UC_X86_REG_{name.upper()}"))
