"""Debian's own get_user, put_user, clear_user and string routines, on the machine, held to what Linux documents."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pagefault import PAGE, Machine
from pagefault.machine.event import Returned
from pagefault.vocabulary.outcome import FixedUp

EFAULT = 14
MINUS_EFAULT = -EFAULT & (1 << 64) - 1
MINUS_EFAULT_32 = -EFAULT & (1 << 32) - 1
NOWHERE = 0x20000
KERNELS = ("vmlinux_61", "vmlinux_612")
FEATURES = {
    "none": {"nx"},
    "erms": {"nx", "smep", "smap", "rep_good", "erms"},
    "la57": {"nx", "smap", "la57", "fsrm", "erms"},
}
AC = 1 << 18


class Bench:
    """A booted kernel and a process with two pages of text, of which the second is unmapped again."""

    def __init__(self, kernel: Path, features: set[str]) -> None:
        self.machine = Machine.boot(kernel, features=features)
        self.page = self.machine.user.mmap(2 * PAGE, content=b"x" * PAGE)
        self.machine.user.munmap(self.page + PAGE, PAGE)
        self.end = self.page + PAGE
        self.buffer = self.machine.kmalloc(512)

    def call(self, function: str, *arguments: int, **registers: Any) -> dict[str, int]:
        result = self.machine.run(function, *arguments, **registers)
        assert isinstance(result.end, Returned), (function, arguments, self.machine.why(result))
        assert all(isinstance(event.decision.outcome, FixedUp) for event in result.events)
        assert not result.registers["eflags"] & AC, "the routine left its user-access window open"
        return result.registers


@pytest.fixture(scope="module")
def bench(request: pytest.FixtureRequest) -> Callable[[str, str], Bench]:
    made: dict[tuple[str, str], Bench] = {}

    def get(kernel: str, features: str) -> Bench:
        if (kernel, features) not in made:
            made[kernel, features] = Bench(request.getfixturevalue(kernel), FEATURES[features])
        return made[kernel, features]

    return get


both = pytest.mark.parametrize("kernel", KERNELS)
each_cpu = pytest.mark.parametrize("features", FEATURES)


@both
@each_cpu
@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_get_user_reads_the_value_or_zero_and_efault(
    bench: Callable[[str, str], Bench], kernel: str, features: str, size: int
) -> None:
    b = bench(kernel, features)
    for distance in range(1, 17):
        text = bytes(range(0x81, 0x81 + distance))
        b.machine.user.write(b.end - distance, text)
        registers = b.call(f"__get_user_{size}", rax=b.end - distance)
        error = registers["rax"] & 0xFFFF_FFFF
        if distance >= size:
            assert (error, registers["rdx"]) == (0, int.from_bytes(text[:size], "little")), distance
        else:
            assert (error, registers["rdx"]) == (MINUS_EFAULT_32, 0), distance
    assert b.call(f"__get_user_{size}", rax=b.buffer)["rax"] & 0xFFFF_FFFF == MINUS_EFAULT_32


@both
@each_cpu
@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_put_user_writes_all_or_nothing_of_its_page(
    bench: Callable[[str, str], Bench], kernel: str, features: str, size: int
) -> None:
    b = bench(kernel, features)
    value = 0x1122_3344_5566_7788
    for distance in range(1, 17):
        b.machine.user.write(b.end - 16, b"." * 16)
        error = b.call(f"__put_user_{size}", rcx=b.end - distance, rax=value)["rcx"] & 0xFFFF_FFFF
        fits = distance >= size
        assert error == (0 if fits else MINUS_EFAULT_32), distance
        written = value.to_bytes(8, "little")[:size] if fits else b""
        expected = b"." * (16 - distance) + written + b"." * (distance - len(written))
        assert b.machine.user.read(b.end - 16, 16) == expected, distance
    b.machine.user.mprotect(b.page, PAGE, "r")
    assert b.call(f"__put_user_{size}", rcx=b.page, rax=value)["rcx"] & 0xFFFF_FFFF == MINUS_EFAULT_32
    b.machine.user.mprotect(b.page, PAGE, "rw")
    b.machine.call("__put_user_1", rcx=b.page, rax=0)  # the right to write comes back with the first write
    assert b.call(f"__put_user_{size}", rcx=b.buffer, rax=value)["rcx"] & 0xFFFF_FFFF == MINUS_EFAULT_32


@both
@each_cpu
def test_clear_user_clears_what_it_says(bench: Callable[[str, str], Bench], kernel: str, features: str) -> None:
    """
    Through read_zero(), /dev/zero's read: clear_user() is inlined there. It returns the bytes cleared, or -EFAULT.

    "Cleared" is a floor: a routine may have cleared more than it reports, up to the hole.
    """
    b = bench(kernel, features)
    for distance in range(1, 140):
        for length in (1, 7, 8, 63, 64, 65, 100, 139):
            b.machine.user.write(b.end - 256, b"x" * 256)
            returned = b.call("read_zero", b.buffer, b.end - distance, length, 0)["rax"]
            cleared = 0 if returned == MINUS_EFAULT else returned
            exact = min(length, distance)
            assert cleared <= exact, (distance, length)
            assert cleared == exact or exact - cleared < 8, (distance, length, cleared)
            got = b.machine.user.read(b.end - 256, 256)
            start = 256 - distance
            assert got[:start] == b"x" * start
            assert got[start : start + cleared] == bytes(cleared)
            assert got[start + exact :] == b"x" * (distance - exact)


@both
@each_cpu
def test_strncpy_from_user_copies_up_to_the_nul(bench: Callable[[str, str], Bench], kernel: str, features: str) -> None:
    b = bench(kernel, features)
    for length in range(40):
        text = b"/" * length
        for gap in (0, 1, 5, 8, 16):
            at = b.end - gap - length - 1
            b.machine.user.write(at, text + b"\0")
            b.machine.write(b.buffer, b"\xee" * 64)
            assert b.call("strncpy_from_user", b.buffer, at, 64)["rax"] == length, (length, gap)
            assert b.machine.read(b.buffer, length + 1) == text + b"\0"
            if length > 1:
                assert b.call("strncpy_from_user", b.buffer, at, length - 1)["rax"] == length - 1
    for distance in range(1, 20):
        b.machine.user.write(b.end - distance, b"/" * distance)
        assert b.call("strncpy_from_user", b.buffer, b.end - distance, 64)["rax"] == MINUS_EFAULT, distance
    assert b.call("strncpy_from_user", b.buffer, NOWHERE, 64)["rax"] == MINUS_EFAULT
    assert b.call("strncpy_from_user", b.buffer, b.buffer, 64)["rax"] == MINUS_EFAULT


@both
@each_cpu
def test_strnlen_user_counts_the_nul(bench: Callable[[str, str], Bench], kernel: str, features: str) -> None:
    b = bench(kernel, features)
    for length in range(40):
        for gap in (0, 1, 5, 8, 16):
            at = b.end - gap - length - 1
            b.machine.user.write(at, b"/" * length + b"\0")
            assert b.call("strnlen_user", at, 64)["rax"] == length + 1, (length, gap)
            if length > 2:
                assert b.call("strnlen_user", at, length - 2)["rax"] > length - 2, (length, gap)
    for distance in range(1, 20):
        b.machine.user.write(b.end - distance, b"/" * distance)
        assert b.call("strnlen_user", b.end - distance, 64)["rax"] == 0, distance
    assert b.call("strnlen_user", NOWHERE, 64)["rax"] == 0
    assert b.call("strnlen_user", b.buffer, 64)["rax"] == 0


@both
def test_nofault_copies_fail_where_they_must_not_sleep(bench: Callable[[str, str], Bench], kernel: str) -> None:
    b = bench(kernel, "erms")
    fresh = b.machine.user.mmap(PAGE)
    assert b.call("copy_from_user_nofault", b.buffer, fresh, 8)["rax"] == MINUS_EFAULT
    assert b.machine.call("_copy_from_user", b.buffer, fresh, 8) == 0
    assert b.call("copy_from_user_nofault", b.buffer, fresh, 8)["rax"] == 0
    unmapped = b.machine.area.vmalloc_end - PAGE
    assert b.call("copy_from_kernel_nofault", b.buffer, unmapped, 8)["rax"] == MINUS_EFAULT
    assert b.call("copy_from_kernel_nofault", b.buffer, 0xDEAD_0000_0000_0000, 8)["rax"] == -34 & (1 << 64) - 1
    assert b.call("copy_from_kernel_nofault", b.buffer, b.buffer + 256, 8)["rax"] == 0
