"""What the rules of an audit ask about an image: its entries, and what lies at an address."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from ..arch.disassembly import Disassembled, disassemble
from ..errors import Absent
from ..images.kernel_image import CodeSection, FoundTable, KernelImage
from ..images.module import Module
from ..tables.symbols import Symbol
from ..vocabulary.exception_entry import ExceptionEntry
from .finding import Place
from .module_relocations import ModuleRelocations
from .tables import audited_tables
from .x86_code import X86Code

MAX_INSTRUCTION = 15
MAX_FUNCTION = 1 << 18
"""A longer function is none: symbols are missing."""
PART = re.compile(r"(\.(cold|part|isra|constprop|llvm|lto_priv|localalias|__uniq)(\.\d+)?)+$")
"""What compilers add to the name of a function that they split or copy."""


@dataclass(frozen=True, slots=True)
class TableEntry:
    """An entry and the table it is in."""

    table: FoundTable
    entry: ExceptionEntry


class AuditContext:
    """One image, with what was asked before kept."""

    def __init__(self, image: KernelImage) -> None:
        self.image = image
        self.platform = image.platform
        self.tables, of_user_code = audited_tables(image)
        self.skipped = [(f"the table of {name}", "it is about code that runs in user space") for name in of_user_code]
        self.decoded: dict[tuple[int, int], tuple[list[int], list[int]]] = {}
        self._instructions: dict[int, Disassembled | None] = {}
        self._symbols: dict[int, Symbol | None] = {}

    def skip(self, what: str, why: str) -> None:
        """Something was not checked."""
        if (what, why) not in self.skipped:
            self.skipped.append((what, why))

    # ------------------------------------------------------------------------------------------------------- entries

    @cached_property
    def entries(self) -> tuple[TableEntry, ...]:
        """All entries of all tables."""
        return tuple(TableEntry(table, entry) for table in self.tables for entry in table.table)

    @cached_property
    def by_instruction(self) -> dict[int, ExceptionEntry]:
        """The entries by their instruction's address."""
        return {each.entry.insn: each.entry for each in self.entries}

    # ----------------------------------------------------------------------------------------------------- addresses

    def symbol(self, address: int) -> Symbol | None:
        """The symbol an address lies in; the last one of the section before it does not reach that far."""
        if address not in self._symbols:
            found = self.image.symbols.at(address)
            if found is not None and self.section(found.address) != self.section(address):
                found = None
            self._symbols[address] = found
        return self._symbols[address]

    def name(self, address: int) -> str:
        """symbol+offset, or the address."""
        found = self.symbol(address)
        return f"{found.name}+{found.offset:#x}" if found else f"{address:#x}"

    def extent(self, address: int) -> tuple[int, int] | None:
        """First address and end of the function an address lies in."""
        found = self.symbol(address)
        if found is None or found.size > MAX_FUNCTION:
            return None
        return found.address, found.address + found.size

    def family(self, address: int) -> str | None:
        """The name that a function and the parts split off it share."""
        found = self.symbol(address)
        return PART.sub("", found.name) if found else None

    @cached_property
    def _sections(self) -> tuple[list[int], list[CodeSection]]:
        ordered = sorted(self.image.sections, key=lambda section: section.address)
        return [section.address for section in ordered], ordered

    def section(self, address: int) -> CodeSection | None:
        """The section an address lies in."""
        starts, ordered = self._sections
        for place in range(bisect_right(starts, address) - 1, -1, -1):
            if address < ordered[place].end:
                return ordered[place]
            if ordered[place].size:
                break
        return None

    @cached_property
    def _executable(self) -> tuple[list[int], list[tuple[int, int]]]:
        ordered = sorted(self.image.executable)
        return [start for start, _ in ordered], ordered

    def executable(self, address: int) -> tuple[int, int] | None:
        """The range of code an address lies in."""
        starts, ordered = self._executable
        place = bisect_right(starts, address) - 1
        return ordered[place] if place >= 0 and address < ordered[place][1] else None

    # -------------------------------------------------------------------------------------------------- instructions

    def code(self, address: int, most: int) -> bytes:
        """Up to `most` bytes of code at an address; none where there is no code."""
        found = self.executable(address)
        if found is None:
            return b""
        try:
            return self.image.read(address, min(most, found[1] - address))
        except Absent:
            return b""

    def instruction(self, address: int) -> Disassembled | None:
        """The instruction at an address, or None."""
        if address not in self._instructions:
            code = self.code(address, MAX_INSTRUCTION)
            self._instructions[address] = disassemble(self.platform, code, address) if code else None
        return self._instructions[address]

    @cached_property
    def x86_code(self) -> X86Code:
        """The code of an x86 image, with what is patched at boot."""
        relocations = ModuleRelocations(self.image) if isinstance(self.image, Module) else None
        return X86Code(self.image, lambda code, address: disassemble(self.platform, code, address), relocations)

    def variants(self, address: int) -> tuple[Disassembled, ...]:
        """The instruction at an address, and on x86 what may be patched over it."""
        found = self.instruction(address)
        variants = [found] if found else []
        if self.platform.elf_machine in ("EM_X86_64", "EM_386"):
            for each in self.x86_code.replacements.get(address, ()):
                other = disassemble(self.platform, each.code, address)
                if other is not None:
                    variants.append(other)
        return tuple(variants)

    # ------------------------------------------------------------------------------------------------------ findings

    def place(self, address: int, each: TableEntry | None = None) -> Place:
        """An address as the place of a finding, in an entry or not."""
        section = self.section(address)
        return Place(
            file=self.image.path,
            module=self.image.module,
            address=address,
            section=section.name if section else None,
            symbol=self.symbol(address),
            table=each.table.name if each else None,
            entry=each.entry.index if each else None,
        )

    def functions_of(self, addresses: Iterator[int]) -> tuple[tuple[int, int], ...]:
        """The functions that these addresses lie in, each once, in order."""
        return tuple(sorted({extent for address in addresses if (extent := self.extent(address)) is not None}))
