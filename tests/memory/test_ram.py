"""RAM and its free frames."""

from __future__ import annotations

import ctypes
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefault.errors import BadInput, Unsupported
from pagefault.memory.ram import HUGE, FrameAllocator, NoFrame, Ram
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


def test_huge_runs_are_cut_from_the_other_end_and_leave_the_rest_free() -> None:
    frames = FrameAllocator(PAGE, 3 * HUGE + 5 * PAGE)
    free = frames.free
    assert frames.peek_huge() == 2 * HUGE
    frames.take_huge(2 * HUGE)
    assert frames.free == free - HUGE // PAGE
    assert frames.peek_huge() == HUGE
    assert frames.peek(6) == (*range(3 * HUGE, 3 * HUGE + 5 * PAGE, PAGE), PAGE), "the tail is used up first"
    frames.take_huge(HUGE)
    assert frames.peek_huge() is None, "the first 2 MiB lack a frame"
    with pytest.raises(BadInput, match="next free 2 MiB"):
        frames.take_huge(0)


def test_a_huge_run_comes_back_first_and_is_broken_up_last() -> None:
    frames = FrameAllocator(0, 2 * HUGE + 3 * PAGE)
    frames.take_huge(HUGE)
    frames.release_huge(HUGE)
    assert frames.peek_huge() == HUGE
    taken = [frames.take() for _ in range(3 + HUGE // PAGE)]
    assert set(taken) == {*range(0, HUGE, PAGE), *range(2 * HUGE, 2 * HUGE + 3 * PAGE, PAGE)}
    assert frames.peek_huge() == HUGE
    assert frames.peek(2) == (HUGE, HUGE + PAGE), "nothing else is left"
    assert frames.free == HUGE // PAGE
    assert frames.peek_huge() == HUGE, "nobody took any of it"
    assert frames.take(HUGE + PAGE) == HUGE + PAGE, "it was looked up before"
    assert frames.peek_huge() is None
    assert frames.free == HUGE // PAGE - 1


@given(st.lists(st.sampled_from(["take", "huge", "release", "release huge", "contiguous"]), max_size=40), st.randoms())
def test_no_frame_is_in_two_hands(steps: list[str], random: Random) -> None:
    end = 4 * HUGE + 3 * PAGE
    frames = FrameAllocator(PAGE, end)
    small: list[int] = []
    huge: list[int] = []
    for step in steps:
        match step:
            case "take" if frames.free:
                foretold = frames.peek(3)
                for frame in foretold:
                    frames.take(frame)
                small += foretold
            case "huge" if (start := frames.peek_huge()) is not None:
                frames.take_huge(start)
                assert start % HUGE == 0
                huge.append(start)
            case "release" if small:
                frames.release(small.pop(random.randrange(len(small))))
            case "release huge" if huge:
                frames.release_huge(huge.pop(random.randrange(len(huge))))
            case "contiguous" if frames.free > 2048:
                start = frames.take_contiguous(3 * PAGE, align=4 * PAGE)
                small += range(start, start + 3 * PAGE, PAGE)
        held = [*small, *(start + offset for start in huge for offset in range(0, HUGE, PAGE))]
        assert len(set(held)) == len(held)
        assert all(PAGE <= frame < end for frame in held)
        assert frames.free == (end - PAGE) // PAGE - len(held)
    assert len(frames.peek(frames.free)) == frames.free


def test_frames_freed_one_by_one_are_a_huge_run_again() -> None:
    frames = FrameAllocator(PAGE, 2 * HUGE + HUGE // 2)
    taken = [frames.take() for _ in range(frames.free)]
    assert frames.peek_huge() is None
    for frame in taken:
        if frame // HUGE == 1 or frame % (2 * PAGE):
            frames.release(frame)
    free = frames.free
    assert frames.peek_huge() == HUGE
    assert frames.free == free
    frames.take_huge(HUGE)
    assert frames.peek_huge() is None
    assert frames.free == free - HUGE // PAGE
    assert len(set(frames.peek(free))) == frames.free


def test_what_was_freed_is_contiguous_again_and_more_is_asked_for() -> None:
    frames = FrameAllocator(0, 16 * PAGE)
    taken = [frames.take() for _ in range(16)]
    for frame in (taken[3], *taken[8:12]):
        frames.release(frame)
    assert frames.take_contiguous(4 * PAGE, align=4 * PAGE) == 8 * PAGE

    def make_room() -> bool:
        frames.release(taken.pop(0))
        return True

    frames.make_room = make_room
    del taken[3], taken[7:11]
    assert frames.take_contiguous(4 * PAGE, align=4 * PAGE) == 0
    frames.make_room = lambda: False
    with pytest.raises(NoFrame, match="16384 contiguous"):
        frames.take_contiguous(4 * PAGE, align=4 * PAGE)
