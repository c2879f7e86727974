"""
A kernel image with section headers, such as `vmlinux`: its memory, its symbols, its tables, and what its structures
look like. Everything but the headers is read when it is asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ..errors import Absent, BadInput
from ..tables.extable import ExceptionTable
from ..tables.symbols import SymbolTable
from .btf import Btf
from .elf import Elf, Segment

BANNER = re.compile(rb"Linux version (\d{1,3})\.(\d{1,3})[^\0]{0,500}")


@dataclass(frozen=True)
class Vmlinux:
    """
    One kernel image (or a linked module: the same, without a banner).

    `segments` are what a boot loader copies to physical memory: the per-CPU one has linear address 0.
    """

    elf: Elf

    @classmethod
    def open(cls, path: str | Path) -> Vmlinux:
        """
        Map the image at `path`.

        Errors: BadInput if it is no x86-64 ELF executable, or one without anything to load.
        """
        elf = Elf.open(path)
        if not elf.segments:
            raise BadInput(elf.path, expected="a kernel image with PT_LOAD segments", got="none")
        return cls(elf)

    @property
    def path(self) -> str:
        return self.elf.path

    @property
    def segments(self) -> tuple[Segment, ...]:
        return self.elf.segments

    def section(self, name: str) -> tuple[int, memoryview] | None:
        """Linear address and bytes of a section, or None if there is none of that name."""
        found = self.elf.section(name)
        return None if found is None else (found.address, found.data)

    def between(self, section: str, start: str, stop: str) -> tuple[int, memoryview] | None:
        """A table of the linker's: the section of that name, or else what lies between two symbols. None if empty."""
        found = self.section(section)
        if found is None:
            first, last = self.symbols.get(start), self.symbols.get(stop)
            if first is None or last is None or last <= first:
                return None
            found = first, self.view(first, last - first)
        return found if len(found[1]) else None

    def view(self, address: int, length: int) -> memoryview:
        """
        `length` bytes at a linear address, as they are in the file.

        Errors: Absent if no segment's file part holds them all.
        """
        for segment in self.segments:
            at = address - segment.virtual
            if 0 <= at <= at + length <= len(segment.data):
                return segment.data[at : at + length]
        raise Absent(f"{length} bytes at {address:#x}", where=self.path, hint="no segment of the image holds them")

    def read(self, address: int, length: int) -> bytes:
        """
        `length` bytes at a linear address; where a segment has memory but no file (.bss), zeros.

        Errors: Absent if no segment holds them all.
        """
        for segment in self.segments:
            at = address - segment.virtual
            if 0 <= at <= at + length <= segment.memory_size:
                return bytes(segment.data[at : at + length]).ljust(length, b"\0")
        raise Absent(f"{length} bytes at {address:#x}", where=self.path, hint="no segment of the image holds them")

    @cached_property
    def symbols(self) -> SymbolTable:
        """The image's symbols; a stripped image has an empty table, whose `find` says so."""
        table = next((section for section in self.elf.sections if section.type == "SHT_SYMTAB"), None)
        if table is None:
            return SymbolTable.empty(self.path)
        if not table.link < len(self.elf.sections):
            raise BadInput(self.path, expected="a string table for .symtab", got=f"section number {table.link}")
        return SymbolTable(table.data, self.elf.sections[table.link].data, where=self.path)

    @cached_property
    def banner(self) -> str:
        """
        The line that says which kernel this is: "Linux version 6.1.0 (…) …".

        Errors: Absent if the image has none.
        """
        return self._banner[0].decode("utf-8", "replace").rstrip("\n")

    @cached_property
    def version(self) -> tuple[int, int]:
        """The release, (6, 1) for 6.1.192, out of the banner."""
        return int(self._banner[1]), int(self._banner[2])

    @cached_property
    def _banner(self) -> re.Match[bytes]:
        address = self.symbols.get("linux_banner")
        for segment in self.segments:
            at = 0 if address is None else address - segment.virtual
            data = segment.data[at : at + 600] if address is not None else segment.data
            if 0 <= at < len(segment.data) and (found := BANNER.search(data)):
                return found
        raise Absent("version banner", where=self.path, hint="a kernel image holds the text 'Linux version …'")

    @cached_property
    def extable(self) -> tuple[int, memoryview]:
        """
        Linear address and raw bytes of the exception table: section __ex_table, or what lies between the symbols.

        Errors: Absent if the image has none, or an empty one.
        """
        found = self.between("__ex_table", "__start___ex_table", "__stop___ex_table")
        if found is None:
            hint = (
                "neither a section __ex_table nor the symbols __start___ex_table and __stop___ex_table; is it a kernel?"
            )
            raise Absent("exception table", where=self.path, hint=hint)
        return found

    @cached_property
    def exception_table(self) -> ExceptionTable:
        """
        The exception table, read: its layout is chosen by what it holds, with the version as a hint.

        Errors: Absent if the image has none; BadInput or Unsupported if it cannot be read (see `tables.extable`).
        """
        address, raw = self.extable
        try:
            version = self.version
        except Absent:
            version = None
        return ExceptionTable.from_bytes(
            bytes(raw),
            address,
            where=self.path,
            executable=self.executable,
            offset=self.file_offset(raw),
            version=version,
            handler_symbol=self.function_at if len(self.symbols) else None,
        )

    def file_offset(self, piece: memoryview) -> int:
        """Where in the file a piece of it lies."""
        return int(np.frombuffer(piece, np.uint8).ctypes.data - np.frombuffer(self.elf.data, np.uint8).ctypes.data)

    def function_at(self, address: int) -> str | None:
        """The name of the function that starts at `address`."""
        symbol = self.symbols.at(address)
        return symbol.name if symbol is not None and symbol.offset == 0 else None

    def physical(self, address: int) -> int:
        """
        The physical address at which a boot loader puts a linear one of the image's.

        Errors: Absent if no segment holds it.
        """
        below = [segment for segment in self.segments if segment.virtual <= address]
        end = max(segment.physical + segment.memory_size for segment in self.segments)
        if below:
            # Between two segments the lower one's distance goes on: __per_cpu_load lies there.
            nearest = max(below, key=lambda segment: segment.virtual)
            physical = nearest.physical + address - nearest.virtual
            if physical < end:
                return physical
        raise Absent(f"address {address:#x}", where=self.path, hint="no segment of the image holds it")

    @cached_property
    def executable(self) -> tuple[tuple[int, int], ...]:
        """Ranges of linear addresses (start, end) that hold code: by section, or by segment where there are none."""
        ranges = sorted(
            (section.address, section.address + len(section.data))
            for section in self.elf.sections
            if section.allocated and section.executable
        )
        if not ranges:
            ranges = sorted((segment.virtual, segment.end) for segment in self.segments if segment.execute)
        return tuple(ranges)

    @cached_property
    def layout(self) -> Btf:
        """
        What the kernel's structures look like, from its BTF.

        Errors: Absent if it was built without (CONFIG_DEBUG_INFO_BTF).
        """
        found = self.section(".BTF")
        if found is None:
            raise Absent("section .BTF", where=self.path, hint="the kernel was built without CONFIG_DEBUG_INFO_BTF")
        return Btf(found[1], where=f"{self.path} .BTF")
