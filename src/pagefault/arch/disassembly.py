"""
Any architecture's instructions in words: text, and what of it is memory.

    disassemble(X86_64, bytes.fromhex("8a03"), address)          # movb (%rbx), %al: memory (0, 6), reads

Decoding is capstone's, without its `detail`: what capstone 5 says of the access of an operand is wrong or missing too
often (`rep stos` and `movnti` read, `sttr` reads, nothing at all for MIPS, PowerPC and s390), so that is found by
`memory_access`, from the text. x86 is in AT&T syntax. The spelling is capstone's; where it differs from objdump's, the
two say the same (`movl %ecx, (%r13)` is `mov %ecx,0x0(%r13)`, `addiu $v1, $zero, -0xe` is `li v1,-14`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import capstone

from .beyond_capstone import decode_beyond
from .memory_access import memory_access
from .platform import Platform

MAX_INSTRUCTION = 15
"""Manual: Intel SDM vol. 2A, 2.3.11: no instruction is longer; elsewhere they have 8 bytes at most."""
PIECE = 1 << 16
"""Bytes given to capstone at a time: it makes a record of 248 bytes of every instruction before it returns one."""
ENGINES = {
    ("EM_X86_64", 64, "little"): (capstone.CS_ARCH_X86, capstone.CS_MODE_64),
    ("EM_386", 32, "little"): (capstone.CS_ARCH_X86, capstone.CS_MODE_32),
    ("EM_AARCH64", 64, "little"): (capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM),
    ("EM_AARCH64", 64, "big"): (capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM),
    ("EM_ARM", 32, "big"): (capstone.CS_ARCH_ARM, capstone.CS_MODE_V8),
    ("EM_ARM", 32, "little"): (capstone.CS_ARCH_ARM, capstone.CS_MODE_V8),
    ("EM_MIPS", 32, "little"): (capstone.CS_ARCH_MIPS, capstone.CS_MODE_MIPS32),
    ("EM_MIPS", 32, "big"): (capstone.CS_ARCH_MIPS, capstone.CS_MODE_MIPS32 | capstone.CS_MODE_BIG_ENDIAN),
    ("EM_MIPS", 64, "little"): (capstone.CS_ARCH_MIPS, capstone.CS_MODE_MIPS64),
    ("EM_MIPS", 64, "big"): (capstone.CS_ARCH_MIPS, capstone.CS_MODE_MIPS64 | capstone.CS_MODE_BIG_ENDIAN),
    ("EM_PPC", 32, "big"): (capstone.CS_ARCH_PPC, capstone.CS_MODE_32 | capstone.CS_MODE_BIG_ENDIAN),
    ("EM_PPC64", 64, "little"): (capstone.CS_ARCH_PPC, capstone.CS_MODE_64),
    ("EM_PPC64", 64, "big"): (capstone.CS_ARCH_PPC, capstone.CS_MODE_64 | capstone.CS_MODE_BIG_ENDIAN),
    ("EM_S390", 64, "big"): (capstone.CS_ARCH_SYSZ, capstone.CS_MODE_BIG_ENDIAN),
    ("EM_RISCV", 64, "little"): (capstone.CS_ARCH_RISCV, capstone.CS_MODE_RISCV64 | capstone.CS_MODE_RISCVC),
    ("EM_RISCV", 32, "little"): (capstone.CS_ARCH_RISCV, capstone.CS_MODE_RISCV32 | capstone.CS_MODE_RISCVC),
}
"""
By ELF machine, pointer width and byte order. LoongArch is not among them: capstone has it from version 6 on. A
big-endian Arm's instructions are little-endian (the kernel is linked with --be8).
"""
N64 = {"t0": "a4", "t1": "a5", "t2": "a6", "t3": "a7", "t4": "t0", "t5": "t1", "t6": "t2", "t7": "t3"}
"""
What capstone calls eight of MIPS's registers, and their names in a 64-bit kernel.

Kernel: arch/mips/include/asm/regdef.h, v6.12.
"""
N64_REGISTER = re.compile(r"(?<=\$)t[0-7]\b")
ALIGNMENT = {"EM_AARCH64": 4, "EM_ARM": 4, "EM_MIPS": 4, "EM_PPC": 4, "EM_PPC64": 4, "EM_S390": 2, "EM_RISCV": 2}
"""Where an instruction may begin; 1 where it is not said."""


@dataclass(frozen=True, slots=True)
class Disassembled:
    """
    One instruction of `length` bytes, `code`, at `address`: `mnemonic` and `operands`. `memory` is the part of
    `operands` that is a memory operand, or two that stand side by side, as a range of characters (start, end); None if
    none is written out. What only computes an address (`lea`) has none. `reads` and `writes` say what it does with
    memory, also through operands that are not written out (the stack of a `push`).
    """

    address: int
    code: bytes
    mnemonic: str
    operands: str
    memory: tuple[int, int] | None
    reads: bool
    writes: bool

    @property
    def length(self) -> int:
        """In bytes."""
        return len(self.code)

    @property
    def text(self) -> str:
        """Mnemonic and operands."""
        return f"{self.mnemonic} {self.operands}".rstrip()


@lru_cache(maxsize=16)
def engine(elf_machine: str, bits: int, byte_order: str, thumb: bool) -> capstone.Cs | None:
    """capstone's engine for a platform, or None if it has none."""
    key = (elf_machine, bits, byte_order)
    if key not in ENGINES:
        return None
    made = capstone.Cs(
        *((capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_V8) if thumb else ENGINES[key])
    )
    if ENGINES[key][0] == capstone.CS_ARCH_X86:
        made.syntax = capstone.CS_OPT_SYNTAX_ATT
    return made


def can_disassemble(platform: Platform) -> bool:
    """Do we know this platform's instructions?"""
    return (platform.elf_machine, platform.bits, platform.byte_order) in ENGINES


def disassemble(platform: Platform, code: bytes, address: int, *, thumb: bool = False) -> Disassembled | None:
    """
    The instruction at the start of `code`, which lies at `address`; None if there is none, or none that we know.
    `thumb` asks for 32-bit ARM's T32 instead of A32.
    """
    return next(pieces(platform, code[:MAX_INSTRUCTION], address, 1, thumb), None)


def disassemble_all(platform: Platform, code: bytes, address: int, *, thumb: bool = False) -> Iterator[Disassembled]:
    """
    The instructions of `code` one after another. What is none is skipped, by the least number of bytes after which one
    may begin.
    """
    step = 2 if thumb else ALIGNMENT.get(platform.elf_machine, 1)
    at = 0
    while at < len(code) and can_disassemble(platform):
        start, limit = at, at + PIECE
        for found in pieces(platform, code[at : limit + MAX_INSTRUCTION], address + at, 0, thumb):
            if found.address - address >= limit:
                break
            yield found
            at = found.address - address + found.length
        if at == start:
            at += step


def pieces(platform: Platform, code: bytes, address: int, count: int, thumb: bool) -> Iterator[Disassembled]:
    """Instructions up to the first that is none, or `count` of them; 0 means all."""
    machine = platform.elf_machine
    decoder = engine(machine, platform.bits, platform.byte_order, thumb)
    if decoder is None:
        return
    n64 = machine == "EM_MIPS" and platform.bits == 64
    at = 0
    for _, size, mnemonic, operands in decoder.disasm_lite(code, address, count):
        if n64:
            operands = N64_REGISTER.sub(lambda found: N64[found[0]], operands)
        access = memory_access(machine, mnemonic, operands)
        yield Disassembled(address + at, code[at : at + size], mnemonic, operands, *access)
        at += size
    if not at and (beyond := decode_beyond(machine, platform.byte_order, code)) is not None:
        size, mnemonic, operands = beyond
        yield Disassembled(address, code[:size], mnemonic, operands, *memory_access(machine, mnemonic, operands))
