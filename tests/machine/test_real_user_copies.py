"""
Debian's own user-copy routines, on the machine: every length at every distance from the end of a mapped page.

The contract is that of include/linux/uaccess.h: the return value is the number of bytes not copied, exactly; what was
reported as copied was copied; nothing else changes, but copy_from_user() zeroes the tail of its destination.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from machine.user_copy_bench import AC, KERNEL, LONGEST, USER, Bench, cases
from pagefault import PAGE, Machine
from pagefault.machine.event import Died, Returned

FEATURES = {
    "none": {"nx"},
    "smap": {"nx", "smep", "smap"},
    "rep_good": {"nx", "smep", "smap", "rep_good"},
    "erms": {"nx", "smep", "smap", "rep_good", "erms"},
    "fsrm,la57": {"nx", "smep", "smap", "rep_good", "erms", "fsrm", "la57"},
}


@pytest.fixture(scope="module", params=FEATURES)
def bench_61(request: pytest.FixtureRequest, vmlinux_61: Path) -> Bench:
    return Bench(Machine.boot(vmlinux_61, features=FEATURES[request.param]))


@pytest.fixture(scope="module", params=FEATURES)
def bench_612(request: pytest.FixtureRequest, vmlinux_612: Path) -> Bench:
    return Bench(Machine.boot(vmlinux_612, features=FEATURES[request.param]))


def copies_from_user(bench: Bench) -> None:
    for length, distance in cases():
        bench.kernel_buffer[: LONGEST + 8] = KERNEL[: LONGEST + 8]
        left = bench.call("_copy_from_user", bench.buffer, bench.end - distance, length)["rax"]
        assert left == max(0, length - distance), (length, distance, left)
        done = length - left
        got = bytes(bench.kernel_buffer[: LONGEST + 8])
        page = bytes(bench.user_page[PAGE - distance : PAGE - distance + done])
        assert got == page + bytes(left) + KERNEL[length : LONGEST + 8], (length, distance)


def copies_to_user(bench: Bench) -> None:
    bench.kernel_buffer[: LONGEST + 8] = KERNEL[: LONGEST + 8]
    for length, distance in cases():
        bench.user_page[:] = USER[:PAGE]
        left = bench.call("_copy_to_user", bench.end - distance, bench.buffer, length)["rax"]
        assert left == max(0, length - distance), (length, distance, left)
        done, start = length - left, PAGE - distance
        assert bytes(bench.user_page) == USER[:start] + KERNEL[:done] + USER[start + done : PAGE], (length, distance)


def test_61_copies_from_user_report_the_exact_residue(bench_61: Bench) -> None:
    copies_from_user(bench_61)


def test_61_copies_to_user_report_the_exact_residue(bench_61: Bench) -> None:
    copies_to_user(bench_61)


def test_612_copies_from_user_report_the_exact_residue(bench_612: Bench) -> None:
    copies_from_user(bench_612)


def test_612_copies_to_user_report_the_exact_residue(bench_612: Bench) -> None:
    copies_to_user(bench_612)


@pytest.mark.parametrize("kernel", ["vmlinux_61", "vmlinux_612"])
def test_each_routine_of_this_version_leaves_its_residue_in_its_register(
    kernel: str, request: pytest.FixtureRequest
) -> None:
    """The assembly routines themselves, by the names and conventions that the kernel's version has for them."""
    machine = Machine.boot(request.getfixturevalue(kernel), features=FEATURES["smap"])
    b = Bench(machine)
    for routine in machine.profile.user_copy_routines:
        for length, distance in ((n, d) for n in range(0, 140, 3) for d in range(0, 140, 3)):
            for to_user in (True, False) if routine.source else (True,):
                user, buffer = b.end - distance, b.buffer
                registers: dict[str, Any] = {routine.destination: user if to_user else buffer, routine.count: length}
                if routine.source:
                    registers[routine.source] = buffer if to_user else user
                if routine.opens_window:
                    result = machine.run(routine.name, **registers)
                    assert not result.registers["eflags"] & AC
                else:
                    result = machine.run(routine.name, user_access=True, **registers)
                    assert result.registers["eflags"] & AC, "the caller's window is the caller's to close"
                assert isinstance(result.end, Returned), (routine.name, machine.why(result))
                left, exact = result.registers[routine.left] & 0xFFFF_FFFF, max(0, length - distance)
                assert left == exact if routine.source else exact <= left < exact + 8, (routine.name, length, distance)


def test_a_routine_that_expects_its_window_open_oopses_without(bench_612: Bench) -> None:
    result = bench_612.machine.run("rep_movs_alternative", rdi=bench_612.buffer, rsi=bench_612.end - 8, rcx=8)
    if bench_612.machine.booted.state.smap:
        assert isinstance(result.end, Died)
    else:
        assert isinstance(result.end, Returned)
