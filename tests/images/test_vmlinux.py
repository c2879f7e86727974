from __future__ import annotations

from pathlib import Path

import pytest

from images.elf_writer import AX, DATA, TEXT, WA, A, Piece, elf, save, symbol_pieces
from pagefault.errors import Absent, BadInput
from pagefault.images.vmlinux import Vmlinux

BANNER = b"Linux version 5.10.3-test (somebody) #1 SMP\n\0"


def test_an_image_without_symbols_btf_or_table_opens(tmp_path: Path) -> None:
    image = Vmlinux.open(save(tmp_path / "bare", elf([Piece(".text", BANNER, TEXT, AX)])))
    assert image.read(TEXT + 6, 7) == b"version"
    assert image.version == (5, 10)
    assert image.banner == "Linux version 5.10.3-test (somebody) #1 SMP"
    with pytest.raises(Absent, match="no symbol table"):
        image.symbols.find("memcpy")
    with pytest.raises(Absent, match=r"no exception table; neither a section __ex_table"):
        _ = image.exception_table
    with pytest.raises(Absent, match="CONFIG_DEBUG_INFO_BTF"):
        _ = image.layout


def test_no_banner(tmp_path: Path) -> None:
    image = Vmlinux.open(save(tmp_path / "mute", elf([Piece(".text", b"\x90" * 64, TEXT, AX)])))
    with pytest.raises(Absent, match="no version banner"):
        _ = image.version


def test_nothing_to_load(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="PT_LOAD"):
        Vmlinux.open(save(tmp_path / "empty", elf([Piece(".comment", b"x")])))


def test_reading_needs_a_segment_that_holds_it_all(tmp_path: Path) -> None:
    image = Vmlinux.open(
        save(tmp_path / "two", elf([Piece(".text", b"abcd", TEXT, AX), Piece(".data", b"1", DATA, WA)]))
    )
    assert image.read(TEXT, 4) == b"abcd"
    assert image.read(DATA, 1) == b"1"
    for address, length in ((TEXT, 5), (TEXT - 1, 2), (DATA + 1, 1), (0, 1)):
        with pytest.raises(Absent, match="no segment"):
            image.read(address, length)


def test_memory_that_the_file_does_not_hold_is_zeros(tmp_path: Path) -> None:
    data = elf([Piece(".text", b"abcd", TEXT, AX)])
    memory_size_at = 64 + 40
    data = data[:memory_size_at] + (8).to_bytes(8, "little") + data[memory_size_at + 8 :]
    image = Vmlinux.open(save(tmp_path / "bss", data))
    assert image.read(TEXT + 2, 6) == b"cd\0\0\0\0"
    with pytest.raises(Absent):
        image.read(TEXT + 2, 7)
    with pytest.raises(Absent):
        image.view(TEXT + 2, 6)


def test_physical_addresses_follow_the_headers_also_between_segments(tmp_path: Path) -> None:
    image = Vmlinux.open(
        save(tmp_path / "two", elf([Piece(".text", b"abcd", TEXT, AX), Piece(".data", b"1", DATA, WA)]))
    )
    assert [image.physical(address) for address in (TEXT, TEXT + 0x1234, DATA)] == [0x1000000, 0x1001234, 0x1100000]
    for address in (0x1000, DATA + 1):
        with pytest.raises(Absent):
            image.physical(address)


def table_image(tmp_path: Path, name: str) -> Vmlinux:
    """One entry, at DATA: TEXT + 0x10 may fault and goes on at TEXT + 0x20; type 3 (uaccess)."""
    words = TEXT + 0x10 - DATA, TEXT + 0x20 - DATA - 4, 3
    entry = b"".join(word.to_bytes(4, "little", signed=True) for word in words)
    pieces = [Piece(".text", bytes(64), TEXT, AX), Piece(name, entry, DATA, A)]
    pieces += symbol_pieces([("__start___ex_table", DATA), ("__stop___ex_table", DATA + 12)], 3)
    return Vmlinux.open(save(tmp_path / "table", elf(pieces)))


@pytest.mark.parametrize("name", ["__ex_table", ".rodata"])
def test_the_table_is_found_by_its_section_or_by_its_symbols(tmp_path: Path, name: str) -> None:
    table = table_image(tmp_path, name).exception_table
    assert [(entry.insn, entry.fixup) for entry in table] == [(TEXT + 0x10, TEXT + 0x20)]


def test_code_is_what_the_sections_say(tmp_path: Path) -> None:
    assert table_image(tmp_path, "__ex_table").executable == ((TEXT, TEXT + 64),)


@pytest.mark.parametrize(("fixture", "version"), [("vmlinux_61", (6, 1)), ("vmlinux_612", (6, 12))])
def test_a_real_kernel(request: pytest.FixtureRequest, fixture: str, version: tuple[int, int]) -> None:
    image = Vmlinux.open(request.getfixturevalue(fixture))
    assert image.version == version
    assert "debian-kernel@lists.debian.org" in image.banner
    assert image.symbols.find("_text") == TEXT
    assert image.physical(TEXT) == 0x1000000
    (percpu,) = (segment for segment in image.segments if not segment.virtual)
    assert image.symbols.find("__per_cpu_end") == percpu.memory_size
    assert len(image.exception_table) > 500
    assert len(image.executable) > 3
