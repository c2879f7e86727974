"""
User copies by the image's own code: the faults of Linux's system calls, one by one, and counts exact to the byte.

The recordings are of real kernels (`lab/recordings`). The program's own instructions are not run here, only the copies
of its system calls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from errno import EFAULT
from pathlib import Path

import pytest
from lab.record import RECORDINGS
from lab.recording import Enter, parse

from machine.recorded_calls import RECORDED_CPU, Replay, steps
from pagefault import PAGE, Machine
from pagefault.errors import DidNotReturn
from pagefault.machine.user_access import UserAccess
from pagefault.machine.user_access_iter import IovIter

SERIES = {"vmlinux_61": ("6.1", PAGE), "vmlinux_612": ("6.12", PAGE << 9)}
"""Of each kernel its recordings, and how much of a tmpfs file write(2) takes at once."""
PROGRAMS = {
    "copy-fault": ({3: "data", 4: "out"}, 40),
    "copy-fault.4-level-never": ({3: "data", 4: "out"}, 37),
    "copy-short": ({3: "data", 4: "out", 5: "null", 6: "zero"}, 170),
    "copy-vector": ({3: "data", 4: "out"}, 12),
    "copy-paging": ({3: "data", 4: "out"}, 9),
    "strings": ({}, 8),
    "futex": ({3: "data"}, 5),
    "mixed-calls": ({3: "data", 4: "out"}, 2700),
}
"""Of each program what its descriptors are, and how many faults of its system calls are compared at the least."""
KERNELS = (None, "vmlinux_61", "vmlinux_612")
NOWHERE = 0x2000_0000
KERNEL_HALF = 0xFFFF_FFFF_8100_0000


class Bench:
    """A machine, and two user pages of which the second is missing."""

    def __init__(self, kernel: Path | None) -> None:
        self.machine = Machine.boot(kernel, features=RECORDED_CPU)
        self.access = UserAccess(self.machine)
        self.user = self.machine.user
        self.page = self.user.mmap(2 * PAGE, address=0x1000_0000)
        self.user.munmap(self.page + PAGE, PAGE)
        self.end = self.page + PAGE
        self.fill()

    def fill(self) -> None:
        self.user.write(self.page, b"\xcc" * PAGE)


@pytest.fixture(scope="module", params=KERNELS)
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(request.getfixturevalue(request.param) if request.param else None)


@pytest.mark.parametrize("kernel", SERIES)
@pytest.mark.parametrize("program", PROGRAMS)
def test_system_calls_take_the_faults_of_the_real_kernel(
    kernel: str, program: str, request: pytest.FixtureRequest
) -> None:
    series, chunk = SERIES[kernel]
    files, least = PROGRAMS[program]
    recording = parse((RECORDINGS / series / f"{program}.txt").read_text())
    five_levels = recording.header["configurations"].startswith("5-level")
    features = RECORDED_CPU if five_levels else RECORDED_CPU - {"la57"}
    machine = Machine.boot(request.getfixturevalue(kernel), features=features)
    before = WRITTEN.get(program)
    replay = Replay(machine, files, chunk, before(machine) if before else lambda _: None)
    faults = 0
    for call, there, here, value, result in replay.compare(recording):
        assert here == there, f"{call} = {result:x}"
        assert value in (None, result), f"{call}"
        faults += len(there)
    assert faults >= least


def strings_written(machine: Machine) -> Callable[[Enter], None]:
    """What lab/programs/strings.c pokes before each access()."""
    seen: Counter[int] = Counter()
    end = 0x1000_4000

    def before(call: Enter) -> None:
        path = call.arguments[0]
        if call.name != "access":
            return
        seen[path] += 1
        if path == end - 12:
            zeros = seen[path] - 1
            machine.user.write(end - 19, b"/" * (19 - zeros) + bytes(zeros))
        elif path == 0x1000_0FFA:
            machine.user.write(path, b"/" * 12 + b"\0")
        elif path == 0x1000_2000 and seen[path] == 2:
            machine.user.write(path, b"/" * (2 * PAGE - 100))

    return before


def vector_written(machine: Machine) -> Callable[[Enter], None]:
    """What lab/programs/copy-vector.c has in its array when."""
    memory, vector = 0x1000_0000, 0x40_3040
    segments = [[memory + 3 * i * PAGE, 5000] for i in range(4)]
    segments[3][0] -= 3000
    segments[2][0] = memory + 8 * PAGE - 700
    writes = 0

    def before(call: Enter) -> None:
        nonlocal writes
        if call.name not in ("readv", "writev"):
            return
        writes += call.name == "writev"
        if writes == 2:
            segments[0][1] = 0
        if writes in (3, 4):
            segments[1][0] = (0, KERNEL_HALF)[writes - 3]
        words = (word.to_bytes(8, "little") for segment in segments for word in segment)
        machine.user.write(vector, b"".join(words))

    return before


WRITTEN: dict[str, Callable[[Machine], Callable[[Enter], None]]] = {
    "strings": strings_written,
    "copy-vector": vector_written,
}


def test_copies_tell_what_is_left_to_the_byte(bench: Bench) -> None:
    access = bench.access
    for distance in (0, 1, 2, 7, 8, 9, 63, 64, 65, 200, 1000):
        for length in (1, 8, 63, 64, 65, 300, 2000):
            left = max(0, length - distance)
            at, text = bench.end - distance, bytes(range(251))[: min(length, 251)].ljust(length, b"z")
            bench.fill()
            assert access.copy_to_user(at, text) == left, (distance, length)
            written = text[: length - left]
            assert bench.user.read(bench.page, PAGE) == (
                b"\xcc" * (PAGE - distance) + written + b"\xcc" * (distance - len(written))
            )
            assert access.copy_from_user(at, length) == (written, left), (distance, length)


def test_a_copy_into_a_page_leaves_the_rest_of_it_alone(bench: Bench) -> None:
    page = bench.machine.kmalloc(PAGE, b"." * PAGE)
    bench.user.write(bench.end - 100, b"u" * 100)
    for atomic in (False, True):
        bench.machine.write(page, b"." * PAGE)
        assert bench.access.copy_user_to_kernel(page, bench.end - 100, 400, atomic=atomic) == 300
        assert bench.machine.read(page, PAGE) == b"u" * 100 + b"." * (PAGE - 100)


def test_an_atomic_copy_brings_nothing_in(bench: Bench) -> None:
    fresh = bench.user.mmap(PAGE)
    to = bench.machine.kmalloc(64)
    bench.machine.events.clear()
    assert bench.access.copy_user_to_kernel(to, fresh, 64, atomic=True) == 64
    assert {address for address, _, _ in steps(bench.machine)} == {fresh}
    assert bench.access.fault_in_readable(fresh, 64) == 0
    bench.machine.events.clear()
    assert bench.access.copy_user_to_kernel(to, fresh, 64, atomic=True) == 0
    assert not bench.machine.events


def test_a_read_is_tried_again_from_where_it_stopped(bench: Bench) -> None:
    page = bench.machine.kmalloc(PAGE, b"p" * PAGE)
    bench.machine.events.clear()
    assert IovIter(bench.access, [(bench.end - 5, 10)]).copy_page_to(page, 10) == 5
    once = len(bench.machine.events)
    assert bench.user.read(bench.end - 5, 5) == b"p" * 5
    bench.machine.events.clear()
    assert IovIter(bench.access, [(bench.end, 10)]).copy_page_to(page, 10) == 0
    assert 0 < len(bench.machine.events) < once


def test_fault_in_counts_from_the_first_page_that_is_missing(bench: Bench) -> None:
    fresh = bench.user.mmap(4 * PAGE)
    bench.user.munmap(fresh + 3 * PAGE, PAGE)
    bench.user.mprotect(fresh + 2 * PAGE, PAGE, "r")
    access = bench.access
    for touch, reached in ((access.fault_in_readable, 3 * PAGE), (access.fault_in_writeable, 2 * PAGE)):
        for offset in (0, 1, 100, PAGE - 1, PAGE):
            for size in (0, 1, PAGE - offset % PAGE, PAGE, 2 * PAGE, 5 * PAGE):
                assert touch(fresh + offset, size) == max(0, size - (reached - offset)), (offset, size)
    assert access.fault_in_readable(KERNEL_HALF, 10) == 10
    assert access.fault_in_writeable(KERNEL_HALF, 10) == 10
    bench.user.write(fresh, b"abc")
    assert access.fault_in_writeable(fresh, 3) == 0
    assert bench.user.read(fresh, 3) == b"\0bc"


@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_one_number(bench: Bench, size: int, checked: bool) -> None:
    access, value = bench.access, 0x8182_8384_8586_8788
    low = value & (1 << 8 * size) - 1
    assert access.put_user(bench.end - size, value, size, checked=checked)
    assert access.get_user(bench.end - size, size, checked=checked) == low
    assert not access.put_user(bench.end, value, size, checked=checked)
    assert access.get_user(bench.end, size, checked=checked) is None
    if checked:
        bench.machine.events.clear()
        assert access.get_user(KERNEL_HALF, size) is None
        assert not access.put_user(KERNEL_HALF, value, size)
        # 6.12 makes it a pointer to where nothing is: the end of the user's half, the end of everything.
        nowhere = {bench.machine.area.task_size_max, (1 << 64) - 1}
        assert {address for address, _, _ in steps(bench.machine)} <= nowhere
    else:
        inside = bench.machine.kmalloc(8)
        assert access.put_user(inside, value, size, checked=False), "the range is the caller's to check"
        assert access.get_user(inside, size, checked=False) == low


def test_strings(bench: Bench) -> None:
    access = bench.access
    bench.user.write(bench.end - 8, b"/name\0\xcc\xcc")
    assert access.strncpy_from_user(bench.end - 8, 100) == b"/name"
    assert access.strncpy_from_user(bench.end - 8, 3) == b"/na"
    assert access.strncpy_from_user(bench.end - 3, 100) == b""
    assert access.strncpy_from_user(bench.end - 2, 100) == -EFAULT
    assert access.strncpy_from_user(KERNEL_HALF, 100) == -EFAULT
    assert access.strnlen_user(bench.end - 8, 100) == 6
    assert access.strnlen_user(bench.end - 8, 3) > 3
    assert access.strnlen_user(bench.end - 2, 100) == 0


def test_clear_user(bench: Bench) -> None:
    for distance, length in ((0, 5), (5, 5), (100, 64), (100, 300), (PAGE, 10_000)):
        bench.fill()
        left = max(0, length - distance)
        assert bench.access.clear_user(bench.end - distance, length) == left
        zeros = length - left
        assert bench.user.read(bench.page, PAGE) == b"\xcc" * (PAGE - distance) + bytes(zeros) + b"\xcc" * (
            distance - zeros
        )
    assert bench.access.clear_user(KERNEL_HALF, 5) == 5


def test_an_array_of_buffers(bench: Bench) -> None:
    def write(*words: int) -> int:
        data = b"".join((word & (1 << 64) - 1).to_bytes(8, "little") for word in words)
        bench.user.write(bench.end - len(data), data)
        return bench.end - len(data)

    read = bench.access.copy_iovec_from_user
    assert read(write(0x1000, 5, 0x2000, 0), 2) == [(0x1000, 5), (0x2000, 0)]
    assert read(write(0x1000, 5, 0x2000, -1), 2) == -22
    assert read(write(0x1000, 5), 2) == -EFAULT
    assert read(NOWHERE, 0) == []
    assert read(NOWHERE, 1025) == -22
    assert read(NOWHERE, 1 << 40) == -22
    assert read(NOWHERE, 1024) == -EFAULT


def test_buffers_are_used_again_and_never_by_two(bench: Bench) -> None:
    with bench.access.buffer(300) as first, bench.access.buffer(300) as second:
        assert first != second
    with bench.access.buffer(500) as third:
        assert third in (first, second)


def test_code_that_does_not_come_back_is_said_to(bench: Bench) -> None:
    with pytest.raises(DidNotReturn, match="strncpy_from_user"):
        bench.access.run("strncpy_from_user", NOWHERE, bench.page, 8)
