"""An image's exception table to read: all of it, or what it says about one address."""

from __future__ import annotations

from collections.abc import Iterator

from ..tables.extable import ExceptionTable
from ..tables.symbols import SymbolTable
from ..vocabulary.exception_entry import ExceptionEntry
from .outcome import type_words
from .page import Line, Span, Table, prose

NEIGHBOURS = 2
"""Entries shown on either side of an address."""


def about(table: ExceptionTable) -> Iterator[Line]:
    """Which image, how many entries, and how their layout was chosen."""
    yield (Span(f"{table.where}: {len(table)} entries at {table.address:#x}", "strong"),)
    yield from prose(f"layout: {table.layout}, because: {table.how}")


def listing(entries: list[ExceptionEntry], symbols: SymbolTable) -> Table:
    """Entries in columns."""
    rows = [
        (str(entry.index), f"{entry.insn:#x}", type_words(entry), symbols.format(entry.insn), landing(entry, symbols))
        for entry in entries
    ]
    return Table(("entry", "instruction", "type", "symbol", "goes on at"), rows, right=frozenset({0}))


def landing(entry: ExceptionEntry, symbols: SymbolTable) -> str:
    """Where an entry leads; inside of the same function, only how far into it."""
    there, here = symbols.at(entry.fixup), symbols.at(entry.insn)
    if there and here and there.address == here.address:
        return f"+{there.offset:#x}"
    return symbols.format(entry.fixup)


def verdict(address: int, entry: ExceptionEntry | None, symbols: SymbolTable, meaning: str) -> Iterator[Line]:
    """Is the instruction at `address` covered, and what happens then? `meaning` is that of the entry's type."""
    place = f"{symbols.format(address)}, {address:#x}"
    if entry is None:
        yield (Span("not covered", "bad"), f": {place}")
        yield ("  a fault of the kernel's at this instruction is an oops, unless the page can be had",)
        return
    yield (Span("covered", "good"), f": {place}")
    yield (f"  entry        {entry.index}, at {entry.address:#x}",)
    yield (f"  goes on at   {symbols.format(entry.fixup)}, {entry.fixup:#x}",)
    yield ("  type         ", Span(type_words(entry), "strong"), f": {meaning}")


def neighbours(table: ExceptionTable, address: int) -> list[ExceptionEntry]:
    """The entries next to an address, in the order of their instructions."""
    place = int((table.sorted_insn < address).sum())
    near = range(max(0, place - NEIGHBOURS), min(len(table), place + NEIGHBOURS + 1))
    return [table[int(table.sorted_index[index])] for index in near]
