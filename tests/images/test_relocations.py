from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from elftools.elf import enums

from images.elf_writer import REL, RELA, RELOCATABLE, Order, Piece, elf
from pagefault.errors import BadInput, Unsupported
from pagefault.images.elf import Elf
from pagefault.images.relocations import RULES, Rule, apply, read_records

PLACE = 0x40_1000
S, A = 0x40_5000, 0x24

MACHINES: dict[str, tuple[int, int, Order]] = {
    "EM_X86_64": (62, 64, "little"),
    "EM_386": (3, 32, "little"),
    "EM_AARCH64": (183, 64, "little"),
    "EM_ARM": (40, 32, "little"),
    "EM_MIPS": (8, 64, "little"),
    "EM_PPC": (20, 32, "big"),
    "EM_PPC64": (21, 64, "little"),
    "EM_S390": (22, 64, "big"),
    "EM_ALPHA": (0x9026, 64, "little"),
    "EM_PARISC": (15, 32, "big"),
    "EM_SPARC": (2, 32, "big"),
    "EM_SPARCV9": (43, 64, "big"),
    "EM_RISCV": (243, 64, "little"),
    "EM_LOONGARCH": (258, 64, "little"),
}
NAMES = {
    "EM_X86_64": ("ENUM_RELOC_TYPE_x64", "R_X86_64_64 R_X86_64_PC32 R_X86_64_32 R_X86_64_32S R_X86_64_PC64"),
    "EM_386": ("ENUM_RELOC_TYPE_i386", "R_386_32 R_386_PC32"),
    "EM_AARCH64": (
        "ENUM_RELOC_TYPE_AARCH64",
        "R_AARCH64_ABS64 R_AARCH64_ABS32 R_AARCH64_PREL64 R_AARCH64_PREL32",
    ),
    "EM_ARM": ("ENUM_RELOC_TYPE_ARM", "R_ARM_ABS32 R_ARM_REL32"),
    "EM_MIPS": ("ENUM_RELOC_TYPE_MIPS", "R_MIPS_32 R_MIPS_64"),
    "EM_PPC": ("ENUM_RELOC_TYPE_PPC", "R_PPC_ADDR32 R_PPC_REL32"),
    "EM_PPC64": ("ENUM_RELOC_TYPE_PPC64", "R_PPC64_ADDR32 R_PPC64_REL32 R_PPC64_ADDR64 R_PPC64_REL64"),
    "EM_S390": ("ENUM_RELOC_TYPE_S390X", "R_390_32 R_390_PC32 R_390_64 R_390_PC64"),
    "EM_LOONGARCH": (
        "ENUM_RELOC_TYPE_LOONGARCH",
        " ".join("R_LARCH_" + name for name in "32 64 32_PCREL 64_PCREL ADD32 ADD64 SUB32 SUB64".split()),
    ),
}
"""Where pyelftools has names for an architecture's relocations: those of ours."""


BY_HAND: dict[str, dict[int, Rule]] = {
    "EM_ALPHA": {1: Rule("absolute", 4), 2: Rule("absolute", 8), 10: Rule("relative", 4), 11: Rule("relative", 8)},
    "EM_PARISC": {1: Rule("absolute", 4), 9: Rule("relative", 4), 72: Rule("relative", 8), 80: Rule("absolute", 8)},
    "EM_SPARC": {3: Rule("absolute", 4), 6: Rule("relative", 4), 23: Rule("absolute", 4)},
    "EM_SPARCV9": {
        3: Rule("absolute", 4),
        6: Rule("relative", 4),
        23: Rule("absolute", 4),
        32: Rule("absolute", 8),
        46: Rule("relative", 8),
        54: Rule("absolute", 8),
    },
    "EM_RISCV": {
        1: Rule("absolute", 4),
        2: Rule("absolute", 8),
        57: Rule("relative", 4),
        35: Rule("add", 4),
        36: Rule("add", 8),
        39: Rule("subtract", 4),
        40: Rule("subtract", 8),
    },
}
"""
Where it has none: REFLONG, REFQUAD, SREL32, SREL64; DIR32, PCREL32, PCREL64, DIR64; 32, DISP32, UA32, 64, DISP64, UA64;
32, 64, 32_PCREL, ADD32, ADD64, SUB32, SUB64. Manual: glibc's elf.h, which takes them from the ABIs.
"""


def relocated(
    machine: str, relocations: list[tuple[int, int, int]], raw: bytes, *, rela: bool = True, known: bool = True
) -> bytes:
    """`raw` after relocations (offset, type, symbol), with addend A if `rela`; symbol 1 is S, symbol 2 the place."""
    number, bits, order = MACHINES[machine]
    return relocated_as(number, bits, order, relocations, raw, rela=rela, known=known)


def relocated_as(
    number: int,
    bits: int,
    order: Order,
    relocations: list[tuple[int, int, int]],
    raw: bytes,
    *,
    rela: bool = True,
    known: bool = True,
) -> bytes:
    sign = "<" if order == "little" else ">"
    table = b""
    for offset, kind, symbol in relocations:
        word = "Q" if bits == 64 else "I"
        if number == 8 and bits == 64:
            info = struct.pack(sign + "I4B", symbol, 0, 0, 0, kind)
        else:
            info = struct.pack(sign + word, symbol << (32 if bits == 64 else 8) | kind)
        table += struct.pack(sign + word, offset) + info + (struct.pack(sign + word, A) if rela else b"")
    piece = Piece(".relocations", table, type=RELA if rela else REL)
    opened = Elf.from_bytes(memoryview(elf([piece], machine=number, kind=RELOCATABLE, bits=bits, order=order)), "m.ko")
    values = np.array([0, S, PLACE], np.uint64)
    return apply(opened, read_records(opened, opened.sections[1]), raw, PLACE, values, np.array([False, known, True]))


@pytest.mark.parametrize("machine", NAMES)
def test_the_numbers_are_those_of_the_abi(machine: str) -> None:
    table, names = NAMES[machine]
    numbers: dict[str, Any] = getattr(enums, table)
    assert {numbers[name]: name for name in names.split()}.keys() == RULES[machine].keys()
    for name in names.split():
        rule = RULES[machine][numbers[name]]
        word = name.removeprefix("R_X86_64_").removeprefix("R_AARCH64_").removeprefix("R_PPC64_").removeprefix("R_")
        assert rule.size == (8 if "64" in word else 4)
        assert (rule.does == "relative") == ("PC" in word.removeprefix("PPC_") or "REL" in word)


def test_every_machine_is_checked_by_something_else_than_ourselves() -> None:
    assert {machine: RULES[machine] for machine in BY_HAND} == BY_HAND
    assert NAMES.keys() | BY_HAND.keys() == RULES.keys()


@pytest.mark.parametrize("machine", [name for name in MACHINES if name not in ("EM_RISCV", "EM_LOONGARCH")])
def test_absolute_and_relative_words(machine: str) -> None:
    _, _, order = MACHINES[machine]
    for kind, rule in RULES[machine].items():
        expected = S + A - (PLACE + 8 if rule.does == "relative" else 0)
        result = relocated(machine, [(8, kind, 1)], b"\xaa" * 20)
        assert result == b"\xaa" * 8 + expected.to_bytes(rule.size, order) + b"\xaa" * (12 - rule.size)


def test_a_distance_may_be_negative() -> None:
    assert relocated("EM_X86_64", [(8, 2, 0), (12, 2, 2)], bytes(16))[8:] == bytes(4) + (A - 12).to_bytes(4, "little")
    assert relocated("EM_X86_64", [(60, 2, 2)], bytes(64))[60:] == (A - 60).to_bytes(4, "little", signed=True)


@pytest.mark.parametrize(("number", "absolute", "relative"), [(3, 1, 2), (40, 2, 3)])
@pytest.mark.parametrize("order", ["little", "big"])
def test_the_addend_may_be_in_the_section(order: Order, number: int, absolute: int, relative: int) -> None:
    raw = (0x18).to_bytes(4, order) + (-4).to_bytes(4, order, signed=True)
    result = relocated_as(number, 32, order, [(0, absolute, 1), (4, relative, 1)], raw, rela=False)
    assert result == (S + 0x18).to_bytes(4, order) + (S - 4 - PLACE - 4).to_bytes(4, order)


@pytest.mark.parametrize("order", ["little", "big"])
def test_mips64_names_its_type_last(order: Order) -> None:
    assert relocated_as(8, 64, order, [(8, 18, 1)], bytes(16)) == bytes(8) + (S + A).to_bytes(8, order)


def test_mips64_with_more_than_one_type() -> None:
    info = struct.pack("<I4B", 1, 0, 0, 5, 18)
    piece = Piece(".rela__ex_table", struct.pack("<Q", 0) + info + bytes(8), type=RELA)
    opened = Elf.from_bytes(memoryview(elf([piece], machine=8, kind=RELOCATABLE)), "m.ko")
    with pytest.raises(Unsupported, match="relocation type 1298 of EM_MIPS"):
        apply(opened, read_records(opened, opened.sections[1]), bytes(8), 0, np.zeros(2, np.uint64), np.ones(2, bool))


@pytest.mark.parametrize(("machine", "add", "subtract"), [("EM_RISCV", 35, 39), ("EM_LOONGARCH", 50, 55)])
def test_a_distance_as_a_sum_and_a_difference(machine: str, add: int, subtract: int) -> None:
    result = relocated(machine, [(4, add, 1), (4, subtract, 2)], bytes(8))
    assert result == bytes(4) + (S - PLACE).to_bytes(4, "little")
    eight = relocated(machine, [(0, add + 1, 1), (0, subtract + 1, 2)], (7).to_bytes(8, "little"))
    assert eight == (S - PLACE + 7).to_bytes(8, "little")


def test_where_a_symbol_has_no_address_the_bytes_stay() -> None:
    assert relocated("EM_X86_64", [(0, 2, 1), (4, 2, 2)], b"\xaa" * 8, known=False)[:4] == b"\xaa" * 4


def test_nothing_to_do_is_nothing_done() -> None:
    assert relocated("EM_X86_64", [(1 << 40, 0, 1)], b"\xaa" * 8) == b"\xaa" * 8


@pytest.mark.parametrize(("offset", "kind"), [(5, 2), (8, 2), (1, 1), (2**64 - 2, 2)])
def test_outside_the_section(offset: int, kind: int) -> None:
    with pytest.raises(BadInput, match="relocations inside their section"):
        relocated("EM_X86_64", [(0, 2, 1), (offset, kind, 1)], bytes(8))


def test_a_symbol_that_is_not_there() -> None:
    with pytest.raises(BadInput, match="one of 3 symbols, got symbol number 3"):
        relocated("EM_X86_64", [(0, 2, 3)], bytes(8))


@pytest.mark.parametrize("machine", MACHINES)
def test_a_type_that_no_table_has(machine: str) -> None:
    with pytest.raises(Unsupported, match=f"relocation type 199 of {machine}"):
        relocated(machine, [(0, 199, 1)], bytes(8))


def test_half_a_relocation() -> None:
    opened = Elf.from_bytes(memoryview(elf([Piece(".rela__ex_table", bytes(25), type=RELA)], kind=RELOCATABLE)), "m.ko")
    with pytest.raises(BadInput, match="relocations of 24 bytes each, got 25"):
        read_records(opened, opened.sections[1])
