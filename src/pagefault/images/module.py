"""
A kernel module as it lies on disk: relocatable, perhaps compressed, nothing in it has an address yet.

The sections that would be loaded get made-up addresses: one after another in the file's order, each aligned as it asks,
from 16 MiB on; after them 16 bytes for each undefined symbol. Of the relocations only those of the exception tables are
applied: code reads as it is in the file.

Kernel: kernel/module/main.c layout_sections(), simplify_symbols(), apply_relocations(), find_module_sections(), v6.1.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property
from pathlib import Path

import numpy as np

from ..arch.platform import ExtraTable, platform_of
from ..errors import Absent, BadInput, Unsupported
from ..tables.symbols import SymbolTable
from .compression import decompress, identify, output_limit
from .elf import Elf, Section, check_share, map_file
from .kernel_image import CodeSection, FoundTable
from .kernel_tables import Located, check_in_file, tables_of
from .relocations import (
    SHN_ABS,
    SHN_UNDEF,
    Records,
    Relocation,
    Words,
    apply,
    check_records,
    read_records,
    symbol_entries,
)

MOST_SPAN = 1 << 28
"""What all sections of a module may take in memory. The largest of Debian's, amdgpu, takes 12 MiB."""
MOST_ALIGNMENT = 1 << 16
FIRST_ADDRESS = 1 << 24
"""Where the first section lies: an address of 32 bits that no kernel has, nor is it near NULL."""
EXTERNAL = 16
"""Bytes for each undefined symbol: it is somebody else's, but has an address."""


class Module:
    """
    A `.ko`, or any relocatable ELF file of the kernel's (`KernelImage`). Nothing but headers is read before it is asked
    for. `how` says how it was compressed. `strict` is `ExceptionTable.from_bytes()`'s: without it a table is read,
    however broken it is.
    """

    def __init__(self, elf: Elf, *, how: tuple[str, ...] = (), strict: bool = True) -> None:
        if elf.type != "ET_REL":
            raise BadInput(elf.path, offset=0x10, expected="a relocatable file (a module)", got=elf.type)
        platform = platform_of(elf.machine, elf.bits, elf.byte_order)
        if platform is None:
            what = f"{elf.machine}, {elf.bits} bits, {elf.byte_order}-endian"
            raise Unsupported(what, why=f"{elf.path} is a module of an architecture that we do not know")
        self.elf, self.how, self.platform, self.strict = elf, how, platform, strict

    @classmethod
    def open(cls, path: str | Path, *, strict: bool = True) -> Module:
        """
        Map the module at `path`, or decompress it (.ko.gz, .ko.xz, .ko.zst).

        Errors: BadInput if it is no whole module; Unsupported if its architecture is unknown.
        """
        where = str(path)
        data = memoryview(map_file(where))
        compressed = identify(data)
        if compressed is None:
            return cls(Elf.from_bytes(data, where), strict=strict)
        data = memoryview(decompress(data, where, limit=output_limit(len(data))))
        return cls(Elf.from_bytes(data, where), how=(f"{compressed}-compressed module",), strict=strict)

    @property
    def path(self) -> str:
        return self.elf.path

    @cached_property
    def modinfo(self) -> dict[str, str]:
        """What .modinfo says, the first of each tag: license, name, vermagic, …"""
        section = self.elf.section(".modinfo")
        found: dict[str, str] = {}
        for line in bytes(section.data if section else b"").split(b"\0"):
            tag, equals, value = line.decode("utf-8", "backslashreplace").partition("=")
            if equals:
                found.setdefault(tag, value)
        return found

    @property
    def module(self) -> str:
        """
        The module's name: its .modinfo's, or else the file's, as the build makes names.

        Kernel: kernel/module/main.c setup_load_info(), scripts/Makefile.lib (name-fix-token), v6.1; the name is in
        .modinfo since Linux kernel commit 3e2e857f9c3a ("module: Add module name to modinfo").
        """
        return self.modinfo.get("name") or Path(self.path).name.partition(".ko")[0].replace("-", "_")

    @property
    def version(self) -> tuple[int, int]:
        """
        The release of the kernel that the module was built for, (6, 1) for 6.1.192.

        Errors: Absent if .modinfo has no vermagic.
        """
        numbers = self.modinfo.get("vermagic", "").partition(" ")[0].split(".")[:2]
        if len(numbers) < 2 or not all(number.isascii() and number.isdigit() and len(number) < 5 for number in numbers):
            raise Absent("vermagic", where=self.path, hint="a module's .modinfo says which kernel it is for")
        return int(numbers[0]), int(numbers[1])

    # ------------------------------------------------------------------------------------------------------ addresses

    @cached_property
    def _layout(self) -> tuple[dict[int, int], int]:
        """The made-up address of each loaded section, by its number in the file, and the first address past them."""
        at = FIRST_ADDRESS
        addresses: dict[int, int] = {}
        for number, section in enumerate(self.elf.sections):
            if not section.allocated:
                continue
            alignment = max(section.alignment, 1)
            if alignment > MOST_ALIGNMENT or alignment & (alignment - 1):
                got = f"{alignment:#x} for {section.name}"
                raise BadInput(self.path, expected="an alignment that is a power of two up to 64 KiB", got=got)
            at += -at % alignment
            addresses[number] = at
            at += section.size
            if at - FIRST_ADDRESS > MOST_SPAN:
                raise BadInput(self.path, expected=f"sections of {MOST_SPAN:#x} bytes together", got="more")
        return addresses, at + -at % EXTERNAL

    @cached_property
    def _loaded(self) -> list[tuple[int, Section]]:
        """Address and header of every section that is loaded and not empty, in order."""
        sections = self.elf.sections
        return [(address, sections[number]) for number, address in self._layout[0].items() if sections[number].size]

    @cached_property
    def sections(self) -> tuple[CodeSection, ...]:
        """
        The loaded sections. `discarded` are those the kernel frees when the module's init function has returned.

        Kernel: kernel/module/main.c module_init_section(), v6.1. Differs: .exit sections stay, as they do with
        CONFIG_MODULE_UNLOAD.
        """
        return tuple(
            CodeSection(section.name, address, section.size, is_code(section), section.name.startswith(".init"))
            for address, section in self._loaded
        )

    @cached_property
    def executable(self) -> tuple[tuple[int, int], ...]:
        """Ranges of made-up addresses (start, end) that hold code."""
        ranges = tuple((address, address + section.size) for address, section in self._loaded if is_code(section))
        check_share(self.path, ranges, len(self.elf.data))
        return ranges

    def read(self, address: int, length: int) -> bytes:
        """
        `length` bytes at a made-up address, as in the file: not relocated. Zeros in .bss.

        Errors: Absent if no section holds them all.
        """
        place = bisect_right(self._loaded, address, key=lambda pair: pair[0]) - 1
        if place >= 0 and length >= 0:
            start, section = self._loaded[place]
            at = address - start
            if at + length <= section.size:
                return bytes(section.data[at : at + length]).ljust(length, b"\0")
        raise Absent(f"{length} bytes at {address:#x}", where=self.path, hint="no section of the module holds them")

    # -------------------------------------------------------------------------------------------------------- symbols

    @cached_property
    def _symtab(self) -> Section | None:
        return self.elf.symtab

    @cached_property
    def _entries(self) -> np.ndarray[tuple[int], np.dtype[np.void]]:
        """The symbol table's entries; none if there is no table."""
        return symbol_entries(self.elf, self._symtab)

    @cached_property
    def _values(self) -> tuple[Words, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
        """The address of each symbol, and which of them have one. One of another module has its own 16 bytes."""
        entries, (addresses, externals) = self._entries, self._layout
        bases = np.zeros(1 << 16, np.uint64)
        loaded = np.zeros(1 << 16, bool)
        loaded[SHN_ABS] = True
        for number, address in addresses.items():
            bases[number], loaded[number] = address, True
        section = entries["section"]
        values = bases[section] + entries["value"].astype(np.uint64)
        undefined = (section == SHN_UNDEF) & (entries["name"] != 0)
        values[undefined] = np.uint64(externals) + np.flatnonzero(undefined).astype(np.uint64) * np.uint64(EXTERNAL)
        return values, loaded[section] | undefined

    @cached_property
    def symbols(self) -> SymbolTable:
        """The module's own symbols, at its made-up addresses; an empty table if it was stripped."""
        addresses = self._layout[0]
        return self.elf.symbols(
            kernel_half=self.platform.kernel_half,
            section_bases=[addresses.get(number, -1) for number in range(len(self.elf.sections))],
            module=self.module,
        )

    def function_at(self, address: int) -> str | None:
        """The name of the function that starts at `address`, in this module or (made-up) in another."""
        number, rest = divmod(address - self._layout[1], EXTERNAL)
        if rest == 0 and 0 <= number < len(self._entries) and self._entries["section"][number] == SHN_UNDEF:
            return self._symbol_name(number)
        symbol = self.symbols.at(address)
        return symbol.name if symbol is not None and symbol.offset == 0 else None

    def _symbol_name(self, number: int) -> str:
        assert self._symtab is not None, "only its own entries are asked for"
        strings, at = self.elf.strings_of(self._symtab), int(self._entries["name"][number])
        return bytes(strings[at : at + 512]).partition(b"\0")[0].decode("utf-8", "backslashreplace")

    # --------------------------------------------------------------------------------------------------------- tables

    @cached_property
    def exception_tables(self) -> tuple[FoundTable, ...]:
        """
        The module's tables (`kernel_tables`); most modules have none.

        Errors: BadInput or Unsupported if one cannot be read (see `tables.extable`, `relocations`); Absent if the file
        has only its header.
        """
        others = self._layout[1]  # a handler is a function of the kernel's
        found = tables_of(
            self,
            self._locate,
            strict=self.strict,
            executable=(*self.executable, (others, others + len(self._entries) * EXTERNAL)),
            handler_symbol=self.function_at if len(self._entries) else None,
        )
        return tuple(found)

    def relocations(self, section: str) -> tuple[Relocation, ...]:
        """
        The relocations of a section, in the file's order: what its entries referred to before they were addresses.

        Errors: BadInput or Unsupported as for the table.
        """
        found, sections = self._section(section), self.elf.sections
        records = None if found is None else self._records(found[0])
        if found is None or records is None:
            return ()
        check_records(self.elf, records, len(found[1].data), len(self._entries))
        addends = np.zeros(len(records.offset), np.int64) if records.addend is None else records.addend.view(np.int64)
        named = []
        for offset, kind, symbol, addend in zip(
            *(column.tolist() for column in (records.offset, records.type, records.symbol, addends)), strict=True
        ):
            number = int(self._entries["section"][symbol])
            home = sections[number].name if SHN_UNDEF < number < len(sections) else None
            known = bool(self._values[1][symbol])
            named.append(Relocation(offset, kind, self._symbol_name(symbol), home, known, addend))
        return tuple(named)

    def _section(self, name: str) -> tuple[int, Section] | None:
        """Number and header of the first loaded section of this name that has anything in it."""
        return next(
            (
                (number, section)
                for number, section in enumerate(self.elf.sections)
                if section.name == name and section.allocated and len(section.data)
            ),
            None,
        )

    def _records(self, number: int) -> Records | None:
        """The relocations of the section of this number, or None."""
        section = self._relocations_of(number)
        return None if section is None else read_records(self.elf, section)

    def _relocations_of(self, number: int) -> Section | None:
        kinds = ("SHT_REL", "SHT_RELA")
        return next((each for each in self.elf.sections if each.type in kinds and each.info == number), None)

    def _locate(self, described: ExtraTable) -> Located | None:
        """A table, its relocations applied, or None if the module has none of that name."""
        section = self._section(described.section)
        if section is None:
            header = self.elf.section(described.section)
            if header is not None:
                check_in_file(header, self.path)
            return None
        number, header = section
        address, raw, words = self._layout[0][number], bytes(header.data), f"section {described.section}"
        relocations = self._relocations_of(number)
        if relocations is not None:
            raw = apply(self.elf, read_records(self.elf, relocations), raw, address, *self._values)
            words += f" and its relocations, {relocations.name}"
        return Located(address, raw, self.elf.offset_of(header.data), words)


def is_code(section: Section) -> bool:
    """Does the section hold code, as bytes in the file?"""
    return section.allocated and section.executable and len(section.data) == section.size
