from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from images.elf_writer import (
    AX,
    CORE,
    DATA,
    DYN,
    NOBITS,
    RELOCATABLE,
    TEXT,
    WA,
    A,
    Order,
    Piece,
    elf,
    save,
    symbol_pieces,
    symbol_table,
)
from pagefault.arch.arm64_exception_types import KVM_EXCEPTIONS
from pagefault.errors import Absent, BadInput, Unsupported
from pagefault.images.vmlinux import Vmlinux
from pagefault.tables.symbols import SymbolTable

BANNER = b"Linux version 5.10.3-test (somebody) #1 SMP\n\0"


def test_an_image_without_symbols_btf_or_table_opens(tmp_path: Path) -> None:
    image = Vmlinux.open(save(tmp_path / "bare", elf([Piece(".text", BANNER, TEXT, AX)])))
    assert image.read(TEXT + 6, 7) == b"version"
    assert image.version == (5, 10)
    assert image.banner == "Linux version 5.10.3-test (somebody) #1 SMP"
    with pytest.raises(Absent, match="no symbol table"):
        image.symbols.find("memcpy")
    with pytest.raises(Absent, match=r"no exception table; there is no section __ex_table"):
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


def test_how_the_table_was_found(tmp_path: Path) -> None:
    (by_section,) = table_image(tmp_path, "__ex_table").exception_tables
    (by_symbols,) = table_image(tmp_path, ".rodata").exception_tables
    assert (by_section.name, by_section.found) == ("__ex_table", "section __ex_table")
    assert by_symbols.found == "the symbols __start___ex_table and __stop___ex_table"


@pytest.mark.parametrize(("kind", "word"), [(RELOCATABLE, "a module"), (CORE, "a dump"), (0, "no type")])
def test_a_file_that_is_not_linked(tmp_path: Path, kind: int, word: str) -> None:
    path = save(tmp_path / "other", elf([Piece(".text", b"", TEXT, AX)], kind=kind))
    with pytest.raises(BadInput, match=word):
        Vmlinux.open(path)


def test_an_architecture_nobody_knows(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="EM_PDP11"):
        Vmlinux.open(save(tmp_path / "pdp", elf([Piece(".text", b"", TEXT, AX)], machine=65)))


@pytest.mark.parametrize(("machine", "kind", "word"), [(183, 2, "EM_AARCH64"), (62, DYN, "position-independent")])
def test_what_a_machine_cannot_run(tmp_path: Path, machine: int, kind: int, word: str) -> None:
    pieces = [Piece(".text", BANNER, TEXT, AX)]
    Vmlinux.open(save(tmp_path / "good", elf(pieces))).check_runnable()
    with pytest.raises(BadInput, match=word):
        Vmlinux.open(save(tmp_path / "bad", elf(pieces, machine=machine, kind=kind))).check_runnable()


@pytest.mark.parametrize(
    ("machine", "bits", "order", "entry"),
    [
        (8, 32, "little", lambda text, here: (text, text + 8)),
        (8, 64, "big", lambda text, here: (text, text + 8)),
        (40, 32, "little", lambda text, here: (text, text + 8)),
        (21, 64, "little", lambda text, here: (text - here, text + 8 - here - 4)),
        (21, 64, "big", lambda text, here: (text - here, text + 8 - here - 4)),
    ],
)
def test_the_table_of_any_platform(
    tmp_path: Path, machine: int, bits: int, order: Order, entry: Callable[[int, int], tuple[int, ...]]
) -> None:
    text, data = {32: (0xC0100000, 0xC0200000), 64: (0xFFFFFFFF80100000, 0xFFFFFFFF80200000)}[bits]
    width = 4 if machine == 21 or bits == 32 else 8
    mask = (1 << 8 * width) - 1
    raw = b"".join((word & mask).to_bytes(width, order) for word in entry(text + 16, data))
    pieces = [Piece(".text", bytes(64), text, AX), Piece("__ex_table", raw, data, A)]
    pieces += symbol_table([("one", 1, text), ("two", 1, text + 24)], 3, bits=bits, order=order)
    image = Vmlinux.open(save(tmp_path / "any", elf(pieces, machine=machine, bits=bits, order=order)))
    (found,) = image.exception_tables
    assert [(each.insn, each.fixup) for each in found.table] == [(text + 16, text + 24)]
    assert str(image.symbols.at(text + 16)).startswith("one+0x10/")


def test_a_second_table_has_its_own_format(tmp_path: Path) -> None:
    """arm64's own entries have 12 bytes, its hypervisor's 8."""
    words = [(TEXT - DATA, TEXT + 4 - DATA - 4, 1), (TEXT + 8 - DATA - 12, TEXT - DATA - 16)]
    first, second = (b"".join(word.to_bytes(4, "little", signed=True) for word in entry) for entry in words)
    pieces = [Piece(".text", bytes(64), TEXT, AX), Piece("__ex_table", first, DATA, A)]
    pieces.append(Piece("__kvm_ex_table", second, DATA + 12, A))
    image = Vmlinux.open(save(tmp_path / "arm64", elf(pieces, machine=183)))
    assert [(found.name, found.found) for found in image.exception_tables] == [
        ("__ex_table", "section __ex_table"),
        ("__kvm_ex_table", "section __kvm_ex_table"),
    ]
    second_table = image.exception_tables[1].table
    assert second_table.exceptions is KVM_EXCEPTIONS
    assert [(entry.insn, entry.fixup) for entry in second_table] == [(TEXT + 8, TEXT)]


def test_symbols_from_elsewhere(tmp_path: Path) -> None:
    image = Vmlinux.open(save(tmp_path / "stripped", elf([Piece(".text", BANNER, TEXT, AX)])))
    assert not len(image.symbols)
    table, strings = symbol_pieces([("_stext", TEXT), ("_etext", TEXT + 16)], 1)
    symbols = SymbolTable.from_elf(table.data, strings.data, where="System.map")
    named = image.with_symbols(symbols, "symbols from System.map")
    assert named.symbols.find("_etext") == TEXT + 16
    assert named.how == ("symbols from System.map", *image.how)


def sections_image(tmp_path: Path, *, section_headers: bool) -> Vmlinux:
    pieces = [
        Piece(".text", bytes(64), TEXT, AX),
        Piece(".init.text", bytes(32), TEXT + 0x1000, AX),
        Piece(".altinstr_replacement", bytes(32), TEXT + 0x1020, AX),
        Piece(".amode31.text", bytes(32), TEXT + 0x1040, AX),
        Piece(".bss", b"", DATA, WA, type=NOBITS, size=0x2000),
        Piece(".comment", b"GCC"),
    ]
    path = save(tmp_path / "image", elf(pieces, section_headers=section_headers))
    names = [("_stext", TEXT), ("_etext", TEXT + 60), ("__init_begin", TEXT + 0x1000), ("__init_end", TEXT + 0x1060)]
    names += [("_sinittext", TEXT + 0x1000), ("_einittext", TEXT + 0x1020), ("_sdata", DATA), ("_edata", DATA)]
    table, strings = symbol_pieces(names, 1)
    return Vmlinux.open(path).with_symbols(SymbolTable.from_elf(table.data, strings.data, where="map"), "map")


def test_sections_and_what_of_them_is_freed(tmp_path: Path) -> None:
    found = sections_image(tmp_path, section_headers=True).sections
    assert [(each.name, each.address - TEXT, each.size, each.executable, each.discarded) for each in found] == [
        (".text", 0, 64, True, False),
        (".init.text", 0x1000, 32, True, True),
        (".altinstr_replacement", 0x1020, 32, True, True),
        (".amode31.text", 0x1040, 32, True, False),
        (".bss", DATA - TEXT, 0x2000, False, False),
    ]


def test_without_section_headers_symbols_stand_for_them(tmp_path: Path) -> None:
    image = sections_image(tmp_path, section_headers=False)
    assert [
        (each.name, each.address - TEXT, each.size, each.executable, each.discarded) for each in image.sections
    ] == [
        (".text", 0, 60, True, False),
        (".init.text", 0x1000, 32, True, True),
    ]
    assert image.executable == ((TEXT, TEXT + 64), (TEXT + 0x1000, TEXT + 0x1060))
    assert image.read(DATA + 0x1FF0, 16) == bytes(16)


def test_without_section_headers_code_may_be_in_any_segment_but_for_symbols(tmp_path: Path) -> None:
    """i386's .init.text is in the segment of its data."""
    path = save(
        tmp_path / "i386",
        elf([Piece(".text", bytes(64), TEXT, AX), Piece(".data", bytes(32), DATA, WA)], section_headers=False),
    )
    image = Vmlinux.open(path)
    assert image.executable == ((TEXT, TEXT + 64), (DATA, DATA + 32))
    names = [("_sinittext", DATA + 8), ("_einittext", DATA + 16), ("_stext", TEXT + 4), ("_etext", TEXT + 8)]
    table, strings = symbol_pieces(names, 1)
    named = image.with_symbols(SymbolTable.from_elf(table.data, strings.data, where="map"), "map")
    assert named.executable == ((TEXT, TEXT + 64), (DATA + 8, DATA + 16))


def many_entries(tmp_path: Path, *, section_headers: bool) -> Path:
    """40 loads, each with an entry."""
    insns = [TEXT + 64 * index for index in range(40)]
    words = [
        (insn - (DATA + 12 * index), TEXT + 0x800 + 8 * (index * 7 % 40) - (DATA + 12 * index + 4), 3)
        for index, insn in enumerate(insns)
    ]
    entries = b"".join(word.to_bytes(4, "little", signed=True) for entry in words for word in entry)
    code = bytes.fromhex("488b07").ljust(64, b"\x90") * 40 + b"\x90" * 0x800
    pieces = [Piece(".text", code, TEXT, AX), Piece("__ex_table", entries, DATA, A)]
    return save(tmp_path / "many", elf(pieces, section_headers=section_headers))


def test_without_section_headers_the_table_is_found_by_its_shape(tmp_path: Path) -> None:
    (expected,) = Vmlinux.open(many_entries(tmp_path, section_headers=True)).exception_tables
    (found,) = Vmlinux.open(many_entries(tmp_path, section_headers=False)).exception_tables
    assert len(expected.table) == 40
    assert list(found.table) == list(expected.table)
    assert "its shape" in found.found


def test_section_headers_without_the_table_s_leave_the_shape(tmp_path: Path) -> None:
    """As vmlinux-to-elf makes them."""
    path = many_entries(tmp_path, section_headers=True)
    (expected,) = Vmlinux.open(path).exception_tables
    renamed = path.read_bytes().replace(b"__ex_table\0", b".kernel2\0\0\0")
    (found,) = Vmlinux.open(save(tmp_path / "renamed", renamed)).exception_tables
    assert list(found.table) == list(expected.table)
    assert "its shape" in found.found


def test_a_file_of_debug_information_only(tmp_path: Path) -> None:
    """`objcopy --only-keep-debug` leaves headers without bytes."""
    pieces = [Piece(".text", bytes(64), TEXT, AX), Piece("__ex_table", b"", DATA, A, type=NOBITS, size=12)]
    pieces += symbol_pieces([("__start___ex_table", TEXT), ("__stop___ex_table", TEXT + 12)], 3)
    with pytest.raises(Absent, match="a file of debug information only"):
        _ = Vmlinux.open(save(tmp_path / "debug", elf(pieces))).exception_tables


def test_a_table_with_an_unknown_type_is_read_if_need_be(tmp_path: Path) -> None:
    data = bytearray(many_entries(tmp_path, section_headers=True).read_bytes())
    image = Vmlinux.open(many_entries(tmp_path, section_headers=True))
    section = image.section("__ex_table")
    assert section is not None
    data[image.file_offset(section[1]) + 8] = 99
    path = save(tmp_path / "odd", bytes(data))
    with pytest.raises(Unsupported, match="99"):
        _ = Vmlinux.open(path).exception_tables
    (found,) = Vmlinux.open(path, strict=False).exception_tables
    assert [entry.type for entry in found.table][:2] == ["unknown", "uaccess"]


def test_code_sections_that_share_their_bytes(tmp_path: Path) -> None:
    data = elf([Piece(".text", bytes(600), TEXT, AX), Piece(".text.2", b"", TEXT + 600, AX)])
    (headers,) = struct.unpack_from("<Q", data, 0x28)
    first, second = headers + 64, headers + 128
    shared = bytearray(data)
    shared[second + 0x18 : second + 0x28] = shared[first + 0x18 : first + 0x28]
    image = Vmlinux.open(save(tmp_path / "shared", bytes(shared)))
    with pytest.raises(BadInput, match="sections that overlap"):
        _ = image.executable


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
    assert [found.name for found in image.exception_tables] == ["__ex_table", "vdso_image_64 __ex_table"]
    assert [section.name for section in image.sections if section.executable and not section.discarded] == [".text"]
    assert next(section.name for section in image.sections if section.discarded) == ".init.text"
