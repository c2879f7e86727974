"""A kernel's code as it is being patched: a private copy of it, by linear address."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import BadInput
from .vmlinux import Vmlinux

MAX_SPAN = 1 << 30
"""Kernel code spans a gigabyte at most. Kernel: arch/x86/include/asm/page_64_types.h KERNEL_IMAGE_SIZE, v6.1."""
Addresses = npt.NDArray[np.int64]
"""
Linear addresses as numpy reckons with them: signed, so that a kernel's are negative and differences stay exact.
"""
Bytes = npt.NDArray[np.uint8]


def signed(address: int) -> int:
    """A 64-bit address as a signed number."""
    return address - (1 << 64) if address >> 63 else address


class Text:
    """
    The image's executable sections, copied; `read` and `write` are for one place, `gather` and `scatter` for many.

    Errors: BadInput if a table of the image leads outside its code.
    """

    def __init__(self, image: Vmlinux) -> None:
        self.image = image
        self.ranges: list[tuple[int, int]] = []
        for start, end in sorted((signed(start), signed(end)) for start, end in image.executable if start < end):
            if self.ranges and start < self.ranges[-1][1]:  # no kernel's sections overlap; a hostile file's may, often
                first, last = self.ranges.pop()
                start, end = first, max(last, end)
            self.ranges.append((start, end))
        if not self.ranges:
            raise BadInput(image.path, expected="executable sections", got="none")
        self.base = min(start for start, _ in self.ranges)
        span = max(end for _, end in self.ranges) - self.base
        if span > MAX_SPAN:
            raise BadInput(image.path, expected=f"code within {MAX_SPAN:#x} bytes", got=f"{span:#x}")
        self._bytes: Bytes = np.zeros(span, np.uint8)
        for start, end in self.ranges:
            self._bytes[start - self.base : end - self.base] = self._original(start, end)
        self._view = self._bytes.data

    def read(self, address: int, length: int) -> bytes:
        at = address - self.base
        return bytes(self._view[at : at + length])

    def write(self, address: int, data: bytes) -> None:
        at = address - self.base
        self._view[at : at + len(data)] = data

    def gather(self, addresses: Addresses, length: int) -> Bytes:
        """`length` bytes at each address, one row each."""
        rows: Bytes = self._bytes[(addresses - self.base)[:, None] + np.arange(length)]
        return rows

    def scatter(self, addresses: Addresses, data: bytes) -> None:
        """The same bytes at every address."""
        self._bytes[(addresses - self.base)[:, None] + np.arange(len(data))] = np.frombuffer(data, np.uint8)

    def targets(self, addresses: Addresses, displacement_at: int) -> Addresses:
        """Where the 32-bit relative branches at these addresses go; the displacement is their last four bytes."""
        displacements: Addresses = self.gather(addresses + displacement_at, 4).view("<i4")[:, 0].astype(np.int64)
        return addresses + displacement_at + 4 + displacements

    def holds(self, addresses: Addresses, lengths: Addresses | int) -> bool:
        """Do these pieces all lie in code?"""
        inside = np.zeros(len(addresses), bool)
        for start, end in self.ranges:
            inside |= (addresses >= start) & (addresses + lengths <= end)
        return bool(inside.all())

    def require(self, addresses: Addresses, lengths: Addresses | int, table: str) -> None:
        """Refuse a table that leads outside the code."""
        if not self.holds(addresses, lengths):
            raise BadInput(f"{self.image.path} {table}", expected="places in the image's code", got="one outside it")

    def changes(self) -> tuple[Addresses, Bytes]:
        """Every byte that is no longer what the file has: addresses, ascending, and values."""
        places, values = [], []
        for start, end in self.ranges:
            now = self._bytes[start - self.base : end - self.base]
            changed = np.flatnonzero(now != self._original(start, end))
            places.append(changed + start)
            values.append(now[changed])
        return np.concatenate(places), np.concatenate(values)

    def _original(self, start: int, end: int) -> Bytes:
        return np.frombuffer(self.image.view(start % (1 << 64), end - start), np.uint8)
