"""A group of processes whose memory is counted together, and may be limited."""

from __future__ import annotations

from dataclasses import dataclass

from ..vocabulary.address import PAGE


@dataclass(slots=True)
class MemoryCgroup:
    """
    `limit` and `swap_limit` are memory.max and memory.swap.max in pages (None: no limit), `usage` what is charged. What
    is smaller than a page is charged by the page: `spare` bytes of the last one are left.

    Kernel: mm/memcontrol.c struct mem_cgroup, obj_cgroup_charge(), v6.1.
    Differs: charges are not taken in batches; of the kernel's own objects only the largest part is counted (page
    tables, and struct anon_vma with its chain).
    """

    number: int
    limit: int | None = None
    swap_limit: int | None = None
    usage: int = 0
    swap: int = 0
    spare: int = 0

    @property
    def room(self) -> int | None:
        """How many pages may still be charged (None: any number)."""
        return None if self.limit is None else self.limit - self.usage

    @property
    def may_swap(self) -> bool:
        """Is there room for one more page in the swap space?"""
        return self.swap_limit is None or self.swap < self.swap_limit

    def charge_bytes(self, size: int) -> None:
        """Charge an object of the kernel's own."""
        if size > self.spare:
            self.usage += 1
            self.spare += PAGE
        self.spare -= size
