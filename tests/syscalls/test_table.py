"""The table of system calls, and numbers as registers hold them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from lab.system_calls import SYSTEM_CALLS

from pagefault.syscalls import families
from pagefault.syscalls.table import TABLE, signed, system_call, unsigned

HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")


@pytest.mark.parametrize(
    ("value", "bits", "expected"),
    [
        (0x7FFF_FFFF, 32, 0x7FFF_FFFF),
        (0x8000_0000, 32, -(1 << 31)),
        (0x1_0000_0005, 32, 5),
        (0xFFFF_FFFF, 64, 0xFFFF_FFFF),
        ((1 << 64) - 1, 64, -1),
        (-1, 32, -1),
    ],
)
def test_signed(value: int, bits: int, expected: int) -> None:
    assert signed(value, bits) == expected


def test_a_result_is_a_register() -> None:
    assert unsigned(-14) == 0xFFFF_FFFF_FFFF_FFF2
    assert unsigned(True) == 1
    assert unsigned(1 << 64) == 0


def test_the_number_of_arguments_is_the_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TABLE, 9999, TABLE.get(9999))
    system_call(9999, "test")(lambda system, task, a, b: a + b)
    call = TABLE[9999]
    assert (call.number, call.name, call.arity, call.function(None, None, 1, 2)) == (9999, "test", 2, 3)


def test_names_and_arguments_are_those_of_the_recordings() -> None:
    families.load()
    for number, call in TABLE.items():
        assert number == call.number
        if number in SYSTEM_CALLS:
            assert (call.name, call.arity) == SYSTEM_CALLS[number], number
    assert Counter(call.name for call in TABLE.values()).most_common(1)[0][1] == 1
    assert len(TABLE) > 90


@pytest.mark.skipif(not HEADER.exists(), reason="the kernel's headers are not installed here")
def test_numbers_are_those_of_the_kernels_header() -> None:
    families.load()
    numbers = dict(re.findall(r"#define __NR_(\w+) (\d+)", HEADER.read_text()))
    assert {call.name: call.number for call in TABLE.values()} == {
        call.name: int(numbers[call.name]) for call in TABLE.values()
    }
