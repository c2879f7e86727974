# SPDX-License-Identifier: MIT
"""Sort the exception table of a linked ELF file in place: the kernel's own link step, for our two files.

An entry's two offsets are relative to their own fields, so an entry that moves is re-based.

Kernel: scripts/sorttable.h, v6.1.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

ENTRY = struct.Struct("<iiI")
SECTION = struct.Struct("<IIQQQQ24x")


def ex_table(image: bytearray) -> tuple[int, int]:
    """Where the `__ex_table` section is in the file, and how long it is."""
    headers, size, count, names = struct.unpack_from("<40xQ10xHHH", image)
    sections = [SECTION.unpack_from(image, headers + number * size) for number in range(count)]
    strings = sections[names][4]
    for name, _kind, _flags, _address, offset, length in sections:
        if image[strings + name : image.index(0, strings + name)] == b"__ex_table":
            return offset, length
    raise SystemExit("no __ex_table section")


def sort(table: bytes) -> bytes:
    """The same entries, ordered by the address of their instruction. Addresses are counted from the table's start."""
    entries = []
    for at in range(0, len(table), ENTRY.size):
        insn, fixup, data = ENTRY.unpack_from(table, at)
        entries.append((at + insn, at + 4 + fixup, data))
    entries.sort()
    return b"".join(
        ENTRY.pack(insn - at, fixup - at - 4, data)
        for at, (insn, fixup, data) in zip(range(0, len(table), ENTRY.size), entries, strict=True)
    )


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        image = bytearray(path.read_bytes())
        offset, length = ex_table(image)
        image[offset : offset + length] = sort(bytes(image[offset : offset + length]))
        path.write_bytes(image)
