"""Exception tables to read: every entry in a line, what they say about one address, and how many there are of what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..images.kernel_image import FoundTable
from ..survey.described import DescribedEntry, Place, SourceLine
from ..vocabulary.exception_entry import ExceptionEntry
from .page import Line, Span, prose

NEIGHBOURS = 2
"""Entries shown on either side of an address."""
WIDEST = 44
"""Columns of a listing are padded to at most this; a few longer cells stick out."""
MOST_TABLES = 6
"""Tables that are told of one by one; more are counted by layout."""
HEADINGS = ("entry", "address", "section", "symbol", "instruction", "goes on at", "with", "type")

Cell = tuple[str | Span, ...]


# ---------------------------------------------------------------------------------------------------------- what it is


@dataclass(frozen=True, slots=True)
class TableFacts:
    """One table of an image: which, how many entries it has, and how it was found and read."""

    table: str
    module: str | None
    found: str
    address: int
    layout: str
    layout_name: str
    how: str
    in_order: bool
    count: int

    @classmethod
    def of(cls, found: FoundTable, module: str | None) -> TableFacts:
        """The facts without the entries."""
        table, layout = found.table, found.table.layout
        return cls(
            table=found.name,
            module=found.module or module,
            found=found.found,
            address=table.address,
            layout=str(layout),
            layout_name=layout.name,
            how=table.how,
            in_order=table.in_order,
            count=len(table),
        )


def about(path: str, how: Sequence[str], tables: Sequence[TableFacts]) -> Iterator[Line]:
    """Which image, how it was opened, and for each table where it is, how it was found and read."""
    yield (Span(f"{shown(path)}: {count(sum(each.count for each in tables), 'entry', 'entries')}", "strong"),)
    for step in how:
        yield from prose(f"opened: {shown(step)}")
    if len(tables) > MOST_TABLES:
        for layout, number in Counter(each.layout for each in tables).most_common():
            yield from prose(f"{count(number, 'table', 'tables')}, layout: {layout}")
        return
    for each in tables:
        name = each.table if each.module is None else f"[{each.module}] {each.table}"
        entries = count(each.count, "entry", "entries")
        yield from prose(f"{shown(name)}: {entries} at {each.address:#x}, found by {shown(each.found)}")
        order = "" if each.in_order else ", not in order"
        yield from prose(f"layout: {each.layout}{order}, because: {shown(each.how)}", 2)


def count(number: int, one: str, many: str) -> str:
    """A number of things."""
    return f"{number:,} {one if number == 1 else many}"


def shown(text: str) -> str:
    """Text out of a file, with nothing in it that a terminal would obey."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


# -------------------------------------------------------------------------------------------------------------- listing


def listing(entries: Sequence[DescribedEntry], width: int | None, *, sources: bool = False) -> Iterator[Line]:
    """
    Entries in columns, one line each. `width` is a terminal's: where a line does not fit it takes two, and source
    lines stand below; None is a pipe's, where each entry keeps to its line.
    """
    if not entries:
        return
    rows = [cells(entry) for entry in entries]
    several = len({(entry.module, entry.table) for entry in entries}) > 1 or entries[0].module is not None
    headings: list[Cell] = [(heading,) for heading in HEADINGS]
    if several:
        headings.insert(0, ("table",))
        rows = [[(table_name(entry),), *row] for entry, row in zip(entries, rows, strict=True)]
    widths = [min(WIDEST, max(map(length, column))) for column in zip(headings, *rows, strict=True)]
    if width is not None and sum(widths) + 2 * len(widths) > width:
        for entry, row in zip(entries, rows, strict=True):
            yield from two_lines(row[several:], table_name(entry) if several else "")
            if sources:
                yield from source_lines(entry.source, 6)
        return
    if sources and width is None:
        headings.append(("source",))
        rows = [[*row, (source_words(entry.source),)] for entry, row in zip(entries, rows, strict=True)]
        widths.append(0)
    right = int(several)
    yield in_columns(headings, widths, right)
    for entry, row in zip(entries, rows, strict=True):
        yield in_columns(row, widths, right)
        if sources and width is not None:
            yield from source_lines(entry.source, widths[0] + 2)


def cells(described: DescribedEntry) -> list[Cell]:
    """One entry's cells, under HEADINGS."""
    insn = described.insn
    return [
        (str(described.entry.index),),
        (f"{insn.address:#x}",),
        (Span(shown(insn.section or ""), "quiet"),),
        (symbol_of(insn),),
        instruction_of(insn),
        (landing(described),),
        instruction_of(described.fixup, marked=False),
        (Span(type_words(described.entry), "strong"),),
    ]


def in_columns(row: Sequence[Cell], widths: Sequence[int], right: int) -> Line:
    """Cells side by side, two spaces apart, the cell `right` to the right of its column."""
    line: list[str | Span] = []
    for number, (cell, width) in enumerate(zip(row, widths, strict=True)):
        padding = " " * (width - length(cell))
        line += (padding, *cell, "  ") if number == right else (*cell, padding, "  ")
    return tuple(line)


def two_lines(row: Sequence[Cell], table: str) -> Iterator[Line]:
    """One entry where there is not room enough for columns."""
    index, address, section, symbol, instruction, onward, first, handler = row
    yield *address, "  ", *symbol, "  ", *section, "  ", Span(f"{table} entry {index[0]}".strip(), "quiet")
    yield "    ", *instruction, "  → ", *onward, ": ", *first, "  ", *handler


def length(cell: Cell) -> int:
    """Characters in a cell."""
    return sum(len(part if isinstance(part, str) else part.text) for part in cell)


def table_name(entry: DescribedEntry) -> str:
    """Module and table, where there are several."""
    return shown(entry.table if entry.module is None else f"[{entry.module}] {entry.table}")


def symbol_of(place: Place) -> str:
    """As %pS prints it, or the address."""
    return f"{place.address:#x}" if place.symbol is None else shown(str(place.symbol))


def instruction_of(place: Place, *, marked: bool = True) -> Cell:
    """The instruction's text, its memory operand marked."""
    found = place.instruction
    if found is None:
        return (Span("?", "quiet"),)
    if found.memory is None or not marked:
        return (found.text,)
    start, end = found.memory
    before, memory, after = found.operands[:start], found.operands[start:end], found.operands[end:]
    return f"{found.mnemonic} {before}", Span(memory, "code"), after


def landing(described: DescribedEntry) -> str:
    """Where an entry leads; inside of the same function, only how far into it."""
    there, here = described.fixup.symbol, described.insn.symbol
    if there and here and there.address == here.address:
        return f"+{there.offset:#x}"
    return symbol_of(described.fixup)


def type_words(entry: ExceptionEntry) -> str:
    """The handler's type with its data fields: `imm_reg(reg=rcx, imm=-14)`, `uaccess`."""
    fields = ", ".join(f"{name}={value}" for name, value in entry.fields)
    return f"{entry.type}({fields})" if fields else entry.type


def source_words(source: Sequence[SourceLine]) -> str:
    """Where an instruction was written and what that was inlined into, on one line."""
    return " < ".join(shown(f"{line.function} {line.file}:{line.line}") for line in source)


def source_lines(source: Sequence[SourceLine], indent: int) -> Iterator[Line]:
    """The same, a line each: innermost first."""
    for number, line in enumerate(source):
        words = "inlined into " if number else ""
        yield " " * indent, Span(f"{words}{shown(line.function)}() at {shown(line.file)}:{line.line}", "quiet")


# ---------------------------------------------------------------------------------------------------------- one address


def verdict(place: Place, entry: DescribedEntry | None, meaning: str) -> Iterator[Line]:
    """Is the instruction at a place covered, and what happens then? `meaning` is that of the entry's type."""
    where = f"{symbol_of(place)}, {place.address:#x}" + (f" in {shown(place.section)}" if place.section else "")
    if entry is None:
        yield (Span("not covered", "bad"), f": {where}")
        if place.instruction is not None:
            yield ("  instruction  ", *instruction_of(place))
        yield ("  a fault of the kernel's at this instruction is an oops, unless the page can be had",)
        return
    yield (Span("covered", "good"), f": {where}")
    yield ("  instruction  ", *instruction_of(place))
    yield (f"  entry        {entry.entry.index} of {table_name(entry)}, at {entry.entry.address:#x}",)
    yield (f"  goes on at   {symbol_of(entry.fixup)}, {entry.fixup.address:#x}",)
    yield ("  there        ", *instruction_of(entry.fixup, marked=False))
    yield ("  type         ", Span(type_words(entry.entry), "strong"), f": {meaning}" if meaning else "")
    for number, line in enumerate(entry.source):
        words = "inlined into" if number else "source      "
        yield (f"  {words} {shown(line.function)}() at {shown(line.file)}:{line.line}",)


def neighbours(entries: Iterable[DescribedEntry], address: int) -> list[DescribedEntry]:
    """The entries next to an address, in the order of their instructions."""
    ordered = sorted(entries, key=lambda entry: (entry.insn.address, entry.table, entry.entry.index))
    place = sum(entry.insn.address < address for entry in ordered)
    return ordered[max(0, place - NEIGHBOURS) : place + NEIGHBOURS + 1]
