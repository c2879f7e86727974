"""The file behind a userfaultfd, where nobody waits; with waiting tasks: syscalls/test_userfaultfd.py."""

from __future__ import annotations

import struct
from errno import EAGAIN, EEXIST, EFAULT, EINVAL

import pytest

from pagefault import PAGE, Machine
from pagefault.fs.open_file import O_NONBLOCK
from pagefault.fs.userfault_file import (
    API_IOCTLS,
    FEATURES,
    RANGE_IOCTLS,
    UFFD_API,
    UFFDIO_API,
    UFFDIO_COPY,
    UFFDIO_REGISTER,
    UFFDIO_UNREGISTER,
    UFFDIO_WAKE,
    UFFDIO_ZEROPAGE,
    UserfaultFile,
)
from pagefault.machine.scheduler import Scheduler
from pagefault.machine.user_access import UserAccess
from pagefault.machine.user_access_iter import IovIter
from pagefault.tables.userfaultfd import UFFD_FEATURE_EXACT_ADDRESS, UFFD_FEATURE_THREAD_ID, Userfault, UserfaultfdCtx

AREA, ARGUMENT, SOURCE = 0x1000_0000, 0x2000_0000, 0x3000_0000


class Bench:
    def __init__(self) -> None:
        self.machine = machine = Machine.boot(ram=64 << 20)
        self.user, memory = machine.user, machine.mm
        for address in (AREA, ARGUMENT, SOURCE):
            self.user.mmap(4 * PAGE, address=address)
        self.ctx = memory.userfaults[1] = UserfaultfdCtx(1, self.user.mm)
        self.file = UserfaultFile(
            "anon_inode:[userfaultfd]",
            O_NONBLOCK,
            access=UserAccess(machine),
            memory=memory,
            scheduler=Scheduler(machine.cpu),
            ctx=self.ctx,
        )

    def ioctl(self, command: int, *words: int, at: int = ARGUMENT) -> int:
        self.user.write(ARGUMENT, struct.pack(f"<{len(words)}Q", *words))
        return self.file.ioctl(command, at)

    def word(self, place: int) -> int:
        return int.from_bytes(self.user.read(ARGUMENT + 8 * place, 8), "little", signed=True)

    def read(self, count: int, pointer: int = SOURCE) -> int:
        return self.file.read(IovIter(self.file.access, [(pointer, count)]), 0)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def ready(bench: Bench) -> Bench:
    assert bench.ioctl(UFFDIO_API, UFFD_API, 0, 0) == 0
    assert bench.ioctl(UFFDIO_REGISTER, AREA, 4 * PAGE, 1, 0) == 0
    return bench


def test_the_api_comes_first_and_once(bench: Bench) -> None:
    assert bench.ioctl(UFFDIO_REGISTER, AREA, PAGE, 1, 0) == -EINVAL
    assert bench.read(32) == -EINVAL
    assert bench.ioctl(UFFDIO_API, UFFD_API, 1 << 40, 5) == -EINVAL
    assert [bench.word(place) for place in range(3)] == [0, 0, 0]
    assert bench.ioctl(UFFDIO_API, UFFD_API, FEATURES, 0) == 0
    assert [bench.word(place) & (1 << 64) - 1 for place in range(3)] == [UFFD_API, FEATURES, API_IOCTLS]
    assert bench.ioctl(UFFDIO_API, UFFD_API, 0, 0) == -EINVAL
    assert bench.ctx.features == FEATURES


@pytest.mark.parametrize(
    "command", [UFFDIO_API, UFFDIO_REGISTER, UFFDIO_UNREGISTER, UFFDIO_WAKE, UFFDIO_COPY, UFFDIO_ZEROPAGE]
)
def test_an_argument_that_is_not_there(ready: Bench, command: int) -> None:
    assert ready.file.ioctl(command, AREA - 8) == -EFAULT


def test_ranges_modes_and_unknown_calls(ready: Bench) -> None:
    assert ready.word(3) == RANGE_IOCTLS
    assert ready.ioctl(UFFDIO_REGISTER, AREA, PAGE, 3, 0) == -EINVAL
    assert ready.ioctl(UFFDIO_WAKE, AREA, 5) == -EINVAL
    assert ready.ioctl(UFFDIO_WAKE, AREA, PAGE) == 0
    assert ready.ioctl(UFFDIO_COPY, AREA, SOURCE, PAGE, 2, 0) == -EINVAL
    assert ready.ioctl(UFFDIO_COPY, AREA, -PAGE & (1 << 64) - 1, 2 * PAGE, 0, 0) == -EINVAL
    assert ready.ioctl(UFFDIO_ZEROPAGE, AREA, PAGE, 2, 0) == -EINVAL
    assert ready.ioctl(0xC018AA07, AREA, PAGE, 0) == -EINVAL


def test_a_copy_brings_its_source_in_and_says_how_far_it_came(ready: Bench) -> None:
    ready.user.write(SOURCE + PAGE, b"here")
    assert ready.ioctl(UFFDIO_COPY, AREA, SOURCE, 2 * PAGE, 0, 0) == 0
    assert ready.word(4) == 2 * PAGE
    assert ready.user.read(AREA + PAGE, 4) == b"here"
    assert ready.ioctl(UFFDIO_ZEROPAGE, AREA + 3 * PAGE, PAGE, 0, 0) == 0
    assert ready.ioctl(UFFDIO_COPY, AREA + 2 * PAGE, SOURCE, 2 * PAGE, 0, 0) == -EAGAIN
    assert ready.word(4) == PAGE
    assert ready.ioctl(UFFDIO_COPY, AREA, SOURCE, PAGE, 0, 0) == -EEXIST
    assert ready.word(4) == -EEXIST
    assert ready.file.ioctl(UFFDIO_UNREGISTER, ARGUMENT) == 0


def test_messages(ready: Bench) -> None:
    assert ready.read(32) == -EAGAIN
    assert ready.read(31) == -EINVAL
    ready.ctx.waiting += [Userfault(AREA + 5, True, 77), Userfault(AREA + PAGE, False, 78)]
    assert ready.read(100) == 64
    assert struct.unpack("<" + "B7xQQI4x" * 2, ready.user.read(SOURCE, 64)) == (18, 1, AREA, 0, 18, 0, AREA + PAGE, 0)
    assert ready.read(32) == -EAGAIN
    ready.ctx.features = UFFD_FEATURE_EXACT_ADDRESS | UFFD_FEATURE_THREAD_ID
    ready.ctx.waiting.append(Userfault(AREA + 5, True, 77))
    assert ready.read(32) == 32
    assert struct.unpack("<B7xQQI4x", ready.user.read(SOURCE, 32)) == (18, 1, AREA + 5, 77)
    ready.ctx.waiting.append(Userfault(AREA, True, 77))
    assert ready.read(32, AREA - 8) == -EFAULT


def test_waking_and_closing_let_go_who_waits_there(ready: Bench) -> None:
    near, far = Userfault(AREA + 5, True, 1), Userfault(AREA + PAGE, True, 1)
    ready.ctx.waiting += [near, far]
    assert ready.ioctl(UFFDIO_WAKE, AREA, PAGE) == 0
    assert (near.woken, far.woken) == (True, False)
    told: list[bool] = []
    ready.file.released = lambda: told.append(far.woken)
    ready.file.release()
    assert told == [True]
    assert not ready.ctx.waiting
