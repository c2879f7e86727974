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

S390_LENGTHS = (2, 4, 4, 6)
"""By the two highest bits. Manual: z/Architecture Principles of Operation, chapter 5, "Instruction Formats"."""
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
    starts, ends = decoded(context, extent)
    place = bisect_right(starts, address) - 1
    if place < 0 or starts[place] == address or address >= ends[place]:
        return None
    run = range(place, min(place + 6, len(starts) - 1))
    return starts[place] if all(ends[at] == starts[at + 1] for at in run) else None


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
