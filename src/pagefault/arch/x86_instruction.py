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
SEGMENT_BASES = {"fs": "fs_base", "gs": "gs_base"}
OPERAND_SIZE_PREFIX = 0x66
BY_MODRM = tuple("rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15".split())
BY_MODRM_32 = tuple("eax ecx edx ebx esp ebp esi edi".split())
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
    One decoded instruction: AT&T text as objdump prints it, and its memory operands. `modrm` is its ModRM byte, if it
    has one, `rex_b` the REX prefix's B bit, `operand_size` what its prefixes make of its operands, in bytes.
    """

    length: int
    text: str
    mnemonic: str
    memory: tuple[MemoryOperand, ...]
    modrm: int | None
    rex_b: int
    operand_size: int


@lru_cache
def decoder(bits: int) -> capstone.Cs:
    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64 if bits == 64 else capstone.CS_MODE_32)
    engine.detail = True
    engine.syntax = capstone.CS_OPT_SYNTAX_ATT
    return engine


@lru_cache(maxsize=4096)
def decode(code: bytes, bits: int = 64) -> Instruction | None:
    """The instruction at the start of `code`, which is of 64 or 32 bits, or None if there is none."""
    for found in decoder(bits).disasm(code[:MAX_INSTRUCTION], 0, count=1):
        operands = tuple(operand(found, each) for each in found.operands if each.type == cs_x86.X86_OP_MEM)
        text = f"{found.mnemonic} {found.op_str}".strip()
        return Instruction(
            length=found.size,
            text=text,
            mnemonic=found.insn_name(),
            memory=operands,
            modrm=found.modrm if found.encoding.modrm_offset else None,
            rex_b=found.rex & 1,
            operand_size=8 if found.rex & 8 else 2 if found.prefix[2] == OPERAND_SIZE_PREFIX else 4,
        )
    return None


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


def operand_address(memory: MemoryOperand, registers: Mapping[str, int], bits: int = 64) -> int:
    """The linear address of an operand with these registers."""
    address = memory.displacement + registers.get(SEGMENT_BASES.get(memory.segment or "", ""), 0)
    address += registers.get(memory.base or "", 0) + registers.get(memory.index or "", 0) * memory.scale
    return address & (1 << bits) - 1


def addressed(code: bytes, registers: Mapping[str, int], bits: int = 64) -> tuple[int, int] | None:
    """
    Linear address and size (that of the operands) of what the instruction at the start of `code` addresses, as the
    kernel finds it out: by its ModRM byte. A register in the place of memory (mod 3) counts at its value, and an
    instruction without a ModRM byte (`rep movsb`, `wrmsr`) as if it had one of all zeros, which is (%rax) or (%eax).

    Kernel: arch/x86/lib/insn-eval.c insn_get_addr_ref(), get_eff_addr_reg(), get_eff_addr_modrm(), v6.1.
    """
    instruction = decode(code, bits)
    if instruction is None:
        return None
    general = BY_MODRM if bits == 64 else BY_MODRM_32
    if instruction.modrm is None:
        return registers.get(general[0], 0), instruction.operand_size
    if instruction.modrm >> 6 == 3:
        name = general[instruction.modrm & 7 | instruction.rex_b << 3]
        return registers.get(name, 0), instruction.operand_size
    if not instruction.memory:
        return None
    return operand_address(instruction.memory[0], registers, bits), instruction.operand_size


def writes_what_it_reads(code: bytes, address: int, registers: Mapping[str, int], bits: int = 64) -> bool:
    """
    Does the instruction read `address` only to write it back (add, xchg, inc, … on memory)?

    The CPU checks such an access as a write from the start, so its page fault has W set; an emulator that does the load
    first reports a read.

    Manual: Intel SDM vol. 3A, 4.7 (W/R describes the access causing the fault).
    """
    instruction = decode(code, bits)
    if instruction is None:
        return False
    for memory in instruction.memory:
        start = operand_address(memory, registers, bits)
        if memory.reads and memory.writes and start <= address < start + max(memory.size, 1):
            return True
    return False
