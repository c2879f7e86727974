"""A file's content on its device: what a page of the page cache is read from, and written back to."""

from __future__ import annotations

from typing import Protocol

from ..vocabulary.address import PAGE, PAGE_SHIFT

ZEROS = bytes(PAGE)


class Backing(Protocol):
    """A file's content outside of the machine."""

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes; fewer at the end."""


class DiskFile:
    """
    Pages that were written hide those of `base`, the content that the file began with, of which the first `limit` bytes
    count. What nobody wrote is zeros.
    """

    def __init__(self, base: Backing | None = None, limit: int = 0) -> None:
        self._base, self._limit = base, limit
        self._pages: dict[int, bytes] = {}

    def read_page(self, index: int) -> bytes:
        """One page, whole."""
        page = self._pages.get(index)
        if page is not None:
            return page
        length = min(PAGE, self._limit - index * PAGE)
        data = self._base.read(index * PAGE, length) if self._base is not None and length > 0 else b""
        return data.ljust(PAGE, b"\0")

    def write_page(self, index: int, data: bytes) -> None:
        """One page, whole."""
        self._pages[index] = data

    def truncate(self, size: int) -> None:
        """Zeros from here on."""
        self.clear(size, -(-size // PAGE) * PAGE)
        self._pages = {index: page for index, page in self._pages.items() if index * PAGE < size}
        self._limit = min(self._limit, size)

    def clear(self, start: int, end: int) -> None:
        """Zeros from one byte to another."""
        first, last = start >> PAGE_SHIFT, end - 1 >> PAGE_SHIFT
        known = range(first, min(last, self._limit - 1 >> PAGE_SHIFT) + 1)
        for index in {*known, *(index for index in self._pages if first <= index <= last)}:
            low, high = max(start - index * PAGE, 0), min(end - index * PAGE, PAGE)
            if high - low == PAGE:
                self._pages[index] = ZEROS
            elif low < high:
                page = self.read_page(index)
                self._pages[index] = page[:low] + bytes(high - low) + page[high:]
