"""Copies, single numbers and zeros: what they return at every byte, on every kind of CPU."""

from __future__ import annotations

import pytest

from kernels.bench import BUFFER, CANARY, EFAULT, KERNEL, LIMIT, PAGE, PATTERN, USER, USER_FRAMES, Bench, machine

LENGTHS = range(257)


def distances(n: int) -> range:
    """From nothing there to all there, one byte at a time."""
    return range(n + 1)


def test_copy_from_user_stops_at_the_very_byte_and_zeroes_the_rest(bench: Bench) -> None:
    bench.write(USER, PATTERN)
    for n in LENGTHS:
        for there in distances(n):
            bench.write(BUFFER, bytes([CANARY]) * (n + 8))
            assert bench.call("_copy_from_user", BUFFER, USER + PAGE - there, n) == n - there
            got = PATTERN[PAGE - there :]
            assert bench.read(BUFFER, n + 8) == got + bytes(n - there) + bytes([CANARY]) * 8


def test_copy_to_user_stops_at_the_very_byte_and_touches_no_other(bench: Bench) -> None:
    bench.write(BUFFER, PATTERN)
    for n in LENGTHS:
        for there in distances(n):
            bench.write(USER, bytes([CANARY]) * PAGE)
            assert bench.call("_copy_to_user", USER + PAGE - there, BUFFER, n) == n - there
            assert bench.read(USER, PAGE) == bytes([CANARY]) * (PAGE - there) + PATTERN[:there]


@pytest.mark.parametrize(
    "routine", ["copy_user_generic_unrolled", "copy_user_generic_string", "copy_user_enhanced_fast_string"]
)
@pytest.mark.parametrize("misaligned", [0, 3])
def test_each_copy_routine_by_itself(bench: Bench, routine: str, misaligned: int) -> None:
    bench.write(USER, PATTERN)
    for n in (0, 1, 7, 8, 31, 32, 33, 63, 64, 65, 100, 256):
        for there in distances(n):
            to = BUFFER + misaligned
            bench.write(BUFFER, bytes([CANARY]) * (n + 16))
            assert bench.call(routine, to, USER + PAGE - there, n) == n - there
            assert bench.read(to, n + 8) == PATTERN[PAGE - there :] + bytes([CANARY]) * (n - there + 8)


def test_clear_user_stops_at_the_very_byte(bench: Bench) -> None:
    for n in (*range(74), 127, 128, 129, 255, 256):
        for there in distances(n):
            bench.write(USER, bytes([CANARY]) * PAGE)
            assert bench.call("clear_user", USER + PAGE - there, n) == n - there
            assert bench.read(USER, PAGE) == bytes([CANARY]) * (PAGE - there) + bytes(there)


@pytest.mark.parametrize("routine", ["clear_user_original", "clear_user_rep_good", "clear_user_erms"])
def test_each_clear_routine_by_itself(routine: str) -> None:
    bench = machine("")
    bench.unmap(USER + PAGE)
    bench.map(USER, USER_FRAMES, "rwu")
    for n in (0, 1, 7, 8, 9, 63, 64, 65):
        for there in distances(n):
            bench.call(routine, USER + PAGE - there, rcx=n, rax=0)
            assert bench.register("rcx") == n - there


def test_a_read_only_page_can_be_read_but_not_written(bench: Bench) -> None:
    bench.map(USER, USER_FRAMES, "ru")
    bench.write(BUFFER, PATTERN[:64])
    assert bench.call("_copy_from_user", BUFFER, USER, 64) == 0
    assert bench.call("_copy_to_user", USER, BUFFER, 64) == 64
    assert bench.call("clear_user", USER, 64) == 64


def test_a_range_past_the_last_user_address_is_refused_without_a_fault(bench: Bench) -> None:
    limit = LIMIT["la57" in bench.features]
    for at, n in ((limit, 1), (limit - 7, 8), (KERNEL, 8), (0xFFFFFFFFFFFFFFF8, 64), (0, limit + 1)):
        for routine, arguments in (("_copy_to_user", (at, BUFFER, n)), ("clear_user", (at, n))):
            assert bench.call(routine, *arguments) == n
            assert not bench.faults
    bench.write(BUFFER, b"x" * 16)
    assert bench.call("_copy_from_user", BUFFER, limit - 7, 8) == 8
    assert bench.read(BUFFER, 9) == bytes(8) + b"x"
    assert not bench.faults
    assert bench.call("_copy_from_user", BUFFER, limit - 8, 8) == 8
    assert bench.faults


@pytest.mark.parametrize("size", [1, 2, 4, 8])
@pytest.mark.parametrize("check", ["", "_nocheck"])
def test_get_user(bench: Bench, size: int, check: str) -> None:
    bench.write(USER, PATTERN)
    kept = {"rcx": 1, "rbx": 2, "rsi": 3, "rdi": 4}
    for there in range(9):
        at = USER + PAGE - there
        error = bench.signed(f"__get_user{check}_{size}", rax=at, rdx=~0, **kept)
        value = int.from_bytes(PATTERN[PAGE - there : PAGE - there + size], "little")
        assert (error, bench.register("rdx")) == ((0, value) if there >= size else (-EFAULT, 0))
        assert {name: bench.register(name) for name in kept} == kept
    if not check:
        limit = LIMIT["la57" in bench.features]
        assert bench.signed(f"__get_user_{size}", rax=limit - size + 1) == -EFAULT
        assert not bench.faults
        assert bench.signed(f"__get_user_{size}", rax=limit - size) == -EFAULT
        assert bench.faults


@pytest.mark.parametrize("size", [1, 2, 4, 8])
@pytest.mark.parametrize("check", ["", "_nocheck"])
def test_put_user(bench: Bench, size: int, check: str) -> None:
    value = 0x1122334455667788
    for there in range(9):
        bench.write(USER, bytes([CANARY]) * PAGE)
        bench.call(f"__put_user{check}_{size}", rcx=USER + PAGE - there, rax=value, rdx=3)
        written = value.to_bytes(8, "little")[:size] if there >= size else b""
        assert bench.register("ecx") == (0 if written else 2**32 - EFAULT)
        assert bench.read(USER, PAGE) == (bytes([CANARY]) * (PAGE - there) + written).ljust(PAGE, bytes([CANARY]))
        assert (bench.register("rax"), bench.register("rdx")) == (value, 3)
    if not check:
        limit = LIMIT["la57" in bench.features]
        bench.call(f"__put_user_{size}", rcx=limit - size + 1, rax=value)
        assert (bench.register("ecx"), bool(bench.faults)) == (2**32 - EFAULT, False)
        bench.call(f"__put_user_{size}", rcx=limit - size, rax=value)
        assert (bench.register("ecx"), bool(bench.faults)) == (2**32 - EFAULT, True)
