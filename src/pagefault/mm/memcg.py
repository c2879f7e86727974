"""Groups of processes whose memory is limited: made, joined, charged for the kernel's own objects."""

from __future__ import annotations

from ..errors import BadInput
from ..tables.address_space import AddressSpace
from ..tables.memory_cgroup import MemoryCgroup
from .memory import Memory

MAX_GROUPS = 255
"""`Pages.cgroup` has a byte for each frame."""
ANON_VMA = 208
"""
Bytes that a first private page charges besides itself, for a struct anon_vma and its chain.

Kernel: mm/rmap.c anon_vma_init(), anon_vma_prepare(), v6.1; mm/slab.h memcg_slab_post_alloc_hook(), v6.1.
Differs: fitted to one recording (lab/recordings, oom.txt, of 6.1 and of 6.12 alike), not derived. The two structures
have 96 + 64 bytes; with what SLUB and the accounting add to each, about 184. Other accounted objects, areas for
instance, are not charged.
"""


def mem_cgroup_create(memory: Memory, limit: int | None, swap_limit: int | None = None) -> MemoryCgroup:
    """
    A group with memory.max and memory.swap.max, in pages (None: no limit).

    Kernel: mm/memcontrol.c mem_cgroup_css_alloc(), v6.1. Errors: BadInput if there are too many.
    Differs: groups do not lie in each other; there is the root, which has no limit, and those.
    """
    number = len(memory.cgroups) + 1
    if number > MAX_GROUPS:
        raise BadInput("memory cgroups", expected=f"{MAX_GROUPS} at most", got=str(number))
    memory.cgroups[number] = MemoryCgroup(number, limit, swap_limit)
    return memory.cgroups[number]


def mem_cgroup_attach(mm: AddressSpace, group: MemoryCgroup) -> None:
    """
    What the address space gets from now on counts as the group's; what it has stays where it was charged.

    Kernel: mm/memcontrol.c mem_cgroup_attach(), v6.1 (cgroup v2 moves no charges).
    """
    mm.cgroup = group.number


def charge_anon_vma(memory: Memory, mm: AddressSpace) -> None:
    """
    Kernel: mm/rmap.c __anon_vma_prepare(), v6.1 (SLAB_ACCOUNT).
    """
    if mm.cgroup:
        memory.cgroups[mm.cgroup].charge_bytes(ANON_VMA)
