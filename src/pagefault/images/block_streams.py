"""
The two compressed forms that no library reads as a whole: lzop's files and the legacy frames of lz4. Both are a header
and then blocks, each with its size in front; the blocks are lzallright's and lz4's to undo.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

LZOP_BLOCK = 256 << 10
LZOP_MAGIC_SIZE = 9
LZ4_LEGACY = b"\x02\x21\x4c\x18"
LZ4_LEGACY_BLOCK = 8 << 20
LZ4_LEGACY_STORED = LZ4_LEGACY_BLOCK + LZ4_LEGACY_BLOCK // 255 + 16
"""The most that a block can take in the file (LZ4_compressBound)."""
# lzop's flags: which checksums each block has, and what else is in the header.
ADLER32_D, ADLER32_C, EXTRA_FIELD, CRC32_D, CRC32_C, FILTER = 0x1, 0x2, 0x40, 0x100, 0x200, 0x800


class Damaged(Exception):
    """Compressed data that cannot be undone, and why: BadInput without the file's name, which `compression` adds."""


class Reader:
    """Big-endian fields, one after another. Errors: Damaged at the end of the data."""

    def __init__(self, data: memoryview) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> memoryview:
        piece = self.data[self.at : self.at + size]
        if len(piece) < size:
            raise Damaged(f"its end after {len(self.data)} bytes (cut off?)")
        self.at += size
        return piece

    def number(self, form: str = ">I") -> int:
        value: int = struct.unpack(form, self.take(struct.calcsize(form)))[0]
        return value


def lzop(data: memoryview) -> Iterator[bytes]:
    """
    The blocks of an lzop file, each at most 256 KiB.

    Kernel: lib/decompress_unlzo.c parse_header(), unlzo(), v6.1.
    Differs: the checksums of what comes out are compared; the kernel skips them.
    Errors: Damaged.
    """
    from lzallright import LZOCompressor, LZOError

    file = Reader(data)
    file.take(LZOP_MAGIC_SIZE)
    version = file.number(">H")
    file.take(2 + 2 + 1)  # version of the library, version needed to extract, method
    if version >= 0x940:
        file.take(1)  # level
    flags = file.number()
    file.take((4 if flags & FILTER else 0) + 8 + (4 if version >= 0x940 else 0))  # filter, mode, time
    file.take(file.number(">B") + 4)  # name, checksum of the header
    if flags & EXTRA_FIELD:
        file.take(file.number() + 4)
    while size := file.number():
        stored = file.number()
        if not 0 < stored <= size <= LZOP_BLOCK:
            raise Damaged(f"a block of {stored} bytes for {size}")
        checksums = [
            (check, file.number()) for flag, check in ((ADLER32_D, zlib.adler32), (CRC32_D, zlib.crc32)) if flags & flag
        ]
        if stored < size:
            file.take(4 * bool(flags & ADLER32_C) + 4 * bool(flags & CRC32_C))
        block = bytes(file.take(stored))
        if stored < size:
            try:
                block = LZOCompressor.decompress(block, size)
            except LZOError as error:
                raise Damaged(f"a block that does not decompress ({error})") from None
        if len(block) != size or any(check(block) != checksum for check, checksum in checksums):
            raise Damaged("a block other than its size and checksums say")
        yield block


def lz4_legacy(data: memoryview) -> Iterator[bytes]:
    """
    The blocks of an lz4 legacy frame (`lz4 -l`), each but the last of 8 MiB. It has no end mark: it ends after a block
    that is smaller, at the end of `data`, or where the next size is none a block can have or is the size of all that
    came before, which the kernel's build appends.

    Manual: lz4_Frame_format.md, "Legacy frame".
    Kernel: lib/decompress_unlz4.c unlz4(), scripts/Makefile.lib cmd_lz4_with_size, v6.1.
    Differs: a second frame right behind is not read.
    Errors: Damaged. A frame cut off right between two blocks cannot be told from a whole one.
    """
    from lz4.block import LZ4BlockError, decompress

    at, out, block = len(LZ4_LEGACY), 0, b""
    while not block or len(block) == LZ4_LEGACY_BLOCK:
        size = int.from_bytes(data[at : at + 4], "little")
        stored = data[at + 4 : at + 4 + size]
        if block and (not 0 < size <= LZ4_LEGACY_STORED or size == out):
            return
        if not 0 < size <= LZ4_LEGACY_STORED:
            raise Damaged(f"a block of {size} bytes")
        if len(stored) < size:
            raise Damaged(f"its end after {len(data)} bytes (cut off?)")
        try:
            block = decompress(stored, uncompressed_size=LZ4_LEGACY_BLOCK)
        except LZ4BlockError as error:
            raise Damaged(f"a block that does not decompress ({error})") from None
        if not block:
            raise Damaged("an empty block")
        at, out = at + 4 + size, out + len(block)
        yield block
