"""Reading and searching: every era, told apart by what the table holds; hostile tables; the real ones."""

from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given
from hypothesis import strategies as st

from pagefault.arch.exception_format import Layout
from pagefault.arch.x86_exception_types import ABSOLUTE, DATA, HANDLER, LAYOUTS, RELATIVE, TYPE
from pagefault.errors import Absent, BadInput, PagefaultError, Unsupported
from pagefault.tables.extable import ExceptionTable, ExceptionTables, search_extable
from pagefault.tables.extable_build import TableEntry, encode, sort_table
from pagefault.vocabulary.exception_entry import ExceptionEntry
from tables.data_word import data_word

TEXT, TEXT_END, TABLE = 0xFFFF_FFFF_8100_0000, 0xFFFF_FFFF_8120_0000, 0xFFFF_FFFF_8190_0000
CODE = [(TEXT, TEXT_END)]
HANDLERS = {TEXT + 0x100: "ex_handler_default", TEXT + 0x140: "ex_handler_uaccess", TEXT + 0x180: "ex_handler_ext"}


def table(raw: bytes, executable: list[tuple[int, int]] = CODE, **hints: object) -> ExceptionTable:
    return ExceptionTable.from_bytes(raw, TABLE, where="image", executable=executable, **hints)  # type: ignore[arg-type]


def some(layout: Layout, *third: int) -> bytes:
    """Entries 0x40 apart, each with its fixup 0x10 on."""
    built = [TableEntry(TEXT + 0x40 * n, TEXT + 0x40 * n + 0x10, data) for n, data in enumerate(third)]
    return encode(built, TABLE, layout)


# --- searching


@given(st.lists(st.integers(0, 2**64 - 1), max_size=60), st.integers(0, 2**64 - 1))
def test_search_finds_what_is_there_and_nothing_else(addresses: list[int], other: int) -> None:
    insns = np.array(sorted(addresses), np.uint64)
    for ip in (*addresses, other):
        place = search_extable(insns, ip)
        assert (place >= 0) == (ip in addresses)
        assert place < 0 or int(insns[place]) == ip


def test_search_picks_the_kernels_one_of_equals() -> None:
    assert search_extable(np.array([5, 5, 5, 5], np.uint64), 5) == 2
    assert search_extable(np.array([1, 5, 5], np.uint64), 5) == 1


def test_an_unsorted_table_is_searched_all_the_same() -> None:
    built = [TableEntry(TEXT + at, TEXT + at + 8, 3) for at in (0x80, 0x20, 0x60, 0x20)]
    found = table(encode(built, TABLE, DATA))
    assert not found.in_order
    assert "not in order" in found.how
    assert [found.search(TEXT + at) for at in (0x80, 0x60)] == [found[0], found[2]]
    assert found.search(TEXT + 0x21) is None


def test_tables_are_searched_in_order() -> None:
    kernel = table(some(DATA, 1, 1))
    module = ExceptionTable.from_bytes(
        encode([TableEntry(TEXT + 0x40, TEXT, 3), TableEntry(TEXT + 0x90, TEXT, 3)], TABLE + 0x1000, DATA),
        TABLE + 0x1000,
        where="module",
        executable=CODE,
    )
    tables = ExceptionTables(kernel, (module,))
    assert tables.search(TEXT + 0x40) == kernel[1]
    assert tables.search(TEXT + 0x90) == module[1]
    assert tables.search(TEXT + 0x91) is None


# --- eras, decoded


def test_since_5_17() -> None:
    words = [data_word(3, 0, 3), data_word(17, 9, 1, -14), data_word(19, 2, 0, 8)]
    found = table(some(DATA, *words))
    assert (found.layout, len(found)) == (DATA, 3)
    insn = TEXT + 0x40
    assert list(found) == [
        ExceptionEntry(
            *(0, TABLE, TEXT, TEXT + 0x10, "uaccess", 3, None, ("clear_ax", "clear_dx"), 0),
            (("flags", "clear_ax|clear_dx"),),
        ),
        ExceptionEntry(
            *(1, TABLE + 12, insn, insn + 0x10, "imm_reg", 17, "r9", ("clear_ax",), -14),
            (("reg", "r9"), ("imm", "-14"), ("flags", "clear_ax")),
        ),
        ExceptionEntry(
            *(2, TABLE + 24, TEXT + 0x80, TEXT + 0x90, "ucopy_len", 19, "rdx", (), 8), (("reg", "rdx"), ("imm", "8"))
        ),
    ]


def test_5_16_is_known_by_what_is_no_bpf_entry() -> None:
    """7 is WRMSR there and BPF later: as a BPF entry's, these fixup words make no sense."""
    found = table(some(TYPE, 1, 7, 8, 3), version=(5, 17))
    assert found.layout is TYPE
    assert [entry.type for entry in found] == ["default", "wrmsr", "rdmsr", "uaccess"]
    assert "not what an unpatched 5.17 has" in found.how


def test_5_17_is_known_by_what_is_no_bpf_entry() -> None:
    found = table(some(DATA, 1, 8, 9, 3), version=(5, 16))
    assert found.layout is DATA
    assert [entry.type for entry in found] == ["default", "wrmsr", "rdmsr", "uaccess"]


@pytest.mark.parametrize("word", [14, 20, 0x1003, 0xFFF2_0003])
def test_5_17_is_known_by_a_high_number_or_by_data_bits(word: int) -> None:
    assert table(some(DATA, 1, word), version=(5, 16)).layout is DATA


def test_where_both_numberings_fit_the_version_decides() -> None:
    raw = some(TYPE, 1, 12)
    assert table(raw, version=(5, 16))[1].type == "default_mce_safe"
    assert table(raw, version=(5, 17))[1].type == "wrmsr_in_mce"
    assert "told apart by the version" in table(raw, version=(5, 16)).how
    assert table(raw)[1].type == "wrmsr_in_mce"
    assert "taken for the newest" in table(raw).how
    assert "means the same" in table(some(TYPE, 1, 3)).how


def test_handler_functions() -> None:
    raw = some(HANDLER, *HANDLERS)
    found = table(raw, handler_symbol=HANDLERS.get, version=(6, 1))
    assert found.layout is HANDLER
    assert [entry.type for entry in found] == ["default", "uaccess", "ext"]
    assert found[1].number == TEXT + 0x140


@pytest.mark.parametrize("times", [1, 2, 4])
def test_handler_functions_need_their_symbols(times: int) -> None:
    """Their words are addresses in code too, if read as pairs: but then they are not in order."""
    with pytest.raises(Absent, match="symbols to name the exception handlers by"):
        table(some(HANDLER, *(times * list(HANDLERS))))


def test_of_an_unsorted_table_the_version_tells_the_size() -> None:
    built = [TableEntry(TEXT + at, TEXT + at + 8, TEXT + 0x140) for at in (0x80, 0x20)]
    raw = encode(built, TABLE, HANDLER)
    assert table(raw, version=(5, 10), handler_symbol=HANDLERS.get).layout is HANDLER
    with pytest.raises(Absent):
        table(raw, version=(5, 10))
    assert table(raw, version=(3, 18)).layout is RELATIVE


def test_pairs_of_relative_addresses() -> None:
    built = [TableEntry(TEXT, TEXT + 0x900), TableEntry(TEXT + 0x40, TEXT + 0x44, 1)]
    found = table(encode(built, TABLE, RELATIVE))
    assert found.layout is RELATIVE
    assert [(entry.insn, entry.fixup, entry.type) for entry in found] == [
        (TEXT, TEXT + 0x900, "default"),
        (TEXT + 0x40, TEXT + 0x44, "ext"),
    ]


def test_pairs_of_absolute_addresses() -> None:
    built = [TableEntry(TEXT, TEXT + 0x900), TableEntry(TEXT + 0x40, TEXT + 0x44, 1)]
    found = table(encode(built, TABLE, ABSOLUTE))
    assert found.layout is ABSOLUTE
    assert [(entry.insn, entry.fixup, entry.type) for entry in found] == [
        (TEXT, TEXT + 0x900, "default"),
        (TEXT + 0x40, TEXT + 0x44, "ext"),
    ]
    assert found[1].address == TABLE + 16


@pytest.mark.parametrize(("number", "layout", "hint"), [(7, DATA, (6, 12)), (9, TYPE, (5, 16))])
def test_a_bpf_programs_table(number: int, layout: Layout, hint: tuple[int, int]) -> None:
    """Its fixup word is the load's length and the offset in pt_regs of what to clear, 1 for nothing."""
    rows = [(TEXT - TABLE, 4 | 0x28 << 8, number)]
    if layout is DATA:
        rows.append((TEXT + 0x40 - TABLE - 12, 7 | 1 << 8, number))
    found = table(b"".join(struct.pack("<iII", *row) for row in rows), version=hint)
    assert found.layout is layout
    assert (found[0].type, found[0].fixup, found[0].register) == ("bpf", TEXT + 4, "rbx")
    if layout is DATA:
        assert (found[1].type, found[1].fixup, found[1].register) == ("bpf", TEXT + 0x47, None)


def test_an_empty_table() -> None:
    found = table(b"")
    assert (len(found), found.search(TEXT)) == (0, None)
    with pytest.raises(IndexError):
        found[0]


@given(st.sampled_from(LAYOUTS), st.lists(st.integers(0, 0x1000), min_size=3, max_size=30, unique=True))
def test_the_era_is_recognised_whatever_the_version_says(layout: Layout, places: list[int]) -> None:
    """A table in order, with the types a kernel has, is read as what it is even under another era's version."""
    kinds = {HANDLER: list(HANDLERS), TYPE: [1, 3, 7, 8], DATA: [1, 3, 9, 0xFFF2_0011]}.get(layout, [0])
    built = [TableEntry(TEXT + 8 * n, TEXT + 0x9000 + n, kinds[i % len(kinds)]) for i, n in enumerate(places)]
    raw = sort_table(encode(built, TABLE, layout), layout)
    for version in (None, (3, 2), (4, 4), (5, 10), (5, 16), (6, 1)):
        found = table(raw, version=version, handler_symbol=HANDLERS.get)
        if {layout, found.layout} != {DATA, TYPE}:
            assert found.layout is layout
        assert [entry.insn for entry in found] == sorted(TEXT + 8 * n for n in places)


# --- hostile


def test_a_table_whose_entries_point_outside_the_image() -> None:
    raw = some(DATA, 1, 3, 17)
    with pytest.raises(BadInput) as caught:
        table(raw, executable=[(TEXT, TEXT + 0x80)], offset=0x5000)
    assert caught.value.offset == 0x5000 + 2 * 12
    assert str(caught.value) == (
        f"image at offset 0x5018: expected an exception table whose addresses are executable, read as "
        f"data (12 bytes an entry, x86 from 5.17 on), got entry 2 with the instruction at {TEXT + 0x80:#x} "
        f"and the fixup at {TEXT + 0x90:#x}, outside the image's code"
    )


@pytest.mark.parametrize("size", [1, 7, 13, 100 * 12 + 5])
def test_a_table_cut_off(size: int) -> None:
    with pytest.raises(BadInput, match=rf"a multiple of 8, 12, 16 bytes\), got {size} bytes"):
        table(bytes(size))


@pytest.mark.parametrize("left", [32, 35, 46])
def test_a_table_cut_off_inside_an_entry(left: int) -> None:
    """Even where what is left divides into another layout's entries (32 bytes)."""
    with pytest.raises(BadInput) as caught:
        table(some(DATA, 1, 3, 17, 1)[:left], offset=0x100)
    assert caught.value.offset == 0x100 + left // 12 * 12
    assert str(caught.value).endswith(f"expected whole entries of 12 bytes, got {left % 12} bytes of one")


def test_code_ends_before_its_end_and_ranges_may_overlap() -> None:
    raw = some(DATA, 1, 3)
    assert len(table(raw, executable=[(TEXT + 0x10, TEXT + 0x51), (TEXT + 0x20, TEXT + 0x30), (TEXT, TEXT + 1)])) == 2
    with pytest.raises(BadInput, match="entry 1"):
        table(raw, executable=[(TEXT, TEXT + 0x50)])


def test_only_handlers_in_code_are_looked_up() -> None:
    asked: list[int] = []
    with pytest.raises(PagefaultError):
        table(some(HANDLER, TEXT, TEXT - 4), handler_symbol=asked.append)
    assert set(asked) == {TEXT}


def test_an_image_without_code() -> None:
    with pytest.raises(BadInput, match="entry 0"):
        table(some(DATA, 1), executable=[])


@pytest.mark.parametrize(("word", "named"), [(22, "type 22"), (0, "type 0"), (0x4003, r"type 3 \(data word 0x4003\)")])
def test_an_unknown_type_is_named(word: int, named: str) -> None:
    with pytest.raises(Unsupported, match=rf"{named}.*entry 2 of image, at offset 0x1018"):
        table(some(DATA, 20, 3, word, 1), offset=0x1000)


def test_an_unknown_handler_is_named() -> None:
    known = {**HANDLERS, TEXT + 0x200: "ex_handler_of_somebody"}
    with pytest.raises(Unsupported, match=r"ex_handler_of_somebody.*entry 3"):
        table(some(HANDLER, *known), handler_symbol=known.get)
    with pytest.raises(Unsupported, match="without a symbol"):
        table(some(HANDLER, *known), handler_symbol=HANDLERS.get)


@given(st.binary(max_size=200), st.integers(0, 2**64 - 1))
def test_any_bytes_give_a_table_or_our_own_error(raw: bytes, address: int) -> None:
    try:
        found = ExceptionTable.from_bytes(raw, address, where="image", executable=[(0, 2**63), *CODE])
    except PagefaultError:
        return
    assert all(found.search(entry.insn) is not None for entry in found)


# --- real tables


@pytest.fixture(params=["vmlinux_61", "vmlinux_612"])
def real(request: pytest.FixtureRequest) -> tuple[bytes, int, int, list[tuple[int, int]]]:
    """A real kernel's table: bytes, address, offset in the file, ranges of code."""
    path: Path = request.getfixturevalue(request.param)
    with path.open("rb") as file:
        sections = list(ELFFile(file).iter_sections())
        section = next(section for section in sections if section.name == "__ex_table")
        code = [(s["sh_addr"], s["sh_addr"] + s["sh_size"]) for s in sections if s["sh_flags"] & 4]
        return section.data(), section["sh_addr"], section["sh_offset"], code


def test_a_real_table(real: tuple[bytes, int, int, list[tuple[int, int]]]) -> None:
    raw, address, offset, code = real
    found = ExceptionTable.from_bytes(raw, address, where="vmlinux", executable=code, offset=offset)
    assert found.layout is DATA
    assert found.in_order
    rows = [struct.unpack_from("<iiI", raw, at) for at in range(0, len(raw), 12)]
    assert len(found) == len(rows) > 500
    assert Counter(entry.number for entry in found) == Counter(word & 0xFF for _, _, word in rows)
    mask = (1 << 64) - 1
    for index, (insn, fixup, word) in enumerate(rows):
        entry = found[index]
        here = address + 12 * index
        assert (entry.address, entry.insn, entry.fixup) == (here, here + insn & mask, here + 4 + fixup & mask)
        assert entry.immediate == struct.unpack("<h", struct.pack("<I", word)[2:])[0]


def test_a_real_table_is_searched(real: tuple[bytes, int, int, list[tuple[int, int]]]) -> None:
    raw, address, offset, code = real
    found = ExceptionTable.from_bytes(raw, address, where="vmlinux", executable=code, offset=offset, version=(5, 4))
    insns = {entry.insn for entry in found}
    for entry in found:
        assert found.search(entry.insn) == entry
        for neighbour in {entry.insn - 1, entry.insn + 1} - insns:
            assert found.search(neighbour) is None


def test_a_real_table_is_rebuilt_byte_for_byte(real: tuple[bytes, int, int, list[tuple[int, int]]]) -> None:
    raw, address, _, code = real
    found = ExceptionTable.from_bytes(raw, address, where="vmlinux", executable=code)
    third = found.reading.third.tolist()
    built = [TableEntry(entry.insn, entry.fixup, word) for entry, word in zip(found, third, strict=True)]
    assert encode(built, address, DATA) == raw == sort_table(raw, DATA)
    assert sort_table(encode(reversed(built), address, DATA), DATA) == raw


def test_a_real_table_at_the_wrong_place_is_refused(real: tuple[bytes, int, int, list[tuple[int, int]]]) -> None:
    raw, address, offset, code = real
    with pytest.raises(BadInput, match="outside the image's code") as caught:
        ExceptionTable.from_bytes(raw, address + (1 << 28), where="vmlinux", executable=code, offset=offset)
    assert caught.value.offset == offset
