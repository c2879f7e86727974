"""
arm64: loads and stores where PAN is off, so that ordinary instructions reach user memory.

    msr pan, #0 … msr pan, #1, written over a no-op at boot where the CPU has PAN

Kernel: arch/arm64/include/asm/uaccess.h uaccess_enable_privileged(), arch/arm64/include/asm/futex.h, v6.1. The windows
of kernels without PAN, which switch TTBR0 instead, are the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..errors import Absent
from .context import AuditContext

PAN_OFF, PAN_ON = 0xD500409F, 0xD500419F
"""msr pan, #0 and #1. Kernel: arch/arm64/include/asm/sysreg.h SET_PSTATE_PAN(), v6.1."""
ALTERNATIVE = np.dtype(
    [("site", "<i4"), ("other", "<i4"), ("feature", "<u2"), ("length", "u1"), ("other_length", "u1")]
)
"""Kernel: arch/arm64/include/asm/alternative.h struct alt_instr, v6.1."""
SP = 31
MAX_STEPS = 4096


def pan_windows(context: AuditContext) -> Iterator[tuple[int, int]]:
    """Every load and store in such a window that is not of the stack, with the address that opened the window."""
    changes = pan_changes(context)
    told: set[int] = set()
    for window, off in sorted(changes.items()):
        if not off:
            continue
        seen: set[int] = set()
        todo = [window + 4]
        while todo and len(seen) < MAX_STEPS:
            at = todo.pop()
            if at in seen or changes.get(at) is False:
                continue
            seen.add(at)
            code = context.code(at, 4)
            if len(code) < 4:
                continue
            word = int.from_bytes(code, "little")
            if accesses(word) and at not in told:
                told.add(at)
                yield at, window
            todo.extend(following(word, at))


def accesses(word: int) -> bool:
    """Is it a load or store by a register that is not the stack pointer? Manual: Arm ARM, C4.1.94."""
    load_or_store, literal = word & 0x0A000000 == 0x08000000, word & 0x3B000000 == 0x18000000
    prefetch = word & 0xFFC00000 == 0xF9800000 or word & 0xFFE00C00 == 0xF8800000
    return load_or_store and not literal and not prefetch and word >> 5 & 31 != SP


def pan_changes(context: AuditContext) -> dict[int, bool]:
    """Where PAN is changed: True where it is put off, False where it is put on."""
    changes: dict[int, bool] = {}
    table = next((section for section in context.image.sections if section.name == ".altinstructions"), None)
    start, stop = (context.image.symbols.get(f"__alt_instructions{end}") for end in ("", "_end"))
    if table is not None:
        start, stop = table.address, table.end
    if start is None or stop is None or stop <= start:
        return changes
    try:
        raw = context.image.read(start, (stop - start) // ALTERNATIVE.itemsize * ALTERNATIVE.itemsize)
    except Absent:
        return changes
    for index, (site, other, _, length, other_length) in enumerate(np.frombuffer(raw, ALTERNATIVE).tolist()):
        here = start + index * ALTERNATIVE.itemsize
        if length != 4 or other_length != 4:
            continue
        word = int.from_bytes(context.code(here + 4 + other, 4), "little")
        if word in (PAN_OFF, PAN_ON):
            changes[here + site] = word == PAN_OFF
    return changes


def following(word: int, at: int) -> tuple[int, ...]:
    """Where the CPU may go on: calls are gone over, indirect branches end it. Manual: Arm ARM, C4.1.93."""
    if word & 0xFC000000 == 0x14000000:  # b
        return (at + 4 * signed(word, 0, 26),)
    if word & 0xFF000010 == 0x54000000 or word & 0x7E000000 == 0x34000000:  # b.cond, cbz, cbnz
        return at + 4, at + 4 * signed(word, 5, 19)
    if word & 0x7E000000 == 0x36000000:  # tbz, tbnz
        return at + 4, at + 4 * signed(word, 5, 14)
    if word & 0xFE000000 == 0xD6000000 and word & 0x00600000 != 0x00200000:  # br, ret, eret: not blr
        return ()
    return (at + 4,)


def signed(word: int, shift: int, bits: int) -> int:
    """A signed field of an instruction."""
    value = word >> shift & (1 << bits) - 1
    return value - (value >> bits - 1 << bits)
