"""
Every entry of an image's exception tables, described: where it is, what it does, where it goes on, who wrote it.

    for each in describe(open_image("vmlinux")): ...
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from ..arch.disassembly import MAX_INSTRUCTION, Disassembled, disassemble
from ..errors import Absent
from ..images.kernel_image import KernelImage
from .described import DescribedEntry, Place
from .source_lines import SourceLines


def describe(image: KernelImage, *, source: SourceLines | bool = False) -> Iterator[DescribedEntry]:
    """
    The entries of all tables, in their order. `source` is where source lines come from; True looks for them in the
    image itself, and entries have none if it holds no debug information (`SourceLines.open` says so).

    Errors: the image's own, of `exception_tables` and `symbols`.
    """
    lines = own_lines(image) if source is True else source or None
    places = Places(image)
    for found in image.exception_tables:
        for entry in found.table:
            yield DescribedEntry(
                found.name,
                found.module or image.module,
                entry,
                places.at(entry.insn),
                places.at(entry.fixup),
                lines.at(entry.insn) if lines else (),
            )


def own_lines(image: KernelImage) -> SourceLines | None:
    """The source lines that an image holds, or None."""
    try:
        return SourceLines.open(image)
    except Absent:
        return None


def describe_place(image: KernelImage, address: int) -> Place:
    """One address, an entry's or not."""
    return Places(image).at(address)


class Places:
    """The addresses of one image in words. Many entries share a fixup: what was described is remembered."""

    def __init__(self, image: KernelImage) -> None:
        self.image = image
        named = [(section.address, section.end, section.name) for section in image.sections]
        self.ranges = sorted(named) if named else [(start, end, None) for start, end in image.executable]
        self.known: dict[int, Place] = {}

    def at(self, address: int) -> Place:
        """The section, symbol and instruction at an address."""
        place = self.known.get(address)
        if place is None:
            end, section = self.range_at(address)
            symbol, instruction = self.image.symbols.at(address), self.instruction(address, end)
            place = self.known[address] = Place(address, section, symbol, instruction)
        return place

    def range_at(self, address: int) -> tuple[int, str | None]:
        """Where the section that an address is in ends, and its name. The end is the address itself outside of all."""
        place = bisect_right(self.ranges, address, key=lambda each: each[0]) - 1
        if place < 0 or address >= self.ranges[place][1]:
            return address, None
        return self.ranges[place][1:]

    def instruction(self, address: int, end: int) -> Disassembled | None:
        """The instruction at an address, not past `end`; None if it is none, or one we do not know."""
        length = min(MAX_INSTRUCTION, end - address)
        if not length:
            return None
        try:
            code = self.image.read(address, length)
        except Absent:
            return None
        return disassemble(self.image.platform, code, address)
