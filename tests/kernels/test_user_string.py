"""Strings in user memory: their ends, their limits, and the memory's."""

from __future__ import annotations

import pytest

from kernels.bench import BUFFER, CANARY, EFAULT, LIMIT, PAGE, PATTERN, USER, USER_FRAMES, Bench


@pytest.mark.parametrize("ends", [True, False])
def test_strncpy_from_user(bench: Bench, ends: bool) -> None:
    """The string ends with the page; or it has no end, and runs into the page that is not there."""
    bench.write(USER, PATTERN[: PAGE - 1] + (b"\0" if ends else b"x"))
    for there in range(1, 30):
        for count in range(-1, 34):
            bench.write(BUFFER, bytes([CANARY]) * 64)
            at, length = USER + PAGE - there, there - 1
            got = bench.signed("strncpy_from_user", BUFFER, at, count & 0xFFFFFFFFFFFFFFFF)
            if count <= 0:
                expected = 0
            elif ends and length < count:
                expected = length
            else:
                expected = count if count <= there else -EFAULT
            assert got == expected, (there, count)
            if expected >= 0:
                assert bench.read(BUFFER, expected) == bench.read(at, expected)
            if 0 <= expected < count:
                assert bench.read(BUFFER + expected, 1) == b"\0"
            assert bench.read(BUFFER + max(count, 0), 8) == bytes([CANARY]) * 8


@pytest.mark.parametrize("ends", [True, False])
def test_strnlen_user(bench: Bench, ends: bool) -> None:
    bench.write(USER, PATTERN[: PAGE - 1] + (b"\0" if ends else b"x"))
    for there in range(1, 30):
        for count in range(-1, 34):
            got = bench.signed("strnlen_user", USER + PAGE - there, count & 0xFFFFFFFFFFFFFFFF)
            if count <= 0:
                assert got == 0
            elif ends and there <= count:
                assert got == there
            elif count < there or ends:
                assert got > count
            else:
                # A string without an end whose last byte is the last allowed one: too long, or one word more is read.
                assert got == (count + 1 if count == there else 0), (there, count)


@pytest.mark.parametrize("routine", ["strncpy_from_user", "strnlen_user"])
def test_a_string_at_the_last_user_address(bench: Bench, routine: str) -> None:
    limit = LIMIT["la57" in bench.features]
    bench.map(limit - PAGE, USER_FRAMES, "rwu")
    bench.map(limit, USER_FRAMES + PAGE, "rwu")
    bench.write(limit - 8, b"abcdefgh")
    bench.write(limit, bytes(8))
    copies = routine == "strncpy_from_user"
    arguments = (BUFFER, limit - 4, 100) if copies else (limit - 4, 100)
    assert bench.signed(routine, *arguments) == (-EFAULT if copies else 0)
    assert bench.signed(routine, *(BUFFER, limit - 4, 4) if copies else (limit - 4, 4)) == (4 if copies else 5)
    bench.unmap(limit - PAGE)
    bench.unmap(limit)
    assert bench.signed(routine, *(BUFFER, limit, 4) if copies else (limit, 4)) == (-EFAULT if copies else 0)
    assert not bench.faults


def test_a_string_with_a_one_after_its_end(bench: Bench) -> None:
    """0x01 behind a zero byte is where a careless search for the first zero goes wrong."""
    for length in range(9):
        bench.write(USER, b"\x80" * length + b"\0\x01\0\x01" + b"y" * 16)
        bench.write(BUFFER, bytes([CANARY]) * 32)
        assert bench.call("strncpy_from_user", BUFFER, USER, 24) == length
        assert bench.read(BUFFER, 8 * (length // 8 + 1)) == (b"\x80" * length).ljust(8 * (length // 8 + 1), b"\0")
        assert bench.call("strnlen_user", USER, 24) == length + 1


def test_a_zero_byte_before_a_string_does_not_end_it(bench: Bench) -> None:
    for before in range(9):
        bench.write(USER, bytes(before) + b"abc\0")
        assert bench.call("strnlen_user", USER + before, 24) == 4
