"""
Where the instructions of a function begin.

Lengths are known without a decoder where they stand in the first bits (fixed at 4, s390, RISC-V); on x86 the function
is decoded from its start. Data between instructions may put the decoder out of step for a while: only an instruction
that is followed by six more without a break, and that spans the address, is believed.
"""

from __future__ import annotations

from bisect import bisect_right

from ..arch.disassembly import disassemble_all
from .context import AuditContext
from .handler_types import X86

S390_LENGTHS = (2, 4, 4, 6)
"""By the two highest bits. Manual: z/Architecture Principles of Operation, chapter 5, "Instruction Formats"."""
MAX_PATCH = 255
"""Kernel: arch/x86/include/asm/alternative.h struct alt_instr, instrlen, v6.1."""
NOP = b"\x90"
FIXED = frozenset({"EM_AARCH64", "EM_MIPS", "EM_PPC", "EM_PPC64", "EM_LOONGARCH"})


def boundary(context: AuditContext, address: int) -> int | None:
    """The start of the instruction that `address` lies inside; None if it begins one, or nobody knows."""
    machine = context.platform.elf_machine
    if machine in FIXED:
        return address & ~3 if address & 3 else None
    if machine == "EM_ARM":
        return address & ~1 if address & 1 else None
    extent = context.extent(address)
    if extent is None or context.executable(address) is None:
        return None
    patched = begun_in_a_patch(context, address)
    if patched is not None:
        return patched if patched != address else None
    starts, ends = decoded(context, extent)
    place = bisect_right(starts, address) - 1
    if place < 0 or starts[place] == address or address >= ends[place]:
        return None
    run = range(place, min(place + 6, len(starts) - 1))
    return starts[place] if all(ends[at] == starts[at + 1] for at in run) else None


def begun_in_a_patch(context: AuditContext, address: int) -> int | None:
    """
    The start of the instruction that `address` begins or lies inside, where x86 code is patched at boot: what is linked
    there or a replacement has an instruction that begins there. No-ops of one byte are made longer ones. None where
    nothing is patched.

    Kernel: arch/x86/kernel/alternative.c apply_alternatives(), optimize_nops(), v6.1 and v6.12.
    """
    if context.platform.elf_machine not in X86:
        return None
    over = [
        each
        for site in range(address - MAX_PATCH, address)
        for each in context.x86_code.replacements.get(site, ())
        if each.site < address < each.site + each.length
    ]
    if not over:
        return None
    starts = {each.site + len(each.code) for each in over}
    for each in over:
        starts.update(step.address for step in context.x86_code.replaced(each))
    site, end = min(each.site for each in over), max(each.site + each.length for each in over)
    at, was_nop = site, False
    while at < end:
        found = context.instruction(at)
        if found is None:
            break
        if not (was_nop and found.code == NOP):
            starts.add(at)
        at, was_nop = at + found.length, found.code == NOP
    return max(start for start in starts if start <= address)


def decoded(context: AuditContext, extent: tuple[int, int]) -> tuple[list[int], list[int]]:
    """First addresses and ends of the instructions of a function."""
    found = context.decoded.get(extent)
    if found is None:
        code = context.code(extent[0], extent[1] - extent[0])
        starts: list[int] = []
        ends: list[int] = []
        if context.platform.elf_machine == "EM_S390":
            at = 0
            while at < len(code):
                length = S390_LENGTHS[code[at] >> 6]
                starts.append(extent[0] + at)
                at += length
                ends.append(extent[0] + at)
        elif context.platform.elf_machine == "EM_RISCV":
            at = 0
            while at < len(code):
                starts.append(extent[0] + at)
                at += 4 if code[at] & 3 == 3 else 2
                ends.append(extent[0] + at)
        else:
            for each in disassemble_all(context.platform, code, extent[0]):
                starts.append(each.address)
                ends.append(each.address + each.length)
        found = context.decoded[extent] = (starts, ends)
    return found
