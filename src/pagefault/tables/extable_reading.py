"""
An exception table's bytes read by one layout, all entries at once: arrays of addresses, data words and types, and which
entries make no sense.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arch.exception_format import Addressing, BpfFixup, ExceptionFormat, FixupMark, Layout, ThirdWord
from ..arch.platform import X86_64, Platform

Addresses = NDArray[np.uint64]
HandlerSymbol = Callable[[int], str | None]
"""The symbol that starts at this address, if one does."""
Code = Callable[[int, int], bytes]
"""So many bytes of the image at an address. Errors: Absent if it does not hold them."""

UNKNOWN = -1
MOST_HANDLERS = 1024
"""Handler functions that are looked up: a kernel has a dozen, however long its table is."""


@dataclass(frozen=True, slots=True, eq=False)
class RawTable:
    """A table's bytes, and what is known of the image around it. `ExceptionTable.from_bytes` has the meanings."""

    raw: bytes
    address: int
    executable: Sequence[tuple[int, int]]
    platform: Platform = X86_64
    exceptions: ExceptionFormat = X86_64.exceptions
    handler_symbol: HandlerSymbol | None = None
    code: Code | None = None
    where: str = "exception table"
    offset: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """
    A table of n entries read by one layout; arrays have shape (n,), in the table's order.

    `insn` and `fixup` are addresses, `fixup` where the CPU goes on. `third` is the handler's address, the type number
    or the data word (`arch.exception_format`); where entries have none it is 1 if the fixup is marked. `kind` indexes
    the format's types, or is UNKNOWN. `outside` marks entries with an address that is not in executable memory.
    """

    layout: Layout
    insn: Addresses
    fixup: Addresses
    third: Addresses
    kind: NDArray[np.int16]
    outside: NDArray[np.bool_]

    @property
    def in_order(self) -> bool:
        """Do the instructions' addresses never fall?"""
        return bool(np.all(self.insn[:-1] <= self.insn[1:]))

    @property
    def unknown(self) -> NDArray[np.bool_]:
        """Entries whose type this layout does not know."""
        return np.equal(self.kind, UNKNOWN)

    def has_size_of(self, raw: bytes) -> bool:
        """Is the table a number of whole entries?"""
        return len(raw) % self.layout.size == 0


def read(table: RawTable, layout: Layout) -> Reading:
    """Read the table by this layout, whether it makes sense or not; a cut-off entry is left."""
    exceptions, mask = table.exceptions, np.uint64(table.platform.address_mask)
    count = len(table.raw) // layout.size
    raw = table.raw[: count * layout.size]
    order = "<" if table.platform.byte_order == "little" else ">"
    entry = np.uint64(table.address) + np.arange(count, dtype=np.uint64) * np.uint64(layout.size)
    insn, fixup, words = addresses(raw, order, table.address, entry, layout)
    marked = np.zeros(count, np.bool_)
    match layout.mark:
        case FixupMark.UACCESS_ERR if layout.addresses is Addressing.ABSOLUTE:
            marked = fixup < layout.mark_skip
            fixup = np.where(marked, insn + fixup, fixup)
        case FixupMark.UACCESS_ERR:
            marked = words[:, 1] - words[:, 0] >= layout.mark_bias - 4
            fixup = np.where(marked, fixup - np.uint64(layout.mark_bias), fixup)
        case FixupMark.EFAULT:
            marked = (fixup & np.uint64(1)) != 0
            fixup &= ~np.uint64(3)
        case None:
            pass
    kinds = {type_.name: index for index, type_ in enumerate(exceptions.types)}
    outside = np.zeros(count, np.bool_)
    if layout.third is ThirdWord.HANDLER:
        distance = words[:, 2] if layout.handler_bytes == 4 else np.frombuffer(raw, f"{order}i8")[1::2]
        third = (entry + np.uint64(8) + extend(distance)) & mask
        plain = (distance == 0) & layout.handler_optional
        third[plain] = 0
        outside = ~plain & ~inside(third, table.executable)
        kind = kinds_of_handlers(third, table, kinds)
        kind[plain] = kinds[layout.default]
    else:
        third = third_words(words, marked, layout, order)
        kind = kinds_of_words(third, marked, layout, exceptions, kinds)
    if exceptions.bpf is not None and layout.third not in (ThirdWord.NONE, ThirdWord.ERR_OPCODE):
        bpf = kind == kinds["bpf"]
        target, sound = bpf_fixups(words[:, 1].astype(np.uint32).astype(np.uint64), insn, entry, exceptions.bpf)
        fixup = np.where(bpf, target, fixup)
        outside = outside | bpf & ~sound
    insn, fixup = insn & mask, fixup & mask
    outside = outside | ~inside(insn, table.executable) | ~inside(fixup, table.executable)
    return Reading(layout, insn, fixup, third, kind, outside)


def addresses(
    raw: bytes, order: str, start: int, entry: Addresses, layout: Layout
) -> tuple[Addresses, Addresses, NDArray[np.int32]]:
    """
    Both addresses of every entry, before marks are taken off the fixup, and the table's words, of shape (n, words).
    `start` is the table's address, `entry` has the entries'.
    """
    words = np.frombuffer(raw, f"{order}i4").astype(np.int32).reshape(len(entry), layout.size // 4)
    match layout.addresses:
        case Addressing.ABSOLUTE:
            pairs = np.frombuffer(raw, f"{order}u{layout.size // 2}").astype(np.uint64).reshape(len(entry), 2)
            return pairs[:, 0], pairs[:, 1], words
        case Addressing.OWN_FIELD:
            return entry + extend(words[:, 0]), entry + np.uint64(4) + extend(words[:, 1]), words
        case Addressing.TABLE:
            return np.uint64(start) + extend(words[:, 0]), np.uint64(start) + extend(words[:, 1]), words
        case Addressing.NEXTINSN:
            insn = entry + extend(words[:, 0])
            return insn, insn + extend(words[:, 1].astype(np.int16)), words


def third_words(words: NDArray[np.int32], marked: NDArray[np.bool_], layout: Layout, order: str) -> Addresses:
    """The data words, in the one form they have everywhere."""
    if layout.addresses is Addressing.NEXTINSN:
        return words[:, 1].astype(np.uint32).astype(np.uint64)
    if layout.third is ThirdWord.NONE:
        return marked.astype(np.uint64)
    third = words[:, 2].astype(np.uint32)
    if layout.third is ThirdWord.TYPE_AND_DATA and order == ">":
        third = third >> np.uint32(16) | third << np.uint32(16)
    return third.astype(np.uint64)


def bpf_fixups(
    packed: Addresses, insn: Addresses, entry: Addresses, bpf: BpfFixup
) -> tuple[Addresses, NDArray[np.bool_]]:
    """Where a BPF entry's fixup word leads, and whether a JIT could have written it."""
    distance = packed & np.uint64((1 << bpf.distance) - 1)
    target = entry + np.uint64(4) - distance if bpf.back else insn + distance
    sound = np.isin(packed >> np.uint64(bpf.distance), np.array(list(bpf.registers), np.uint64))
    if bpf.skips:
        sound &= np.isin(target - insn, np.array(bpf.skips, np.uint64))
    return target, sound


def extend(words: NDArray[np.int64] | NDArray[np.int32] | NDArray[np.int16]) -> Addresses:
    """A signed number to 64 bits with its sign, for address arithmetic that wraps."""
    return words.astype(np.int64).astype(np.uint64)


def inside(places: Addresses, ranges: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
    """Which of the addresses lie in one of the ranges (start, end), end excluded? Ranges may overlap, in any order."""
    if not ranges:
        return np.zeros(len(places), np.bool_)
    starts, ends = np.array([(start, min(end, (1 << 64) - 1)) for start, end in sorted(ranges)], np.uint64).T
    place = np.searchsorted(starts, places, side="right")
    return (place > 0) & (places < np.maximum.accumulate(ends)[place - 1])


def kinds_of_words(
    third: Addresses, marked: NDArray[np.bool_], layout: Layout, exceptions: ExceptionFormat, kinds: dict[str, int]
) -> NDArray[np.int16]:
    """The kind of every entry of a layout without handlers."""
    if layout.numbers:
        table = np.full(257, UNKNOWN, np.int16)
        table[list(layout.numbers)] = [kinds[name] for name in layout.numbers.values()]
        kind: NDArray[np.int16] = np.take(table, np.minimum(third & np.uint64(layout.type_mask), 256).astype(np.intp))
        if layout.third is ThirdWord.DATA:
            kind[third >> np.uint64(12) & np.uint64(0xF) >= 1 << len(exceptions.flags)] = UNKNOWN
        return kind
    special = {FixupMark.UACCESS_ERR: "ext", FixupMark.EFAULT: "efault", None: layout.default}[layout.mark]
    kind = np.where(marked, kinds[special], kinds[layout.default]).astype(np.int16)
    if layout.opcode is not None:
        mask, value = layout.opcode
        kind[third & np.uint64(mask) != value] = UNKNOWN
    return kind


def kinds_of_handlers(handlers: Addresses, table: RawTable, kinds: dict[str, int]) -> NDArray[np.int16]:
    """The kind of every handler function, by its symbol; UNKNOWN where they are too many to be handlers."""
    distinct, place = np.unique(handlers, return_inverse=True)
    found = np.full(len(distinct), UNKNOWN, np.int16)
    names = {handler: type_.name for type_ in table.exceptions.types for handler in type_.handlers}
    if table.handler_symbol is not None and len(distinct) <= MOST_HANDLERS:
        for index in np.flatnonzero(inside(distinct, table.executable)).tolist():
            name = names.get(table.handler_symbol(int(distinct[index])) or "")
            found[index] = UNKNOWN if name is None else kinds[name]
    return np.take(found, place)
