"""Which areas' private pages belong together: struct anon_vma, of which only the identity is kept."""

from __future__ import annotations

from dataclasses import replace

from ..tables.address_space import AddressSpace
from ..vocabulary.vma import Vma, VmFlag
from .memory import Memory


def anon_vma_prepare(memory: Memory, mm: AddressSpace, address: int) -> None:
    """
    Give the area at `address` an anon_vma: a neighbour's if the two could become one area, else a new one.

    Kernel: mm/rmap.c __anon_vma_prepare(); mm/mmap.c find_mergeable_anon_vma(), v6.1.
    """
    vma = mm.vmas.vma_lookup(address)
    if vma is None or vma.anon_vma:
        return
    number = find_mergeable_anon_vma(mm, vma)
    if not number:
        memory.anon_vmas += 1
        number = memory.anon_vmas
    mm.vmas.replace(vma, replace(vma, anon_vma=number, inherited=False))


def find_mergeable_anon_vma(mm: AddressSpace, vma: Vma) -> int:
    """
    The anon_vma of a neighbour that could be merged with, if only its rights were the same; 0 if there is none.

    Kernel: mm/mmap.c find_mergeable_anon_vma(), v6.1; mm/vma.c, v6.12.
    """
    above, below = mm.vmas.vma_lookup(vma.end), mm.vmas.previous(vma)
    if above is not None and anon_vma_compatible(vma, above) and singular(above):
        return above.anon_vma
    if below is not None and anon_vma_compatible(below, vma) and singular(below):
        return below.anon_vma
    return 0


def singular(vma: Vma) -> bool:
    """
    Has the area private pages of one kin only, none inherited? An area that was never written has none at all.

    Kernel: include/linux/list.h list_is_singular() of vma->anon_vma_chain, v6.1.
    """
    return bool(vma.anon_vma) and not vma.inherited


def is_mergeable_anon_vma(number: int, vma: Vma) -> bool:
    """
    May memory whose anon_vma is `number` (0: none) become part of `vma`? What was written does not become part of what
    was not; what was not becomes part of what was, unless that came through fork().

    Kernel: mm/mmap.c is_mergeable_anon_vma(), v6.1; mm/vma.c, v6.12.
    """
    if (not number or not vma.anon_vma) and singular(vma):
        return True
    return number == vma.anon_vma


def anon_vma_compatible(low: Vma, high: Vma) -> bool:
    """
    Kernel: mm/mmap.c anon_vma_compatible(), v6.1.
    """
    loose = VmFlag.SOFTDIRTY
    return (
        low.end == high.start
        and low.inode == high.inode
        and (low.shared, low.grows_down, low.protection_key) == (high.shared, high.grows_down, high.protection_key)
        and low.flags & ~loose == high.flags & ~loose
        and high.pgoff == low.linear_page_index(high.start)
    )
