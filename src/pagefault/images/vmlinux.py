"""
A linked kernel, `vmlinux`, of any architecture: its memory, its symbols, its tables, and what its structures look like.
Everything but the headers is read when it is asked for.

    image = Vmlinux.open("vmlinux")
    for table in image.exception_tables: ...

Section headers and symbols may both be missing: then the code is what the segments say, and the exception table is
found by its shape.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path

from ..arch.architectures import RUNNABLE
from ..arch.platform import ExtraTable, platform_of
from ..errors import Absent, BadInput, Unsupported
from ..tables.extable import ExceptionTable
from ..tables.extable_shape import by_shape, the_one
from ..tables.symbols import SymbolTable
from .btf import Btf
from .elf import Elf, Section, Segment, check_share
from .kernel_image import CodeSection, FoundTable
from .kernel_tables import EX_TABLE, START, STOP, Located, check_in_file, not_looked_for, tables_of
from .linker_sections import executable_of, sections_of

BANNER = re.compile(rb"Linux version (\d{1,3})\.(\d{1,3})[^\0]{0,500}")
LINKED = ("ET_EXEC", "ET_DYN")
OTHER_TYPES = {
    "ET_NONE": "a file of no type",
    "ET_REL": "a relocatable file (an object or a module)",
    "ET_DYN": "a shared object or position-independent program",
    "ET_CORE": "a core file (a dump)",
}


class Vmlinux:
    """
    One kernel image (or a linked module: the same, without a banner). A `KernelImage`.

    `segments` are what a boot loader copies to physical memory: x86-64's per-CPU one has linear address 0. `how` says
    what was done to get at the image. `symbols` are from elsewhere, for an image that was stripped; by default they are
    the image's own. `strict` is `ExceptionTable.from_bytes()`'s: without it a table is read however broken it is.
    """

    module = None

    def __init__(
        self, elf: Elf, *, how: tuple[str, ...] = (), symbols: SymbolTable | None = None, strict: bool = True
    ) -> None:
        if elf.type not in LINKED:
            got = OTHER_TYPES.get(elf.type, elf.type)
            raise BadInput(elf.path, offset=0x10, expected="a linked kernel, such as vmlinux", got=got)
        if not elf.segments:
            raise BadInput(elf.path, expected="a kernel image with PT_LOAD segments", got="none")
        platform = platform_of(elf.machine, elf.bits, elf.byte_order)
        if platform is None:
            feature = f"an image for {elf.machine} ({elf.bits} bits, {elf.byte_order}-endian)"
            raise Unsupported(feature, why=f"{elf.path}: no exception table of that architecture is known here")
        self.elf, self._how, self.platform, self.strict = elf, how, platform, strict
        self._given_symbols = symbols

    @classmethod
    def open(cls, path: str | Path, *, strict: bool = True) -> Vmlinux:
        """
        Map the image at `path`.

        Errors: BadInput if it is no linked ELF file, or one without anything to load; Unsupported if its architecture
        is unknown.
        """
        return cls(Elf.open(path), strict=strict)

    def with_symbols(self, symbols: SymbolTable, how: str) -> Vmlinux:
        """The same image with symbols from elsewhere; `how` says where from."""
        return Vmlinux(self.elf, how=(*self._how, how), symbols=symbols, strict=self.strict)

    def check_runnable(self) -> Vmlinux:
        """
        The image itself, if a machine can run it.

        Errors: BadInput if it is not an x86 executable.
        """
        if self.platform.name not in RUNNABLE:
            expected = "an x86 ELF (EM_X86_64 or EM_386)"
            raise BadInput(self.path, offset=0x12, expected=expected, got=self.elf.machine)
        if self.elf.type != "ET_EXEC":
            raise BadInput(self.path, offset=0x10, expected="an executable, such as vmlinux", got=OTHER_TYPES["ET_DYN"])
        return self

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
        if self._given_symbols is not None:
            return self._given_symbols
        return self.elf.symbols(kernel_half=self.platform.kernel_half)

    @property
    def release(self) -> str:
        """The release as uname tells it, out of the banner."""
        return self.banner.split()[2]

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

    # --------------------------------------------------------------------------------------------------------- tables

    @property
    def how(self) -> tuple[str, ...]:
        """What was done to get at the image, and which tables nothing would tell of."""
        by_section = self.section("__ex_table") is not None
        return (*self._how, *not_looked_for(self.platform, self.symbols, by_section=by_section))

    @property
    def exception_table(self) -> ExceptionTable:
        """__ex_table. Errors: as for all."""
        return self.exception_tables[0].table

    @cached_property
    def exception_tables(self) -> tuple[FoundTable, ...]:
        """
        __ex_table, and after it the others (`kernel_tables`).

        Errors: Absent if there is no __ex_table; BadInput or Unsupported if a table cannot be read.
        """
        return tuple(tables_of(self, self._locate, strict=self.strict))

    def _locate(self, described: ExtraTable) -> Located | None:
        """A table: its section, or what lies between its symbols, or for __ex_table what has the shape of one."""
        section = self.elf.section(described.section)
        if section is not None:
            check_in_file(section, self.path)
        found = self.between(described.section, described.start, described.stop)
        if found is not None:
            words = f"section {described.section}" if section else f"the symbols {described.start} and {described.stop}"
            return Located(*found, self.file_offset(found[1]), words)
        if described is not EX_TABLE:
            return None
        pieces = [(segment.virtual, segment.data) for segment in self.segments]
        try:
            best, words = the_one(by_shape(pieces, self.platform, self.executable), where=self.path)
        except Absent as nothing:
            hint = f"there is no section __ex_table, there are no symbols {START} and {STOP}, and {nothing.hint}"
            raise Absent("exception table", where=self.path, hint=hint) from None
        return Located(best.address, best.raw, self.file_offset(best.raw), words)

    # ------------------------------------------------------------------------------------------------------ addresses

    def file_offset(self, piece: memoryview) -> int:
        """Where in the file a piece of it lies."""
        return self.elf.offset_of(piece)

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
    def sections(self) -> tuple[CodeSection, ...]:
        """The loaded sections, by address; without section headers, what the linker script's symbols enclose."""
        if not self.elf.sections:
            return sections_of(self.symbols)
        loaded = [section for section in self.elf.sections if section.allocated and section.size]
        return tuple(
            CodeSection(
                section.name,
                section.address,
                section.size,
                section.executable and len(section.data) == section.size,
                self._is_discarded(section),
            )
            for section in sorted(loaded, key=lambda section: (section.address, section.size, section.name))
        )

    @cached_property
    def _init(self) -> tuple[int, int]:
        return self.symbols.get("__init_begin") or 0, self.symbols.get("__init_end") or 0

    def _is_discarded(self, section: Section) -> bool:
        """
        Is a section's memory freed once the kernel is up, by its name or its place?

        Kernel: init/main.c free_initmem(), v6.12; arch/s390/kernel/setup.c relocate_amode31_section(), v6.1: it moves
        the .amode31 sections out of the memory that is freed.
        """
        begin, end = self._init
        inside = begin <= section.address and section.address + section.size <= end
        freed = inside and not section.name.startswith(".amode31")
        return freed or section.name.startswith((".init.", ".exit."))

    @cached_property
    def executable(self) -> tuple[tuple[int, int], ...]:
        """
        Ranges of linear addresses (start, end) that hold code: by section. Where there are no section headers, by
        segment and the linker script's symbols; without these any segment may hold code, whatever its rights.

        Kernel: arch/x86/kernel/vmlinux.lds.S, v6.1: .init.text of a 32-bit kernel is in a segment without PF_X.
        Errors: BadInput if they are larger than the file: they share bytes, as no kernel's do.
        """
        if self.elf.sections:
            found = [(s.address, len(s.data)) for s in self.elf.sections if s.allocated and s.executable]
        else:
            found = [(start, end - start) for start, end in executable_of(self.sections)]
            found += [(s.virtual, len(s.data)) for s in self.segments if s.execute or not found]
        ranges: list[tuple[int, int]] = []
        for start, size in sorted(found):
            if not self.elf.sections and ranges and start <= ranges[-1][1]:
                ranges[-1] = ranges[-1][0], max(ranges[-1][1], start + size)
            else:
                ranges.append((start, start + size))
        check_share(self.path, ranges, len(self.elf.data))
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
