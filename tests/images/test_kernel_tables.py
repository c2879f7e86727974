"""What can be said of an image's tables, whatever holds it. (How each container finds them: its own tests.)"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from images.elf_writer import AX, DATA, TEXT, A, Piece, elf, save, symbol_pieces
from pagefault.arch.platform import ARM64, MIPS64, S390, X86_32, X86_64, Platform
from pagefault.errors import BadInput
from pagefault.images.kernel_tables import EX_TABLE, MOST_BYTES, bounds, functions_of, not_looked_for
from pagefault.images.vmlinux import Vmlinux
from pagefault.tables.symbols import SymbolTable

START = 0xFFFFFFFF81000000


def table(*names: str) -> SymbolTable:
    pieces = symbol_pieces([(name, START + 16 * index) for index, name in enumerate(names)], 1)
    return SymbolTable.from_elf(pieces[0].data, pieces[1].data, where="map")


@pytest.mark.parametrize(
    ("platform", "names", "missing"),
    [
        (S390, ["_stext"], ".amode31.ex_table"),
        (MIPS64, [], "__dbe_table"),
        (ARM64, ["_stext"], "__kvm_ex_table"),
        (ARM64, ["__start___kvm_ex_table"], None),
        (X86_64, [], "the vDSO's __ex_table"),
        (X86_32, ["vdso_image_32"], None),
        (X86_64, ["__start___ex_table"], None),
        (S390, ["__start___ex_table"], None),
    ],
)
def test_what_no_symbol_tells_of_is_said(platform: Platform, names: list[str], missing: str | None) -> None:
    said = not_looked_for(platform, table(*names))
    assert len(said) == (missing is not None)
    assert all(words.startswith(f"{missing} not looked for: ") and "--system-map" in words for words in said)


def test_section_headers_tell_of_the_platforms_tables() -> None:
    assert not_looked_for(S390, table(), by_section=True) == ()
    assert len(not_looked_for(X86_64, table(), by_section=True)) == 1


def test_a_table_between_symbols() -> None:
    first = bounds(table("__start___ex_table", "__stop___ex_table"), EX_TABLE)
    assert first == (START, 16, "the symbols __start___ex_table and __stop___ex_table")
    assert bounds(table("__stop___ex_table", "__start___ex_table"), EX_TABLE) is None
    assert bounds(table("__start___ex_table"), EX_TABLE) is None


def test_functions_by_where_they_start() -> None:
    starting = functions_of(table("ex_handler_default", "next"))
    assert (starting(START), starting(START + 4), starting(START - 1)) == ("ex_handler_default", None, None)


@pytest.mark.parametrize("strict", [True, False])
def test_a_table_larger_than_any_kernels_is_refused(tmp_path: Path, strict: bool) -> None:
    most = MOST_BYTES // 12
    for count in (most, most + 1):
        at = np.arange(count)
        words = TEXT - DATA + (2 - 12) * at, TEXT - DATA - 4 - 12 * at, np.full(count, 3)
        entries = np.stack(words, axis=1).astype("<i4").tobytes()
        pieces = [Piece(".text", bytes(2 * count), TEXT, AX), Piece("__ex_table", entries, DATA, A)]
        image = Vmlinux.open(save(tmp_path / "vmlinux", elf(pieces)), strict=strict)
        if count == most:
            assert len(image.exception_table) == most
        else:
            with pytest.raises(BadInput, match="at most 4,194,304 bytes, got 4,194,312"):
                _ = image.exception_table
