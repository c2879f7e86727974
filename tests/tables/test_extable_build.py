"""Building: encode, sort, re-base, and what reads back is what went in."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefault.arch.exception_format import Layout
from pagefault.arch.platform import (
    ALPHA,
    ARM64,
    LOONGARCH64,
    MIPS,
    PARISC,
    POWERPC64,
    RISCV64,
    S390,
    SPARC64,
    X86_32,
    Platform,
)
from pagefault.arch.x86_exception_types import ABSOLUTE, DATA, HANDLER, LAYOUTS, RELATIVE, TYPE, VDSO
from pagefault.errors import BadInput, Unsupported
from pagefault.tables.extable_build import TableEntry, encode, sort_table
from pagefault.tables.extable_reading import RawTable, read
from tables.data_word import data_word

TEXT, TEXT_END, TABLE = 0xFFFF_FFFF_8100_0000, 0xFFFF_FFFF_8200_0000, 0xFFFF_FFFF_8290_1234
CODE = st.integers(TEXT, TEXT_END - 16)


@st.composite
def entries(draw: st.DrawFn, layout: Layout) -> TableEntry:
    insn, fixup = draw(CODE), draw(CODE)
    if layout is HANDLER:
        return TableEntry(insn, fixup, draw(CODE))
    if layout is TYPE:
        return TableEntry(insn, fixup, draw(st.integers(1, 13).filter(lambda number: number != 9)))
    if layout is DATA:
        number = draw(st.integers(1, 21).filter(lambda number: number != 7))
        immediate = draw(st.integers(-0x8000, 0x7FFF))
        return TableEntry(insn, fixup, data_word(number, draw(st.integers(0, 15)), draw(st.integers(0, 3)), immediate))
    noted = draw(st.booleans())
    return TableEntry(insn, insn + draw(st.integers(0, 15)) if noted else fixup, int(noted))


TABLES = st.sampled_from(LAYOUTS).flatmap(
    lambda layout: st.tuples(st.just(layout), st.lists(entries(layout), max_size=40))
)


def triples(raw: bytes, layout: Layout) -> list[tuple[int, int, int]]:
    reading = read(RawTable(raw, TABLE, [(TEXT, TEXT_END)]), layout)
    return list(zip(reading.insn.tolist(), reading.fixup.tolist(), reading.third.tolist(), strict=True))


@given(TABLES)
def test_what_is_built_and_sorted_reads_back(case: tuple[Layout, list[TableEntry]]) -> None:
    layout, built = case
    wanted = [(entry.insn, entry.fixup, entry.data) for entry in built]
    raw = encode(built, TABLE, layout)
    assert triples(raw, layout) == wanted
    assert triples(sort_table(raw, layout), layout) == sorted(wanted, key=lambda triple: triple[0])


@given(TABLES)
def test_sorting_a_sorted_table_changes_no_byte(case: tuple[Layout, list[TableEntry]]) -> None:
    layout, built = case
    once = sort_table(encode(built, TABLE, layout), layout)
    assert sort_table(once, layout) == once


@pytest.mark.parametrize("layout", LAYOUTS)
def test_entries_for_one_instruction_keep_their_order(layout: Layout) -> None:
    built = [TableEntry(TEXT + 0x10 * (n % 2), TEXT + 0x1000 + n, TEXT if layout is HANDLER else 0) for n in range(90)]
    wanted = sorted(built, key=lambda entry: entry.insn)
    raw = sort_table(encode(built, TABLE, layout), layout)
    assert [fixup for _, fixup, _ in triples(raw, layout)] == [entry.fixup for entry in wanted]


@given(st.lists(entries(DATA), min_size=2, max_size=12, unique_by=lambda entry: entry.insn))
def test_sorting_agrees_with_swapping_entries(built: list[TableEntry]) -> None:
    """sort_extable()'s way: swap neighbours, adding to each moved field the distance it moved."""
    raw = encode(built, TABLE, DATA)
    rows = [list(struct.unpack_from("<iiI", raw, at)) for at in range(0, len(raw), 12)]
    for _ in rows:
        for at in range(len(rows) - 1):
            x, y = rows[at], rows[at + 1]
            if x[0] > y[0] + 12:
                rows[at], rows[at + 1] = [y[0] + 12, y[1] + 12, y[2]], [x[0] - 12, x[1] - 12, x[2]]
    assert sort_table(raw, DATA) == b"".join(struct.pack("<iiI", *row) for row in rows)


def test_the_bytes_of_an_entry() -> None:
    entry = TableEntry(TEXT, TEXT + 0x20, 3)
    assert encode([entry], TABLE, TYPE) == struct.pack("<iiI", TEXT - TABLE, TEXT + 0x20 - TABLE - 4, 3)
    assert encode([TableEntry(TEXT, TEXT + 4)], TABLE, RELATIVE) == struct.pack("<ii", TEXT - TABLE, TEXT - TABLE)
    assert encode([TableEntry(TEXT, TEXT + 4)], TABLE, ABSOLUTE) == struct.pack("<QQ", TEXT, TEXT + 4)
    assert encode([TableEntry(TEXT, TEXT, TEXT + 8)], TABLE, HANDLER)[8:] == struct.pack("<i", TEXT - TABLE)


def test_entries_that_note_uaccess_err() -> None:
    noted = TableEntry(TEXT, TEXT + 3, 1)
    assert encode([noted], TABLE, ABSOLUTE) == struct.pack("<QQ", TEXT, 3)
    assert encode([noted], TABLE, RELATIVE) == struct.pack("<ii", TEXT - TABLE, TEXT - TABLE - 1 + 0x7FFF_FFF0)
    for layout in (ABSOLUTE, RELATIVE):
        with pytest.raises(BadInput, match="less than 16 bytes on"):
            encode([TableEntry(TEXT, TEXT + 16, 1)], TABLE, layout)


def test_a_target_too_far_away_is_refused() -> None:
    encode([TableEntry(TABLE - (1 << 31), TABLE)], TABLE, RELATIVE)
    with pytest.raises(BadInput, match="entry 1: expected a target within 2 GiB"):
        encode([TableEntry(TEXT, TEXT), TableEntry(TABLE + 8 - (1 << 31) - 1, TABLE)], TABLE, RELATIVE)


def test_a_data_word_too_wide_is_refused() -> None:
    with pytest.raises(BadInput, match="an unsigned number of 32 bits"):
        encode([TableEntry(TEXT, TEXT, 1 << 32)], TABLE, DATA)


@pytest.mark.parametrize(("layout", "number"), [(DATA, 7), (TYPE, 9)])
def test_a_bpf_entry_is_the_jits_business(layout: Layout, number: int) -> None:
    with pytest.raises(Unsupported, match="BPF"):
        encode([TableEntry(TEXT, TEXT, number)], TABLE, layout)


SWAPPED = [
    (ARM64, "data-6.0", (0x02, 0x3E4_0003)),
    (replace(ARM64, byte_order="big"), "data-6.0", (0x02, 0x3E4_0003)),
    (S390, "data-6.1", (0x0022_0003, 0x025A_0004)),
    (S390, "handler", (0, 0x8000)),
    (S390, "relative", (0, 0)),
    (RISCV64, "data", (1, 0x3E4_0003)),
    (LOONGARCH64, "data", (1, 0x3E4_0002)),
    (LOONGARCH64, "absolute", (0, 0)),
    (MIPS, "absolute", (0, 0)),
    (PARISC, "err_opcode", (0x0800_0240, 0x0800_025C)),
    (ALPHA, "nextinsn", (0x2021_0000, 0x23E1_0000)),
    (SPARC64, "absolute", (0, 0)),
    (POWERPC64, "relative", (0, 0)),
    (X86_32, "data", (3, 0xFFF2_0111)),
]


@pytest.mark.parametrize(("platform", "name", "words"), SWAPPED, ids=lambda value: getattr(value, "name", None))
def test_every_architectures_tables_are_sorted(platform: Platform, name: str, words: tuple[int, int]) -> None:
    """Building in order, and building in another order and sorting, give the same bytes."""
    layout = next(layout for layout in platform.exceptions.layouts if layout.name == name)
    start = platform.kernel_half + 0x10_0000
    built = [
        TableEntry(start + 0x40 * n, start + 0x40 * n + 8, words[n % 2] and words[n % 2] + start * (name == "handler"))
        for n in range(9)
    ]
    raw = encode(built, start + 0x2_0000, layout, platform)
    mixed = encode(built[4:] + built[:4][::-1], start + 0x2_0000, layout, platform)
    assert mixed != raw
    assert sort_table(mixed, layout, platform) == raw == sort_table(raw, layout, platform)


def test_a_vdsos_table_counts_from_its_start() -> None:
    built = [TableEntry(TABLE - 0x10, TABLE - 0x8), TableEntry(TABLE - 0x20, TABLE - 0x18)]
    raw = encode(built, TABLE, VDSO)
    assert raw == struct.pack("<4i", -0x10, -0x8, -0x20, -0x18)
    assert sort_table(raw, VDSO) == struct.pack("<4i", -0x20, -0x18, -0x10, -0x8)


def test_the_bytes_of_other_architectures_entries() -> None:
    def entry(platform: Platform, number: int, skip: int, data: int) -> bytes:
        start = platform.kernel_half + 0x10_0000
        layout = platform.exceptions.layouts[number]
        return encode([TableEntry(start, start + skip, data)], start + 0x1000, layout, platform)

    assert entry(S390, 0, 8, 0x025A_0009) == struct.pack(">iiHH", -0x1000, -0xFFC, 9, 0x025A)
    assert entry(S390, 3, 8, 0) == struct.pack(">iiq", -0x1000, -0xFFC, 0)
    assert entry(ARM64, 0, 8, 0x3E4_0002) == struct.pack("<iiHH", -0x1000, -0xFFC, 2, 0x3E4)
    assert entry(PARISC, 0, 9, 0x0800_025C) == struct.pack(">iiI", -0x1000, -0xFFB, 0x0800_025C)
    assert entry(ALPHA, 0, -8, 0x2021_0000) == struct.pack("<iI", -0x1000, 0x2021_FFF8)
    assert entry(SPARC64, 0, 8, 0) == struct.pack(">II", 0x50_0000, 0x50_0008)


def test_alphas_fixup_is_near() -> None:
    layout = ALPHA.exceptions.layouts[0]
    with pytest.raises(BadInput, match="within 32 KiB"):
        encode([TableEntry(TEXT, TEXT + 0x8000, 0x2021_0000)], TABLE, layout, ALPHA)


def test_32_bit_distances_wrap() -> None:
    (layout, *_) = X86_32.exceptions.layouts
    raw = encode([TableEntry(0xFFFF_F000, 0xFFFF_F004, 1)], 0x1000, layout, X86_32)
    assert raw == struct.pack("<iiI", -0x2000, -0x2000, 1)


def test_s390s_jit_writes_plain_fixups() -> None:
    start = 0x10_0000
    raw = encode([TableEntry(start, start + 8, 0x0003_0002)], start + 0x100, S390.exceptions.layouts[1], S390)
    assert raw[8:] == struct.pack(">HH", 2, 3)


def test_a_table_cut_off_is_not_sorted() -> None:
    with pytest.raises(BadInput, match="whole entries of 12 bytes, got 13 bytes"):
        sort_table(bytes(13), DATA)
