"""Guest memory, sixteen bytes a line."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from ..errors import BadInput
from ..vocabulary.address import PAGE
from .page import Line, Span

if TYPE_CHECKING:
    from ..machine.machine import Machine

Piece = tuple[int, bytes | None]
LINES = 64
"""Lines that are shown at most."""


def memory(machine: Machine, address: int, length: int) -> list[Piece]:
    """Guest memory in pieces that do not cross a page, each with its address; None where nothing is mapped."""
    pieces: list[Piece] = []
    end = address + length
    while address < end:
        size = min(end - address, PAGE - address % PAGE)
        try:
            pieces.append((address, machine.read(address, size)))
        except BadInput:
            pieces.append((address, None))
        address += size
    return pieces


def runs(pieces: list[Piece]) -> Iterator[tuple[Piece, int]]:
    """The pieces; of some in a row that are not mapped, the first one and how many come after it."""
    for mapped, group in groupby(pieces, lambda piece: piece[1] is not None):
        first, *others = group
        yield first, 0 if mapped else len(others)
        if mapped:
            yield from ((piece, 0) for piece in others)


def hexdump(pieces: list[Piece]) -> Iterator[Line]:
    """
    Address, bytes and text. Lines that repeat the one before them are a `*`, as in hexdump(1); pages in a row that are
    not mapped are one line.
    """
    shown, last, repeated = 0, b"", False
    for (start, data), more in runs(pieces):
        if data is None:
            text = "not mapped" + (f", nor the next {more} page{'s' * (more > 1)}" if more else "")
            yield (f"{start:016x}  ", Span(text, "bad"))
            last, repeated = b"", False
            continue
        for offset in range(0, len(data), 16):
            row = data[offset : offset + 16]
            if row == last:
                if not repeated:
                    yield ("*",)
                repeated = True
                continue
            if shown == LINES:
                yield ("…",)
                return
            last, repeated, shown = row, False, shown + 1
            text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
            yield (f"{start + offset:016x}  {row[:8].hex(' '):<23}  {row[8:].hex(' '):<23}  ", Span(text, "code"))
