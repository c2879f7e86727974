"""Small ELF files for the tests, written byte by byte: 32 or 64 bits, either byte order, linked or relocatable."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

TEXT, DATA = 0xFFFFFFFF81000000, 0xFFFFFFFF81100000
AX, A, WA = 6, 2, 3
PROGBITS, SYMTAB, STRTAB, RELA, NOBITS, REL = 1, 2, 3, 4, 8, 9
EXEC, DYN, RELOCATABLE, CORE = 2, 3, 1, 4
Order = Literal["little", "big"]


@dataclass(frozen=True)
class Piece:
    """A section; in a linked file, allocated ones get a PT_LOAD of their own. NOBITS has a `size` and no data."""

    name: str
    data: bytes
    address: int = 0
    flags: int = 0
    type: int = PROGBITS
    link: int = 0
    info: int = 0
    align: int = 1
    size: int | None = None


def symbol_pieces(symbols: list[tuple[str, int]], index: int, kind: int = 2) -> tuple[Piece, Piece]:
    """.symtab (section number `index`) and .strtab (the next) of global symbols of type `kind` in section 1."""
    return symbol_table([(name, 1, value) for name, value in symbols], index, kind=kind)


def symbol_table(
    symbols: list[tuple[str, int, int]], index: int, *, kind: int = 2, bits: int = 64, order: Order = "little"
) -> tuple[Piece, Piece]:
    """The same of symbols (name, section, value), for any file. An empty name makes a section's own symbol."""
    sign = "<" if order == "little" else ">"
    names, table = b"\0", bytes(24 if bits == 64 else 16)
    for name, section, value in symbols:
        at, info = (len(names), 0x10 | kind) if name else (0, 3)
        if bits == 64:
            table += struct.pack(sign + "IBBHQQ", at, info, 0, section, value, 0)
        else:
            table += struct.pack(sign + "IIIBBH", at, value, 0, info, 0, section)
        names += name.encode() + b"\0" if name else b""
    return Piece(".symtab", table, type=SYMTAB, link=index + 1), Piece(".strtab", names, type=STRTAB)


def elf(
    pieces: list[Piece],
    *,
    machine: int = 62,
    kind: int = EXEC,
    bits: int = 64,
    order: Order = "little",
    section_headers: bool = True,
) -> bytes:
    """An ELF file of these sections (numbered from 1), after them the section names and headers."""
    sign = "<" if order == "little" else ">"
    header_size, program_size, section_size = (64, 56, 64) if bits == 64 else (52, 32, 40)
    names = b"\0"
    loads = [piece for piece in pieces if piece.flags & A and kind != RELOCATABLE]
    headers, body, programs = [bytes(section_size)], b"", b""
    start = header_size + program_size * len(loads)
    for piece in [*pieces, Piece(".shstrtab", b"", type=STRTAB)]:
        at = len(names)
        names += piece.name.encode() + b"\0"
        data = names if piece.name == ".shstrtab" else piece.data
        offset = start + len(body)
        size = len(data) if piece.size is None else piece.size
        form = "IIQQQQIIQQ" if bits == 64 else "10I"
        words = at, piece.type, piece.flags, piece.address, offset, size, piece.link, piece.info, piece.align, 24
        headers.append(struct.pack(sign + form, *words))
        if piece in loads:
            physical, flags = piece.address - 0xFFFFFFFF80000000, 4 | (1 if piece.flags & 4 else 2)
            if physical < 0:
                physical = piece.address
            if bits == 64:
                programs += struct.pack(
                    sign + "IIQQQQQQ", 1, flags, offset, piece.address, physical, len(data), size, 1
                )
            else:
                programs += struct.pack(sign + "8I", 1, offset, piece.address, physical, len(data), size, flags, 1)
        body += data
    shoff = start + len(body) if section_headers else 0
    counts = (len(headers), len(headers) - 1) if section_headers else (0, 0)
    header = b"\x7fELF" + bytes((bits // 32, 1 if order == "little" else 2, 1))
    header = header.ljust(16, b"\0") + struct.pack(
        sign + ("HHIQQQIHHHHHH" if bits == 64 else "HHIIIIIHHHHHH"),
        *(kind, machine, 1, 0, header_size if loads else 0, shoff, 0),
        *(header_size, program_size, len(loads), section_size, *counts),
    )
    return header + programs + body + (b"".join(headers) if section_headers else b"")


def save(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
