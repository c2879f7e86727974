"""The areas of one address space, in address order."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from ..vocabulary.vma import Vma


class Vmas:
    """
    A sorted set of areas that do not overlap. It joins none itself: that is `mm.vma_merge`'s. A loop over it that adds
    or takes away areas goes over a copy.
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
        first = bisect_right(self._starts, start)
        first -= bool(first and self._vmas[first - 1].end > start)
        return self._vmas[first : bisect_left(self._starts, end)]

    def below(self, address: int) -> Iterator[Vma]:
        """Every area that begins below `address`, from the highest down."""
        return (self._vmas[index] for index in range(bisect_left(self._starts, address) - 1, -1, -1))

    def insert(self, vma: Vma) -> None:
        """Add an area; the caller has made room for it."""
        index = bisect_left(self._starts, vma.start)
        self._starts.insert(index, vma.start)
        self._vmas.insert(index, vma)

    def remove(self, vma: Vma) -> None:
        """Take away the area that begins where `vma` does."""
        self.replace(vma)

    def replace(self, old: Vma, *new: Vma) -> None:
        """Put `new`, in address order, in the place of `old`: how an area is split, shrunk, grown or changed."""
        index = bisect_left(self._starts, old.start)
        self._starts[index : index + 1] = [vma.start for vma in new]
        self._vmas[index : index + 1] = new
