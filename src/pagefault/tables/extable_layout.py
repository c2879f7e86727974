"""
Which era's layout does this exception table have? Decided by what it holds; the version string has the last say, not
the first.

Every layout whose size divides the table reads it, and each reading says which entries make no sense in it. One that
has none of these is a fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from ..arch.exception_format import Layout, ThirdWord
from ..arch.x86_exception_types import (
    BPF_DONT_CLEAR,
    BY_HANDLER,
    BY_NUMBER,
    BY_NUMBER_5_16,
    FLAGS,
    LAYOUTS,
    PT_REGS,
    TYPES,
    UACCESS_ERR_BIAS,
    UACCESS_ERR_SKIP,
)
from ..errors import Absent, BadInput, Unsupported

Addresses = NDArray[np.uint64]
HandlerSymbol = Callable[[int], str | None]
"""The symbol that starts at this address, if one does."""

KIND = {type_.name: index for index, type_ in enumerate(TYPES)}
UNKNOWN = -1


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """
    A table of n entries read by one layout; arrays have shape (n,), in the table's order.

    `insn` and `fixup` are addresses, `fixup` where the CPU goes on. `third` is the handler's address, the type number
    or the data word; where entries have no third word it is 1 if the entry notes uaccess_err. `kind` indexes TYPES, or
    is UNKNOWN. `outside` marks entries with an address that is not in executable memory.
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


def choose(
    raw: bytes,
    address: int,
    *,
    where: str,
    offset: int,
    executable: Sequence[tuple[int, int]],
    version: tuple[int, int] | None,
    handler_symbol: HandlerSymbol | None,
) -> tuple[Reading, str]:
    """
    The reading that fits, and how it was chosen. See `ExceptionTable.from_bytes` for the parameters and errors.

    All addresses must lie in code. If a reading has its instructions in order, those that do not are out: the words of
    one relative layout, read as another's, point into code as well. Then every type must be known.

    Where the type numbers of 5.16 and of 5.17 both fit, the differing numbers tell: what is BPF in one numbering is an
    MSR access in the other, and their fixup words look different. If that leaves both, no entry or only a few numbers
    differ, and the version decides; without one, the newer layout.
    """
    readings = [read(raw, address, layout, executable, handler_symbol) for layout in LAYOUTS]
    whole = [reading for reading in readings if not len(raw) % reading.layout.size]
    possible = [reading for reading in whole if not reading.outside.any()]
    if any(reading.in_order for reading in possible):
        possible = [reading for reading in possible if reading.in_order]
    elif version is not None:
        sizes = {layout.size for layout in LAYOUTS if layout.covers(version)}
        possible = [reading for reading in possible if reading.layout.size in sizes] or possible
    fitting = [reading for reading in possible if not reading.unknown.any()]
    if not possible:
        complain_of_size(readings, raw, where, offset)
    if not fitting:
        complain(possible or whole, where, offset, handler_symbol)
    hinted = [reading for reading in fitting if version is not None and reading.layout.covers(version)]
    chosen = (hinted or fitting)[0]
    if not len(raw):
        return chosen, "the table is empty: any layout fits"
    order = "in order" if chosen.in_order else "not in order"
    how = f"{len(chosen.insn)} entries, all addresses executable, all types known, {order}"
    others = [reading for reading in fitting if reading is not chosen]
    if others:
        same = all(np.array_equal(reading.kind, chosen.kind) for reading in others)
        why = "which means the same here" if same else "told apart by the version" if hinted else "taken for the newest"
        how += f"; {' and '.join(reading.layout.name for reading in others)} would fit too, {why}"
    elif version is not None and not chosen.layout.covers(version):
        how += f"; not what an unpatched {version[0]}.{version[1]} has"
    return chosen, how


def read(
    raw: bytes,
    address: int,
    layout: Layout,
    executable: Sequence[tuple[int, int]],
    handler_symbol: HandlerSymbol | None = None,
) -> Reading:
    """Read the table that lies at `address` by this layout, whether it makes sense or not; a cut-off entry is left."""
    count = len(raw) // layout.size
    raw = raw[: count * layout.size]
    entry = np.uint64(address) + np.arange(count, dtype=np.uint64) * np.uint64(layout.size)
    third = np.zeros(count, np.uint64)
    if layout.size == 16:
        pairs = np.frombuffer(raw, "<u8").reshape(count, 2)
        insn, fixup = pairs[:, 0], pairs[:, 1]
        noted = fixup < UACCESS_ERR_SKIP
        fixup = np.where(noted, insn + fixup, fixup)
    else:
        words = np.frombuffer(raw, "<i4").reshape(count, layout.size // 4)
        insn = entry + extend(words[:, 0])
        fixup = entry + np.uint64(4) + extend(words[:, 1])
        noted = words[:, 1] - words[:, 0] >= UACCESS_ERR_BIAS - 4
    kind = np.full(count, UNKNOWN, np.int16)
    outside = np.zeros(count, np.bool_)
    match layout.third:
        case ThirdWord.NONE:
            if layout.size == 8:
                fixup = np.where(noted, fixup - np.uint64(UACCESS_ERR_BIAS), fixup)
            third = noted.astype(np.uint64)
            kind = np.where(noted, KIND["ext"], KIND["default"]).astype(np.int16)
        case ThirdWord.HANDLER:
            third = entry + np.uint64(8) + extend(words[:, 2])
            outside = ~inside(third, executable)
            kind = kinds_of_handlers(third, outside, handler_symbol)
        case ThirdWord.TYPE:
            third = words[:, 2].view("<u4").astype(np.uint64)
            kind = kinds_of_numbers(third, {number: KIND[t.name] for number, t in BY_NUMBER_5_16.items()})
        case ThirdWord.DATA:
            third = words[:, 2].view("<u4").astype(np.uint64)
            kind = kinds_of_numbers(third & np.uint64(0xFF), {number: KIND[t.name] for number, t in BY_NUMBER.items()})
            kind[third >> np.uint64(12) & np.uint64(0xF) >= 1 << len(FLAGS)] = UNKNOWN
    if layout.size == 12:
        bpf = kind == KIND["bpf"]
        packed = words[:, 1].view("<u4").astype(np.uint64)
        fixup = np.where(bpf, insn + (packed & np.uint64(0xFF)), fixup)
        targets = np.array([*PT_REGS, BPF_DONT_CLEAR], np.uint64)
        outside |= bpf & ~np.isin(packed >> np.uint64(8), targets)
    outside = outside | ~inside(insn, executable) | ~inside(fixup, executable)
    return Reading(layout, insn, fixup, third, kind, outside)


def extend(words: NDArray[np.int32]) -> Addresses:
    """s32 to u64 with its sign, for address arithmetic that wraps."""
    return words.astype(np.int64).astype(np.uint64)


def inside(addresses: Addresses, ranges: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
    """Which of the addresses lie in one of the ranges (start, end), end excluded? Ranges may overlap, in any order."""
    if not ranges:
        return np.zeros(len(addresses), np.bool_)
    starts, ends = np.array(sorted(ranges), np.uint64).T
    place = np.searchsorted(starts, addresses, side="right")
    return (place > 0) & (addresses < np.maximum.accumulate(ends)[place - 1])


def kinds_of_numbers(numbers: Addresses, kinds: dict[int, int]) -> NDArray[np.int16]:
    """The kind of every type number, by a table of 256."""
    table = np.full(257, UNKNOWN, np.int16)
    table[list(kinds)] = list(kinds.values())
    return table[np.minimum(numbers, 256).astype(np.intp)]


def kinds_of_handlers(
    handlers: Addresses, outside: NDArray[np.bool_], handler_symbol: HandlerSymbol | None
) -> NDArray[np.int16]:
    """The kind of every handler function, by its symbol. A table has a dozen of them, however long it is."""
    distinct, place = np.unique(handlers, return_inverse=True)
    kinds = np.full(len(distinct), UNKNOWN, np.int16)
    if handler_symbol is not None and not outside.any():
        for index, handler in enumerate(distinct.tolist()):
            known = BY_HANDLER.get(handler_symbol(handler) or "")
            if known is not None:
                kinds[index] = KIND[known.name]
    return kinds[place]


def complain_of_size(readings: list[Reading], raw: bytes, where: str, offset: int) -> None:
    """No layout fits: because the table ends inside an entry of one that would, or of any?"""
    for reading in readings:
        size = reading.layout.size
        if len(reading.insn) and not reading.outside.any():
            expected, got = f"whole entries of {size} bytes", f"{len(raw) % size} bytes of one"
            raise BadInput(where, offset=offset + len(raw) // size * size, expected=expected, got=got)
    if all(len(raw) % reading.layout.size for reading in readings):
        multiple = ", ".join(str(size) for size in sorted({reading.layout.size for reading in readings}))
        expected = f"an exception table of whole entries (a multiple of {multiple} bytes)"
        raise BadInput(where, offset=offset, expected=expected, got=f"{len(raw)} bytes")


def complain(readings: list[Reading], where: str, offset: int, handler_symbol: HandlerSymbol | None) -> NoReturn:
    """No layout fits: say what is wrong with the one that comes nearest."""

    def misfit(reading: Reading) -> tuple[int, int]:
        return int(reading.outside.sum()) * 100 // len(reading.insn), int(reading.unknown.sum())

    for reading in readings:
        if reading.layout.third is ThirdWord.HANDLER and handler_symbol is None and not reading.outside.any():
            hint = "the third words are addresses of handler functions, which are known by their symbols"
            raise Absent("symbols to name the exception handlers by", where=where, hint=hint)
    nearest = min(readings, key=misfit)
    index = int(np.argmax(nearest.outside if nearest.outside.any() else nearest.unknown))
    place = offset + index * nearest.layout.size
    insn, fixup, third = (int(array[index]) for array in (nearest.insn, nearest.fixup, nearest.third))
    if not nearest.outside[index]:
        match nearest.layout.third:
            case ThirdWord.HANDLER:
                what = f"handler {(handler_symbol and handler_symbol(third)) or 'without a symbol'} at {third:#x}"
            case ThirdWord.DATA:
                what = f"type {third & 0xFF} (data word {third:#x})"
            case _:
                what = f"type {third}"
        why = f"entry {index} of {where}, at offset {place:#x}, has it, read as {nearest.layout}"
        raise Unsupported(f"the exception {what}", why=why)
    expected = f"an exception table whose addresses are executable, read as {nearest.layout}"
    got = f"entry {index} with the instruction at {insn:#x} and the fixup at {fixup:#x}"
    raise BadInput(where, offset=place, expected=expected, got=f"{got}, outside the image's code")
