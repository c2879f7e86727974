"""
Building an exception table: what the assembler, the linker and the kernel's link step do between them.

    raw = sort_table(encode(entries, address, DATA), DATA)

An entry holds addresses relative to its own fields, so whoever moves it must re-base them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..arch.exception_format import Addressing, FixupMark, Layout, ThirdWord
from ..arch.platform import X86_64, Platform
from ..errors import BadInput, Unsupported


@dataclass(frozen=True, slots=True)
class TableEntry:
    """
    An entry to be built. `insn` and `fixup` are addresses; `data` is the third word: a handler's address, a type number
    or a data word (`arch.exception_format`), by the layout; where there is none, 1 makes x86's entry note uaccess_err.
    Alpha's has the registers in its upper half, and a bit 0 of PA-RISC's fixup is the mark.
    """

    insn: int
    fixup: int
    data: int = 0


def encode(entries: Iterable[TableEntry], address: int, layout: Layout, platform: Platform = X86_64) -> bytes:
    """
    The table of these entries, in their order, to lie at `address`.

    Raises BadInput for an entry that the layout cannot hold: a target 2 GiB or more away, a data word out of range.
    Raises Unsupported for a BPF entry, which only a JIT writes: its fixup word is no address.

    Kernel: arch/x86/include/asm/asm.h _ASM_EXTABLE_TYPE, v6.12, and the like.
    """
    raw = bytearray()
    for index, entry in enumerate(entries):
        field = Field(f"exception table entry {index}", platform)
        raw += both_addresses(entry, address, address + len(raw), layout, field)
        match layout.third:
            case ThirdWord.HANDLER if layout.handler_optional and not entry.data:
                raw += bytes(layout.handler_bytes)
            case ThirdWord.HANDLER if layout.handler_bytes == 8:
                raw += field.unsigned((entry.data - (address + len(raw))) % (1 << 64), 8)
            case ThirdWord.HANDLER:
                raw += field.relative(address + len(raw), entry.data)
            case ThirdWord.TYPE | ThirdWord.DATA | ThirdWord.TYPE_AND_DATA:
                packed = platform.exceptions.bpf is not None
                if packed and layout.numbers.get(entry.data & layout.type_mask) == "bpf":
                    raise Unsupported("building a BPF exception entry", why="only the BPF JIT writes them")
                word = field.unsigned(entry.data, 4)
                swapped = layout.third is ThirdWord.TYPE_AND_DATA and platform.byte_order == "big"
                raw += word[2:] + word[:2] if swapped else word
            case ThirdWord.ERR_OPCODE:
                raw += field.unsigned(entry.data, 4)
            case ThirdWord.NONE:
                pass
    return bytes(raw)


def both_addresses(entry: TableEntry, address: int, here: int, layout: Layout, field: Field) -> bytes:
    """The first two words of an entry that lies at `here`, in a table at `address`."""
    noted = layout.mark is FixupMark.UACCESS_ERR and entry.data
    skip = entry.fixup - entry.insn
    if noted and not 0 <= skip < layout.mark_skip:
        few = f"a fixup less than {layout.mark_skip} bytes on for an entry that notes uaccess_err"
        raise BadInput(field.name, expected=few, got=f"{skip} bytes")
    match layout.addresses:
        case Addressing.ABSOLUTE:
            width = layout.size // 2
            return field.unsigned(entry.insn, width) + field.unsigned(skip if noted else entry.fixup, width)
        case Addressing.OWN_FIELD:
            fixup = entry.fixup + layout.mark_bias if noted else entry.fixup
            return field.relative(here, entry.insn) + field.relative(here + 4, fixup)
        case Addressing.TABLE:
            return field.relative(address, entry.insn) + field.relative(address, entry.fixup)
        case Addressing.NEXTINSN:
            if not -(1 << 15) <= skip < 1 << 15:
                raise BadInput(field.name, expected="a fixup within 32 KiB of the instruction", got=f"{skip} bytes")
            return field.relative(here, entry.insn) + field.unsigned(entry.data & ~0xFFFF | skip & 0xFFFF, 4)


@dataclass(frozen=True, slots=True)
class Field:
    """Writes numbers of one entry, which errors call `name`."""

    name: str
    platform: Platform

    def relative(self, here: int, target: int) -> bytes:
        """The s32 to add to `here` to get `target` in the platform's arithmetic, or BadInput."""
        half = self.platform.address_mask // 2 + 1
        difference = (target - here + half & self.platform.address_mask) - half
        if not -(1 << 31) <= difference < 1 << 31:
            raise BadInput(self.name, expected=f"a target within 2 GiB of {here:#x}", got=f"{target:#x}")
        return difference.to_bytes(4, self.platform.byte_order, signed=True)

    def unsigned(self, value: int, size: int) -> bytes:
        """`value` in `size` bytes, or BadInput."""
        if value < 0 or value >> size * 8:
            raise BadInput(self.name, expected=f"an unsigned number of {size * 8} bits", got=f"{value:#x}")
        return value.to_bytes(size, self.platform.byte_order)


def sort_table(raw: bytes, layout: Layout, platform: Platform = X86_64) -> bytes:
    """
    The table sorted by instruction, as after the link step: what is relative to its own field is re-based by the
    distance that the entry moves, a type or data word moves unchanged. Entries for one instruction keep their order.
    The sums wrap at 32 bits, as the kernel's do.

    Kernel: scripts/sorttable.c sort_relative_table_with_data(), v6.12; x86_sort_relative_table() for 4.6 to 5.15.
    Differs: qsort() may swap entries for one instruction.
    """
    if len(raw) % layout.size:
        whole = f"an exception table of whole entries of {layout.size} bytes"
        raise BadInput("exception table", expected=whole, got=f"{len(raw)} bytes")
    order = "<" if platform.byte_order == "little" else ">"
    if layout.addresses is Addressing.ABSOLUTE:
        pairs = np.frombuffer(raw, f"{order}u{layout.size // 2}").reshape(-1, 2)
        return pairs[np.argsort(pairs[:, 0], kind="stable")].tobytes()
    words = np.frombuffer(raw, f"{order}i4").astype(np.int32).reshape(-1, layout.size // 4)
    start = np.arange(len(words), dtype=np.int64) * layout.size
    based = layout.addresses is not Addressing.TABLE
    turn = np.argsort(words[:, 0] + start.astype(np.int32) if based else words[:, 0], kind="stable")
    moved = start[turn] - start
    rows = words.astype(f"{order}i4")[turn]
    relative = {Addressing.OWN_FIELD: 2, Addressing.NEXTINSN: 1}.get(layout.addresses, 0)
    relative += layout.third is ThirdWord.HANDLER and layout.handler_bytes == 4
    rows[:, :relative] = words[turn, :relative] + moved.astype(np.int32)[:, np.newaxis]
    if layout.third is ThirdWord.HANDLER and layout.handler_bytes == 8:
        handlers = rows.view(f"{order}i8")[:, 1]
        handlers += np.where((handlers == 0) & layout.handler_optional, 0, moved)
    return rows.tobytes()
