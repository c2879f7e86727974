"""/dev/null, /dev/zero, and the streams of the host's that output goes to."""

from __future__ import annotations

import io
from errno import EFAULT

import pytest

from fs.user_buffer import UserBuffer
from pagefault import PAGE
from pagefault.fs.devices import NullDevice, Stream, ZeroDevice
from pagefault.fs.open_file import O_RDWR, O_WRONLY


@pytest.fixture
def buffer() -> UserBuffer:
    return UserBuffer()


def test_null_takes_everything_and_has_nothing(buffer: UserBuffer) -> None:
    null, source = NullDevice("/dev/null", O_RDWR), buffer.iter((buffer.end - 10, 100))
    assert null.read(buffer.iter((buffer.start, 10)), 0) == 0
    assert null.write(source, 0) == 100, "what is written is not looked at"
    assert source.count == 0
    assert [null.seek(5, whence) for whence in (0, 1, 2)] == [0, 0, 0]


def test_zero_is_read_as_far_as_memory_goes(buffer: UserBuffer) -> None:
    zero = ZeroDevice("/dev/zero", O_RDWR)
    assert zero.read(buffer.iter((buffer.start + 1, PAGE)), 0) == PAGE
    assert buffer.user.read(buffer.start, PAGE + 2) == b"\0" + bytes(PAGE) + b"\1"
    assert zero.read(buffer.iter((buffer.end - 7, 9)), 0) == 7
    assert zero.read(buffer.iter((buffer.end, 9)), 0) == -EFAULT
    assert buffer.user.read(buffer.end - 8, 8) == b"\xf8" + bytes(7)
    assert zero.write(buffer.iter((buffer.start, 9)), 0) == 9


def test_a_stream_gets_what_was_written_and_no_more(buffer: UserBuffer) -> None:
    host = io.BytesIO()
    stream = Stream("output", O_WRONLY, stream=host, access=buffer.access)
    assert stream.write(buffer.iter((buffer.start + 1, 3), (buffer.start + 10, PAGE)), 0) == PAGE + 3
    assert stream.write(buffer.iter((buffer.end - 4, 2 * PAGE)), PAGE + 3) == 4
    assert stream.write(buffer.iter((buffer.end, 1)), PAGE + 7) == -EFAULT
    content = bytes(range(256)) * 17
    assert host.getvalue() == content[1:4] + content[10 : PAGE + 10] + content[-4:]
    assert stream.position == 0, "write() moves it"
    assert stream.read(buffer.iter((buffer.start, 1)), 0) == 0


def test_a_stream_to_nowhere(buffer: UserBuffer) -> None:
    assert Stream("output", O_WRONLY, access=buffer.access).write(buffer.iter((buffer.start, 2 * PAGE)), 9) == 2 * PAGE


def test_a_stream_is_written_page_by_page(buffer: UserBuffer, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    original = buffer.access.copy_user_to_kernel

    def copy(to: int, source: int, length: int, *, atomic: bool = False) -> int:
        sizes.append(length)
        return original(to, source, length, atomic=atomic)

    monkeypatch.setattr(buffer.access, "copy_user_to_kernel", copy)
    Stream("output", O_WRONLY, access=buffer.access).write(buffer.iter((buffer.start, 2 * PAGE)), 100)
    assert sizes == [PAGE - 100, PAGE, 100]
