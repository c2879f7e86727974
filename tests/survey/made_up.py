"""Described entries that no image holds."""

from __future__ import annotations

import re

from pagefault.arch.disassembly import Disassembled
from pagefault.survey.described import DescribedEntry, Place, SourceLine
from pagefault.tables.symbols import Symbol
from pagefault.vocabulary.exception_entry import ExceptionEntry

FIRST = "xorl %eax, %eax"
BASE = 0xFFFF_FFFF_8100_0000


def instruction(text: str, address: int = BASE) -> Disassembled:
    """`movq {(%rdi)}, %rax`: what stands in braces is the memory operand; a leading < reads it, > writes it."""
    reads, writes = text.startswith("<"), text.startswith(">")
    mnemonic, _, operands = text.lstrip("<>").partition(" ")
    found = re.search(r"\{(.*)\}", operands)
    span = (found.start(), found.end() - 2) if found else None
    return Disassembled(address, b"\x90", mnemonic, operands.replace("{", "").replace("}", ""), span, reads, writes)


def entry(
    function: str | None,
    text: str | None,
    handler: str = "uaccess",
    *,
    at: int = 0,
    index: int = 0,
    fields: tuple[tuple[str, str], ...] = (),
    table: str = "__ex_table",
    module: str | None = None,
    section: str | None = ".text",
    source: tuple[SourceLine, ...] = (),
    base: int = BASE,
) -> DescribedEntry:
    """An entry on the instruction `text`, `at` bytes into a function."""
    insn, fixup = base + at, base + at + 0x40
    return DescribedEntry(
        table,
        module,
        ExceptionEntry(index, base + 0x1000 + index * 12, insn, fixup, handler, fields=fields),
        Place(insn, section, place(function, base, at), None if text is None else instruction(text, insn)),
        Place(fixup, section, place(function, base, at + 0x40), None if text is None else instruction(FIRST, fixup)),
        source,
    )


def place(function: str | None, base: int, offset: int) -> Symbol | None:
    return None if function is None else Symbol(function, base, 0x100, offset)


def several(function: str, *texts: str, handler: str = "uaccess", base: int = BASE) -> list[DescribedEntry]:
    """A function with an entry on each of these instructions, in this order."""
    return [entry(function, text, handler, at=4 * i, index=i, base=base) for i, text in enumerate(texts)]
