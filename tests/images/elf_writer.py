"""Small ELF files for the tests, written byte by byte."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

TEXT, DATA = 0xFFFFFFFF81000000, 0xFFFFFFFF81100000
AX, A, WA = 6, 2, 3


@dataclass(frozen=True)
class Piece:
    """A section; allocated ones get a PT_LOAD of their own."""

    name: str
    data: bytes
    address: int = 0
    flags: int = 0
    type: int = 1
    link: int = 0


def symbol_pieces(symbols: list[tuple[str, int]], index: int, kind: int = 2) -> tuple[Piece, Piece]:
    """.symtab (section number `index`) and .strtab (the next) of global symbols of type `kind` in section 1."""
    names, table = b"\0", bytes(24)
    for name, value in symbols:
        table += struct.pack("<IBBHQQ", len(names), 0x10 | kind, 0, 1, value, 0)
        names += name.encode() + b"\0"
    return Piece(".symtab", table, type=2, link=index + 1), Piece(".strtab", names, type=3)


def elf(pieces: list[Piece], *, machine: int = 62, kind: int = 2) -> bytes:
    """An ELF64 file of these sections (numbered from 1), after them the section names and headers."""
    names = b"\0"
    loads = [piece for piece in pieces if piece.flags & A]
    headers, body, programs = [bytes(64)], b"", b""
    start = 64 + 56 * len(loads)
    for piece in [*pieces, Piece(".shstrtab", b"", type=3)]:
        at = len(names)
        names += piece.name.encode() + b"\0"
        data = names if piece.name == ".shstrtab" else piece.data
        offset = start + len(body)
        headers.append(
            struct.pack(
                "<IIQQQQIIQQ", at, piece.type, piece.flags, piece.address, offset, len(data), piece.link, 0, 1, 24
            )
        )
        if piece.flags & A:
            physical, flags = piece.address - 0xFFFFFFFF80000000, 4 | (1 if piece.flags & 4 else 2)
            sizes = len(data), len(data)
            programs += struct.pack("<IIQQQQQQ", 1, flags, offset, piece.address, physical, *sizes, 1)
        body += data
    shoff = start + len(body)
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", kind, machine, 1, TEXT, 64, shoff, 0, 64, 56, len(loads), 64, len(headers), len(headers) - 1
    )
    return header + programs + body + b"".join(headers)


def save(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
