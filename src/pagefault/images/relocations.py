"""
The relocations of a module's table: what the linker left for the kernel to fill in when it loads the module.

Only what a table of addresses may hold is known here: an address or a distance, written whole, or (riscv, loongarch)
added and subtracted. Relocations of code are another matter, and nobody here needs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import BadInput, Unsupported
from ..tables.symbols import elf_symbol
from .elf import Elf, Section

SHN_UNDEF, SHN_ABS = 0, 0xFFF1
Words = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]


class Rule(NamedTuple):
    """
    What a relocation does with `size` bytes: S is the symbol's value, A the addend, P the place, V what is there.

        absolute  S + A        relative  S + A - P        add  V + S + A        subtract  V - S - A
    """

    does: Literal["absolute", "relative", "add", "subtract"]
    size: Literal[4, 8]


ABSOLUTE_4, ABSOLUTE_8 = Rule("absolute", 4), Rule("absolute", 8)
RELATIVE_4, RELATIVE_8 = Rule("relative", 4), Rule("relative", 8)
ADD_AND_SUBTRACT = Rule("add", 4), Rule("add", 8), Rule("subtract", 4), Rule("subtract", 8)
RULES: dict[str, dict[int, Rule]] = {
    "EM_X86_64": {1: ABSOLUTE_8, 2: RELATIVE_4, 10: ABSOLUTE_4, 11: ABSOLUTE_4, 24: RELATIVE_8},
    "EM_386": {1: ABSOLUTE_4, 2: RELATIVE_4},
    "EM_AARCH64": {257: ABSOLUTE_8, 258: ABSOLUTE_4, 260: RELATIVE_8, 261: RELATIVE_4},
    "EM_ARM": {2: ABSOLUTE_4, 3: RELATIVE_4},
    "EM_MIPS": {2: ABSOLUTE_4, 18: ABSOLUTE_8},
    "EM_PPC": {1: ABSOLUTE_4, 26: RELATIVE_4},
    "EM_PPC64": {1: ABSOLUTE_4, 26: RELATIVE_4, 38: ABSOLUTE_8, 44: RELATIVE_8},
    "EM_S390": {4: ABSOLUTE_4, 5: RELATIVE_4, 22: ABSOLUTE_8, 23: RELATIVE_8},
    "EM_ALPHA": {1: ABSOLUTE_4, 2: ABSOLUTE_8, 10: RELATIVE_4, 11: RELATIVE_8},
    "EM_PARISC": {1: ABSOLUTE_4, 9: RELATIVE_4, 72: RELATIVE_8, 80: ABSOLUTE_8},
    "EM_SPARC": {3: ABSOLUTE_4, 6: RELATIVE_4, 23: ABSOLUTE_4},
    "EM_SPARCV9": {3: ABSOLUTE_4, 6: RELATIVE_4, 23: ABSOLUTE_4, 32: ABSOLUTE_8, 46: RELATIVE_8, 54: ABSOLUTE_8},
    "EM_RISCV": {1: ABSOLUTE_4, 2: ABSOLUTE_8, 57: RELATIVE_4}
    | dict(zip((35, 36, 39, 40), ADD_AND_SUBTRACT, strict=True)),
    "EM_LOONGARCH": {1: ABSOLUTE_4, 2: ABSOLUTE_8, 99: RELATIVE_4, 109: RELATIVE_8}
    | dict(zip((50, 51, 55, 56), ADD_AND_SUBTRACT, strict=True)),
}
"""
By machine and number. Manual: the processor supplement of each ABI, "Relocation Types" (its R_…_PC32, R_…_32, …).
"""
NOTHING = 0
"""R_…_NONE, everywhere."""


@dataclass(frozen=True, slots=True)
class Relocation:
    """
    One relocation, in words: at `offset` of its section, of ABI type `type`, against `symbol` (empty for a section's
    own) in `section`, plus `addend`. `section` is None for a symbol that is undefined: the linker discarded its
    section, or another module has it. `loaded` says whether the symbol is in memory when the module is.
    """

    offset: int
    type: int
    symbol: str
    section: str | None
    loaded: bool
    addend: int


class Records(NamedTuple):
    """Relocations as arrays of shape (n,). `addend` is None where the addends are in the section (SHT_REL)."""

    offset: Words
    type: Words
    symbol: Numbers
    addend: Words | None


def symbol_entries(elf: Elf, section: Section | None) -> npt.NDArray[np.void]:
    """A symbol table as a structured array in the file's own order of bytes; of no entries if there is no table."""
    layout = elf_symbol(elf.bits, elf.byte_order)
    data = section.data if section else elf.data[:0]
    return np.frombuffer(data[: len(data) // layout.itemsize * layout.itemsize], layout)


def read_records(elf: Elf, section: Section) -> Records:
    """
    The relocations in `section`, of type SHT_REL or SHT_RELA.

    Errors: BadInput if it is not a whole number of them.
    """
    width = elf.bits // 8
    word = f"{'<' if elf.byte_order == 'little' else '>'}u{width}"
    columns = 3 if section.type == "SHT_RELA" else 2
    if len(section.data) % (columns * width):
        expected = f"relocations of {columns * width} bytes each"
        raise BadInput(f"{elf.path} {section.name}", expected=expected, got=f"{len(section.data)} bytes")
    table = np.frombuffer(section.data, word).reshape(-1, columns)
    info = table[:, 1].astype(np.uint64)
    if elf.bits == 32:
        symbol, kind = info >> np.uint64(8), info & np.uint64(0xFF)
    elif elf.machine == "EM_MIPS":
        # Not one number: a symbol, a special symbol, and three types one after the other, a byte each.
        fields = table[:, 1].copy().view(np.dtype([("symbol", word[0] + "u4"), ("rest", "u1", 4)]))
        symbol, kinds = fields["symbol"].astype(np.uint64), fields["rest"].astype(np.uint64)
        kind = kinds[:, 3] | kinds[:, 2] << np.uint64(8) | kinds[:, 1] << np.uint64(16)
    else:
        symbol, kind = info >> np.uint64(32), info & np.uint64(0xFFFF_FFFF)
    addend = None
    if columns == 3:
        addend = table[:, 2].astype(f"i{width}").astype(np.int64).view(np.uint64)
    return Records(table[:, 0].astype(np.uint64), kind, symbol.astype(np.int64), addend)


def apply(elf: Elf, records: Records, raw: bytes, address: int, values: Words, known: npt.NDArray[np.bool_]) -> bytes:
    """
    `raw`, a section that lies at `address`, relocated. `values` are the addresses of the file's symbols, `known` says
    which of them have one; where a symbol has none the bytes stay as they are.

    Errors: BadInput for a relocation outside the section or of a symbol that is not there; Unsupported for a type that
    no table of addresses has.
    """
    check_records(elf, records, len(raw), len(values))
    result = np.frombuffer(bytearray(raw), np.uint8)
    apply_here = known[records.symbol]
    for kind in np.unique(records.type[apply_here]).tolist():
        if kind == NOTHING:
            continue
        rule = RULES[elf.machine][kind]
        chosen = apply_here & (records.type == kind)
        places = records.offset[chosen].astype(np.int64)[:, None] + np.arange(rule.size)
        word = np.dtype(f"{'<' if elf.byte_order == 'little' else '>'}u{rule.size}")
        there = result[places].view(word)[:, 0].astype(np.uint64)
        addend = there if records.addend is None else records.addend[chosen]
        target = values[records.symbol[chosen]] + addend
        match rule.does:
            case "absolute":
                new = target
            case "relative":
                new = target - (np.uint64(address) + records.offset[chosen])
            case "add":
                new = there + target
            case "subtract":
                new = there - target
        result[places] = new.astype(word)[:, None].view(np.uint8)
    return result.tobytes()


def check_records(elf: Elf, records: Records, size: int, symbols: int) -> None:
    """Every relocation must be of a type we know, inside its section of `size` bytes, against one of the symbols."""
    rules = RULES.get(elf.machine, {})
    for kind in np.unique(records.type).tolist():
        if kind == NOTHING:
            continue
        if kind not in rules:
            raise Unsupported(f"relocation type {kind} of {elf.machine}", why=f"{elf.path} has it in a table")
        offsets = records.offset[records.type == kind]
        if int(offsets.max()) + rules[kind].size > size:
            got = f"one at {int(offsets.max()):#x} of {size:#x} bytes"
            raise BadInput(elf.path, expected="relocations inside their section", got=got)
    if len(records.symbol) and int(records.symbol.max()) >= symbols:
        got = f"symbol number {int(records.symbol.max())}"
        raise BadInput(elf.path, expected=f"relocations against one of {symbols} symbols", got=got)
