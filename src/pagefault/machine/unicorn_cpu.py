"""
The CPU: Unicorn (QEMU's TCG as a library), asked to leave translation to us. Only this file and unicorn_engine.py
know unicorn.

In UC_TLB_VIRTUAL mode Unicorn calls a hook for each translation it has not cached. The hook answers, or refuses: then
emu_start() returns with the instruction pointer at the instruction, none of it done, and the machine decides.

Unicorn caches what the hook answered, separately for user mode, kernel mode and kernel mode with EFLAGS.AC set, and
drops it all on writes to CR0, CR3 and CR4, on INVLPG (that page) and on WRPKRU; so no answer outlives what it went by.
Keeping AC apart needs a CPU model that has SMAP. PKRU is not among Unicorn's registers: it is read and set where the
engine keeps it (or, where that is not found, in a saved context), and matters only while CR4.PKE is on.

Differs: QEMU 5.0, which this is, raises no #GP for MSRs it does not know (they read as 0) nor for unaligned SSE
operands, and has no AVX. Exceptions that it raises by itself end the run, but for #GP.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import unicorn
from unicorn import x86_const as uc_x86
from unicorn.unicorn_py3.unicorn import uclib

from ..arch import x86, x86_32, x86_64
from ..arch.architectures import architecture_of
from ..arch.x86 import CpuState
from ..arch.x86_instruction import MAX_INSTRUCTION, decode
from ..memory.ram import Ram
from ..tables.pagetable import read_linear
from ..vocabulary.access import Access, AccessKind
from ..vocabulary.address import PAGE, PAGE_MASK
from ..vocabulary.walk import Mapped
from .cpu import Arrived, Halted, MemoryFault, OutOfBudget, Reached, Stop, SystemCall, Trapped
from .mmu import Mmu
from .unicorn_engine import CPU_MODEL, EngineNotes, emulated_cpuid, land, pkru_in, pkru_of

KINDS = {
    unicorn.UC_MEM_READ: AccessKind.READ,
    unicorn.UC_MEM_WRITE: AccessKind.WRITE,
    unicorn.UC_MEM_FETCH: AccessKind.FETCH,
}
SEGMENTS = ("cs", "ss", "ds", "es", "fs", "gs")
BASES = ("fs_base", "gs_base")
CONTROL = ("cr0", "cr2", "cr3", "cr4")
REGISTERS = {
    64: (*x86_64.GENERAL_REGISTERS, "rip", "eflags", *BASES, *CONTROL, *SEGMENTS),
    32: (*x86_32.GENERAL_REGISTERS, "eip", "eflags", *CONTROL, *SEGMENTS),
}
"""By width. In 32-bit mode Unicorn has no bases: they are the descriptors'."""
NUMBERS = {
    bits: {name: getattr(uc_x86, f"UC_X86_REG_{name.upper()}") for name in names} for bits, names in REGISTERS.items()
}
NUMBERS[64]["eflags"] = uc_x86.UC_X86_REG_RFLAGS
MODES = {64: unicorn.UC_MODE_64, 32: unicorn.UC_MODE_32}
VECTORS = {64: 16, 32: 8}
"""How many XMM registers there are."""
GDT_LIMIT = 8 * x86_32.GDT_ENTRIES - 1
MSR_EFER = 0xC000_0080
SLICE = 20_000_000
"""Instructions between two looks for an interrupt: a third of a second."""
TRAPS = {
    10: "invalid TSS",
    11: "segment not present",
    12: "stack segment fault",
    13: "general protection fault",
    16: "x87 error",
    17: "alignment check",
    19: "SIMD error",
    0: "divide error",
    1: "debug",
    3: "int3",
    4: "overflow",
    5: "bound range",
    6: "invalid opcode: BUG(), WARN(), or an instruction that this CPU lacks",
    8: "double fault",
}
WITH_ERROR_CODE = (8, 10, 11, 12, 13, 17)
"""Manual: Intel SDM vol. 3A, table 6-1; #PF, the other one, is ours to raise."""
USER_REGISTERS = ("rip", "eflags", *BASES, "cs", "ss")
"""What user mode has beside the general registers; in 64-bit mode only."""
FETCH_STATE = ("cr0", "cr3", "cr4", "eflags", "cs")


class RegisterBatch:
    """
    Reads or writes a fixed set of registers in one call, by buffers made once: this is on the path of every fault.
    """

    def __init__(self, handle: Any, names: tuple[str, ...], numbers: Mapping[str, int]) -> None:
        self._handle, self._names = handle, names
        count = len(names)
        self._count = ctypes.c_int(count)
        self._numbers = (ctypes.c_int * count)(*(numbers[name] for name in names))
        self._values = (ctypes.c_uint64 * count)()
        size, base = ctypes.sizeof(ctypes.c_uint64), ctypes.addressof(self._values)
        self._pointers = (ctypes.c_void_p * count)(*(base + size * index for index in range(count)))

    def values(self) -> list[int]:
        # Selectors are 16 bits wide in Unicorn: it writes only as much, so the rest must be clear.
        ctypes.memset(self._values, 0, ctypes.sizeof(self._values))
        uclib.uc_reg_read_batch(self._handle, self._numbers, self._pointers, self._count)
        return list(self._values)

    def read(self) -> dict[str, int]:
        return dict(zip(self._names, self.values(), strict=True))

    def write(self, values: Mapping[str, int]) -> None:
        """Set them all; those that `values` leaves out become 0."""
        for index, name in enumerate(self._names):
            self._values[index] = values.get(name, 0)
        uclib.uc_reg_write_batch(self._handle, self._numbers, self._pointers, self._count)


class Msr(ctypes.Structure):
    """A model-specific register as Unicorn is asked for it."""

    _fields_ = (("number", ctypes.c_uint32), ("value", ctypes.c_uint64))


class UnicornCpu:
    """One x86 CPU over `ram`, translating through `mmu`: in long mode or in 32-bit mode, as `state` says."""

    def __init__(self, ram: Ram, mmu: Mmu, state: CpuState) -> None:
        self._mmu, self._ram = mmu, ram
        self._form = architecture_of(state)
        self._ip, self._numbers = self._form.pt_regs["ip"], NUMBERS[self._form.bits]
        self._bases: dict[str, int] = {}
        self._leaves: dict[tuple[int, int], tuple[int, int, int, int]] = {}
        self._uc = unicorn.Uc(unicorn.UC_ARCH_X86, MODES[self._form.bits])
        self._uc.ctl_set_cpu_model(CPU_MODEL)
        self._uc.ctl_set_tlb_mode(unicorn.UC_TLB_VIRTUAL)
        self._uc.mem_map_ptr(0, ram.size, unicorn.UC_PROT_ALL, ram.host_address)
        self._all = RegisterBatch(self._uc._uch, REGISTERS[self._form.bits], self._numbers)
        self._entry = RegisterBatch(self._uc._uch, (*self._form.general_registers, "eflags"), self._numbers)
        if self._form.bits == 64:
            names = (*self._form.general_registers, *USER_REGISTERS)
            self._user = RegisterBatch(self._uc._uch, names, self._numbers)
            self._uc.hook_add(unicorn.UC_HOOK_INSN, self._system_call, None, 1, 0, uc_x86.UC_X86_INS_SYSCALL)
            self._kernel = RegisterBatch(
                self._uc._uch, (*self._form.kernel_selectors, self._form.percpu_base), self._numbers
            )
        self._deciding = RegisterBatch(self._uc._uch, FETCH_STATE, self._numbers)
        self._fixed = self._state = state
        self._decided: tuple[int, ...] = ()
        self._efer = Msr(MSR_EFER)
        self._efer_place = ctypes.byref(self._efer)
        self._notes = EngineNotes(self._uc)
        self._pkru = pkru_of(self._uc) if state.pke else None
        self.executed = 0
        self._refused: MemoryFault | None = None
        self._trapped: Trapped | Arrived | SystemCall | None = None
        self._error: BaseException | None = None
        self._answered_after_stop = False
        self._uc.hook_add(unicorn.UC_HOOK_TLB_FILL, self._fill)
        self._uc.hook_add(unicorn.UC_HOOK_INTR, self._interrupt)
        self._uc.msr_write(MSR_EFER, state.efer)
        self.write_many({"cr0": state.cr0, "cr3": state.cr3, "cr4": state.cr4, "eflags": state.eflags})
        if state.pke:
            self.write("pkru", state.pkru)

    def run(self, start: int, until: int, budget: int) -> Stop:
        self.executed = 0
        while self.executed < budget:
            # In slices, so that Python sees an interrupt from the keyboard in between.
            count = min(budget - self.executed, SLICE)
            stop = self._run_slice(start, until, count)
            if isinstance(stop, MemoryFault) and self._next_page_fetched(stop):
                stop = self._step_over_the_edge(until, count)
            self.executed += min(self._notes.executed, count)
            if not isinstance(stop, OutOfBudget):
                return stop
            start = self.read(self._ip)
        return OutOfBudget(budget)

    def _run_slice(self, start: int, until: int, count: int) -> Stop:
        self._forget_the_last_run()
        try:
            self._uc.emu_start(start, until, count=count)
        except unicorn.UcError as error:
            self._raise_our_own()
            if self._trapped is None and not self._dropped(until):
                return self._exact(self._refused) if self._refused else self._gave_up(error)
        self._raise_our_own()
        if isinstance(self._trapped, Trapped) and self._trapped.vector in WITH_ERROR_CODE:
            return replace(self._trapped, error_code=land(self._uc))
        if self._trapped is not None:
            return self._trapped
        if self.read(self._ip) == until:
            return Reached()
        return OutOfBudget(count) if self._notes.executed > count else Halted("the CPU executed HLT")

    def _dropped(self, until: int) -> bool:
        """
        Was it only that Unicorn, out of instructions, dropped its code just before `until`, where CPL 3 may not fetch?
        """
        if self._refused is None or self._refused.access.kind is not AccessKind.FETCH:
            return False
        page = self._refused.access.address & PAGE_MASK
        return page == until & PAGE_MASK and page != self.read(self._ip) & PAGE_MASK

    def _next_page_fetched(self, stop: MemoryFault) -> bool:
        """Was the refused access a fetch from the page after the instruction's?"""
        fetched = stop.access.kind is AccessKind.FETCH
        return fetched and stop.access.address & PAGE_MASK == (self.read(self._ip) & PAGE_MASK) + PAGE

    def _step_over_the_edge(self, until: int, count: int) -> Stop:
        """
        Execute one instruction at a time until the one that needs the next page. Unicorn translates many at once, and
        when the last of them reaches into a page that is not there, it gives up before the first. It translates no
        further than to where it is told to stop.
        """
        at = self.read(self._ip)
        while True:
            state = self.state()
            code = read_linear(self._ram, state.root, at, MAX_INSTRUCTION, state)
            found = decode(code, self._form.bits)
            if found is None or (at + found.length) & PAGE_MASK != at & PAGE_MASK:
                return self._run_slice(at, until, count)
            stop = self._run_slice(at, at + found.length, 1)
            now = self.read(self._ip)
            if now == at or not isinstance(stop, Reached | OutOfBudget | Halted):
                return stop
            if now & PAGE_MASK != at & PAGE_MASK:
                return self._run_slice(now, until, count)
            at = now

    def stop_at(self, addresses: Iterable[int]) -> None:
        for address in addresses:
            self._uc.hook_add(unicorn.UC_HOOK_CODE, self._arrive, begin=address, end=address)

    def registers(self) -> dict[str, int]:
        values = self._all.read()
        values.update(self._bases)
        return values

    def read(self, name: str) -> int:
        if name == "pkru":
            if self._pkru is not None:
                return self._pkru.value
            saved = self._uc.context_save()
            return pkru_in(saved).value
        return int(self._uc.reg_read(self._numbers[name]))

    def write(self, name: str, value: int) -> None:
        if name == "pkru":
            if self._pkru is not None:
                self._pkru.value = value
            else:
                saved = self._uc.context_save()
                pkru_in(saved).value = value
                self._uc.context_restore(saved)
        elif name == "pkrs":
            # IA32_PKRS is newer than the emulated CPU: only we know of it, and only we can set it.
            self._fixed = replace(self._fixed, pkrs=value)
        else:
            self._uc.reg_write(self._numbers[name], value)
        if name in ("cr0", "cr3", "cr4", "pkru", "pkrs"):
            self.flush()

    def write_many(self, values: Mapping[str, int]) -> None:
        for name, value in values.items():
            self.write(name, value)

    def enter(self, values: Mapping[str, int]) -> None:
        self._entry.write(values)

    def enter_user(self, values: Mapping[str, int]) -> None:
        self._user.write({**values, "cs": x86_64.USER_CS, "ss": x86_64.USER_DS})

    def save(self) -> object:
        return self._uc.context_save()

    def identify(self, leaves: Mapping[tuple[int, int], tuple[int, int, int, int]]) -> None:
        self._leaves = dict(leaves)
        self._uc.hook_add(unicorn.UC_HOOK_INSN, self._cpuid, None, 1, 0, uc_x86.UC_X86_INS_CPUID)

    def cpuid(self, leaf: int, subleaf: int = 0) -> tuple[int, int, int, int]:
        if not self._leaves:
            return emulated_cpuid(leaf, subleaf)
        without = (leaf, 0) if (leaf, 1) not in self._leaves else (leaf, subleaf)
        return self._leaves.get((leaf, subleaf)) or self._leaves.get(without, (0, 0, 0, 0))

    def restore(self, saved: object) -> None:
        self._uc.context_restore(saved)

    def enter_kernel_segments(self, gdt: int, percpu: int) -> None:
        if self._form.gdt(percpu):
            self._uc.reg_write(uc_x86.UC_X86_REG_GDTR, (0, gdt, GDT_LIMIT, 0))
            self._bases = dict.fromkeys(BASES, 0) | {self._form.percpu_base: percpu}
            self.write_many(self._form.kernel_selectors)
        else:
            self._kernel.write({**self._form.kernel_selectors, self._form.percpu_base: percpu})

    def set_percpu_base(self, percpu: int) -> None:
        if not self._bases:
            self._uc.reg_write(self._numbers[self._form.percpu_base], percpu)

    def state(self) -> CpuState:
        cr0, cr3, cr4, eflags, cs = self._deciding.values()
        fixed = self._fixed
        pkru = self.read("pkru") if cr4 & x86.CR4_PKE else fixed.pkru
        uclib.uc_reg_read(self._uc._uch, uc_x86.UC_X86_REG_MSR, self._efer_place)
        deciding = (cr0, cr3, cr4, self._efer.value, eflags, cs & 3, pkru, fixed.pkrs)
        if deciding != self._decided:
            self._decided, self._state = deciding, CpuState(*deciding, fixed.maxphyaddr, fixed.pages_1g)
        return self._state

    def flush(self) -> None:
        self._mmu.flush()
        self._uc.ctl(unicorn.unicorn_const.UC_CTL_TLB_FLUSH, unicorn.unicorn_const.UC_CTL_IO_WRITE)

    def forget_code(self) -> None:
        self._uc.ctl_flush_tb()

    def reset_fpu(self) -> None:
        self._uc.reg_write(uc_x86.UC_X86_REG_FPCW, 0x37F)
        self._uc.reg_write(uc_x86.UC_X86_REG_FPSW, 0)
        self._uc.reg_write(uc_x86.UC_X86_REG_FPTAG, 0xFFFF)
        self._uc.reg_write(uc_x86.UC_X86_REG_MXCSR, 0x1F80)
        for index in range(VECTORS[self._form.bits]):
            self._uc.reg_write(uc_x86.UC_X86_REG_XMM0 + index, 0)

    def _fill(self, _uc: Any, address: int, kind: int, result: Any, _data: Any) -> bool:
        """Unicorn's question: where is `address`, and what is permitted there?"""
        try:
            if kind == unicorn.UC_MEM_FETCH and self._trapped is not None:
                # The guest has stopped. Unicorn drops its code just before `until`, where CPL 3 may not fetch.
                return False
            state = self.state()
            access = Access(address, KINDS[kind], user=state.cpl == 3)
            walk, translation = self._mmu.translate(access, state)
            if translation is None and self._refused is not None and kind == unicorn.UC_MEM_FETCH:
                # The same, after a refusal; refusing again would make Unicorn forget the first one's exact address.
                self._answered_after_stop = True
                result.paddr, result.perms = 0, unicorn.UC_PROT_EXEC
                return True
            if translation is None:
                # Only once emu_start() is back is the exact address known.
                self._refused = MemoryFault(access, walk, state)
                return False
            result.paddr = translation.frame
            result.perms = (
                (unicorn.UC_PROT_READ if translation.read else 0)
                | (unicorn.UC_PROT_WRITE if translation.write else 0)
                | (unicorn.UC_PROT_EXEC if translation.fetch else 0)
            )
            return True
        except BaseException as error:  # noqa: BLE001 -- ctypes would print it and go on with garbage; run() raises it
            self._error = error
            return False

    def _forget_the_last_run(self) -> None:
        self._refused = self._trapped = self._error = None
        if self._answered_after_stop:
            self._answered_after_stop = False
            self._uc.ctl(unicorn.unicorn_const.UC_CTL_TLB_FLUSH, unicorn.unicorn_const.UC_CTL_IO_WRITE)

    def _raise_our_own(self) -> None:
        """Raise what went wrong in the fill hook, where nothing can be raised."""
        if self._error is not None:
            raise self._error from None

    def _exact(self, stop: MemoryFault) -> MemoryFault:
        """A refused access with its exact address instead of its page's."""
        address = self._notes.refused_address
        if address & PAGE_MASK != stop.access.address & PAGE_MASK:
            return stop
        end = stop.walk.end
        if isinstance(end, Mapped):
            end = replace(end, physical=end.physical | address & PAGE - 1)
        return MemoryFault(
            replace(stop.access, address=address), replace(stop.walk, address=address, end=end), stop.state
        )

    def _arrive(self, uc: Any, address: int, _size: int, _data: Any) -> None:
        self._trapped = Arrived(address)
        uc.emu_stop()

    def _cpuid(self, uc: Any, _data: Any) -> int:
        values = self.cpuid(uc.reg_read(uc_x86.UC_X86_REG_EAX), uc.reg_read(uc_x86.UC_X86_REG_ECX))
        for name, value in zip(("rax", "rbx", "rcx", "rdx"), values, strict=True):
            uc.reg_write(self._numbers[name], value)
        return 1  # the instruction is done

    def _system_call(self, uc: Any, _data: Any) -> None:
        self._trapped = SystemCall()
        uc.emu_stop()

    def _interrupt(self, uc: Any, vector: int, _data: Any) -> None:
        self._trapped = Trapped(vector, TRAPS.get(vector, f"exception or interrupt {vector}"))
        uc.emu_stop()

    def _gave_up(self, error: unicorn.UcError) -> Stop:
        if error.errno == unicorn.UC_ERR_INSN_INVALID:
            return Trapped(x86.TRAP_UD, TRAPS[x86.TRAP_UD])
        return Halted(f"the emulator stopped: {error}")
