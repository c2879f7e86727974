"""Areas that continue each other become one; an area that is changed in part is cut."""

from __future__ import annotations

from dataclasses import replace
from errno import EINVAL, ENOMEM

from ..tables.address_space import AddressSpace
from ..tables.inode import FileSystem
from ..vocabulary.vma import Vma, VmFlag
from .anon_vma import is_mergeable_anon_vma
from .huge_memory import vma_adjust_trans_huge
from .memory import Memory

VM_SPECIAL = VmFlag.IO | VmFlag.DONTEXPAND | VmFlag.PFNMAP | VmFlag.MIXEDMAP
"""Areas that are never merged (Kernel: include/linux/mm.h VM_SPECIAL, v6.1)."""
MAX_MAP_COUNT = 65530
"""Kernel: include/linux/mm.h DEFAULT_MAX_MAP_COUNT, v6.1."""


def insert_merged(memory: Memory, mm: AddressSpace, vma: Vma, *, above: bool = True) -> Vma:
    """
    Put a new area where there is room, as part of its neighbours if it continues them: of both, of the one below, or
    (with `above`) of the one above. Returns the area as it is then.

    Kernel: mm/mmap.c __mmap_region(), do_brk_flags(), v6.1; mm/vma.c vma_merge_new_range(), v6.12.
    """
    return merged(memory, mm, vma, above=above, upwards=memory.rules.merges_upwards_first)


def remerge(memory: Memory, mm: AddressSpace, vma: Vma) -> Vma:
    """
    After a change of `vma` (which is in the set): join it with the neighbours that it continues now.

    Kernel: mm/mmap.c vma_merge(), v6.1; mm/vma.c vma_merge_existing_range(), v6.12.
    """
    mm.vmas.remove(vma)
    return merged(memory, mm, vma)


def merged(memory: Memory, mm: AddressSpace, vma: Vma, *, above: bool = True, upwards: bool = False) -> Vma:
    """
    Put an area in, joined with its neighbours. Where they may not become one themselves, the one below is chosen, or
    with `upwards` the one above.

    Kernel: mm/mmap.c vma_merge(), v6.1.
    """
    lower, upper = mm.vmas.vma_lookup(vma.start - 1), mm.vmas.vma_lookup(vma.end)
    if lower is not None and not (continues(lower, vma) and is_mergeable_anon_vma(vma.anon_vma, lower)):
        lower = None
    if upper is not None and not (above and continues(vma, upper) and is_mergeable_anon_vma(vma.anon_vma, upper)):
        upper = None
    if lower is not None and upper is not None:
        if upwards:
            lower = lower if is_mergeable_anon_vma(upper.anon_vma, lower) else None
        elif lower.anon_vma and upper.anon_vma and lower.anon_vma != upper.anon_vma:
            upper = None
    whole = vma
    if lower is not None:
        mm.vmas.remove(lower)
        whole = joined(lower, whole)
        dropped(memory, vma)
    if upper is not None:
        mm.vmas.remove(upper)
        whole = joined(whole, upper)
        dropped(memory, vma)
    mm.vmas.insert(whole)
    return whole


def continues(low: Vma, high: Vma) -> bool:
    """
    Are these two alike in everything but where they begin and whose pages they have?

    Kernel: mm/mmap.c is_mergeable_vma(), can_vma_merge_after(), v6.1.
    Differs: mappings of a file that was opened twice are merged as if it had been opened once.
    """
    loose = VmFlag.SOFTDIRTY
    if low.flags & VM_SPECIAL or low.name or high.name:
        return False
    alike = replace(
        high,
        start=low.start,
        end=low.end,
        pgoff=low.pgoff,
        anon_vma=low.anon_vma,
        inherited=low.inherited,
        flags=high.flags & ~loose | low.flags & loose,
    )
    return low.end == high.start and alike == low and high.pgoff == low.linear_page_index(high.start)


def joined(low: Vma, high: Vma) -> Vma:
    """Two that continue each other, as one."""
    flags = low.flags | high.flags & VmFlag.SOFTDIRTY
    kin = low if low.anon_vma else high
    return replace(low, end=high.end, anon_vma=kin.anon_vma, inherited=kin.inherited, flags=flags)


def dropped(memory: Memory, vma: Vma) -> None:
    """One area less refers to its file."""
    if vma.inode:
        memory.put_inode(memory.inodes[vma.inode])


def split_vma(memory: Memory, mm: AddressSpace, vma: Vma, address: int) -> tuple[Vma, Vma]:
    """
    Cut an area in two at an address inside it.

    Kernel: mm/mmap.c __split_vma(), v6.1.
    """
    vma_adjust_trans_huge(memory, mm, address)
    low = replace(vma, end=address)
    high = replace(vma, start=address, pgoff=vma.linear_page_index(address))
    mm.vmas.replace(vma, low, high)
    if vma.inode:
        memory.inodes[vma.inode].users += 1
    return low, high


def isolate(memory: Memory, mm: AddressSpace, start: int, end: int) -> list[Vma]:
    """The areas inside start..end, after those that reach across its ends were cut there."""
    for address in (start, end):
        vma = mm.vmas.vma_lookup(address)
        if vma is not None and vma.start < address:
            split_vma(memory, mm, vma, address)
    return mm.vmas.overlapping(start, end)


def may_split(memory: Memory, mm: AddressSpace, start: int, end: int, *, unmap: bool = False) -> int:
    """
    May areas be cut at `start` and `end`? 0, or -errno: the vdso is never cut, and there may be only so many areas.
    With `unmap` what is between goes, and only a hole in one area makes one more.

    Kernel: mm/mmap.c split_vma(), __split_vma(), do_mas_align_munmap(), special_mapping_split(), v6.1.
    """
    cuts = [vma for at in (start, end) if (vma := mm.vmas.vma_lookup(at)) is not None and vma.start < at]
    if any(vma.inode and memory.inodes[vma.inode].kind is FileSystem.SPECIAL for vma in cuts):
        return -EINVAL
    more = len(cuts) == 2 and cuts[0] is cuts[1] if unmap else bool(cuts)
    return -ENOMEM if more and len(mm.vmas) >= MAX_MAP_COUNT else 0
