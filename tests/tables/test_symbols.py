from __future__ import annotations

import struct
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefault.errors import Absent, BadInput
from pagefault.tables.symbols import SymbolTable

TEXT = 0xFFFFFFFF81000000
NOTYPE, OBJECT, FUNC, SECTION, FILE = range(5)
ABS, WEAK, GLOBAL = 0xFFF1, 2, 1


def table(*symbols: tuple[str, int] | tuple[str, int, dict[str, int]], where: str = "vmlinux") -> SymbolTable:
    strings, rows = b"\0", b""
    for name, value, *rest in symbols:
        how = {"kind": FUNC, "bind": GLOBAL, "section": 1, "size": 0} | (rest[0] if rest else {})
        info = how["bind"] << 4 | how["kind"]
        rows += struct.pack("<IBBHQQ", len(strings), info, 0, how["section"], value, how["size"])
        strings += name.encode() + b"\0"
    return SymbolTable.from_elf(rows, strings, where=where)


KERNEL = table(
    ("_stext", TEXT),
    ("do_one", TEXT + 0x10, {"size": 8}),
    ("do_another_thing", TEXT + 0x40),
    (".Llabel", TEXT + 0x44),
    ("arch/x86/lib/x.S", TEXT + 0x48, {"kind": FILE}),
    (".text.hot", TEXT + 0x4C, {"kind": SECTION}),
    ("phys_base_value", TEXT + 0x50, {"section": ABS}),
    ("__crc_do_one", TEXT + 0x54),
    ("printk", TEXT + 0x58, {"section": 0}),
    ("last", TEXT + 0x60),
    ("_end", TEXT + 0x80, {"kind": NOTYPE}),
    ("current_task", 0x1FB80, {"kind": OBJECT}),
)


def test_an_address_is_named_up_to_the_next_symbol_not_by_the_elf_size() -> None:
    assert KERNEL.format(TEXT + 0x19) == "do_one+0x9/0x30"


def test_labels_files_sections_absolutes_and_crcs_cut_nothing_off() -> None:
    assert KERNEL.format(TEXT + 0x5F) == "do_another_thing+0x1f/0x20"


def test_the_last_symbol_ends_at_end_and_nothing_lies_outside() -> None:
    assert KERNEL.format(TEXT + 0x7F) == "last+0x1f/0x20"
    for address in (TEXT + 0x80, TEXT - 1, 0, 0x1FB80, 0x1FB81, (1 << 64) - 1, -1, 1 << 64):
        assert KERNEL.at(address) is None
    assert KERNEL.format(0x1FB80) == "0x1fb80"


def test_a_percpu_symbol_is_found_by_name_only() -> None:
    assert KERNEL.find("current_task") == 0x1FB80
    assert table(("current_task", 0x1FB80), ("memcpy", TEXT)).at(0x1FB80) is None


def test_names_that_differ_in_the_middle_only() -> None:
    assert table(("copy_from_1_user_space", TEXT), ("copy_from_2_user_space", TEXT + 1)).all(
        "copy_from_2_user_space"
    ) == (TEXT + 1,)


def test_an_undefined_symbol_is_not_found() -> None:
    assert KERNEL.get("printk") is None


@pytest.mark.parametrize(
    ("names", "printed"),
    [
        ((("__memcpy", {}), ("memcpy", {})), "memcpy"),
        ((("memcpy", {"bind": WEAK}), ("__memcpy", {})), "__memcpy"),
        ((("__stop_notes", {}), ("___data", {})), "___data"),
        ((("b", {}), ("a", {})), "a"),
    ],
)
def test_of_several_names_kallsyms_own_choice_is_printed(
    names: tuple[tuple[str, dict[str, int]], ...], printed: str
) -> None:
    found = table(*((name, TEXT, how) for name, how in names)).at(TEXT)
    assert found is not None
    assert found.name == printed


def test_all_the_places_of_one_name() -> None:
    assert table(("init", TEXT), ("other", TEXT + 1), ("init", TEXT + 2)).all("init") == (TEXT, TEXT + 2)


def test_a_name_may_be_the_tail_of_another() -> None:
    strings = b"\0__pfx_copy_from_user\0"
    rows = struct.pack("<IBBHQQ", 1, 0x12, 0, 1, TEXT, 0) + struct.pack("<IBBHQQ", 7, 0x12, 0, 1, TEXT + 16, 0)
    found = SymbolTable.from_elf(rows, strings, where="vmlinux")
    assert found.find("copy_from_user") == TEXT + 16
    assert found.get("from_user") is None
    assert found.format(TEXT + 16) == "copy_from_user+0x0/0x1"


@given(st.lists(st.text(st.sampled_from("ab_"), min_size=1, max_size=20), min_size=1, max_size=30))
def test_every_name_is_found_and_no_other(names: list[str]) -> None:
    symbols = table(*((name, TEXT + place) for place, name in enumerate(names)))
    for name in {*names, *(name[:-1] for name in names), *(name + "a" for name in names)}:
        assert symbols.all(name) == tuple(TEXT + place for place, each in enumerate(names) if each == name)


def test_matching() -> None:
    assert list(KERNEL.matching(lambda name: name.startswith("do_"))) == [
        ("do_one", TEXT + 0x10),
        ("do_another_thing", TEXT + 0x40),
    ]


def test_a_module_beside_the_kernel() -> None:
    module = table(("rd", 0xFFFFFFFFC0201000, {"size": 0x20}), where="faulty.ko")
    both = KERNEL.with_module(module, "faulty")
    assert both.format(0xFFFFFFFFC0201009) == "rd+0x9/0x20 [faulty]"
    assert both.format(TEXT + 0x19) == "do_one+0x9/0x30"
    assert both.find("rd") == 0xFFFFFFFFC0201000
    assert KERNEL.get("rd") is None
    assert module.format(0xFFFFFFFFC0201009) == "rd+0x9/0x20"


def test_an_unknown_name_brings_its_neighbours() -> None:
    with pytest.raises(Absent, match=r"vmlinux: no symbol 'do_on'; did you mean do_one"):
        KERNEL.find("do_on")
    with pytest.raises(Absent, match="do_another_thing"):
        KERNEL.find("do_anotehr_thing")
    with pytest.raises(Absent, match="list what there is"):
        KERNEL.find("zzzzzzzz")


def test_no_table_says_what_to_do() -> None:
    with pytest.raises(Absent, match=r"the file has no symbol table; use one with symbols"):
        SymbolTable.empty("vmlinuz").find("memcpy")


@pytest.mark.parametrize(
    ("rows", "strings"),
    [
        (bytes(25), b"\0"),
        (struct.pack("<IBBHQQ", 9, 0x12, 0, 1, TEXT, 0), b"\0abc\0"),
        (struct.pack("<IBBHQQ", 1, 0x12, 0, 1, TEXT, 0), b"\0abc"),
        (struct.pack("<IBBHQQ", 1, 0x12, 0, 1, TEXT, 0), b""),
    ],
)
def test_tables_that_contradict_themselves(rows: bytes, strings: bytes) -> None:
    with pytest.raises(BadInput):
        SymbolTable.from_elf(rows, strings, where="vmlinux")


@pytest.mark.parametrize("byte_order", ["little", "big"])
@pytest.mark.parametrize("bits", [32, 64])
def test_elf_symbols_of_either_width_and_byte_order(bits: int, byte_order: Literal["little", "big"]) -> None:
    end = "<" if byte_order == "little" else ">"
    rows = b""
    for name, value, size in ((1, 0x80001000, 8), (5, 0x80001010, 4)):
        if bits == 64:
            rows += struct.pack(f"{end}IBBHQQ", name, WEAK << 4 | FUNC, 0, 1, value, size)
        else:
            rows += struct.pack(f"{end}IIIBBH", name, value, size, WEAK << 4 | FUNC, 0, 1)
    found = SymbolTable.from_elf(
        rows, b"\0one\0two\0", bits=bits, byte_order=byte_order, kernel_half=1 << 31, where="vmlinux"
    )
    assert found.find("two") == 0x80001010
    assert found.format(0x80001009) == "one+0x9/0x10"
    assert found.format(0x80001013) == "two+0x3/0x4"
    assert len(SymbolTable.from_elf(rows, b"\0one\0two\0", bits=bits, byte_order=byte_order, where="vmlinux")) == 2
    with pytest.raises(BadInput, match="bytes each"):
        SymbolTable.from_elf(rows[:-1], b"\0", bits=bits, byte_order=byte_order, where="vmlinux")


def test_below_the_kernel_s_half_is_no_place() -> None:
    low = struct.pack("<IBBHQQ", 1, 0x12, 0, 1, 0x100000, 0)
    assert SymbolTable.from_elf(low, b"\0startup\0", where="vmlinux").at(0x100000) is None
    assert str(SymbolTable.from_elf(low, b"\0startup\0", where="vmlinux", kernel_half=0).at(0x100000)) == (
        "startup+0x0/0x1"
    )


def relocatable(*symbols: tuple[str, int, int], bases: list[int]) -> SymbolTable:
    strings, rows = b"\0", struct.pack("<IBBHQQ", 0, 0, 0, 0, 0, 0)
    for name, section, value in symbols:
        rows += struct.pack("<IBBHQQ", len(strings), 0x12, 0, section, value, 4)
        strings += name.encode() + b"\0"
    return SymbolTable.from_elf(rows, strings, where="xfs.ko", section_bases=bases, module="xfs")


def test_modules_pieces_lie_between_each_others() -> None:
    first = table(("rd", 0xFFFFFFFFC0201000), ("rd_data", 0xFFFFFFFFC0209000), where="rd.ko")
    second = table(("wr", 0xFFFFFFFFC0205000), ("wr_data", 0xFFFFFFFFC020C000), where="wr.ko")
    both = KERNEL.with_module(first, "rd").with_module(second, "wr")
    assert both.format(0xFFFFFFFFC0204009).startswith("rd+0x3009/")
    assert both.format(0xFFFFFFFFC0205009).startswith("wr+0x9/")


def test_a_relocatable_module_s_symbols_are_offsets_into_its_sections() -> None:
    symbols = (("read", 1, 0), ("write", 1, 0x20), ("init_module", 2, 0), ("comment", 3, 0), ("far", 9, 0))
    module = relocatable(*symbols, bases=[-1, 0x10000, 0x20000, -1])
    assert module.find("init_module") == 0x20000
    assert module.format(0x10021) == "write+0x1/0xffe0 [xfs]"
    assert module.format(0x20003) == "init_module+0x3/0x4 [xfs]"
    assert module.get("comment") is None
    assert module.get("far") is None
    assert relocatable(("version", ABS, 7), bases=[-1, 64]).find("version") == 7


def test_of_a_module_s_names_for_one_address_the_first_is_printed() -> None:
    assert relocatable(("__init", 1, 0), ("init", 1, 0), bases=[-1, 64]).format(65) == "__init+0x1/0x4 [xfs]"
    labels = (("$d", 1, 4), (".L5", 1, 8), ("__crc_init", 1, 12), ("init", 1, 0), ("foo_veneer", 1, 13))
    assert relocatable(*labels, ("exit", 1, 32), bases=[-1, 64]).format(78) == "init+0xe/0x20 [xfs]"


@pytest.mark.parametrize(
    "name",
    [
        *("$x", "$d.15", ".Ltmp3", "L0", "__crc_printk", "__kstrtab_printk", "__kcfi_typeid_f", "__efistub_memcpy"),
        *("__pi_$x", "__pi_.L3", "__kvm_nvhe_$d", "__kvm_nvhe_.L12", "printk_veneer", "__memcpy_from_arm"),
        *("0000006d.plt_branch.memcpy", "0000007d.long_branch.memcpy"),
    ],
)
def test_names_that_kallsyms_leaves_out(name: str) -> None:
    assert table(("memcpy", TEXT), (name, TEXT + 4), ("_end", TEXT + 16)).format(TEXT + 5) == "memcpy+0x5/0x10"


@pytest.mark.parametrize("name", ["L01", "__kvm_nvhe_memcpy", "__pi_memcpy", "__efi_memcpy", "veneer_of", "_veneers"])
def test_names_that_only_look_so(name: str) -> None:
    assert table(("memcpy", TEXT), (name, TEXT + 4), ("_end", TEXT + 16)).format(TEXT + 5) == f"{name}+0x1/0xc"


def test_names_with_nm_s_letters() -> None:
    values = np.array([0x100, 0x100, 0x100, 0x200], np.uint64)
    letters = np.frombuffer(b"WTtB", np.uint8)
    strings = b"memcpy\0___memcpy\0__memcpy\0_end\0"
    starts = np.array([0, 7, 17, 26])
    found = SymbolTable.from_names(values, letters, starts, strings, where="System.map", kernel_half=0x100)
    assert found.format(0x104) == "__memcpy+0x4/0x100"
    assert found.find("memcpy") == 0x100
    assert found.at(0x200) is None
    for outside in (-1, 32):
        with pytest.raises(BadInput):
            SymbolTable.from_names(values, letters, np.array([0, 7, 17, outside]), strings, where="System.map")
