"""
What an x86 instruction does with memory, as far as a fault handler needs to know: its text, its operand's address, and
whether it reads in order to write.

Decoding is capstone's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import capstone
from capstone import x86 as cs_x86

MAX_INSTRUCTION = 15
"""Manual: Intel SDM vol. 2A, 2.3.11: the longest instruction."""
U64 = (1 << 64) - 1
SEGMENT_BASES = {"fs": "fs_base", "gs": "gs_base"}
BY_MODRM = tuple("rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15".split())
ALSO_WRITE = frozenset("cmpxchg cmpxchg8b cmpxchg16b shld shrd rol ror rcl rcr shl sal shr sar".split())
"""What capstone 5 says of these is that they read their memory operand; it is their destination."""


@dataclass(frozen=True, slots=True)
class MemoryOperand:
    """One memory operand: base + index * scale + displacement, in bytes `size`; `reads` and `writes` say what for."""

    segment: str | None
    base: str | None
    index: str | None
    scale: int
    displacement: int
    size: int
    reads: bool
    writes: bool


@dataclass(frozen=True, slots=True)
class Instruction:
    """
    One decoded instruction: AT&T text as objdump prints it, its memory operands, and the general register (64 bits of
    it) that its ModRM byte names in their place, if it has one.
    """

    length: int
    text: str
    mnemonic: str
    memory: tuple[MemoryOperand, ...]
    modrm_register: str | None


@lru_cache(maxsize=1)
def decoder() -> capstone.Cs:
    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    engine.detail = True
    engine.syntax = capstone.CS_OPT_SYNTAX_ATT
    return engine


@lru_cache(maxsize=4096)
def decode(code: bytes) -> Instruction | None:
    """The instruction at the start of `code`, or None if there is none."""
    for found in decoder().disasm(code[:MAX_INSTRUCTION], 0, count=1):
        operands = tuple(operand(found, each) for each in found.operands if each.type == cs_x86.X86_OP_MEM)
        text = f"{found.mnemonic} {found.op_str}".strip()
        return Instruction(found.size, text, found.insn_name(), operands, modrm_register(found))
    return None


def modrm_register(found: capstone.CsInsn) -> str | None:
    """Manual: Intel SDM vol. 2A, 2.1.3 (mod 3 names a register), 2.2.1.2 (REX.B extends it)."""
    if not found.encoding.modrm_offset or found.modrm >> 6 != 3:
        return None
    return BY_MODRM[int(found.modrm & 7 | (found.rex & 1) << 3)]


def operand(found: capstone.CsInsn, each: cs_x86.X86Op) -> MemoryOperand:
    """capstone's operand in our words; a RIP-relative one gets the instruction's length added here."""
    memory = each.mem
    base = found.reg_name(memory.base) if memory.base else None
    return MemoryOperand(
        segment=found.reg_name(memory.segment) if memory.segment else None,
        base=base,
        index=found.reg_name(memory.index) if memory.index else None,
        scale=memory.scale,
        displacement=memory.disp + (found.size if base == "rip" else 0),
        size=each.size,
        reads=bool(each.access & capstone.CS_AC_READ),
        writes=bool(each.access & capstone.CS_AC_WRITE) or found.insn_name() in ALSO_WRITE,
    )


def operand_address(memory: MemoryOperand, registers: Mapping[str, int]) -> int:
    """The linear address of an operand with these registers."""
    address = memory.displacement + registers.get(SEGMENT_BASES.get(memory.segment or "", ""), 0)
    address += registers.get(memory.base or "", 0) + registers.get(memory.index or "", 0) * memory.scale
    return address & U64


def addressed(code: bytes, registers: Mapping[str, int]) -> tuple[int, int] | None:
    """
    Linear address and size of what the instruction at the start of `code` addresses: its first memory operand. Like the
    kernel's, this takes a register that stands in its place (ModRM.mod 3) at its value; None without either.

    Kernel: arch/x86/lib/insn-eval.c insn_get_addr_ref(), get_eff_addr_reg(), v6.1.
    """
    instruction = decode(code)
    if instruction is None:
        return None
    if instruction.memory:
        return operand_address(instruction.memory[0], registers), instruction.memory[0].size
    if instruction.modrm_register is None:
        return None
    return registers.get(instruction.modrm_register, 0), 8


def writes_what_it_reads(code: bytes, address: int, registers: Mapping[str, int]) -> bool:
    """
    Does the instruction read `address` only to write it back (add, xchg, inc, … on memory)?

    The CPU checks such an access as a write from the start, so its page fault has W set; an emulator that does the load
    first reports a read.

    Manual: Intel SDM vol. 3A, 4.7 (W/R describes the access causing the fault).
    """
    instruction = decode(code)
    if instruction is None:
        return False
    for memory in instruction.memory:
        start = operand_address(memory, registers)
        if memory.reads and memory.writes and start <= address < start + max(memory.size, 1):
            return True
    return False
