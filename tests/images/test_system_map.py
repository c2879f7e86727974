from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from debian_kernel import system_map
from pagefault.arch.platform import PLATFORMS, X86_64
from pagefault.errors import Absent, BadInput, PagefaultError
from pagefault.images.system_map import parse_system_map, read_system_map
from pagefault.images.vmlinux import Vmlinux

MIPS = next(each for each in PLATFORMS if (each.name, each.bits, each.byte_order) == ("mips", 32, "little"))
TEXT = """\
0000000000000000 A fixed_percpu_data
ffffffff81000000 T _stext
ffffffff81000010 t do_one
ffffffff81000010 W weak_one
ffffffff81000020 t .Llabel\x0217
ffffffff81000024 A absolute
FFFFFFFF81000040 D _end
"""
KALLSYMS = """\
ffffffff81000000 T _stext
ffffffff81000040 B _end
ffffffffc0000000 t read\t[xfs]
ffffffffc0000020 t write\t[xfs]
ffffffffc0001000 t bpf_prog_6deef7357e7b4530\t[bpf]
ffffffffc0000030 t late\t[xfs]
"""


def test_a_system_map() -> None:
    table = parse_system_map(TEXT.encode(), X86_64, where="System.map")
    assert len(table) == 7
    assert table.find("fixed_percpu_data") == 0
    assert table.at(0) is None
    assert table.format(0xFFFFFFFF81000011) == "do_one+0x1/0x30"
    assert table.find("_end") == 0xFFFFFFFF81000040
    assert table.where == "System.map"


def test_the_last_line_may_lack_its_end() -> None:
    table = parse_system_map(TEXT.strip().encode(), X86_64, where="System.map")
    assert table.find("_end") == 0xFFFFFFFF81000040


def test_what_proc_kallsyms_says_of_modules() -> None:
    table = parse_system_map(KALLSYMS.encode(), X86_64, where="/proc/kallsyms")
    assert table.format(0xFFFFFFFFC0000004) == "read+0x4/0x20 [xfs]"
    assert table.format(0xFFFFFFFFC0000024) == "write+0x4/0x10 [xfs]"
    assert table.find("late") == 0xFFFFFFFFC0000030
    assert table.format(0xFFFFFFFFC0001000) == "bpf_prog_6deef7357e7b4530+0x0/0x1 [bpf]"
    assert len(table) == 2


def test_nm_s_undefined_symbols_have_no_address() -> None:
    text = "                 U printk\n                 w maybe\n" + TEXT
    table = parse_system_map(text.encode(), X86_64, where="nm")
    assert table.get("printk") is None
    assert table.find("do_one") == 0xFFFFFFFF81000010


def test_addresses_of_32_bits_may_be_sign_extended() -> None:
    for line in (b"ffffffff80100400 T _stext\n", b"80100400 T _stext\n"):
        assert parse_system_map(line, MIPS, where="System.map").format(0x80100400) == "_stext+0x0/0x1"


def test_hidden_addresses() -> None:
    with pytest.raises(Absent, match=r"no addresses; .*kptr_restrict.*root"):
        parse_system_map(b"0000000000000000 T _stext\n0000000000000000 T do_one\n", X86_64, where="/proc/kallsyms")


def test_debian_s_stand_in_names_the_package_that_has_the_real_one() -> None:
    text = b"ffffffffffffffff B The real System.map is in the linux-image-<version>-dbg package\n"
    with pytest.raises(Absent, match=r"is in the linux-image-<version>-dbg package$"):
        parse_system_map(text, X86_64, where="/boot/System.map")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", "an address, a letter and a name"),
        ("ffffffff81000010 T", "an address, a letter and a name"),
        ("ffffffff81000010 T ", "an address, a letter and a name"),
        ("fffffffg81000010 T do_one", "an address in hexadecimal"),
        ("81000010 T do_one_two_three", "an address in hexadecimal"),
        ("                 T do_one", "an address in hexadecimal"),
        ("ffffffff81000010 Ta do_one", "one letter"),
        ("ffffffff81000010xT do_one", "one letter"),
        ("ffffffff81000010 T do one", "a name without blanks"),
        ("ffffffff81000010 T do_one ", "a name without blanks"),
        ("ffffffff81000010 T do_one\r", "a name without blanks"),
        ("ffffffff81000010 T do_\0one", "a name without blanks"),
        ("ffffffff81000010 T do_one\t[xfs]\t[xfs]", "a name without blanks"),
        ("ffffffff81000010 T do_one\txfs", "a module's name in brackets"),
        ("ffffffff81000010 T do_one\t[]", "a module's name in brackets"),
        ("ffffffff81000010 T do_one\t", "a module's name in brackets"),
        ("ffffffff81000010 T \t[xfs]", "a name of 1 to"),
        ("ffffffff81000010 T " + "a" * 513, "a name of 1 to 512 bytes"),
    ],
)
def test_a_line_that_is_no_symbol_s(line: str, expected: str) -> None:
    with pytest.raises(BadInput, match=expected) as caught:
        parse_system_map((TEXT + line + "\n" + TEXT).encode(), X86_64, where="System.map")
    assert "in line 8" in str(caught.value)
    assert caught.value.offset == len(TEXT)


@pytest.mark.parametrize("text", ["", "\n", "hello world\n", " " * 40, "80100400 T _stext\n", "#" * 5000])
def test_what_is_no_list_at_all(text: str) -> None:
    with pytest.raises(BadInput):
        parse_system_map(text.encode(), X86_64, where="System.map")


def test_a_file_of_empty_lines() -> None:
    with pytest.raises(BadInput, match="999 shorter ones"):
        parse_system_map(b"\n" * 999, X86_64, where="System.map")


def test_too_many_modules() -> None:
    text = "".join(f"ffffffffc0000000 t f\t[m{i}]\n" for i in range(2_001))
    with pytest.raises(BadInput, match="at most 2000 modules"):
        parse_system_map(text.encode(), X86_64, where="/proc/kallsyms")


@given(st.binary(max_size=80), st.integers(0, len(KALLSYMS)), st.integers(0, 40))
def test_damaged_text_raises_our_errors_only(damage: bytes, place: int, removed: int) -> None:
    text = KALLSYMS.encode()
    text = text[:place] + damage + text[place + removed :]
    try:
        table = parse_system_map(text, X86_64, where="/proc/kallsyms")
    except PagefaultError:
        return
    table.format(0xFFFFFFFFC0000004)


def test_a_file_is_read_from_its_path(tmp_path: Path) -> None:
    path = tmp_path / "System.map"
    path.write_text(TEXT)
    assert read_system_map(str(path), X86_64).find("do_one") == 0xFFFFFFFF81000010
    for bad in (tmp_path, tmp_path / "none"):
        with pytest.raises(BadInput, match="readable"):
            read_system_map(str(bad), X86_64)
    path.write_bytes(b"")
    with pytest.raises(BadInput, match="empty file"):
        read_system_map(str(path), X86_64)


def test_the_running_kernel_s_own_list() -> None:
    try:
        table = read_system_map("/proc/kallsyms", X86_64)
    except PagefaultError as hidden:
        pytest.skip(str(hidden))
    assert table.get("_stext") is not None


@pytest.mark.parametrize("series", ["vmlinux_61", "vmlinux_612"])
def test_debian_s_system_map_names_addresses_as_its_vmlinux_does(series: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(series)
    image = Vmlinux.open(str(path))
    table = read_system_map(str(system_map(path)), X86_64)
    start, end = table.find("_stext"), table.find("_end")
    for address in range(start + 1, end, (end - start) // 5000):
        assert table.format(address) == image.symbols.format(address)
