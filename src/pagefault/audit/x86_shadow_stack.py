"""
Stores to a user's shadow stack: WRUSS writes with the user's rights, outside of any STAC..CLAC window, so each one
needs an entry.

Kernel: arch/x86/include/asm/special_insns.h write_user_shstk_64(), v6.12.
Manual: Intel SDM vol. 2D, WRUSSD/WRUSSQ: 66 (REX.W) 0F 38 F5 /r.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from .boundaries import decoded
from .context import AuditContext
from .x86_code import find_all

OPCODE = bytes.fromhex("0f38f5")


def shadow_stack_stores(context: AuditContext) -> Iterator[int]:
    """The addresses of all such instructions of an image: of bytes like that, those that a function decodes to."""
    for start, end in sorted(context.image.executable):
        for place in find_all(context.image, start, end, OPCODE):
            extent = context.extent(place)
            if extent is None:
                continue
            starts = decoded(context, extent)[0]
            at = bisect_right(starts, place) - 1
            found = context.instruction(starts[at]) if at >= 0 else None
            if found is not None and found.mnemonic.startswith("wruss"):
                yield starts[at]
