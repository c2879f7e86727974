"""RAM and its free frames."""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefault.errors import BadInput, Unsupported
from pagefault.memory.ram import FrameAllocator, Ram
from pagefault.vocabulary.address import PAGE

SIZE = 16 * PAGE


def test_ram_is_zeroed_and_keeps_what_is_written() -> None:
    ram = Ram(SIZE)
    assert ram.read(0, SIZE) == bytes(SIZE)
    ram.write(PAGE - 3, b"across")
    assert ram.read(PAGE - 4, 8) == b"\0across\0"
    ram.write_u64(0x100, 0x1122_3344_5566_7788)
    assert ram.read(0x100, 8) == bytes.fromhex("8877665544332211")
    assert ram.read_u64(0x100) == int(ram.words[0x20]) == 0x1122_3344_5566_7788


def test_the_host_sees_the_same_bytes() -> None:
    """The emulated CPU is given this address."""
    ram = Ram(SIZE)
    ram.write(0x2001, b"shared")
    assert ctypes.string_at(ram.host_address + 0x2001, 6) == b"shared"


def test_fill() -> None:
    ram = Ram(SIZE)
    ram.fill(10, 5, 0xCC)
    assert ram.read(9, 7) == b"\0" + b"\xcc" * 5 + b"\0"


@pytest.mark.parametrize(
    ("physical", "length"), [(SIZE, 1), (SIZE - 1, 2), (-1, 1), (0, SIZE + 1), (1 << 51, 8), (8, -1)]
)
def test_what_is_outside_ram_is_not_there(physical: int, length: int) -> None:
    assert Ram(SIZE).read(physical, length) is None


def test_the_last_word() -> None:
    ram = Ram(SIZE)
    assert ram.read_u64(SIZE - 8) == 0
    assert ram.read_u64(SIZE) is None
    assert ram.read_u64(-8) is None


def test_our_own_writes_outside_ram_are_refused() -> None:
    ram = Ram(SIZE)
    outside = "physical address"
    with pytest.raises(BadInput, match=outside):
        ram.write(SIZE - 1, b"ab")
    with pytest.raises(BadInput, match=outside):
        ram.write_u64(SIZE, 0)
    with pytest.raises(BadInput, match=outside):
        ram.write_u64(-8, 0)
    with pytest.raises(BadInput, match=outside):
        ram.fill(0, SIZE + 1)
    assert ram.read(0, SIZE) == bytes(SIZE)


@pytest.mark.parametrize("size", [0, -PAGE, 1, PAGE + 1])
def test_ram_is_whole_pages(size: int) -> None:
    with pytest.raises(BadInput, match="multiple of 4096"):
        Ram(size)


def test_more_ram_than_the_host_can_map() -> None:
    with pytest.raises(Unsupported, match="bytes of RAM"):
        Ram(1 << 62)


def test_frames_come_lowest_first_and_freed_ones_come_back_first() -> None:
    frames = FrameAllocator(PAGE + 1, 5 * PAGE + 7)
    assert frames.free == 3
    assert [frames.take(), frames.take()] == [2 * PAGE, 3 * PAGE]
    frames.release(2 * PAGE)
    assert frames.peek(5) == (2 * PAGE, 4 * PAGE)
    assert frames.take() == 2 * PAGE
    assert frames.take() == 4 * PAGE
    assert frames.free == 0
    assert frames.peek(1) == ()
    with pytest.raises(Unsupported, match="all of the machine's RAM is in use"):
        frames.take()


def test_the_frame_that_was_freed_last_comes_back_first() -> None:
    frames = FrameAllocator(0, 4 * PAGE)
    taken = [frames.take() for _ in range(3)]
    for frame in taken:
        frames.release(frame)
    assert frames.peek(4) == (2 * PAGE, PAGE, 0, 3 * PAGE)


def test_only_a_free_frame_can_be_taken_by_number() -> None:
    frames = FrameAllocator(0, 4 * PAGE)
    assert frames.take(0) == 0
    for taken_or_not_next in (0, 2 * PAGE, 4 * PAGE):
        with pytest.raises(BadInput, match="next free frame"):
            frames.take(taken_or_not_next)


def test_contiguous_frames_are_aligned_and_leave_the_gap_free() -> None:
    frames = FrameAllocator(PAGE, 16 * PAGE)
    assert frames.take_contiguous(3 * PAGE - 1, align=4 * PAGE) == 4 * PAGE
    assert sorted(frames.take() for _ in range(4)) == [PAGE, 2 * PAGE, 3 * PAGE, 7 * PAGE]
    with pytest.raises(Unsupported, match="contiguous"):
        frames.take_contiguous(16 * PAGE)


@given(st.lists(st.one_of(st.just("take"), st.integers(0, 20)), max_size=60))
def test_peek_foretells_take_and_no_frame_is_given_twice(steps: list[str | int]) -> None:
    """What a decision looked up is what its effects then take, in that order."""
    frames = FrameAllocator(0, 12 * PAGE)
    held: list[int] = []
    for step in steps:
        if isinstance(step, int):
            if held:
                frames.release(held.pop(step % len(held)))
            continue
        foretold = frames.peek(3)
        assert len(foretold) == min(3, frames.free) == min(3, 12 - len(held))
        for frame in foretold:
            assert frames.take(frame) == frame
            assert frame not in held
            held.append(frame)
