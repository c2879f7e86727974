"""
Which era's layout does this exception table have? Decided by what it holds; the version string has the last say, not
the first.

Every layout of the architecture whose size divides the table reads it, and each reading says which entries make no
sense in it. One that has none of these is a fit.
"""

from __future__ import annotations

from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from ..arch.exception_format import ExceptionFormat, ThirdWord
from ..errors import Absent, BadInput, PagefaultError, Unsupported
from .extable_reading import UNKNOWN, RawTable, Reading, read

LOOKED_AT = 4096
"""Entries whose instructions are looked at to tell two readings apart: no more, however long the table is."""


def choose(table: RawTable, version: tuple[int, int] | None, *, strict: bool) -> tuple[Reading, str]:
    """
    The reading that fits, and how it was chosen. See `ExceptionTable.from_bytes` for the parameters and errors.

    All addresses must lie in code. If a reading has its instructions in order, those that do not are out: the words of
    one relative layout, read as another's, point into code as well. Then every type must be known.

    Where several type numberings fit, the differing numbers tell: what is BPF in one is an MSR access in the other,
    and their fixup words look different; or a type has no use for the data it would have. If that leaves several, no
    entry or only a few numbers differ, and the version decides; without one, the newer layout.
    """
    readings = [read(table, layout) for layout in table.exceptions.layouts]
    whole = [reading for reading in readings if reading.has_size_of(table.raw)]
    possible = [reading for reading in whole if not reading.outside.any()]
    if any(reading.in_order for reading in possible):
        possible = [reading for reading in possible if reading.in_order]
    elif version is not None:
        sizes = {layout.size for layout in table.exceptions.layouts if layout.covers(version)}
        possible = [reading for reading in possible if reading.layout.size in sizes] or possible
    fitting = [reading for reading in possible if not reading.unknown.any()]
    if not fitting and not strict:
        return nearest(readings, table, version)
    if not possible:
        complain_of_size(readings, table)
    if not fitting:
        complain(possible or whole, table)
    fitting = most_sensible(fitting, table)
    hinted = [reading for reading in fitting if version is not None and reading.layout.covers(version)]
    chosen = (hinted or fitting)[0]
    if not len(table.raw):
        return chosen, "the table is empty: any layout fits"
    order = "in order" if chosen.in_order else "not in order"
    how = f"{counted(len(chosen.insn))}, all addresses executable, all types known, {order}"
    others = [reading for reading in fitting if reading is not chosen]
    if others:
        same = all(np.array_equal(reading.kind, chosen.kind) for reading in others)
        why = "which means the same here" if same else "told apart by the version" if hinted else "taken for the newest"
        how += f"; {' and '.join(reading.layout.name for reading in others)} would fit too, {why}"
    elif version is not None and not chosen.layout.covers(version):
        how += f"; not what an unpatched {version[0]}.{version[1]} has"
    return chosen, how


def counted(entries: int) -> str:
    """As in "532 entries"."""
    return f"{entries} entr{'y' if entries == 1 else 'ies'}"


def nearest(readings: list[Reading], table: RawTable, version: tuple[int, int] | None) -> tuple[Reading, str]:
    """The reading in which the fewest entries make no sense, and how it was chosen."""

    def misfit(reading: Reading) -> tuple[float, bool]:
        nameless = reading.layout.third is ThirdWord.HANDLER and table.handler_symbol is None
        wrong = reading.outside if nameless else reading.outside | reading.unknown
        return float(wrong.mean()) if len(wrong) else 1.0, not reading.in_order

    least = min(misfit(reading) for reading in readings)
    tied = most_sensible([reading for reading in readings if misfit(reading) == least], table)
    hinted = [reading for reading in tied if version is not None and reading.layout.covers(version)]
    chosen = (hinted or tied)[0]
    wrong = int((chosen.outside | chosen.unknown).sum())
    how = f"{len(chosen.insn)} entries, {wrong} of which make no sense: the nearest layout"
    if left := len(table.raw) % chosen.layout.size:
        how += f"; the last {left} bytes are no whole entry"
    return chosen, how


def most_sensible(readings: list[Reading], table: RawTable) -> list[Reading]:
    """Of readings that fit, those whose data words have the fewest bits, and whose instructions the least, against."""
    if len(readings) < 2 or all(np.array_equal(reading.kind, readings[0].kind) for reading in readings):
        return readings
    counts = [int(odd(reading, table.exceptions).sum()) for reading in readings]
    readings = [reading for reading, count in zip(readings, counts, strict=True) if count == min(counts)]
    sensible = table.exceptions.sensible
    if sensible is None or len({len(reading.kind) for reading in readings}) > 1:
        return readings
    differ = np.any([reading.kind != readings[0].kind for reading in readings], axis=0)
    places = np.flatnonzero(differ)[:LOOKED_AT].tolist()

    def against(reading: Reading) -> int:
        """How many entries the kernel would not have written so."""
        types = table.exceptions.types
        return sum(
            not sensible(
                types[reading.kind[at]].name, int(reading.third[at]), instruction(table, int(reading.insn[at]))
            )
            for at in places
            if reading.kind[at] != UNKNOWN
        )

    counts = [against(reading) for reading in readings]
    return [reading for reading, count in zip(readings, counts, strict=True) if count == min(counts)]


def instruction(table: RawTable, address: int) -> bytes | None:
    """The first bytes of the instruction there, if they can be had."""
    try:
        return table.code(address, 4) if table.code is not None else None
    except PagefaultError:
        return None


def odd(reading: Reading, exceptions: ExceptionFormat) -> NDArray[np.bool_]:
    """Entries whose data word has bits that their type has no use for, or numbers something that does not exist."""
    found = np.zeros(len(reading.kind), np.bool_)
    if reading.layout.third not in (ThirdWord.DATA, ThirdWord.TYPE_AND_DATA):
        return found
    for index, type_ in enumerate(exceptions.types):
        mine = reading.kind == index
        words = reading.third[mine]
        used = reading.layout.type_mask
        used |= (1 << len(exceptions.flags)) - 1 << 12
        wrong = np.zeros(len(words), np.bool_)
        for part in type_.fields:
            used |= part.mask
            value = (words & np.uint64(part.mask)) >> np.uint64(part.shift)
            if part.names:
                exists = value < len(part.names)
                wrong |= ~exists if part.none is None else ~exists & (value != part.none)
        found[mine] = wrong | ((words & ~np.uint64(used)) != 0)
    return found


def complain_of_size(readings: list[Reading], table: RawTable) -> None:
    """No layout fits: because the table ends inside an entry of one that would, or of any?"""
    length = len(table.raw)
    for reading in readings:
        size = reading.layout.size
        if len(reading.insn) and not reading.outside.any():
            expected, got = f"whole entries of {size} bytes", f"{length % size} bytes of one"
            raise BadInput(table.where, offset=table.offset + length // size * size, expected=expected, got=got)
    if not any(reading.has_size_of(table.raw) for reading in readings):
        multiple = ", ".join(str(size) for size in sorted({reading.layout.size for reading in readings}))
        expected = f"an exception table of whole entries (a multiple of {multiple} bytes)"
        raise BadInput(table.where, offset=table.offset, expected=expected, got=f"{length} bytes")


def complain(readings: list[Reading], table: RawTable) -> NoReturn:
    """No layout fits: say what is wrong with the one that comes nearest."""

    def misfit(reading: Reading) -> tuple[int, int]:
        return int(reading.outside.sum()) * 100 // len(reading.insn), int(reading.unknown.sum())

    for reading in readings:
        unnamed = reading.layout.third is ThirdWord.HANDLER and table.handler_symbol is None
        if unnamed and not reading.outside.any():
            hint = "the third words are addresses of handler functions, which are known by their symbols"
            raise Absent("symbols to name the exception handlers by", where=table.where, hint=hint)
    nearest = min(readings, key=misfit)
    index = int(np.argmax(nearest.outside if nearest.outside.any() else nearest.unknown))
    place = table.offset + index * nearest.layout.size
    insn, fixup, third = (int(array[index]) for array in (nearest.insn, nearest.fixup, nearest.third))
    if not nearest.outside[index]:
        match nearest.layout.third:
            case ThirdWord.HANDLER:
                name = table.handler_symbol(third) if table.handler_symbol is not None else None
                what = f"handler {name or 'without a symbol'} at {third:#x}"
            case ThirdWord.DATA | ThirdWord.TYPE_AND_DATA:
                what = f"type {third & nearest.layout.type_mask} (data word {third:#x})"
            case ThirdWord.TYPE:
                what = f"type {third}"
            case ThirdWord.NONE | ThirdWord.ERR_OPCODE:
                what = f"word {third:#x}"
        why = f"entry {index} of {table.where}, at offset {place:#x}, has it, read as {nearest.layout}"
        raise Unsupported(f"the exception {what}", why=why)
    expected = f"an exception table whose addresses are executable, read as {nearest.layout}"
    got = f"entry {index} with the instruction at {insn:#x} and the fixup at {fixup:#x}"
    raise BadInput(table.where, offset=place, expected=expected, got=f"{got}, outside the image's code")
