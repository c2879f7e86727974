"""Which frame holds which page of a file: the page cache of one inode."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

CHUNK = 512
"""Pages an array covers: 2 MiB of file, in 2 KiB."""


class PageCache:
    """
    From a page's index in its file to the physical address of its frame: four bytes a page where pages are.

    Kernel: include/linux/fs.h struct address_space.i_pages, v6.1.
    """

    def __init__(self) -> None:
        self._chunks: dict[int, array[int]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def get(self, index: int) -> int | None:
        """The frame of this page, or None if it is not in the cache."""
        chunk = self._chunks.get(index // CHUNK)
        number = chunk[index % CHUNK] if chunk is not None else 0
        return number - 1 << 12 if number else None

    def set(self, index: int, frame: int) -> None:
        chunk = self._chunks.setdefault(index // CHUNK, array("I", bytes(4 * CHUNK)))
        self._count += not chunk[index % CHUNK]
        chunk[index % CHUNK] = (frame >> 12) + 1

    def remove(self, index: int) -> None:
        chunk = self._chunks.get(index // CHUNK)
        if chunk is not None and chunk[index % CHUNK]:
            chunk[index % CHUNK] = 0
            self._count -= 1

    def items(self, start: int = 0) -> Iterator[tuple[int, int]]:
        """(index, frame) of every page from `start` on, in order."""
        for number in sorted(self._chunks):
            if (number + 1) * CHUNK <= start:
                continue
            for place, value in enumerate(self._chunks[number].tolist()):
                if value and number * CHUNK + place >= start:
                    yield number * CHUNK + place, value - 1 << 12
