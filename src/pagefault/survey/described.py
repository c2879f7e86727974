"""
One entry with all that a reader wants to know of it: its place, its instruction, its fixup, and where it was written.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..arch.disassembly import Disassembled
from ..tables.symbols import Symbol
from ..vocabulary.exception_entry import ExceptionEntry


@dataclass(frozen=True, slots=True)
class SourceLine:
    """A line of C or assembly, `function` the one it stands in (inlined or not)."""

    function: str
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Place:
    """An address in words: the section and the symbol it lies in, and the instruction there, where each is known."""

    address: int
    section: str | None
    symbol: Symbol | None
    instruction: Disassembled | None


@dataclass(frozen=True, slots=True)
class DescribedEntry:
    """
    `table` is the name of the table the entry is in, `module` the module's (None: the kernel's). `source` is the chain
    of inlined functions that the instruction came from, innermost first; empty without debug information.
    """

    table: str
    module: str | None
    entry: ExceptionEntry
    insn: Place
    fixup: Place
    source: tuple[SourceLine, ...] = ()
