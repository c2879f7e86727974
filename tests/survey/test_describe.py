"""Entries described."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from foreign_kernel import ForeignKernel
from pagefault.arch.platform import X86_64, Platform
from pagefault.errors import Absent
from pagefault.images.kernel_image import CodeSection, FoundTable
from pagefault.images.open_image import open_image
from pagefault.survey.describe import Places, describe, describe_place
from pagefault.survey.described import DescribedEntry
from pagefault.tables.symbols import SymbolTable

TEXT = 0xFFFF_FFFF_8100_0000
CODE = bytes.fromhex("8a03 90 b8f2ffffff c3")
SECTIONS = (CodeSection(".text", TEXT, len(CODE), True), CodeSection(".data", TEXT + 0x1000, 16, False))

NO_SYMBOLS = SymbolTable.empty("made up")


@dataclass(frozen=True)
class MadeUp:
    """A `KernelImage` of nine bytes of code; nothing but `.text` can be read."""

    path: str = "made up"
    module: str | None = None
    platform: Platform = X86_64
    how: tuple[str, ...] = ()
    version: tuple[int, int] = (6, 1)
    symbols: SymbolTable = NO_SYMBOLS
    sections: tuple[CodeSection, ...] = SECTIONS
    executable: tuple[tuple[int, int], ...] = ((TEXT, TEXT + len(CODE)),)
    exception_tables: tuple[FoundTable, ...] = ()

    def read(self, address: int, length: int) -> bytes:
        at = address - TEXT
        if not 0 <= at <= at + length <= len(CODE):
            raise Absent(f"{length} bytes at {address:#x}", where=self.path)
        return CODE[at : at + length]


def test_a_place_is_its_section_and_its_instruction() -> None:
    place = describe_place(MadeUp(), TEXT)
    assert (place.address, place.section, place.symbol) == (TEXT, ".text", None)
    assert place.instruction is not None
    assert place.instruction.text == "movb (%rbx), %al"


def test_an_instruction_is_not_read_past_its_section() -> None:
    last = describe_place(MadeUp(), TEXT + 8)
    assert last.instruction is not None
    assert last.instruction.text == "retq"
    cut = replace(MadeUp(), sections=(CodeSection(".text", TEXT, 5, True),))
    assert describe_place(cut, TEXT + 3).instruction is None
    assert describe_place(cut, TEXT + 5).section is None


@pytest.mark.parametrize("address", [0, TEXT - 1, TEXT + len(CODE), TEXT + 0x1010, (1 << 64) - 1])
def test_an_address_in_no_section_has_neither(address: int) -> None:
    place = describe_place(MadeUp(), address)
    assert (place.section, place.instruction) == (None, None)


def test_what_cannot_be_read_has_no_instruction() -> None:
    place = describe_place(MadeUp(), TEXT + 0x1000)
    assert (place.section, place.instruction) == (".data", None)


def test_without_sections_code_is_what_the_image_says_is_code() -> None:
    bare = replace(MadeUp(), sections=())
    place = describe_place(bare, TEXT + 2)
    assert place.section is None
    assert place.instruction is not None
    assert place.instruction.text == "nop"
    assert describe_place(bare, TEXT + len(CODE)).instruction is None


def test_a_place_is_looked_up_once() -> None:
    places = Places(MadeUp())
    assert places.at(TEXT) is places.at(TEXT)


def test_debian_s_entries_are_all_described(vmlinux_61: Path) -> None:
    image = open_image(vmlinux_61)
    found = list(describe(image))
    assert len(found) == sum(len(each.table) for each in image.exception_tables)
    assert [each.entry for each in found[: len(image.exception_tables[0].table)]] == list(
        image.exception_tables[0].table
    )
    assert all(each.insn.instruction and each.insn.symbol and each.fixup.instruction for each in found)
    assert {each.insn.section for each in found if each.table == "__ex_table"} == {".text", ".init.text"}
    assert {each.source for each in found} == {()}
    assert all(each.insn.address == each.entry.insn and each.fixup.address == each.entry.fixup for each in found)
    assert {each.table for each in found} == {table.name for table in image.exception_tables}


def test_source_lines_are_found_when_asked_for(vmlinux_61: Path) -> None:
    pytest.importorskip("drgn")
    found = list(describe(open_image(vmlinux_61), source=True))
    assert all(each.source for each in found if each.table == "__ex_table")
    assert any(each.source[0].function == "native_read_msr_safe" for each in found if each.source)


def test_an_image_without_debug_information_is_described_without_lines() -> None:
    from pagefault.kernels import small_kernel

    image = open_image(small_kernel())
    found = list(describe(image, source=True))
    assert found
    assert {each.source for each in found} == {()}


@pytest.mark.parametrize("architecture", ["arm64", "s390x", "ppc64el"])
def test_foreign_entries_have_their_instructions(
    architecture: str, foreign_kernel: Callable[[str], ForeignKernel]
) -> None:
    kernel = foreign_kernel(architecture)
    found: list[DescribedEntry] = list(describe(open_image(kernel.boot)))
    assert len(found) > 500
    assert all(each.insn.instruction is not None for each in found)
    assert all(each.insn.symbol is not None for each in found)
