"""
Instructions that access memory with the user's rights, whoever runs them: each is there to touch user memory, so each
needs an entry. They are found in all of the code at once, by mask.

    arm64   ldtr, sttr and their kin
    arm     ldrt, strt, ldrbt, strbt, and the halfword forms (only kernels for CPUs before ARMv6K have them)
    mips    lbe, lwe, swe, … (only kernels with CONFIG_EVA have them)
    s390    mvcos

Kernel: arch/arm64/include/asm/asm-uaccess.h user_ldst, arch/arm/include/asm/domain.h TUSER(),
arch/mips/include/asm/asm-eva.h, arch/s390/lib/uaccess.c raw_copy_from_user(), v6.1.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import Absent
from .boundaries import decoded
from .context import AuditContext

Words = NDArray[np.uint32]
Flags = NDArray[np.bool_]


class Pattern(NamedTuple):
    """Words that have `value` where `mask` has ones."""

    mask: int
    value: int


ARM64 = (Pattern(0x3F200C00, 0x38000800),)
"""Manual: Arm ARM, C4.1.94, "Load/store register (unprivileged)"."""
ARM = (
    Pattern(0x0F200000, 0x04200000),  # an immediate
    Pattern(0x0F200010, 0x06200000),  # a register
    Pattern(0x0F2000F0, 0x002000B0),  # ldrht, strht
    Pattern(0x0F3000F0, 0x003000D0),  # ldrsbt
    Pattern(0x0F3000F0, 0x003000F0),  # ldrsht
)
"""Manual: Arm ARM (A-profile, AArch32), F4.1, post-indexed with W set."""
ARM_NEVER = 0xF
"""Condition 1111: other instructions altogether."""
ARM_LITERAL = Pattern(0x0F7F0000, 0x051F0000)
"""ldr Rt, [pc, #imm12]: what it loads is no instruction."""
MIPS = tuple(
    Pattern(0xFC00007F, 0x7C000000 | function)
    for function in (0x19, 0x1A, 0x1C, 0x1D, 0x1E, 0x1F, 0x21, 0x22, 0x28, 0x29, 0x2C, 0x2D, 0x2E, 0x2F)
)
"""SPECIAL3 with the functions of EVA. Manual: MIPS32 Instruction Set, table A.10."""


def unprivileged(context: AuditContext) -> Iterator[int]:
    """The addresses of all such instructions of an image, in order, but for what its symbols say is data."""
    find = FINDERS.get(context.platform.elf_machine)
    if find is None:
        return
    marks = mapping_symbols(context)
    blind = context.platform.elf_machine == "EM_ARM" and not marks[0]
    covered = set(context.functions_of(iter(context.by_instruction))) if blind else set()
    if blind:
        context.skip(
            "unprivileged accesses in functions without any entry",
            "no mapping symbols ($a, $d) tell an ARM image's code from the data between it",
        )
    for start, end in sorted(context.image.executable):
        try:
            code = context.image.read(start, end - start)
        except Absent:
            continue
        for address in find(context, start, code):
            if not is_data(marks, address) and not (blind and context.extent(address) not in covered):
                yield address


def mapping_symbols(context: AuditContext) -> tuple[list[int], list[bool]]:
    """
    Where code and data begin inside a section, and which of the two, as an ARM assembler marks it: $a, $t, $x and $d.

    Manual: ELF for the Arm Architecture, 5.5.5, "Mapping symbols".
    """
    if context.platform.elf_machine not in ("EM_ARM", "EM_AARCH64"):
        return [], []
    found = sorted((address, name[1] == "d") for name, address in context.image.symbols.matching(is_mapping))
    return [address for address, _ in found], [data for _, data in found]


def is_mapping(name: str) -> bool:
    """Is it a mapping symbol's name?"""
    return name[:2] in ("$a", "$t", "$x", "$d") and (len(name) == 2 or name[2] == ".")


def is_data(marks: tuple[list[int], list[bool]], address: int) -> bool:
    """Is there data at an address, as far as mapping symbols tell?"""
    place = bisect_right(marks[0], address) - 1
    return place >= 0 and marks[1][place]


def words_of(context: AuditContext, code: bytes) -> Words:
    """The code as words of 32 bits."""
    order = "<" if context.platform.byte_order == "little" else ">"
    words: Words = np.frombuffer(code[: len(code) & ~3], f"{order}u4").astype(np.uint32)
    return words


def matching(words: Words, patterns: tuple[Pattern, ...]) -> Flags:
    """Which words match one of these."""
    found = np.zeros(len(words), np.bool_)
    for mask, value in patterns:
        found |= (words & np.uint32(mask)) == np.uint32(value)
    return found


def by_word(patterns: tuple[Pattern, ...]) -> Callable[[AuditContext, int, bytes], Iterator[int]]:
    """A finder for instructions of one word each."""

    def find(context: AuditContext, start: int, code: bytes) -> Iterator[int]:
        for place in np.flatnonzero(matching(words_of(context, code), patterns)).tolist():
            yield start + 4 * place

    return find


def in_arm(context: AuditContext, start: int, code: bytes) -> Iterator[int]:
    """32-bit ARM keeps constants between its functions: words that are loaded as such are left out."""
    words = words_of(context, code)
    found = matching(words, ARM) & (words >> np.uint32(28) != ARM_NEVER)
    loads = np.flatnonzero(matching(words, (ARM_LITERAL,)))
    offsets = (words[loads] & np.uint32(0xFFF)).astype(np.int64)
    up = (words[loads] >> np.uint32(23) & np.uint32(1)).astype(bool)
    literals = loads * 4 + 8 + np.where(up, offsets, -offsets)
    literals = literals[(literals >= 0) & (literals < len(words) * 4)]
    found[literals // 4] = False
    for place in np.flatnonzero(found).tolist():
        yield start + 4 * place


def in_s390(context: AuditContext, start: int, code: bytes) -> Iterator[int]:
    """mvcos is c8.0: halfwords like that are instructions if decoding their function from its start says so."""
    halves = np.frombuffer(code[: len(code) & ~1], ">u2")
    for place in np.flatnonzero((halves & 0xFF0F) == 0xC800).tolist():
        address = start + 2 * place
        extent = context.extent(address)
        if extent is not None and address in decoded(context, extent)[0]:
            yield address


FINDERS: dict[str, Callable[[AuditContext, int, bytes], Iterator[int]]] = {
    "EM_AARCH64": by_word(ARM64),
    "EM_ARM": in_arm,
    "EM_MIPS": by_word(MIPS),
    "EM_S390": in_s390,
}
