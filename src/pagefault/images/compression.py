"""
The ways in which a kernel, or a module, is compressed: known by their first bytes, undone piece by piece up to a limit.

    decompress(memoryview(data), "vmlinuz", limit=output_limit(len(data)))

A stream is read up to its own end: what follows is somebody else's. The kernel's build appends the size of what was
compressed as four bytes (all but gzip, which has them anyway), and a boot loader may append a device tree.
No size that a file states is allocated, nor believed: memory follows what has really been put out.

Kernel: scripts/Makefile.lib (cmd_gzip … cmd_zstd22_with_size), lib/decompress.c compressed_formats[], v6.1.
Differs: decompress_method() takes two bytes for the magic; here it is as long as the format makes it, for we search.
"""

from __future__ import annotations

import bz2
import io
import lzma
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

from ..errors import BadInput
from .block_streams import LZ4_LEGACY, Damaged, lz4_legacy, lzop

FED, PIECE = 1 << 16, 1 << 20
"""Bytes given to a decompressor at a time, and the most that it hands out at a time."""
MOST_MEMORY = 256 << 20
"""What an xz or lzma decoder may ask for. The kernel's build takes dictionaries of up to 128 MiB."""
MOST_OUTPUT, MOST_TIMES = 1 << 30, 64
"""Real kernels and modules come out 2 to 9 times as large, and below 100 MB."""

MAGICS = {
    "gzip": rb"\x1f\x8b\x08[\x00-\x1f]",
    "bzip2": rb"BZh[1-9]1AY&SY",
    "xz": rb"\xfd7zXZ\x00\x00",
    # Usual properties, a dictionary of whole 64 KiB below 256 MiB, no size or one below 2**40, the coder's first zero.
    "lzma": rb"\]\x00\x00[\x00-\xff][\x00-\x0f](?:\xff{8}|[\x00-\xff]{5}\x00{3})\x00",
    "lzo": rb"\x89LZO\x00\r\n\x1a\n",
    "lz4": rb"\x02\x21\x4c\x18|\x04\x22\x4d\x18",
    "zstd": rb"\x28\xb5\x2f\xfd",
}
MAGIC = re.compile(b"|".join(b"(?P<%s>%s)" % (name.encode(), magic) for name, magic in MAGICS.items()))
FIRST_BYTES = (
    b"\x1f\x8b\x08",
    b"BZh",
    b"\xfd7zXZ",
    b"]\0\0",
    b"\x89LZO",
    LZ4_LEGACY,
    b"\x04\x22\x4d\x18",
    b"\x28\xb5\x2f\xfd",
)
LONGEST_FIRST = max(map(len, FIRST_BYTES))


class Decompressor(Protocol):
    """What the standard library's bz2 and lzma have, and lz4.frame and zstd after them."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: memoryview, max_length: int, /) -> bytes: ...


class Gzip:
    """zlib's object in the form of the others."""

    def __init__(self) -> None:
        self.stream, self.needs_input = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS), True

    @property
    def eof(self) -> bool:
        return self.stream.eof

    def decompress(self, data: memoryview, max_length: int, /) -> bytes:
        piece = self.stream.decompress(data if self.needs_input else self.stream.unconsumed_tail, max_length)
        self.needs_input = len(piece) < max_length
        return piece


def output_limit(size: int) -> int:
    """The most that a file of `size` bytes may come out as: 64 times as much, and at most 1 GiB."""
    return min(MOST_TIMES * size, MOST_OUTPUT)


def identify(data: memoryview, offset: int = 0) -> str | None:
    """How what starts at `offset` is compressed (gzip, bzip2, xz, lzma, lzo, lz4, zstd), or None."""
    found = MAGIC.match(data, offset)
    return found.lastgroup if found else None


def candidates(data: memoryview) -> Iterator[int]:
    """Every offset at which a compressed stream may start, in order."""
    for start in range(0, len(data), PIECE):
        # bytes.find() of the few bytes that never vary is a hundred times as fast as the expression.
        piece = bytes(data[start : start + PIECE + LONGEST_FIRST])
        found = (at for first in FIRST_BYTES for at in occurrences(piece, first) if at < PIECE)
        yield from (start + at for at in sorted(found) if identify(data, start + at))


def occurrences(piece: bytes, wanted: bytes) -> Iterator[int]:
    at = piece.find(wanted)
    while at >= 0:
        yield at
        at = piece.find(wanted, at + 1)


def decompress(data: memoryview, where: str, *, limit: int) -> bytes:
    """
    What the compressed stream at the start of `data` holds.

    Errors: BadInput if it is not compressed, damaged or cut off, or holds more than `limit` bytes.
    """
    held = io.BytesIO()
    for piece in pieces(data, where):
        if held.tell() + len(piece) > limit:
            expected = f"at most {limit} bytes out of {len(data)} compressed ones"
            raise BadInput(where, expected=expected, got="more (a decompression bomb?)")
        held.write(piece)
    return held.getvalue()


def pieces(data: memoryview, where: str) -> Iterator[bytes]:
    """
    The stream at the start of `data`, a piece at a time; no piece is larger than 64 MiB, most are at most 1 MiB.

    Errors: BadInput, when it is reached, as in `decompress`.
    """
    name = identify(data)
    if name is None:
        expected = f"compressed data ({', '.join(MAGICS)})"
        raise BadInput(where, expected=expected, got=bytes(data[:4]).hex(" ") or "nothing")
    try:
        if name == "lzo":
            yield from lzop(data)
        elif data[:4] == LZ4_LEGACY:
            yield from lz4_legacy(data)
        else:
            decompressor, failure = OPENERS[name]()
            yield from stream(decompressor, failure, data)
    except Damaged as damage:
        raise BadInput(where, expected=f"sound {name} data", got=str(damage)) from None


def stream(decompressor: Decompressor, failure: type[Exception], data: memoryview) -> Iterator[bytes]:
    """What `decompressor`, which raises `failure` for what is damaged, makes of `data`. Errors: Damaged."""
    at = 0
    while not decompressor.eof:
        fed = data[:0]
        if decompressor.needs_input:
            fed, at = data[at : at + FED], at + FED
            if not fed:
                raise Damaged(f"its end after {len(data)} bytes (cut off?)")
        try:
            piece = decompressor.decompress(fed, PIECE)
        except (failure, MemoryError) as error:  # the stream says how much memory its decoder is to have
            raise Damaged(str(error) or type(error).__name__) from None
        if piece:
            yield piece


Opened = tuple[Decompressor, type[Exception]]
"""A decompressor, and what its library raises for damaged data."""


def zstd() -> Opened:
    # Without options a window of more than 128 MiB is refused, as `zstd -22 --ultra` makes at most.
    if sys.version_info >= (3, 14):
        from compression.zstd import ZstdDecompressor, ZstdError
    else:
        from backports.zstd import ZstdDecompressor, ZstdError
    return ZstdDecompressor(), ZstdError


def lz4_frame() -> Opened:
    from lz4.frame import LZ4FrameDecompressor

    return LZ4FrameDecompressor(), RuntimeError


OPENERS: dict[str, Callable[[], Opened]] = {
    "gzip": lambda: (Gzip(), zlib.error),
    "bzip2": lambda: (bz2.BZ2Decompressor(), OSError),
    "xz": lambda: (lzma.LZMADecompressor(lzma.FORMAT_XZ, MOST_MEMORY), lzma.LZMAError),
    "lzma": lambda: (lzma.LZMADecompressor(lzma.FORMAT_ALONE, MOST_MEMORY), lzma.LZMAError),
    "lz4": lz4_frame,
    "zstd": zstd,
}
