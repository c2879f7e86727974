"""The contract of physical memory: what a walk, a handler and a report may ask of RAM, live or dumped."""

from __future__ import annotations

from typing import Protocol


class PhysicalMemory(Protocol):
    """Bytes by physical address; what is not there is None, never a guess."""

    def read(self, physical: int, length: int) -> bytes | None:
        """`length` bytes, or None if any of them is not there."""

    def read_u64(self, physical: int) -> int | None:
        """The 8-byte little-endian word at an 8-byte-aligned address, or None."""

    def read_entry(self, physical: int, size: int) -> int | None:
        """The little-endian word of `size` bytes (4 or 8) at an address aligned to it, or None."""


class FreeFrames(Protocol):
    """A look at the allocator: which frames would be handed out next. Looking takes nothing."""

    def peek(self, count: int) -> tuple[int, ...]:
        """Up to `count` free frames, in the order they would be taken; fewer if fewer are left."""

    def peek_huge(self) -> int | None:
        """The 2 MiB of free frames, aligned to that, which would be handed out next; None if there are none."""
