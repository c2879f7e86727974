from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefault.cli.expression import Region, number, place
from pagefault.errors import Absent, BadInput

REGIONS = {"src": Region("src", "user", 0x10000, 0x2000), "dst": Region("dst", "kernel", 0xFFFF_8880_0000_0000, 64)}


def symbol(name: str) -> int:
    if name != "init_task":
        raise Absent(f"symbol {name!r}", where="vmlinux")
    return 0xFFFF_FFFF_8100_0000


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("64", 64),
        ("0x40", 64),
        ("-1", -1),
        ("-0x10", -16),
        ("4k", 4096),
        ("2p", 8192),
        ("1m+1", (1 << 20) + 1),
        ("0xffff_8880_0000_0000", 0xFFFF_8880_0000_0000),
        ("src", 0x10000),
        ("src+0xfd8", 0x10FD8),
        ("src:end", 0x12000),
        ("src:end-40", 0x12000 - 40),
        ("src+1p-40+2", 0x11000 - 38),
        ("dst-1", 0xFFFF_8880_0000_0000 - 1),
        ("init_task+8", 0xFFFF_FFFF_8100_0008),
    ],
)
def test_places(text: str, value: int) -> None:
    assert place(text, REGIONS, symbol, "argument") == value


@pytest.mark.parametrize(
    "text", ["", "-", "src+", "src-x", "12x", "0x", "0xg", "src:middle", "a b", "src:end:end", "1 ", "+1"]
)
def test_unreadable_places(text: str) -> None:
    with pytest.raises(BadInput, match="argument"):
        place(text, REGIONS, symbol, "argument")


def test_an_end_needs_a_region() -> None:
    with pytest.raises(BadInput, match="src, dst"):
        place("init_task:end", REGIONS, symbol, "argument")


def test_an_unknown_name_is_a_symbol_s() -> None:
    with pytest.raises(Absent, match="nowhere"):
        place("nowhere", REGIONS, symbol, "argument")


@pytest.mark.parametrize("text", [str(1 << 64), f"-{(1 << 63) + 1}", "0xffffffffffffffff+1"])
def test_what_does_not_fit_64_bits(text: str) -> None:
    with pytest.raises(BadInput, match="64 bits"):
        place(text, REGIONS, symbol, "argument")


@given(st.integers(0, (1 << 64) - 1))
def test_numbers_are_read_as_python_writes_them(value: int) -> None:
    assert number(str(value), "n") == number(hex(value), "n") == place(str(value), {}, symbol, "n") == value


@given(st.text(max_size=30))
def test_any_text_is_a_value_or_our_error(text: str) -> None:
    with contextlib.suppress(BadInput, Absent):
        place(text, REGIONS, symbol, "argument")
