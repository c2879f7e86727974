"""RAM: one anonymous mapping of the host, shared with the emulated CPU, and the frames in it that are free."""

from __future__ import annotations

import ctypes
import mmap

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


class FrameAllocator:
    """
    The free frames of a range of RAM, handed out lowest first, like a fresh buddy allocator; freed ones come back
    first.

    Differs: no zones, no orders but what `take_contiguous` cuts from the untouched end.
    """

    def __init__(self, start: int, end: int) -> None:
        self._next = start + PAGE - 1 & ~(PAGE - 1)
        self._end = end & ~(PAGE - 1)
        self._freed: list[int] = []

    @property
    def free(self) -> int:
        """How many frames are left."""
        return len(self._freed) + (self._end - self._next) // PAGE

    def peek(self, count: int) -> tuple[int, ...]:
        recycled = self._freed[::-1][:count]
        fresh = range(self._next, min(self._end, self._next + (count - len(recycled)) * PAGE), PAGE)
        return (*recycled, *fresh)

    def take(self, frame: int | None = None) -> int:
        """Take the next frame, or the given one, which must be free."""
        if frame is None:
            (frame,) = self.peek(1) or (None,)
        if frame is None:
            raise Unsupported("another frame of RAM", why="all of the machine's RAM is in use; boot it with more")
        if frame in self._freed:
            self._freed.remove(frame)
        elif frame == self._next < self._end:
            self._next += PAGE
        else:
            raise BadInput("frame", expected="the next free frame", got=f"{frame:#x}")
        return frame

    def take_contiguous(self, length: int, align: int = PAGE) -> int:
        """Take `length` bytes of adjacent, untouched frames."""
        start = self._next + align - 1 & ~(align - 1)
        end = start + (length + PAGE - 1 & ~(PAGE - 1))
        if end > self._end:
            raise Unsupported(f"{length} contiguous bytes of RAM", why="not that much is free; boot with more RAM")
        self._freed += range(self._next, start, PAGE)
        self._next = end
        return start

    def release(self, frame: int) -> None:
        self._freed.append(frame)
