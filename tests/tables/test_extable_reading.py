"""Every architecture's entries, byte by byte: written here with struct, read by the layout, and decoded in words."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import pytest

from pagefault.arch.arm64_exception_types import KVM_EXCEPTIONS
from pagefault.arch.exception_format import ThirdWord
from pagefault.arch.platform import (
    ALPHA,
    ARM,
    ARM64,
    LOONGARCH64,
    MIPS,
    MIPS64,
    PARISC,
    PARISC64,
    POWERPC,
    POWERPC64,
    RISCV32,
    RISCV64,
    S390,
    SPARC,
    SPARC64,
    X86_32,
    Platform,
)
from pagefault.tables import extable_reading
from pagefault.tables.extable import ExceptionTable
from pagefault.tables.extable_reading import RawTable, inside, read

Decoded = tuple[int, int, str, int, dict[str, str]]
UPPER, LOWER = 0xFFFF_8000_0801_0000, 0xC010_0000
FAR = 0x20_0000
"""How far behind its code a table lies."""


def decoded(raw: bytes, platform: Platform, text: int, **hints: object) -> list[Decoded]:
    """The table that lies FAR behind `text`, whose code is 64 KiB."""
    code = [(text, text + 0x1_0000)]
    found = ExceptionTable.from_bytes(
        raw,
        text + FAR,
        where="image",
        executable=code,
        platform=platform,
        **hints,  # type: ignore[arg-type]
    )
    assert [entry.address for entry in found] == [text + FAR + n * found.layout.size for n in range(len(found))]
    return [(entry.insn, entry.fixup, entry.type, entry.number, dict(entry.fields)) for entry in found]


def typed(order: str, *entries: tuple[int, int, int, int]) -> bytes:
    """s32 insn, s32 fixup, u16 type, u16 data, of entries (instruction's offset, fixup's offset, type, data)."""
    return b"".join(
        struct.pack(f"{order}iiHH", insn - FAR - 12 * n, fixup - FAR - 12 * n - 4, type_, data)
        for n, (insn, fixup, type_, data) in enumerate(entries)
    )


@pytest.mark.parametrize("platform", [ARM64, replace(ARM64, byte_order="big")])
def test_arm64(platform: Platform) -> None:
    order = "<" if platform.byte_order == "little" else ">"
    raw = typed(order, (0x10, 0x14, 2, 31 << 5 | 1), (0x20, 0x88, 3, 5 << 5 | 31), (0x30, 0x34, 4, 1 << 5 | 4))
    assert decoded(raw, platform, UPPER) == [
        (UPPER + 0x10, UPPER + 0x14, "uaccess_err_zero", 2, {"err": "x1", "zero": "wzr"}),
        (UPPER + 0x20, UPPER + 0x88, "kaccess_err_zero", 3, {"err": "wzr", "zero": "x5"}),
        (UPPER + 0x30, UPPER + 0x34, "load_unaligned_zeropad", 4, {"data": "x4", "addr": "x1"}),
    ]


def test_the_hypervisors_table() -> None:
    raw = struct.pack("<iiii", 0x10 - FAR, 0x18 - FAR - 4, 0x20 - FAR - 8, 0x28 - FAR - 12)
    assert decoded(raw, ARM64, UPPER, exceptions=KVM_EXCEPTIONS) == [
        (UPPER + 0x10, UPPER + 0x18, "default", 0, {}),
        (UPPER + 0x20, UPPER + 0x28, "default", 0, {}),
    ]


def test_a_bpf_program_of_arm64() -> None:
    """The fixup word says how far before it the fixup lies, and above that the register."""
    distance = FAR + 4 - 0x14
    for register, named in ((7, {"reg": "x7"}), (5, {})):
        raw = struct.pack("<iIHH", 0x10 - FAR, register << 27 | distance, 1, 0)
        assert decoded(raw, ARM64, UPPER) == [(UPPER + 0x10, UPPER + 0x14, "bpf", 1, named)]


@pytest.mark.parametrize(("at", "sound"), [(0x14, True), (0x18, False), (0x10, False)])
def test_a_bpf_program_skips_one_instruction(*, at: int, sound: bool) -> None:
    raw = struct.pack("<iIHH", 0x10 - FAR, 7 << 27 | FAR + 4 - at, 1, 0)
    reading = read(
        RawTable(raw, UPPER + FAR, [(UPPER, UPPER + 64)], ARM64, ARM64.exceptions), ARM64.exceptions.layouts[0]
    )
    assert reading.outside.tolist() == [not sound]


def test_s390() -> None:
    raw = typed(">", (0x10, 0x18, 4, 0x025A), (0x16, 0x18, 4, 0x025A), (0x20, 0x26, 3, 0x0022), (0x30, 0x36, 5, 0x0021))
    memory = {"err": "%r10", "addr": "%r5", "len": "2"}
    assert decoded(raw, S390, 0x10_0000) == [
        (0x10_0010, 0x10_0018, "ua_load_mem", 4, memory),
        (0x10_0016, 0x10_0018, "ua_load_mem", 4, memory),
        (0x10_0020, 0x10_0026, "ua_store", 3, {"err": "%r2", "addr": "%r2"}),
        (0x10_0030, 0x10_0036, "ua_load_reg", 5, {"err": "%r1", "zero": "%r2"}),
    ]


def test_s390_with_handlers() -> None:
    """A relative address of 64 bits; 0 is none."""
    text = 0x10_0000
    raw = struct.pack(">iiq", 0x10 - FAR, 0x18 - FAR - 4, 0)
    raw += struct.pack(">iiq", 0x20 - FAR - 16, 0x28 - FAR - 20, 0x800 - FAR - 24)
    symbols = {text + 0x800: "ex_handler_bpf"}
    assert decoded(raw, S390, text, handler_symbol=symbols.get) == [
        (text + 0x10, text + 0x18, "default", 0, {}),
        (text + 0x20, text + 0x28, "bpf", text + 0x800, {}),
    ]


@pytest.mark.parametrize(("platform", "text"), [(RISCV64, UPPER), (RISCV32, LOWER)])
def test_riscv(platform: Platform, text: int) -> None:
    raw = typed("<", (0x10, 0x40, 1, 0), (0x20, 0x24, 3, 10 | 11 << 5), (0x30, 0x34, 4, 8 | 5 << 5))
    assert decoded(raw, platform, text) == [
        (text + 0x10, text + 0x40, "fixup", 1, {}),
        (text + 0x20, text + 0x24, "uaccess_err_zero", 3, {"err": "a0", "zero": "a1"}),
        (text + 0x30, text + 0x34, "load_unaligned_zeropad", 4, {"data": "s0", "addr": "t0"}),
    ]


def test_loongarch() -> None:
    raw = typed("<", (0x10, 0x40, 1, 0), (0x20, 0x24, 2, 4 | 12 << 5))
    assert decoded(raw, LOONGARCH64, UPPER) == [
        (UPPER + 0x10, UPPER + 0x40, "fixup", 1, {}),
        (UPPER + 0x20, UPPER + 0x24, "uaccess_err_zero", 2, {"err": "$a0", "zero": "$t0"}),
    ]


@pytest.mark.parametrize(
    ("platform", "text", "form"),
    [
        (ARM, LOWER, "<4I"),
        (replace(ARM, byte_order="big"), LOWER, ">4I"),
        (MIPS, 0x8010_0000, "<4I"),
        (MIPS64, UPPER, "<4Q"),
        (replace(MIPS64, byte_order="big"), UPPER, ">4Q"),
        (SPARC, 0xF010_0000, ">4I"),
        (SPARC64, 0x40_0000, ">4I"),
        (POWERPC, LOWER, ">4I"),
        (LOONGARCH64, UPPER, "<4Q"),
        (RISCV64, UPPER, "<4Q"),
        (ARM64, UPPER, "<4Q"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_absolute_pairs(platform: Platform, text: int, form: str) -> None:
    raw = struct.pack(form, text + 0x10, text + 0x800, text + 0x20, text + 0x80C)
    assert decoded(raw, platform, text) == [
        (text + 0x10, text + 0x800, "default", 0, {}),
        (text + 0x20, text + 0x80C, "default", 0, {}),
    ]


@pytest.mark.parametrize(
    ("platform", "text", "order"),
    [
        (POWERPC64, 0xC000_0000_0001_0000, "<"),
        (replace(POWERPC64, byte_order="big"), 0xC000_0000_0001_0000, ">"),
        (POWERPC, LOWER, ">"),
        (S390, 0x10_0000, ">"),
        (PARISC, 0x1010_0000, ">"),
        (PARISC64, 0x4010_0000, ">"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_relative_pairs(platform: Platform, text: int, order: str) -> None:
    raw = struct.pack(f"{order}4i", 0x10 - FAR, 0x40 - FAR - 4, 0x20 - FAR - 8, 0x44 - FAR - 12)
    assert decoded(raw, platform, text) == [
        (text + 0x10, text + 0x40, "default", 0, {}),
        (text + 0x20, text + 0x44, "default", 0, {}),
    ]


def test_parisc() -> None:
    """Bit 0 of the fixup is a mark, the third word an instruction that names a register."""
    text = 0x1010_0000
    raw = struct.pack(">iiI", 0x10 - FAR, 0x40 + 1 - FAR - 4, 0x0800_0240 | 28)
    raw += struct.pack(">iiI", 0x20 - FAR - 12, 0x48 - FAR - 16, 0x0800_0240)
    assert decoded(raw, PARISC, text) == [
        (text + 0x10, text + 0x40, "efault", 0, {"err": "%r28"}),
        (text + 0x20, text + 0x48, "default", 0, {}),
    ]


def test_parisc_before_it_named_the_register() -> None:
    text = 0x1010_0000
    raw = struct.pack(">ii", 0x10 - FAR, 0x40 + 1 - FAR - 4)
    assert decoded(raw, PARISC, text) == [(text + 0x10, text + 0x40, "efault", 1, {})]


def test_alpha() -> None:
    """The fixup is as far from the instruction as `lda valreg, nextinsn(errreg)` says."""
    raw = struct.pack("<iI", 0x10 - FAR, 0x08 << 26 | 2 << 21 | 1 << 16 | 0x8)
    raw += struct.pack("<iI", 0x20 - FAR - 8, 0x08 << 26 | 31 << 21 | 16 << 16 | 0x1_0000 - 0x10)
    assert decoded(raw, ALPHA, UPPER) == [
        (UPPER + 0x10, UPPER + 0x18, "default", 0, {"err": "$1", "zero": "$2"}),
        (UPPER + 0x20, UPPER + 0x10, "default", 0, {"err": "$16", "zero": "none"}),
    ]


def test_x86_of_32_bits() -> None:
    """Sums wrap at 32 bits; registers 8 to 11 are the segments."""
    text, raw = 0xC100_0000, b""
    for n, word in enumerate((0xFFF2_0111, 0x0000_0810, 0x0400_0013)):
        raw += struct.pack("<iiI", 0x10 * (n + 1) - FAR - 12 * n, 0x80 - FAR - 12 * n - 4, word)
    assert [(kind, fields) for _, _, kind, _, fields in decoded(raw, X86_32, text)] == [
        ("imm_reg", {"reg": "ecx", "imm": "-14"}),
        ("pop_reg", {"reg": "ds", "imm": "0"}),
        ("ucopy_len", {"reg": "eax", "imm": "1024"}),
    ]


def test_an_address_given_sign_extended_is_cut_to_32_bits() -> None:
    text = 0x8010_0000
    raw = struct.pack("<II", text + 4, text + 8)
    found = ExceptionTable.from_bytes(
        raw, 0xFFFF_FFFF_0000_0000 | text + FAR, where="image", executable=[(text, text + 64)], platform=MIPS
    )
    assert (found.address, found[0].address, found[0].insn) == (text + FAR, text + FAR, text + 4)


def test_sums_wrap_where_addresses_end() -> None:
    """Code near the top, the table near the bottom: the distance is short."""
    raw = struct.pack("<iiI", -0x2000, -0x2000, 1)
    code = [(0xFFFF_0000, 1 << 32)]
    reading = read(RawTable(raw, 0x1000, code, X86_32, X86_32.exceptions), X86_32.exceptions.layouts[0])
    assert (reading.insn.tolist(), reading.fixup.tolist()) == ([0xFFFF_F000], [0xFFFF_F004])
    assert not reading.outside.any()


def test_handlers_that_are_too_many_are_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = b"".join(struct.pack("<iii", 0x100 - 12 * n, 0x200 - 12 * n, 0x300 - 12 * n - 16 * (n % 3)) for n in range(9))
    asked: list[int] = []

    def symbol(address: int) -> str:
        asked.append(address)
        return "ex_handler_default"

    known = RawTable(raw, 0x1000, [(0, 0x4000)], X86_32, X86_32.exceptions, symbol)
    by_function = next(each for each in X86_32.exceptions.layouts if each.third is ThirdWord.HANDLER)
    for most, times in ((3, 3), (2, 0)):
        monkeypatch.setattr(extable_reading, "MOST_HANDLERS", most)
        asked.clear()
        assert read(known, by_function).unknown.all() == (times == 0)
        assert len(asked) == times


def test_inside() -> None:
    places = np.array([0, 5, 9, 10, 19, 20, (1 << 64) - 2], np.uint64)
    assert inside(places, []).tolist() == [False] * 7
    assert inside(places, [(10, 20), (0, 6), (2, 4)]).tolist() == [True, True, False, True, True, False, False]
    assert inside(places, [((1 << 64) - 4, 1 << 64)]).tolist() == [False] * 6 + [True]
