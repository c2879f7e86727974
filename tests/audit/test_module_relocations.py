"""A module's windows: STAC and branches are relocations in its file."""

from __future__ import annotations

import struct
from pathlib import Path

from images.elf_writer import AX, RELA, RELOCATABLE, A, Piece, elf, symbol_table
from pagefault.audit import audit
from pagefault.audit.module_relocations import ModuleRelocations
from pagefault.images.module import Module
from pagefault.tables.symbols import Symbol

PC32, PLT32 = 2, 4


def rela(*records: tuple[int, int, int, int]) -> bytes:
    """(offset, type, symbol, addend)"""
    return b"".join(struct.pack("<QQq", at, symbol << 32 | kind, addend) for at, kind, symbol, addend in records)


def module(folder: Path, *, covered: bool) -> Module:
    """
    touch: call __fentry__; nop (3); jmp .text.far; 13: nop (3); ret through __x86_return_thunk.
    far: mov (%rdi),%eax; jmp touch+13. The no-ops become STAC and CLAC.
    """
    code = bytes.fromhex("e800000000 909090 e900000000 909090 e900000000")
    far = bytes.fromhex("8b07 e900000000")
    table = struct.pack("<iiHBB", 0, 0, 308, 3, 3) * 2
    other = bytes.fromhex("0f01cb 0f01ca")
    entries = struct.pack("<iiI", 0, 0, 3)
    relocations = (
        rela((1, PLT32, 5, -4), (9, PC32, 2, -4), (17, PLT32, 6, -4)),
        rela((3, PC32, 1, 13 - 4)),
        rela((0, PC32, 1, 5), (4, PC32, 4, 0), (12, PC32, 1, 13), (16, PC32, 4, 3)),
        rela((0, PC32, 2, 0 if covered else 2), (4, PC32, 1, 13)),
    )
    symbols = [
        ("", 1, 0),
        ("", 2, 0),
        ("", 3, 0),
        ("", 4, 0),
        ("__fentry__", 0, 0),
        ("__x86_return_thunk", 0, 0),
        ("touch", 1, 0),
        ("far", 2, 0),
    ]
    pieces = [
        Piece(".text", code, flags=AX),
        Piece(".text.far", far, flags=AX),
        Piece(".altinstructions", table, flags=A),
        Piece(".altinstr_replacement", other, flags=AX),
        Piece("__ex_table", entries, flags=A),
        *symbol_table(symbols, 6),
        *(
            Piece(name, data, type=RELA, link=6, info=info)
            for name, data, info in zip(
                (".rela.text", ".rela.text.far", ".rela.altinstructions", ".rela__ex_table"),
                relocations,
                (1, 2, 3, 5),
                strict=True,
            )
        ),
    ]
    path = folder / "tried.ko"
    path.write_bytes(elf(pieces, kind=RELOCATABLE))
    return Module.open(path)


def test_what_fields_refer_to(tmp_path: Path) -> None:
    made = module(tmp_path, covered=True)
    found = ModuleRelocations(made)
    text, far = (section.address for section in made.sections[:2])
    assert found.target(text + 1) == (None, "__fentry__")
    assert found.target(text + 9) == (far - 4, None)
    assert found.target(far + 3) == (text + 13 - 4, None)
    assert found.target(text) is None
    assert found.target(0) is None
    address, raw = found.table(".altinstructions") or (0, b"")
    site, other = struct.unpack("<ii", raw[12:20])
    assert (address + 12 + site, address + 16 + other) == (text + 13, made.sections[3].address + 3)
    assert found.table(".nothing") is None


def test_a_window_that_leads_through_another_section(tmp_path: Path) -> None:
    assert [finding for finding in audit(module(tmp_path, covered=True)).findings if finding.code == "PF014"] == []
    [finding] = [each for each in audit(module(tmp_path, covered=False)).findings if each.code == "PF014"]
    assert isinstance(finding.place.symbol, Symbol)
    assert (finding.place.symbol.name, finding.place.symbol.offset, finding.place.module) == ("far", 0, "tried")


def test_an_entry_for_a_section_that_is_not_loaded(tmp_path: Path) -> None:
    made = module(tmp_path, covered=True)
    data = bytearray((tmp_path / "tried.ko").read_bytes())
    # the symbol of .text.far (number 2) becomes one of the section .symtab, which is not loaded
    place = data.index(struct.pack("<IBBHQQ", 0, 3, 0, 2, 0, 0))
    data[place + 6 : place + 8] = struct.pack("<H", 6)
    (tmp_path / "broken.ko").write_bytes(data)
    assert [each.code for each in audit(made).findings if each.code == "PF013"] == []
    found = audit(Module.open(tmp_path / "broken.ko", strict=False))
    [finding] = [each for each in found.findings if each.code == "PF013"]
    assert finding.message == "entry 0 refers to .symtab, which is not in the module"
