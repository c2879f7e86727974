"""
Where a module's code leads once it is loaded: its file has zeros (or addends) where addresses of other sections and of
other modules will be.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..images.elf import Section
from ..images.module import Module
from ..images.relocations import SHN_UNDEF, read_records, symbol_entries

PC_RELATIVE = (2, 4)
"""R_X86_64_PC32 and R_X86_64_PLT32; R_386_PC32 and R_386_PLT32. Manual: the ABIs' processor supplements."""


class Target(NamedTuple):
    """What a field of four bytes refers to: an `address` of the module, or the symbol `name` of another one."""

    address: int | None
    name: str | None


class ModuleRelocations:
    """The PC-relative relocations of an x86 module's sections, by the made-up address of the field."""

    def __init__(self, module: Module) -> None:
        self.module, self.elf = module, module.elf
        numbers = [number for number, each in enumerate(self.elf.sections) if each.allocated and each.size]
        self._bases = dict(zip(numbers, (section.address for section in module.sections), strict=True))
        self._symtab = self.elf.symtab
        self._fields: dict[int, dict[int, Target]] = {}

    def target(self, address: int) -> Target | None:
        """What the field at an address refers to; None if it is not relocated."""
        for number, base in self._bases.items():
            if base <= address < base + self.elf.sections[number].size:
                if number not in self._fields:
                    self._fields[number] = self._read(number)
                return self._fields[number].get(address)
        return None

    def table(self, name: str) -> tuple[int, bytes] | None:
        """Address and bytes of a section whose fields are PC-relative, as they will be; None if there is none."""
        number = next((number for number in self._bases if self.elf.sections[number].name == name), None)
        if number is None:
            return None
        base, raw = self._bases[number], bytearray(self.elf.sections[number].data)
        for address, target in self._read(number).items():
            if target.address is not None and address - base + 4 <= len(raw):
                raw[address - base : address - base + 4] = (target.address - address & 0xFFFF_FFFF).to_bytes(
                    4, "little"
                )
        return base, bytes(raw)

    def _read(self, number: int) -> dict[int, Target]:
        """The fields of one section. A target is S + A: what the field says is relative to the field itself."""
        section = self.elf.sections[number]
        relocations = self._relocations_of(number)
        if relocations is None or self._symtab is None:
            return {}
        records, symbols = read_records(self.elf, relocations), symbol_entries(self.elf, self._symtab)
        wanted = np.isin(records.type, PC_RELATIVE) & (records.symbol < len(symbols))
        wanted &= records.offset + np.uint64(4) <= len(section.data)
        found: dict[int, Target] = {}
        for index in np.flatnonzero(wanted).tolist():
            offset, symbol = int(records.offset[index]), symbols[int(records.symbol[index])]
            if records.addend is None:
                addend = int.from_bytes(section.data[offset : offset + 4], "little", signed=True)
            else:
                addend = int(records.addend.view(np.int64)[index])
            home = int(symbol["section"])
            base = self._bases.get(home)
            address = None if base is None or home == SHN_UNDEF else base + int(symbol["value"]) + addend
            name = None if address is not None else self._name(int(symbol["name"]))
            found[self._bases[number] + offset] = Target(address, name)
        return found

    def _relocations_of(self, number: int) -> Section | None:
        kinds = ("SHT_REL", "SHT_RELA")
        return next((each for each in self.elf.sections if each.type in kinds and each.info == number), None)

    def _name(self, at: int) -> str:
        assert self._symtab is not None, "only its own entries are asked for"
        strings = self.elf.strings_of(self._symtab)
        return bytes(strings[at : at + 512]).partition(b"\0")[0].decode("utf-8", "backslashreplace")
