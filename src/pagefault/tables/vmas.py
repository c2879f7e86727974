"""The areas of one address space, in address order."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from ..vocabulary.vma import Vma


class Vmas:
    """
    A sorted set of areas that do not overlap. Neighbours are not merged: each mmap stays visible as it was asked for.
    """

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._vmas: list[Vma] = []

    def __iter__(self) -> Iterator[Vma]:
        return iter(self._vmas)

    def __len__(self) -> int:
        return len(self._vmas)

    def find_vma(self, address: int) -> Vma | None:
        """
        The first area that ends above `address`: it may start above it too.

        Kernel: mm/mmap.c find_vma(), v6.1.
        """
        index = bisect_right(self._starts, address)
        if index and self._vmas[index - 1].end > address:
            return self._vmas[index - 1]
        return self._vmas[index] if index < len(self._vmas) else None

    def vma_lookup(self, address: int) -> Vma | None:
        """The area that holds `address` (Kernel: include/linux/mm.h vma_lookup(), v6.1)."""
        vma = self.find_vma(address)
        return vma if vma and vma.start <= address else None

    def previous(self, vma: Vma) -> Vma | None:
        """The area below `vma`."""
        index = bisect_left(self._starts, vma.start)
        return self._vmas[index - 1] if index else None

    def overlapping(self, start: int, end: int) -> list[Vma]:
        """Every area that shares an address with start <= a < end."""
        return [vma for vma in self._vmas if vma.start < end and start < vma.end]

    def insert(self, vma: Vma) -> None:
        """Add an area; the caller has made room for it."""
        index = bisect_left(self._starts, vma.start)
        self._starts.insert(index, vma.start)
        self._vmas.insert(index, vma)

    def remove(self, vma: Vma) -> None:
        index = self._vmas.index(vma)
        del self._starts[index], self._vmas[index]

    def replace(self, old: Vma, *new: Vma) -> None:
        """Put `new` in the place of `old`: how an area is split, shrunk or grown."""
        self.remove(old)
        for vma in new:
            self.insert(vma)
