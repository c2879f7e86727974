from __future__ import annotations

import struct

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
    return SymbolTable(rows, strings, where=where)


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
    found = SymbolTable(rows, strings, where="vmlinux")
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
        SymbolTable(rows, strings, where="vmlinux")
