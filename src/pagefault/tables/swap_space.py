"""Swap space: pages that are not in memory, who has them, and which of them are in memory as well (the swap cache)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..arch import x86
from ..errors import BadInput
from ..vocabulary.address import PAGE

OFFSET_SHIFT, OFFSET_BITS = 9, 50
"""
Where a page-table entry that is not present has the slot, inverted (Kernel: arch/x86/include/asm/pgtable_64.h, v6.1).
"""
SWP_EXCLUSIVE = 1 << 3
"""
The page is of one process alone; not present, not empty, and this bit: a swap entry's.

Kernel: arch/x86/include/asm/pgtable_types.h _PAGE_SWP_EXCLUSIVE, v6.1.
"""
SWP_SOFT_DIRTY = 1 << 1
"""Kernel: arch/x86/include/asm/pgtable_types.h _PAGE_SWP_SOFT_DIRTY, v6.1."""


def swap_entry(slot: int) -> int:
    """The page-table entry of a page in this slot (Kernel: pgtable_64.h __swp_entry(), v6.1)."""
    return (~slot & (1 << OFFSET_BITS) - 1) << OFFSET_SHIFT


def slot_of(value: int) -> int:
    """The slot that a swap entry names (Kernel: pgtable_64.h __swp_offset(), v6.1)."""
    return ~(value >> OFFSET_SHIFT) & (1 << OFFSET_BITS) - 1


def is_swap_entry(value: int) -> bool:
    """Neither empty nor present, not even as PROT_NONE (Kernel: include/linux/swapops.h is_swap_pte(), v6.1)."""
    return bool(value) and not value & (x86.PRESENT | 1 << 8)


class SwapSpace:
    """
    `size` bytes on a device that answers at once (a RAM disk, zram), the first page of which is its header. `count` is
    how many page-table entries and files have each slot; `cache` says which frame holds the same page, `groups` which
    memory cgroup it is charged to.

    Kernel: include/linux/swap.h struct swap_info_struct; mm/swap_state.c, v6.1.
    Differs: one device; nothing is read ahead (vm.page-cluster is 0); a slot has as many users as there are.
    """

    def __init__(self, size: int) -> None:
        if size < 2 * PAGE or size % PAGE or size >> 44:
            raise BadInput("swap space", expected="a multiple of 4096 bytes, two pages or more", got=str(size))
        self.total = size // PAGE - 1
        self.count: npt.NDArray[np.int32] = np.zeros(self.total + 1, np.int32)
        self.cache: dict[int, int] = {}
        self.groups: dict[int, int] = {}
        self._pages: dict[int, bytes] = {}
        self._fresh, self._freed = 1, list[int]()

    @property
    def free(self) -> int:
        """How many slots are left."""
        return self.total + 1 - self._fresh + len(self._freed)

    @property
    def full(self) -> bool:
        """Is more than half of it in use? (Kernel: include/linux/swap.h vm_swap_full(), v6.1)"""
        return self.free * 2 < self.total

    def allocate(self) -> int | None:
        """A slot that nobody has; None if there is none (Kernel: mm/swap_slots.c folio_alloc_swap(), v6.1)."""
        if self._freed:
            return self._freed.pop()
        if self._fresh > self.total:
            return None
        self._fresh += 1
        return self._fresh - 1

    def release(self, slot: int) -> None:
        """Nobody has it any more, and it is not in the cache."""
        self._pages.pop(slot, None)
        self._freed.append(slot)

    def read(self, slot: int) -> bytes:
        """A page that was written."""
        return self._pages[slot]

    def write(self, slot: int, data: bytes) -> None:
        """Write one page."""
        self._pages[slot] = data
