"""
An x86-64 ELF executable, mapped and never read whole: headers checked, pieces given as views of the mapping.

The headers are pyelftools' to decode. Everything a file says about itself is checked against the file's size before it
is believed, so a view handed out is always whole.
"""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from elftools.common.utils import struct_parse
from elftools.elf.elffile import ELFFile

from ..errors import BadInput

ELF_MAGIC = b"\x7fELF"
MAX_HEADERS = 16_384
"""Section or program headers that we are ready to read; `vmlinux` has about 80 and 5."""
TYPE_NAMES = {
    "ET_NONE": "a file of no type",
    "ET_REL": "a relocatable file (an object or a module)",
    "ET_DYN": "a shared object or position-independent program",
    "ET_CORE": "a core file (a dump)",
}
MAX_NAME = 256
SHF_ALLOC, SHF_EXECINSTR = 2, 4


@dataclass(frozen=True, slots=True)
class Section:
    """One section header; `data` is empty for a section that takes no space in the file (SHT_NOBITS)."""

    name: str
    type: str
    flags: int
    address: int
    size: int
    link: int
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
    An opened file: `path`, `data` (the whole mapping), `sections` in file order, `segments` (PT_LOAD only).

    Manual: System V ABI, chapter 4 (ELF header, sections) and 5 (program header).
    """

    path: str
    data: memoryview
    sections: tuple[Section, ...]
    segments: tuple[Segment, ...]

    @classmethod
    def open(cls, path: str | Path) -> Elf:
        """
        Map the file at `path` and check it.

        Errors: BadInput if it cannot be read, is no regular file, or is not a whole x86-64 ELF executable.
        """
        where = str(path)
        mapping = map_file(where)
        data = memoryview(mapping)
        check_identity(where, data)
        try:
            elf = ELFFile(cast("IO[bytes]", mapping))
            header = elf.header
            sections, segments = elf.num_sections(), elf.num_segments()
        except Exception as error:  # noqa: BLE001 -- pyelftools fails in many ways on a hostile file, all of them this
            raise BadInput(where, offset=0, expected="an ELF header", got=shown(error)) from None
        if header["e_machine"] != "EM_X86_64":
            raise BadInput(where, offset=0x12, expected="an x86-64 ELF (EM_X86_64)", got=str(header["e_machine"]))
        if header["e_type"] != "ET_EXEC":
            kind = TYPE_NAMES.get(header["e_type"], str(header["e_type"]))
            raise BadInput(where, offset=0x10, expected="an executable, such as vmlinux", got=kind)
        section_headers = read_headers(where, elf, "section", elf.structs.Elf_Shdr, header["e_shoff"], sections)
        segment_headers = read_headers(where, elf, "program", elf.structs.Elf_Phdr, header["e_phoff"], segments)
        return cls(
            where,
            data,
            tuple(read_sections(where, section_headers, header["e_shstrndx"], data)),
            tuple(read_segments(where, segment_headers, data)),
        )

    def section(self, name: str) -> Section | None:
        """The first section of that name."""
        return next((section for section in self.sections if section.name == name), None)


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


def check_identity(where: str, data: memoryview) -> None:
    """e_ident: is this a little-endian 64-bit ELF file with a whole header?"""
    if data[:4] != ELF_MAGIC:
        start = bytes(data[:16])
        text = all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in start)
        raise BadInput(
            where, offset=0, expected="an ELF file (7f 45 4c 46)", got="text" if text else start[:4].hex(" ")
        )
    if len(data) < 64:
        raise BadInput(where, offset=len(data), expected="an ELF header of 64 bytes", got="the end of the file")
    if data[4] != 2:
        raise BadInput(where, offset=4, expected="a 64-bit ELF", got="32-bit" if data[4] == 1 else f"class {data[4]}")
    if data[5] != 1:
        raise BadInput(where, offset=5, expected="a little-endian ELF", got=f"data encoding {data[5]}")


def check_extent(where: str, what: str, offset: int, size: int, length: int) -> None:
    """`what` must lie inside a file of `length` bytes."""
    if offset + size > length:
        got = f"a file that ends at {length:#x} (truncated?)"
        raise BadInput(where, offset=offset, expected=f"{what}, up to {offset + size:#x}", got=got)


def read_headers(where: str, elf: ELFFile, kind: str, form: Any, offset: int, count: int) -> list[Any]:
    """`count` headers from `offset` on. The file's own entry size is believed only if it is the ABI's."""
    if count > MAX_HEADERS:
        raise BadInput(where, offset=offset, expected=f"at most {MAX_HEADERS} {kind} headers", got=str(count))
    check_extent(where, f"{count} {kind} headers", offset, count * form.sizeof(), elf.stream_len)
    try:
        return [struct_parse(form, elf.stream, offset + index * form.sizeof()) for index in range(count)]
    except Exception as error:  # noqa: BLE001 -- as above
        raise BadInput(where, offset=offset, expected=f"{count} {kind} headers", got=shown(error)) from None


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
            data=data[offset : offset + size] if in_file else data[:0],
        )


def read_segments(where: str, headers: list[Any], data: memoryview) -> Iterator[Segment]:
    """Every PT_LOAD; its data must lie inside the file, its addresses below 2**64."""
    for header in headers:
        if header["p_type"] != "PT_LOAD":
            continue
        offset, size, in_memory = header["p_offset"], header["p_filesz"], header["p_memsz"]
        virtual, flags = header["p_vaddr"], header["p_flags"]
        check_extent(where, f"the segment for {virtual:#x}", offset, size, len(data))
        if size > in_memory or virtual + in_memory > 1 << 64 or header["p_paddr"] + in_memory > 1 << 64:
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


def shown(error: Exception) -> str:
    """pyelftools' reason, which may be empty."""
    return str(error) or type(error).__name__
