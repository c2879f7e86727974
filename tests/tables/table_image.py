"""Flat kernels for the tests: code, an exception table in it, and whatever else is put beside."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass

from pagefault.arch.exception_format import Addressing, Layout, ThirdWord
from pagefault.arch.platform import Platform

CODE, TABLE, SIZE = 0x400, 0x30_0000, 0x40_0000
"""Offsets: where code begins, where the table lies; the image's size. What is between is code."""
LOADS = {
    "EM_X86_64": bytes.fromhex("8b03"),
    "EM_386": bytes.fromhex("8b03"),
    "EM_AARCH64": bytes.fromhex("e30340f9"),
    "EM_RISCV": bytes.fromhex("83b20200"),
    "EM_S390": bytes.fromhex("e31020000004"),
    "EM_PPC64": bytes.fromhex("000064e8"),
    "EM_ARM": bytes.fromhex("000091e5"),
    "EM_MIPS": bytes.fromhex("0000828c"),
    "EM_LOONGARCH": bytes(4),
}
"""A load in each architecture's code; powerpc's, arm's and MIPS's in little-endian."""


@dataclass(frozen=True)
class TableImage:
    data: bytearray
    address: int
    insns: tuple[int, ...]
    fixups: tuple[int, ...]

    @property
    def table(self) -> int:
        """The table's address."""
        return self.address + TABLE

    def put(self, offset: int, data: bytes) -> None:
        self.data[offset : offset + len(data)] = data


def table_image(platform: Platform, count: int = 100, *, address: int, seed: int = 1) -> TableImage:
    """An image with a table of `count` entries of the platform's newest layout."""
    layout, draw = platform.exceptions.layouts[0], random.Random(seed)
    order = "<" if platform.byte_order == "little" else ">"
    load = LOADS[platform.elf_machine]
    if platform.byte_order == "big" and platform.elf_machine == "EM_MIPS":
        load = load[::-1]
    data = bytearray(SIZE)
    offsets = sorted(draw.sample(range(CODE, TABLE - 0x100, 16), count))
    fixups = [draw.randrange(CODE, TABLE - 0x100, 16) for _ in offsets]
    for offset in offsets:
        data[offset : offset + len(load)] = load
    for index, (insn, fixup) in enumerate(zip(offsets, fixups, strict=True)):
        at = TABLE + index * layout.size
        data[at : at + layout.size] = entry(layout, order, platform, address, at, insn, fixup)
    return TableImage(data, address, tuple(address + o for o in offsets), tuple(address + o for o in fixups))


def entry(layout: Layout, order: str, platform: Platform, address: int, at: int, insn: int, fixup: int) -> bytes:
    """One entry that lies at the offset `at`, of the layout's first known type that is not none."""
    if layout.addresses is Addressing.ABSOLUTE:
        form = "Q" if platform.bits == 64 else "I"
        return struct.pack(f"{order}2{form}", address + insn, address + fixup)
    relative = struct.pack(f"{order}2i", insn - at, fixup - at - 4)
    number = min(n for n in layout.numbers if n) if layout.numbers else 0
    match layout.third:
        case ThirdWord.NONE:
            return relative
        case ThirdWord.TYPE_AND_DATA:
            return relative + struct.pack(f"{order}2H", number, 0)
        case _:
            return relative + struct.pack(f"{order}I", number)
