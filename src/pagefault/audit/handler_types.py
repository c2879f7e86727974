"""Rules about an entry's type: is there one of its number, does it fit the instruction, do its registers exist."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..arch.disassembly import Disassembled
from ..arch.faulting import can_fault
from .context import AuditContext, TableEntry
from .rule import Hit, by_decoding, of_each_entry
from .x86_operands import register

X86 = frozenset({"EM_X86_64", "EM_386"})
X86_FITS = {
    "rdmsr": ("rdmsr", re.compile(r"rdmsr$")),
    "rdmsr_safe": ("rdmsr", re.compile(r"rdmsr$")),
    "rdmsr_in_mce": ("rdmsr", re.compile(r"rdmsr$")),
    "wrmsr": ("wrmsr", re.compile(r"wrmsr(ns)?$")),
    "wrmsr_safe": ("wrmsr", re.compile(r"wrmsr(ns)?$")),
    "wrmsr_in_mce": ("wrmsr", re.compile(r"wrmsr(ns)?$")),
    "fpu_restore": ("a restore of FPU state", re.compile(r"(fxrstor|xrstors?|frstor)(64|l|s|q)?$")),
    "clear_fs": ("a load of %fs", re.compile(r"(mov|pop)[wlq]?$")),
    "pop_reg": ("a pop", re.compile(r"(pop|lfs|lgs)[wlq]?$")),
    "fault_sgx": ("encls", re.compile(r"encls$")),
}
"""What the instruction must be, in words and as a mnemonic. Kernel: arch/x86/mm/extable.c fixup_exception(), v6.1."""
REPEATED = re.compile(r"rep[a-z]* (?:movs|stos)([bwlq])$")
UNITS = {"b": 1, "w": 2, "l": 4, "q": 8}
MAX_LOOP = 64
"""Instructions from an access to the branch that closes its loop."""
ONLY_JIT = "only a BPF JIT writes such entries, and into a program's own table"
LOOK_BACK = 8
"""Bytes before an instruction that tell which one stands there, on s390."""
OPCODE_LOAD = 0x8B
LEGACY_PREFIXES = frozenset(b"\x66\x67\x2e\x36\x3e\x26\x64\x65\xf0\xf2\xf3")
ARM64_LDR_X = (0xFFFFFC00, 0xF9400000)
"""ldr Xt, [Xn]: mask and value. Manual: Arm ARM, C6.2, LDR (immediate), unsigned offset, of 0."""
STACK_POINTERS = {
    "EM_X86_64": ("rsp",),
    "EM_386": ("esp", "rsp"),
    "EM_S390": ("%r15",),
    "EM_RISCV": ("sp",),
    "EM_LOONGARCH": ("$sp", "sp"),
}


@of_each_entry
def unknown_type(context: AuditContext, each: TableEntry) -> str | None:
    """
    An entry has a type that its kernel does not know.

    Kernel: arch/x86/mm/extable.c fixup_exception() ends in BUG(), arch/s390/mm/extable.c in panic(), v6.1.
    """
    entry = each.entry
    if entry.type != "unknown":
        return None
    return (
        f"entry {entry.index}, for {context.name(entry.insn)}, has type {entry.number}, which is none of this kernel's"
    )


@by_decoding("whether types fit their instructions")
@of_each_entry
def misfit(context: AuditContext, each: TableEntry) -> str | None:
    """An entry's type says more about the instruction than is true of it."""
    entry, wrong = each.entry, misfits(context, each)
    if wrong is None:
        return None
    what = f"entry {entry.index} of type {entry.type}"
    return f"{what} is for {context.name(entry.insn)}, {words(context, entry.insn)}: {wrong}"


def words(context: AuditContext, address: int) -> str:
    """The instruction there, quoted."""
    found = context.instruction(address)
    return f"`{found.text}`" if found else "which is no instruction"


def misfits(context: AuditContext, each: TableEntry) -> str | None:
    """What is wrong with an entry's type for its instruction, or None."""
    entry = each.entry
    if entry.type == "bpf":
        return ONLY_JIT
    variants = context.variants(entry.insn)
    machine = context.platform.elf_machine
    if not variants:
        return None
    if machine in X86:
        if entry.type in X86_FITS:
            what, pattern = X86_FITS[entry.type]
            if not any(pattern.match(one.mnemonic) and fits_operands(entry.type, one) for one in variants):
                return f"the handler takes it for {what}"
        if entry.type == "zeropad" and not any(
            is_word_load(one, context.platform.pointer) and entry.fixup == one.address + one.length for one in variants
        ):
            return "the handler decodes a mov of a whole word from memory, with the fixup behind it"
        if entry.type == "ucopy_len":
            return uncounted(context, each, variants)
    if machine == "EM_AARCH64" and entry.type == "load_unaligned_zeropad":
        return arm64_zeropad(each, variants[0])
    return None


def uncounted(context: AuditContext, each: TableEntry, variants: tuple[Disassembled, ...]) -> str | None:
    """
    The handler computes cx := imm * cx + reg, the bytes that are left: cx must count units of imm bytes down, by the
    instruction itself or by a loop around it.

    Kernel: arch/x86/mm/extable.c ex_handler_ucopy_len(), v6.1 and v6.12; arch/x86/lib/usercopy_64.c __clear_user(),
    v5.17, has a loop of that kind.
    """
    repeated = [found for one in variants if (found := REPEATED.match(one.mnemonic))]
    if not repeated:
        if any(counts_down(context, one.address) for one in variants):
            return None
        return "the handler takes cx for a count of what is left, and neither it nor a loop around it counts cx down"
    factor = int(dict(each.entry.fields).get("imm", "0"))
    if any(UNITS[one[1]] == factor for one in repeated):
        return None
    return f"cx counts units of {UNITS[repeated[0][1]]} bytes, and the handler multiplies it by {factor}"


def counts_down(context: AuditContext, address: int) -> bool:
    """Does a loop around the instruction take one from cx each time?"""
    at, counted = address, False
    for _ in range(MAX_LOOP):
        found = context.x86_code.step(at)
        if found is None or found.jumps or found.returns:
            return False
        if found.name.startswith("dec") and register(found.operands[0]) == "rcx":
            counted = True
        elif found.conditional and found.target is not None and found.target <= address:
            return counted or found.name.startswith("loop")
        at = found.end
    return False


def fits_operands(type_: str, instruction: Disassembled) -> bool:
    """Where the mnemonic alone does not tell."""
    return type_ != "clear_fs" or instruction.operands.endswith("%fs")


def is_word_load(instruction: Disassembled, word: int) -> bool:
    """
    Is it opcode 8b with a memory operand of the size of long?

    Kernel: arch/x86/mm/extable.c ex_handler_zeropad(), v6.1.
    """
    code, wide, at = instruction.code, word == 4, 0
    while at < len(code) and code[at] in LEGACY_PREFIXES:
        if code[at] == 0x66:
            return False
        at += 1
    if word == 8 and at < len(code) and code[at] & 0xF0 == 0x40:
        wide, at = bool(code[at] & 8), at + 1
    return wide and at + 1 < len(code) and code[at] == OPCODE_LOAD and code[at + 1] >> 6 != 3


def arm64_zeropad(each: TableEntry, instruction: Disassembled) -> str | None:
    """
    The handler reads the address from the register that the entry names, and the load's offset is none.

    Kernel: arch/arm64/mm/extable.c ex_handler_load_unaligned_zeropad(), v6.1.
    """
    word = int.from_bytes(instruction.code, "little")
    mask, value = ARM64_LDR_X
    if word & mask != value:
        return "the handler loads a whole word by the register alone"
    fields = dict(each.entry.fields)
    for name, number in (("data", word & 31), ("addr", word >> 5 & 31)):
        expected = f"x{number}" if number < 31 else None
        if fields.get(name) != expected:
            return f"the entry's {name} register is {fields.get(name)}, the instruction's {expected or 'sp or xzr'}"
    return None


def impossible_register(context: AuditContext) -> Iterator[Hit]:
    """
    An entry's handler would write the stack pointer, or a register that is none.

    Kernel: arch/x86/mm/extable.c pt_regs_nr(), v6.1.
    """
    pointers = STACK_POINTERS.get(context.platform.elf_machine, ())
    for each in context.entries:
        for name, value in each.entry.fields:
            if value in pointers or value.endswith("?"):
                what = "is the stack pointer" if value in pointers else "does not exist"
                yield Hit(
                    each.entry.insn,
                    f"entry {each.entry.index} of type {each.entry.type}, for {context.name(each.entry.insn)}, names "
                    f"{value} as {name}, which {what}",
                    each,
                )


@by_decoding("whether instructions of entries can fault")
@of_each_entry
def cannot_fault(context: AuditContext, each: TableEntry) -> str | None:
    """
    An entry is for an instruction that cannot fault: the one that can stands next to it, unprotected.

    On s390 an exception may leave the address of the next instruction behind, so entries there come in pairs.
    Kernel: arch/s390/include/asm/uaccess.h __put_get_user_asm(), v6.1.
    """
    entry = each.entry
    variants = context.variants(entry.insn)
    before = context.code(entry.insn - LOOK_BACK, LOOK_BACK)
    if not variants or any(can_fault(context.platform, one, before=before) for one in variants):
        return None
    return f"entry {entry.index} is for {context.name(entry.insn)}, {words(context, entry.insn)}, which cannot fault"
