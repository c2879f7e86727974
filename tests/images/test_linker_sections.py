"""Sections by the symbols of the linker script."""

from __future__ import annotations

from images.elf_writer import symbol_pieces
from pagefault.images.kernel_image import CodeSection
from pagefault.images.linker_sections import executable_of, freed_of, sections_of
from pagefault.tables.symbols import SymbolTable


def table(**symbols: int) -> SymbolTable:
    entries, strings = symbol_pieces(list(symbols.items()), 1)
    return SymbolTable.from_elf(entries.data, strings.data, where="map", kernel_half=0)


def test_what_symbols_enclose() -> None:
    found = sections_of(
        table(
            _sinittext=0x5000,
            _einittext=0x6000,
            _stext=0x1000,
            _etext=0x3000,
            __start_rodata=0x3000,
            __end_rodata=0x4000,
            _sdata=0x8000,
            __bss_start=0x9000,
            __bss_stop=0x9000,
        )
    )
    assert found == (
        CodeSection(".text", 0x1000, 0x2000, executable=True),
        CodeSection(".rodata", 0x3000, 0x1000, executable=False),
        CodeSection(".init.text", 0x5000, 0x1000, executable=True, discarded=True),
    )
    assert executable_of(found) == ((0x1000, 0x3000), (0x5000, 0x6000))


def test_without_symbols_there_is_nothing() -> None:
    assert not sections_of(SymbolTable.empty("stripped"))
    assert not freed_of(SymbolTable.empty("stripped"))


def test_the_rest_of_what_is_freed() -> None:
    assert freed_of(table(_einittext=0x6000, __init_end=0x8000)) == ((0x6000, 0x8000),)
    assert freed_of(table(_einittext=0x8000, __init_end=0x8000)) == ()
