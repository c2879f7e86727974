"""RAM: one anonymous mapping of the host, shared with the emulated CPU, and the frames in it that are free."""

from __future__ import annotations

import ctypes
import mmap
from array import array
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ..errors import BadInput, Unsupported
from ..vocabulary.address import PAGE


class Ram:
    """
    `size` bytes of zeroed RAM from physical address 0. Pages that nobody touches cost nothing on the host.

    `words` is the same memory as an array of 64-bit words (index: physical address / 8), for the hot paths; `words_32`
    the same in words of 32 bits.
    """

    def __init__(self, size: int) -> None:
        if size <= 0 or size % PAGE:
            raise BadInput("RAM size", expected="a positive multiple of 4096", got=str(size))
        self.size = size
        try:
            self._map = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except (OSError, OverflowError, ValueError) as error:
            raise Unsupported(f"{size} bytes of RAM", why=str(error)) from None
        self.words: npt.NDArray[np.uint64] = np.frombuffer(self._map, np.uint64)
        self.words_32: npt.NDArray[np.uint32] = self.words.view(np.uint32)
        self._bytes = memoryview(self._map)
        self._u64 = self._bytes.cast("Q")
        self._u32 = self._bytes.cast("I")

    @property
    def host_address(self) -> int:
        """Where RAM lies in this process, for the emulator to map."""
        return ctypes.addressof(ctypes.c_char.from_buffer(self._map))

    def read(self, physical: int, length: int) -> bytes | None:
        if physical < 0 or length < 0 or physical + length > self.size:
            return None
        return self._map[physical : physical + length]

    def read_u64(self, physical: int) -> int | None:
        return self._u64[physical >> 3] if 0 <= physical <= self.size - 8 else None

    def read_entry(self, physical: int, size: int) -> int | None:
        if not 0 <= physical <= self.size - size:
            return None
        return self._u64[physical >> 3] if size == 8 else self._u32[physical >> 2]

    def view(self, physical: int, length: int) -> memoryview:
        """A writable piece of RAM itself, not a copy."""
        self._check(physical, length)
        return self._bytes[physical : physical + length]

    def write(self, physical: int, data: bytes | memoryview) -> None:
        """Our own writes: outside RAM they are a mistake of the caller's, not a guest's fault."""
        self._check(physical, len(data))
        self._bytes[physical : physical + len(data)] = data

    def write_u64(self, physical: int, value: int) -> None:
        self._check(physical, 8)
        self._u64[physical >> 3] = value

    def write_entry(self, physical: int, value: int, size: int) -> None:
        """Set the word of `size` bytes (4 or 8) at an address aligned to it."""
        self._check(physical, size)
        if size == 8:
            self._u64[physical >> 3] = value
        else:
            self._u32[physical >> 2] = value

    def fill(self, physical: int, length: int, byte: int = 0) -> None:
        self._check(physical, length)
        ctypes.memset(self.host_address + physical, byte, length)

    def _check(self, physical: int, length: int) -> None:
        if physical < 0 or physical + length > self.size:
            raise BadInput(
                "physical address", expected=f"below RAM's end {self.size:#x}", got=f"{physical:#x}+{length}"
            )


HUGE = 2 << 20


class NoFrame(Unsupported):
    """All of RAM is in use, and nobody could be made to give any of it back."""


class FrameAllocator:
    """
    The free frames of a range of RAM, handed out lowest first, like a fresh buddy allocator; freed ones come back
    first. Runs of 2 MiB are cut from the other end; frames that were freed one by one become such runs again when there
    are no others. `make_room` is asked when there is nothing to hand out: True if something is free now.

    Differs: no zones, and no orders but these two.
    """

    def __init__(self, start: int, end: int) -> None:
        self._next = start + PAGE - 1 & ~(PAGE - 1)
        self._end = end & ~(PAGE - 1)
        # Eight bytes a frame: a process that ends may give back a million.
        self._freed = array("Q")
        self._freed_huge: list[int] = []
        self._looked = 0
        self.make_room: Callable[[], bool] = lambda: False

    @property
    def free(self) -> int:
        """How many frames are left."""
        return len(self._freed) + len(self._freed_huge) * (HUGE // PAGE) + (self._end - self._next) // PAGE

    def peek(self, count: int) -> tuple[int, ...]:
        recycled = self._freed[: -count - 1 : -1]
        fresh = range(self._next, min(self._end, self._next + (count - len(recycled)) * PAGE), PAGE)
        if len(recycled) + len(fresh) < count and self._freed_huge:
            self._break_up(self._freed_huge[-1])
            return self.peek(count)
        return (*recycled, *fresh)

    def _break_up(self, run: int) -> None:
        self._freed_huge.remove(run)
        self._freed[:0] = array("Q", range(run + HUGE - PAGE, run - PAGE, -PAGE))

    def peek_huge(self) -> int | None:
        """The 2 MiB of free frames, aligned to that, which would be handed out next; None if there are none."""
        if self._freed_huge:
            return self._freed_huge[-1]
        start = self._end - HUGE & -HUGE
        if start >= self._next:
            return start
        self._merge()
        return self._freed_huge[-1] if self._freed_huge else None

    def _merge(self) -> None:
        """
        Find whole runs among the frames that were freed; not again before as many more were freed as a run takes.

        Kernel: mm/page_alloc.c __free_one_page(), v6.1.
        """
        if len(self._freed) < HUGE // PAGE or abs(len(self._freed) - self._looked) < HUGE // PAGE:
            return
        frames = np.array(self._freed, np.int64)
        runs, counts = np.unique(frames // HUGE, return_counts=True)
        whole = runs[counts == HUGE // PAGE]
        self._freed_huge += (whole * HUGE).tolist()
        self._freed = array("Q", frames[~np.isin(frames // HUGE, whole)].tolist())
        self._looked = len(self._freed)

    def take(self, frame: int | None = None) -> int:
        """Take the next frame, or the given one, which must be free. Errors: NoFrame if there is none."""
        if frame is None:
            while not (free := self.peek(1)):
                if not self.make_room():
                    raise NoFrame("another frame of RAM", why="all of the machine's RAM is in use; boot it with more")
            (frame,) = free
        for run in [run for run in self._freed_huge if run <= frame < run + HUGE]:
            self._break_up(run)
        # The given one has been looked up: it is among the last.
        for place in range(len(self._freed) - 1, -1, -1):
            if self._freed[place] == frame:
                del self._freed[place]
                return frame
        if frame != self._next or frame >= self._end:
            raise BadInput("frame", expected="the next free frame", got=f"{frame:#x}")
        self._next += PAGE
        return frame

    def take_huge(self, start: int) -> None:
        """Take the 2 MiB that `peek_huge` says."""
        if start != self.peek_huge():
            raise BadInput("frames", expected="the next free 2 MiB", got=f"{start:#x}")
        if self._freed_huge:
            self._freed_huge.pop()
        else:
            self._freed.extend(range(self._end - PAGE, start + HUGE - PAGE, -PAGE))
            self._end = start

    def take_contiguous(self, length: int, align: int = PAGE) -> int:
        """
        Take `length` bytes of adjacent frames: untouched ones, or else what was freed, if that has `length` bytes,
        aligned to as much. Errors: NoFrame if there are none.
        """
        while True:
            start = self._next + align - 1 & ~(align - 1)
            end = start + (length + PAGE - 1 & ~(PAGE - 1))
            if end <= self._end:
                self._freed.extend(range(self._next, start, PAGE))
                self._next = end
                return start
            freed = self._freed_run(end - start) if align <= end - start <= HUGE else None
            if freed is not None:
                return freed
            if not self.make_room():
                raise NoFrame(f"{length} contiguous bytes of RAM", why="not that much is free; boot with more RAM")

    def _freed_run(self, length: int) -> int | None:
        """Take a power of two of bytes, aligned to as much, of what was freed."""
        frames = np.array(self._freed, np.int64)
        runs, counts = np.unique(frames // length, return_counts=True)
        whole = runs[counts == length // PAGE]
        if whole.size:
            self._freed = array("Q", frames[frames // length != whole[0]].tolist())
            return int(whole[0]) * length
        if not self._freed_huge:
            return None
        self._break_up(self._freed_huge[-1])
        return self._freed_run(length)

    def release(self, frame: int) -> None:
        self._freed.append(frame)

    def release_huge(self, start: int) -> None:
        """Give 2 MiB back."""
        self._freed_huge.append(start)
