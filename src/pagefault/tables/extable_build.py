"""
Building an exception table: what the assembler, the linker and the kernel's link step do between them.

    raw = sort_table(encode(entries, address, DATA), DATA)

An entry holds addresses relative to its own fields, so whoever moves it must re-base them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..arch.exception_format import Layout, ThirdWord
from ..arch.x86_exception_types import BY_NAME, UACCESS_ERR_BIAS, UACCESS_ERR_SKIP
from ..errors import BadInput, Unsupported

U64 = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class TableEntry:
    """
    An entry to be built. `insn` and `fixup` are addresses; `data` is the third word: a handler's address, a type number
    or a data word (`DataWord.encode`), by the layout; where there is none, 1 makes the entry note uaccess_err.
    """

    insn: int
    fixup: int
    data: int = 0


def encode(entries: Iterable[TableEntry], address: int, layout: Layout) -> bytes:
    """
    The table of these entries, in their order, to lie at `address`.

    Raises BadInput for an entry that the layout cannot hold: a target 2 GiB or more away, a data word out of range.
    Raises Unsupported for a BPF entry, which only a JIT writes: its fixup word is no address.

    Kernel: arch/x86/include/asm/asm.h _ASM_EXTABLE_TYPE, v6.12.
    """
    raw = bytearray()
    for index, entry in enumerate(entries):
        here = address + len(raw)
        name = f"exception table entry {index}"
        noted = layout.third is ThirdWord.NONE and entry.data
        skip = entry.fixup - entry.insn
        if noted and not 0 <= skip < UACCESS_ERR_SKIP:
            few = f"a fixup less than {UACCESS_ERR_SKIP} bytes on for an entry that notes uaccess_err"
            raise BadInput(name, expected=few, got=f"{skip} bytes")
        if layout.size == 16:
            raw += unsigned(entry.insn, 8, name) + unsigned(skip if noted else entry.fixup, 8, name)
            continue
        fixup = entry.fixup + UACCESS_ERR_BIAS if noted else entry.fixup
        raw += relative(here, entry.insn, name) + relative(here + 4, fixup, name)
        match layout.third:
            case ThirdWord.HANDLER:
                raw += relative(here + 8, entry.data, name)
            case ThirdWord.TYPE | ThirdWord.DATA:
                bpf = BY_NAME["bpf"].number if layout.third is ThirdWord.DATA else BY_NAME["bpf"].number_5_16
                if entry.data & 0xFF == bpf:
                    raise Unsupported("building a BPF exception entry", why="only the BPF JIT writes them")
                raw += unsigned(entry.data, 4, name)
            case ThirdWord.NONE:
                pass
    return bytes(raw)


def sort_table(raw: bytes, layout: Layout) -> bytes:
    """
    The table sorted by instruction, as after the link step: made relative to the table's start, sorted, and made
    relative to each field again. A type or data word moves unchanged, a handler's address is re-based like the others.
    Entries for one instruction keep their order. The sums wrap at 32 bits, as the kernel's do.

    Kernel: scripts/sorttable.c sort_relative_table_with_data(), v6.12; x86_sort_relative_table() for 4.6 to 5.15.
    Differs: qsort() may swap entries for one instruction.
    """
    if len(raw) % layout.size:
        whole = f"an exception table of whole entries of {layout.size} bytes"
        raise BadInput("exception table", expected=whole, got=f"{len(raw)} bytes")
    if layout.size == 16:
        pairs = np.frombuffer(raw, "<u8").reshape(-1, 2)
        return pairs[np.argsort(pairs[:, 0], kind="stable")].tobytes()
    words = np.frombuffer(raw, "<i4").reshape(-1, layout.size // 4).copy()
    relative = 3 if layout.third is ThirdWord.HANDLER else 2
    fields = (np.arange(words.size, dtype=np.int64) * 4).astype(np.int32).reshape(words.shape)[:, :relative]
    words[:, :relative] += fields
    words = words[np.argsort(words[:, 0], kind="stable")]
    words[:, :relative] -= fields
    return words.tobytes()


def relative(here: int, target: int, name: str) -> bytes:
    """The s32 to add to `here` to get `target` in 64-bit arithmetic, or BadInput."""
    difference = (target - here + (1 << 63) & U64) - (1 << 63)
    if not -(1 << 31) <= difference < 1 << 31:
        raise BadInput(name, expected=f"a target within 2 GiB of {here:#x}", got=f"{target:#x}")
    return difference.to_bytes(4, "little", signed=True)


def unsigned(value: int, size: int, name: str) -> bytes:
    """`value` in `size` bytes, or BadInput."""
    if value < 0 or value >> size * 8:
        raise BadInput(name, expected=f"an unsigned number of {size * 8} bits", got=f"{value:#x}")
    return value.to_bytes(size, "little")
