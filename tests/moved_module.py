"""A module that is linked at one address, moved to where a real kernel loaded it."""

from __future__ import annotations

import io
import struct
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection


def moved(path: Path, text: int, folder: Path) -> Path:
    """A copy of the ELF file at `path` whose .text lies at `text`. Nothing in it may hold an address of its own."""
    data = bytearray(path.read_bytes())
    elf = ELFFile(io.BytesIO(bytes(data)))
    word, wide = ("<Q", True) if elf.elfclass == 64 else ("<I", False)
    code = elf.get_section_by_name(".text")
    assert code is not None
    distance = text - code["sh_addr"]

    def move(at: int) -> None:
        struct.pack_into(word, data, at, struct.unpack_from(word, data, at)[0] + distance)

    move(0x18)
    for number in range(elf.num_segments()):
        header = elf["e_phoff"] + number * elf["e_phentsize"]
        move(header + (16 if wide else 8))
        move(header + (24 if wide else 12))
    for number, section in enumerate(elf.iter_sections()):
        if section["sh_addr"]:
            move(elf["e_shoff"] + number * elf["e_shentsize"] + (16 if wide else 12))
        if isinstance(section, SymbolTableSection):
            for index, symbol in enumerate(section.iter_symbols()):
                if symbol["st_shndx"] not in ("SHN_UNDEF", "SHN_ABS"):
                    move(section["sh_offset"] + index * section["sh_entsize"] + (8 if wide else 4))
    target = folder / path.name
    target.write_bytes(data)
    return target
