"""Pipes: what is in the ring, who waits, and who is told that nobody reads."""

from __future__ import annotations

from collections.abc import Callable
from errno import EAGAIN, EFAULT, EPIPE

import pytest

from fs.user_buffer import UserBuffer
from pagefault import PAGE
from pagefault.fs.open_file import O_DIRECT, O_NONBLOCK
from pagefault.fs.pipe import RING, Pipe, PipeEnd, make_pipe
from pagefault.machine.scheduler import ERESTARTSYS, Scheduler, Thread


class Ends:
    """A pipe whose writers tell when it is broken, and threads at its ends that note what their calls answered."""

    def __init__(self, flags: int = O_NONBLOCK) -> None:
        self.buffer = UserBuffer(4)
        self.scheduler = Scheduler(self.buffer.machine.cpu)
        self.broken = 0
        self.reader, self.writer = make_pipe(self.scheduler, self.buffer.access, flags, self._broken)
        self.answers: list[tuple[str, int]] = []

    def _broken(self) -> None:
        self.broken += 1

    @property
    def pipe(self) -> Pipe:
        assert self.reader.pipe is not None
        return self.reader.pipe

    def write(self, length: int, at: int = 0) -> int:
        return self.writer.write(self.buffer.iter((self.buffer.start + at, length)), 0)

    def read(self, length: int, at: int = 2 * PAGE) -> int:
        return self.reader.read(self.buffer.iter((self.buffer.start + at, length)), 0)

    def got(self, length: int, at: int = 2 * PAGE) -> bytes:
        return self.buffer.user.read(self.buffer.start + at, length)

    def sizes(self) -> list[int]:
        return [len(buffer.data) - buffer.offset for buffer in self.pipe.buffers]

    def thread(self, name: str, *calls: Callable[[], int]) -> Thread:
        def run() -> None:
            for call in calls:
                self.answers.append((name, call()))

        return self.scheduler.start(name, run, lambda: None)


def closed(end: PipeEnd) -> int:
    end.release()
    return 0


@pytest.fixture
def ends() -> Ends:
    return Ends()


def test_bytes_come_out_as_they_went_in(ends: Ends) -> None:
    assert [ends.write(300), ends.write(5000, 44)] == [300, 5000]
    assert ends.read(299) == 299
    assert ends.got(299) == bytes(range(256)) + bytes(range(43))
    assert ends.read(2 * PAGE) == 5001
    assert ends.got(6) == bytes([43, 44, 45, 46, 47, 48])
    assert ends.read(1) == -EAGAIN
    assert (ends.reader.mode, ends.writer.mode) == (0o010600, 0o010600)


def test_small_writes_share_a_page(ends: Ends) -> None:
    ends.write(4000)
    ends.write(96)
    assert ends.sizes() == [4096]
    ends.write(1)
    assert ends.sizes() == [4096, 1]
    ends.read(4096)
    ends.write(PAGE + 10)
    assert ends.sizes() == [11, 4096], "what is more than whole pages goes to the last one"
    ends.read(4)
    ends.write(PAGE - 10)
    assert ends.sizes() == [7, 4096, 4086]
    other = Ends()
    other.write(4090)
    other.read(90)
    other.write(10)
    assert other.sizes() == [4000, 10], "what was read leaves no room"


def test_a_full_pipe(ends: Ends) -> None:
    for _ in range(RING - 1):
        assert ends.write(PAGE) == PAGE
    assert ends.write(2 * PAGE) == PAGE
    assert ends.write(1) == -EAGAIN
    assert ends.read(10) == 10
    assert ends.write(1) == -EAGAIN, "a page that is read in part is in use"
    assert ends.read(PAGE) == PAGE
    assert ends.write(1) == 1


def test_copies_that_stop(ends: Ends) -> None:
    room = 4 * PAGE
    assert ends.write(10, room - 5) == -EFAULT
    assert ends.write(2 * PAGE, room - PAGE) == PAGE, "whole pages count"
    assert ends.write(100) == 100
    before = sum(ends.sizes())
    assert ends.read(10, room - 5) == -EFAULT
    assert sum(ends.sizes()) == before, "a part of a page that was not taken in full is still there"
    assert ends.read(PAGE + 50, room - PAGE) == PAGE
    assert ends.read(100) == 100


def test_packets() -> None:
    ends = Ends(O_NONBLOCK | O_DIRECT)
    ends.write(10)
    ends.write(20, 100)
    assert ends.sizes() == [10, 20]
    assert ends.read(4) == 4
    assert ends.read(PAGE) == 20, "the rest of the first is lost"
    assert ends.got(1) == b"\x64"


def test_the_other_end_is_closed(ends: Ends) -> None:
    ends.write(3)
    ends.writer.release()
    assert [ends.read(10), ends.read(10)] == [3, 0]
    other = Ends()
    other.reader.release()
    assert other.write(0) == 0
    assert other.broken == 0
    assert other.write(5) == -EPIPE
    assert other.broken == 1


def test_a_reader_sleeps_until_something_is_written() -> None:
    ends = Ends(0)
    ends.thread("reader", lambda: ends.read(100), lambda: ends.read(100))
    ends.thread("writer", lambda: ends.write(7), lambda: ends.write(8), lambda: closed(ends.writer))
    ends.scheduler.run()
    assert ends.answers == [("writer", 7), ("writer", 8), ("writer", 0), ("reader", 15), ("reader", 0)]


def test_a_writer_sleeps_until_there_is_room() -> None:
    ends = Ends(0)
    pages = tuple((ends.buffer.start, PAGE) for _ in range(RING + 1))
    ends.thread("writer", lambda: ends.writer.write(ends.buffer.iter(*pages), 0))
    ends.thread("reader", lambda: ends.read(PAGE), lambda: ends.read(PAGE))
    ends.scheduler.run()
    assert ends.answers == [("reader", PAGE), ("reader", PAGE), ("writer", (RING + 1) * PAGE)]


def test_a_copy_that_stops_wakes_the_other_end() -> None:
    ends = Ends(0)
    ends.thread("reader", lambda: ends.read(100))
    ends.thread("writer", lambda: ends.write(2 * PAGE, 3 * PAGE))
    ends.scheduler.run()
    assert ends.answers == [("writer", PAGE), ("reader", 100)]
    ends = Ends(0)
    pages = tuple((ends.buffer.start, PAGE) for _ in range(RING + 1))
    ends.thread("writer", lambda: ends.writer.write(ends.buffer.iter(*pages), 0))
    ends.thread("reader", lambda: ends.read(2 * PAGE, 3 * PAGE))
    ends.scheduler.run()
    assert ends.answers == [("reader", PAGE), ("writer", (RING + 1) * PAGE)]


def test_a_writer_is_told_when_the_last_reader_goes() -> None:
    ends = Ends(0)
    pages = tuple((ends.buffer.start, PAGE) for _ in range(RING + 1))
    ends.thread("writer", lambda: ends.writer.write(ends.buffer.iter(*pages), 0))
    ends.thread("reader", lambda: closed(ends.reader))
    ends.scheduler.run()
    assert ends.answers == [("reader", 0), ("writer", RING * PAGE)]
    assert ends.broken == 1


@pytest.mark.parametrize("end", ["reader", "writer"])
def test_a_signal_ends_the_wait(end: str) -> None:
    ends = Ends(0)
    while end == "writer" and not ends.pipe.full:
        ends.write(PAGE)
    waiting = ends.thread(end, lambda: ends.read(1) if end == "reader" else ends.write(1))
    waiting.signalled = lambda: True
    ends.scheduler.run()
    assert ends.answers == [(end, -ERESTARTSYS)]


def test_what_one_end_is_open_for(ends: Ends) -> None:
    assert isinstance(ends.reader, PipeEnd)
    assert (ends.reader.readable, ends.reader.writable, ends.reader.seekable) == (True, False, False)
    assert (ends.writer.readable, ends.writer.writable) == (False, True)
