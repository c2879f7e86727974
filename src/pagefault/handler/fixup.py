"""
What the kernel does at an instruction that the exception table lists: one function for each type of entry.

Each takes the event and answers with the effects on the interrupted registers, in the order they happen, and with where
execution goes on (`FixedUp.landing`; the instruction pointer is not among the effects). None means that the handler
declined, and the fault is not fixed up.

Warnings come with every event: that the kernel prints most of them once only is for whoever prints them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..arch.architecture import Architecture
from ..arch.x86 import TRAP_GP
from ..arch.x86_exception_types import BY_NAME, REGISTERS
from ..arch.x86_instruction import MAX_INSTRUCTION, decode, operand_address
from ..errors import Unsupported
from ..vocabulary.address import PAGE
from ..vocabulary.effect import Effect, ResetFpu, SetRegister, Warn
from ..vocabulary.exception_entry import ExceptionEntry
from ..vocabulary.fault import Fault
from ..vocabulary.outcome import FixedUp, Oops
from .context import Context
from .decision import Answer

U64, U32 = (1 << 64) - 1, (1 << 32) - 1
EIO = 5
SGX_ENCLS_FAULT_FLAG = 0x4000_0000
"""Kernel: arch/x86/include/asm/sgx.h, v6.12."""
LEGACY_PREFIXES = bytes.fromhex("26 2e 36 3e 64 65 66 67 f0 f2 f3")

ReadKernel = Callable[[int, int], bytes | None]
"""Bytes at a linear address, by address and length; None if they cannot be read."""


@dataclass(frozen=True, slots=True)
class Event:
    """
    A fault at a listed instruction; `form` is its architecture's. `user_gp_is_quiet`: see
    `arch.x86_eras.KernelProfile`.
    """

    entry: ExceptionEntry
    fault: Fault
    read_kernel: ReadKernel
    user_gp_is_quiet: bool
    form: Architecture

    @property
    def word(self) -> int:
        """sizeof(long)"""
        return self.form.bits // 8

    @property
    def registers(self) -> Mapping[str, int]:
        """The interrupted registers, by the kernel's names (struct pt_regs: ax, cx, sp, …)."""
        return {name: self.fault.registers.get(ours, 0) for name, ours in self.form.pt_regs.items()}

    def set(self, name: str, value: int) -> SetRegister:
        """Set a register by the kernel's name to a long."""
        return self.put(self.form.pt_regs[name], value)

    def put(self, register: str, value: int) -> SetRegister:
        """Set a register by the manual's name to a long."""
        return SetRegister(register, value & (1 << self.form.bits) - 1)

    @property
    def operand(self) -> str:
        """The register that the entry names."""
        assert self.entry.register is not None, "the table's reader gives every type with operands its register"
        return self.entry.register

    def msr_access(self, *, wrmsr: bool) -> str:
        """How the kernel words a failed MSR access, without the symbol it adds."""
        cx, dx, ax = (self.registers[name] & U32 for name in ("cx", "dx", "ax"))
        what = f"WRMSR to {cx:#x} (tried to write 0x{dx:08x}{ax:08x})" if wrmsr else f"RDMSR from {cx:#x}"
        return f"MSR access error: {what} at rIP: {self.fault.ip:#x}"


def fixup(fault: Fault, context: Context) -> Answer | None:
    """The answer of the entry for the faulting instruction, if a table has one and its handler does not decline."""
    entry = context.extables.search(fault.ip)
    if entry is None:
        return None
    quiet = context.profile.user_gp_is_quiet
    return fixup_exception(entry, fault, context.read_kernel, user_gp_is_quiet=quiet, form=context.form)


def fixup_exception(
    entry: ExceptionEntry, fault: Fault, read_kernel: ReadKernel, *, user_gp_is_quiet: bool, form: Architecture
) -> Answer | None:
    """
    Handle `fault` as `entry` says: `FixedUp`, or `Oops` where the handler panics; None if it declines.

    Raises Unsupported for the types whose work lies outside of what we model (`eretu`, `ext`, `refcount`).

    Kernel: arch/x86/mm/extable.c fixup_exception(), v6.12.
    """
    return HANDLERS[entry.type](Event(entry, fault, read_kernel, user_gp_is_quiet, form))


def ex_handler_default(event: Event, *effects: Effect) -> Answer:
    """
    Go on at the fixup, after `effects` and after clearing what the entry's flags say.

    Kernel: arch/x86/mm/extable.c ex_handler_default(), v6.12.
    """
    entry = event.entry
    cleared = tuple(
        event.set(register, 0) for flag, register in (("clear_ax", "ax"), ("clear_dx", "dx")) if flag in entry.flags
    )
    because = f"entry {entry.index} ({entry.type}: {BY_NAME[entry.type].meaning})"
    return Answer(FixedUp(entry, entry.fixup), (*effects, *cleared), because)


def ex_handler_fault(event: Event, *effects: Effect) -> Answer:
    """Kernel: arch/x86/mm/extable.c ex_handler_fault(), v6.12."""
    return ex_handler_default(event, *effects, event.set("ax", event.fault.vector))


def ex_handler_sgx(event: Event) -> Answer:
    """Kernel: arch/x86/mm/extable.c ex_handler_sgx(), v6.12."""
    return ex_handler_default(event, event.set("ax", event.fault.vector | SGX_ENCLS_FAULT_FLAG))


def gp_fault_address_ok(address: int) -> bool:
    """
    Is the address in the user half, canonical or not, or in the page above it?

    exc_general_protection() does not know the address and passes 0, which is fine: from v6.4 on, no #GP warns.

    Kernel: arch/x86/mm/extable.c gp_fault_address_ok(); arch/x86/kernel/traps.c exc_general_protection(), v6.12.
    Differs: v6.12 compares with USER_PTR_MAX, this with the sign, as v6.4 did.
    """
    return not address >> 63 or not (address - PAGE & U64) >> 63


GP_WARNING = Warn("General protection fault in user access. Non-canonical address?")


def ex_handler_uaccess(event: Event, *effects: Effect) -> Answer:
    """
    A user access: a #GP means that access_ok() was not asked, and warns.

    Since Linux kernel commit 6014bc27561f ("x86-64: make access_ok() independent of LAM") (in v6.4), not for an address
    that access_ok() lets through.

    Kernel: arch/x86/mm/extable.c ex_handler_uaccess(), v6.12.
    Differs: the stricter handler of 9da3f2b74054 ("x86/fault: BUG() when uaccess helpers fault on kernel addresses"),
    soon reverted, is not modelled.
    """
    quiet = event.user_gp_is_quiet and gp_fault_address_ok(event.fault.address or 0)
    warning = () if quiet or event.fault.vector != TRAP_GP else (GP_WARNING,)
    return ex_handler_default(event, *effects, *warning)


def ex_handler_copy(event: Event) -> Answer:
    """
    Like uaccess, with the trap's number in rax; it kept its warning when uaccess lost it.

    Kernel: arch/x86/mm/extable.c ex_handler_copy(), v6.1.
    """
    return ex_handler_fault(event, *((GP_WARNING,) if event.fault.vector == TRAP_GP else ()))


def ex_handler_clear_fs(event: Event) -> Answer:
    """
    fs becomes the null selector, its base 0.

    Kernel: arch/x86/mm/extable.c ex_handler_clear_fs(), v6.12.
    Differs: on CPUs where a null selector keeps the base, the kernel loads __USER_DS first; the end is the same.
    """
    return ex_handler_default(event, SetRegister("fs", 0), SetRegister("fs_base", 0))


def ex_handler_fprestore(event: Event) -> Answer:
    """Kernel: arch/x86/mm/extable.c ex_handler_fprestore(), v6.12."""
    warning = Warn(f"Bad FPU state detected at {event.fault.ip:#x}, reinitializing FPU registers.")
    return ex_handler_default(event, warning, ResetFpu())


def ex_handler_bpf(event: Event) -> Answer:
    """
    Skip the instruction; a load's target becomes 0. The entry's flags are not looked at.

    Kernel: arch/x86/net/bpf_jit_comp.c ex_handler_bpf(), v6.12.
    """
    entry = event.entry
    effects = () if entry.register is None else (SetRegister(entry.register, 0),)
    return Answer(FixedUp(entry, entry.fixup), effects, f"entry {entry.index} ({entry.type}: {BY_NAME['bpf'].meaning})")


def ex_handler_msr(event: Event, *, wrmsr: bool, safe: bool) -> Answer:
    """
    An MSR access that failed: a read gives 0, and the safe ones put -EIO into the entry's register instead of warning.

    Kernel: arch/x86/mm/extable.c ex_handler_msr(), v6.12.
    Differs: the stack and registers printed after the warning are left out.
    """
    effects: list[Effect] = [] if safe else [Warn(f"unchecked {event.msr_access(wrmsr=wrmsr)}")]
    if not wrmsr:
        effects += [event.set("ax", 0), event.set("dx", 0)]
    if safe:
        effects.append(event.put(event.operand, -EIO))
    return ex_handler_default(event, *effects)


def ex_handler_msr_mce(event: Event, *, wrmsr: bool) -> Answer:
    """
    The machine-check code touched an MSR that is not there: panic.

    Kernel: arch/x86/kernel/cpu/mce/core.c ex_handler_msr_mce(), v6.12.
    """
    outcome = Oops("Kernel panic - not syncing: MCA architectural violation!")
    return Answer(outcome, (Warn(event.msr_access(wrmsr=wrmsr)),), f"entry {event.entry.index} ({event.entry.type})")


def ex_handler_imm_reg(event: Event, *effects: Effect) -> Answer:
    """Kernel: arch/x86/mm/extable.c ex_handler_imm_reg(), v6.12."""
    return ex_handler_default(event, *effects, event.put(event.operand, event.entry.immediate))


def ex_handler_pop_reg(event: Event) -> Answer:
    """
    As if the faulting pop had worked and had found the immediate on the stack.

    Kernel: arch/x86/mm/extable.c fixup_exception(), EX_TYPE_POP_REG, v6.12.
    """
    return ex_handler_imm_reg(event, event.set("sp", event.registers["sp"] + event.word))


def ex_handler_ucopy_len(event: Event) -> Answer:
    """
    cx becomes the bytes left: so many words not copied, and the bytes that were to follow.

    Kernel: arch/x86/mm/extable.c ex_handler_ucopy_len(), v6.12.
    """
    left = event.entry.immediate * event.registers["cx"] + event.fault.registers[event.operand]
    return ex_handler_uaccess(event, event.set("cx", left))


def ex_handler_zeropad(event: Event) -> Answer | None:
    """
    A word load that crosses into a page that is not there: the part that is there, and zeros.

    Declines unless the instruction is a `mov memory, register` of a long that ends at the fixup, and the fault is at
    the first byte of the second of the two aligned words it touches.

    Kernel: arch/x86/mm/extable.c ex_handler_zeropad(); arch/x86/include/asm/word-at-a-time.h
    load_unaligned_zeropad(), v6.12.
    Differs: declines where the kernel itself would fault on reading the code or the first word, and for 32-bit
    addressing in 64-bit code, which compilers do not use here.
    """
    fault, bits = event.fault, event.form.bits
    length = event.entry.fixup - fault.ip & (1 << bits) - 1
    code = event.read_kernel(fault.ip, length) if length <= MAX_INSTRUCTION else None
    instruction = decode(code, bits) if code else None
    if not code or instruction is None or instruction.length != length or not instruction.memory:
        return None
    target = mov_target(code)
    if target is None or instruction.memory[0].size != event.word:
        return None
    address = operand_address(instruction.memory[0], fault.registers, bits)
    first = address & -event.word
    word = event.read_kernel(first, event.word) if fault.address == first + event.word else None
    if word is None:
        return None
    value = int.from_bytes(word, "little") >> 8 * (address - first)
    return ex_handler_default(event, event.put(event.form.pt_regs.get(target[1:], target), value))


def mov_target(code: bytes) -> str | None:
    """
    The register that `mov r/m, reg` (opcode 8b) loads, by its name in 64-bit code; None for other instructions.

    Manual: Intel SDM vol. 2A, 2.1 (instruction format), 2.2.1 (REX prefixes); vol. 2B, MOV.
    """
    rest = code.lstrip(LEGACY_PREFIXES)
    rex = rest[0] if rest and rest[0] & 0xF0 == 0x40 else 0
    opcode = rest[1:] if rex else rest
    if len(opcode) < 2 or opcode[0] != 0x8B:
        return None
    return REGISTERS[opcode[1] >> 3 & 7 | (rex & 4) << 1]


def not_modelled(event: Event) -> Answer:
    """Types whose work is on something other than the interrupted registers and the FPU."""
    raise Unsupported(f"an exception entry of type {event.entry.type}", why=NOT_MODELLED[event.entry.type])


NOT_MODELLED = {
    "eretu": "its handler rewrites the FRED return frame above the stack, and FRED event delivery is not modelled",
    "ext": "its handler sets uaccess_err in the thread, which is not modelled",
    "refcount": "its handler writes a saturated count to memory, which no effect can say",
}

HANDLERS: dict[str, Callable[[Event], Answer | None]] = {
    "default": ex_handler_default,
    "fault": ex_handler_fault,
    "uaccess": ex_handler_uaccess,
    "copy": ex_handler_copy,
    "clear_fs": ex_handler_clear_fs,
    "fpu_restore": ex_handler_fprestore,
    "bpf": ex_handler_bpf,
    "wrmsr": lambda event: ex_handler_msr(event, wrmsr=True, safe=False),
    "rdmsr": lambda event: ex_handler_msr(event, wrmsr=False, safe=False),
    "wrmsr_safe": lambda event: ex_handler_msr(event, wrmsr=True, safe=True),
    "rdmsr_safe": lambda event: ex_handler_msr(event, wrmsr=False, safe=True),
    "wrmsr_in_mce": lambda event: ex_handler_msr_mce(event, wrmsr=True),
    "rdmsr_in_mce": lambda event: ex_handler_msr_mce(event, wrmsr=False),
    "default_mce_safe": ex_handler_default,
    "fault_mce_safe": ex_handler_fault,
    "pop_reg": ex_handler_pop_reg,
    "imm_reg": ex_handler_imm_reg,
    "fault_sgx": ex_handler_sgx,
    "ucopy_len": ex_handler_ucopy_len,
    "zeropad": ex_handler_zeropad,
    "eretu": not_modelled,
    "ext": not_modelled,
    "refcount": not_modelled,
}
"""What each type of entry (`arch.x86_exception_types`) does. Kernel: arch/x86/mm/extable.c fixup_exception(), v6.12."""
