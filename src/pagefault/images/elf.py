"""
An ELF file of any kind: 32 or 64 bits, either byte order, an executable, a relocatable kernel or module, a dump. It is
mapped and never read whole: headers checked, pieces given as views of the mapping.

The headers are pyelftools' to decode. Everything a file says about itself is checked against the file's size before it
is believed, so a view handed out is always whole.
"""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from elftools.elf.structs import ELFStructs

from ..arch.platform import ByteOrder
from ..errors import BadInput
from ..tables.symbols import SymbolTable

ELF_MAGIC = b"\x7fELF"
MAX_HEADERS = 16_384
"""Section or program headers that we are ready to read; `vmlinux` has about 80 and 5, a module 40."""
MAX_NAME = 256
SHF_ALLOC, SHF_EXECINSTR = 2, 4
BITS: dict[int, Literal[32, 64]] = {1: 32, 2: 64}
BYTE_ORDERS: dict[int, ByteOrder] = {1: "little", 2: "big"}
HEADER_SIZE = {32: 52, 64: 64}
KINDS = 64
"""Forms of headers kept: files of more machines and types than any tree of modules has come and go."""
UNREGISTERED = {0x9026: "EM_ALPHA"}
"""Machines with a number of their own choice. Kernel: include/uapi/linux/elf-em.h, v6.1."""


@dataclass(frozen=True, slots=True)
class Section:
    """
    One section header; `data` is empty for a section that takes no space in the file (SHT_NOBITS).

    What `link` and `info` mean depends on the type: a symbol table's strings, the section that relocations are for.
    """

    name: str
    type: str
    flags: int
    address: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int
    data: memoryview

    @property
    def allocated(self) -> bool:
        return bool(self.flags & SHF_ALLOC)

    @property
    def executable(self) -> bool:
        return bool(self.flags & SHF_EXECINSTR)


@dataclass(frozen=True, slots=True)
class Segment:
    """
    One PT_LOAD: `data` belongs at linear address `virtual` and physical address `physical`, zeros follow up to
    `memory_size` bytes. `read`, `write` and `execute` are PF_R, PF_W and PF_X.
    """

    virtual: int
    physical: int
    data: memoryview
    memory_size: int
    read: bool
    write: bool
    execute: bool

    @property
    def end(self) -> int:
        """The first linear address past the segment."""
        return self.virtual + self.memory_size


@dataclass(frozen=True, slots=True)
class Elf:
    """
    An opened file: `path`, `data` (the whole mapping), what the header says (`machine`, `type` and `flags` are
    e_machine, e_type and e_flags), `sections` in file order, `segments` (PT_LOAD), `notes` (the data of each PT_NOTE).

    Manual: System V ABI, chapter 4 (ELF header, sections) and 5 (program header).
    """

    path: str
    data: memoryview
    bits: Literal[32, 64]
    byte_order: ByteOrder
    machine: str
    type: str
    flags: int
    sections: tuple[Section, ...]
    segments: tuple[Segment, ...]
    notes: tuple[memoryview, ...]

    @classmethod
    def open(cls, path: str | Path) -> Elf:
        """
        Map the file at `path` and check it.

        Errors: BadInput if it cannot be read, is no regular file, or is not a whole ELF file.
        """
        where = str(path)
        return cls.from_bytes(memoryview(map_file(where)), where)

    @classmethod
    def from_bytes(cls, data: memoryview, where: str) -> Elf:
        """
        The ELF file that is `data`; `where` names it in errors.

        Errors: BadInput if it is not a whole ELF file.
        """
        bits, order = check_identity(where, data)
        (header,) = parse(where, data, "ELF header", structs(bits, order).Elf_Ehdr, 0, 1)
        forms = structs(bits, order, *(str(word) for word in (header["e_type"], header["e_machine"])))
        sections = []
        if header["e_shoff"]:
            count = header["e_shnum"]
            if not count:  # more than the header can say: the first section's size is their number
                count = parse(where, data, "section header", forms.Elf_Shdr, header["e_shoff"], 1)[0]["sh_size"]
            sections = parse(where, data, "section header", forms.Elf_Shdr, header["e_shoff"], count)
        segments = parse(where, data, "program header", forms.Elf_Phdr, header["e_phoff"], header["e_phnum"])
        return cls(
            path=where,
            data=data,
            bits=bits,
            byte_order=order,
            machine=UNREGISTERED.get(header["e_machine"], str(header["e_machine"])),
            type=str(header["e_type"]),
            flags=header["e_flags"],
            sections=tuple(read_sections(where, sections, header["e_shstrndx"], data)),
            segments=tuple(read_segments(where, segments, data, bits)),
            notes=tuple(read_notes(where, segments, data)),
        )

    def section(self, name: str) -> Section | None:
        """The first section of that name."""
        return next((section for section in self.sections if section.name == name), None)

    @property
    def symtab(self) -> Section | None:
        """The symbol table; None if the file was stripped."""
        return next((section for section in self.sections if section.type == "SHT_SYMTAB"), None)

    def symbols(
        self, *, kernel_half: int, section_bases: Sequence[int] | None = None, module: str | None = None
    ) -> SymbolTable:
        """
        What the symbol table names; an empty table if the file was stripped. For parameters see `SymbolTable.from_elf`.

        Errors: BadInput if it is no symbol table, or has no strings.
        """
        table = self.symtab
        if table is None:
            return SymbolTable.empty(self.path)
        return SymbolTable.from_elf(
            table.data,
            self.strings_of(table),
            where=self.path,
            bits=self.bits,
            byte_order=self.byte_order,
            kernel_half=kernel_half,
            section_bases=section_bases,
            module=module,
        )

    def offset_of(self, piece: memoryview) -> int:
        """Where in the file a piece of it lies."""
        return int(np.frombuffer(piece, np.uint8).ctypes.data - np.frombuffer(self.data, np.uint8).ctypes.data)

    def strings_of(self, table: Section) -> memoryview:
        """
        The string table of a symbol table.

        Errors: BadInput if there is no such section.
        """
        if table.link >= len(self.sections):
            got = f"section number {table.link}"
            raise BadInput(self.path, expected=f"a string table for {table.name}", got=got)
        return self.sections[table.link].data


def map_file(where: str) -> mmap.mmap:
    """The whole file, mapped read-only. A pipe or a device is refused without waiting for it."""
    try:
        descriptor = os.open(where, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise BadInput(where, expected="a file", got="nothing of that name") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise BadInput(where, expected="a readable file", got=reason) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = "a directory" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
            raise BadInput(where, expected="a regular file", got=kind)
        if status.st_size == 0:
            raise BadInput(where, expected="an ELF file", got="an empty file")
        try:
            return mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
        except (OSError, ValueError) as error:
            raise BadInput(where, expected="a file that can be mapped", got=str(error)) from None
    finally:
        os.close(descriptor)


def check_identity(where: str, data: memoryview) -> tuple[Literal[32, 64], ByteOrder]:
    """e_ident: is this an ELF file with a whole header, and of which form?"""
    if data[:4] != ELF_MAGIC:
        start = bytes(data[:16])
        text = all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in start)
        raise BadInput(
            where, offset=0, expected="an ELF file (7f 45 4c 46)", got="text" if text else start[:4].hex(" ")
        )
    kind, encoding = (*data[4:6], 0, 0)[:2]
    size = HEADER_SIZE[BITS.get(kind, 64)]
    if len(data) < size:
        raise BadInput(where, offset=len(data), expected=f"an ELF header of {size} bytes", got="the end of the file")
    if kind not in BITS:
        raise BadInput(where, offset=4, expected="a 32-bit or 64-bit ELF", got=f"class {kind}")
    if encoding not in BYTE_ORDERS:
        raise BadInput(where, offset=5, expected="a little-endian or big-endian ELF", got=f"data encoding {encoding}")
    return BITS[kind], BYTE_ORDERS[encoding]


@lru_cache(KINDS)
def structs(bits: int, order: ByteOrder, kind: str | None = None, machine: str | None = None) -> ELFStructs:
    """pyelftools' forms of the headers. To make them takes longer than to read a module's headers with them."""
    forms = ELFStructs(little_endian=order == "little", elfclass=bits)
    forms.create_basic_structs()
    forms.create_advanced_structs(kind, machine)
    return forms


def check_extent(where: str, what: str, offset: int, size: int, length: int) -> None:
    """`what` must lie inside a file of `length` bytes."""
    if offset + size > length:
        got = f"a file that ends at {length:#x} (truncated?)"
        raise BadInput(where, offset=offset, expected=f"{what}, up to {offset + size:#x}", got=got)


def check_share(where: str, ranges: Iterable[tuple[int, int]], size: int) -> None:
    """
    Code lies in a file once: together the ranges are no larger than the file.

    Errors: BadInput if they are, for then reading all code would take much longer than the file is.
    """
    if sum(end - start for start, end in ranges) > size:
        raise BadInput(where, expected=f"code of at most {size:#x} bytes, the file's size", got="sections that overlap")


def parse(where: str, data: memoryview, what: str, form: Any, offset: int, count: int) -> list[Any]:
    """`count` headers from `offset` on. The file's own entry size is not asked: the ABI has one."""
    if count > MAX_HEADERS:
        raise BadInput(where, offset=offset, expected=f"at most {MAX_HEADERS} {what}s", got=str(count))
    size = count * form.sizeof()
    check_extent(where, f"{count} {what}{'s' * (count != 1)}", offset, size, len(data))
    stream = BytesIO(data[offset : offset + size])
    try:
        return [form.parse_stream(stream) for _ in range(count)]
    except Exception as error:  # noqa: BLE001 -- pyelftools fails in many ways on a hostile file, all of them this
        raise BadInput(where, offset=offset, expected=f"{count} {what}s", got=shown(error)) from None


def read_sections(where: str, headers: list[Any], names_index: int, data: memoryview) -> Iterator[Section]:
    """Every section; its data must lie inside the file."""
    names = data[:0]
    if names_index < len(headers):
        start, size = headers[names_index]["sh_offset"], headers[names_index]["sh_size"]
        check_extent(where, "the section names", start, size, len(data))
        names = data[start : start + size]
    for header in headers:
        at = header["sh_name"]
        name = bytes(names[at : at + MAX_NAME]).partition(b"\0")[0].decode("ascii", "backslashreplace")
        in_file = header["sh_type"] not in ("SHT_NOBITS", "SHT_NULL")
        offset, size = header["sh_offset"], header["sh_size"]
        if in_file:
            check_extent(where, f"section {name!r}", offset, size, len(data))
        yield Section(
            name=name,
            type=str(header["sh_type"]),
            flags=header["sh_flags"],
            address=header["sh_addr"],
            size=size,
            link=header["sh_link"],
            info=header["sh_info"],
            alignment=header["sh_addralign"],
            entry_size=header["sh_entsize"],
            data=data[offset : offset + size] if in_file else data[:0],
        )


def read_segments(where: str, headers: list[Any], data: memoryview, bits: int) -> Iterator[Segment]:
    """Every PT_LOAD; its data must lie inside the file, its addresses inside the address space."""
    for header in headers:
        if header["p_type"] != "PT_LOAD":
            continue
        offset, size, in_memory = header["p_offset"], header["p_filesz"], header["p_memsz"]
        virtual, flags = header["p_vaddr"], header["p_flags"]
        check_extent(where, f"the segment for {virtual:#x}", offset, size, len(data))
        if size > in_memory or virtual + in_memory > 1 << bits or header["p_paddr"] + in_memory > 1 << 64:
            got = f"{size:#x} bytes of file in {in_memory:#x} bytes at {virtual:#x}"
            raise BadInput(where, expected="a segment that fits its memory and the address space", got=got)
        yield Segment(
            virtual=virtual,
            physical=header["p_paddr"],
            data=data[offset : offset + size],
            memory_size=in_memory,
            read=bool(flags & 4),
            write=bool(flags & 2),
            execute=bool(flags & 1),
        )


def read_notes(where: str, headers: list[Any], data: memoryview) -> Iterator[memoryview]:
    """The data of every PT_NOTE."""
    for header in headers:
        if header["p_type"] == "PT_NOTE":
            offset, size = header["p_offset"], header["p_filesz"]
            check_extent(where, "the notes", offset, size, len(data))
            yield data[offset : offset + size]


def shown(error: Exception) -> str:
    """pyelftools' reason, which may be empty."""
    return str(error) or type(error).__name__
