"""fork(): a second address space with the same areas, and the same pages until one of the two writes."""

from __future__ import annotations

from dataclasses import replace
from errno import ENOMEM

import numpy as np

from ..arch import x86
from ..handler.vmf import PAGE_NONE, SPECIAL
from ..memory.pages import PageFlag
from ..tables.address_space import AddressSpace
from ..vocabulary.address import PAGE, PAGE_SHIFT
from ..vocabulary.vma import Vma, VmFlag
from .huge_memory import copy_huge_pmds
from .memory import Memory
from .mmap import vm_enough_memory
from .munmap import tables
from .swap import copy_swap_entry

NOT_INHERITED = VmFlag.LOCKED | VmFlag.LOCKONFAULT | VmFlag.UFFD_MISSING
"""Kernel: kernel/fork.c dup_mmap(); fs/userfaultfd.c dup_userfaultfd() (without UFFD_FEATURE_EVENT_FORK), v6.1."""
FIELDS = ("stack_rlimit", "mmap_base", "start_brk", "brk", "start_stack", "arguments", "environment", "vdso", "exe")
MORE_FIELDS = (
    "rlimit_memlock",
    "rlimit_as",
    "rlimit_data",
    "cgroup",
    "pkey_allocation_map",
    "execute_only_pkey",
    "thp_disabled",
)


def dup_mmap(memory: Memory, source: AddressSpace, target: AddressSpace) -> int:
    """
    Make `target`, which is empty, a copy of `source`: 0, or -ENOMEM (then it holds what came before).

    Kernel: kernel/fork.c dup_mm(), dup_mmap(), v6.1.
    """
    for name in (*FIELDS, *MORE_FIELDS):
        setattr(target, name, getattr(source, name))
    target.def_flags = source.def_flags & VmFlag.NOHUGEPAGE
    for vma in source.vmas:
        if vma.flags & VmFlag.DONTCOPY:
            continue
        if vma.flags & VmFlag.ACCOUNT and not vm_enough_memory(memory, (vma.end - vma.start) // PAGE):
            return -ENOMEM
        wiped = bool(vma.flags & VmFlag.WIPEONFORK)
        anon_vma = 0 if wiped else anon_vma_fork(memory, vma)
        target.vmas.insert(
            replace(vma, flags=vma.flags & ~NOT_INHERITED, anon_vma=anon_vma, inherited=bool(anon_vma), userfault=0)
        )
        if vma.inode:
            memory.inodes[vma.inode].users += 1
        if not wiped and vma_needs_copy(vma) and not copy_page_range(memory, source, target, vma):
            memory.flush()
            return -ENOMEM
    memory.flush()
    return 0


def anon_vma_fork(memory: Memory, vma: Vma) -> int:
    """
    The child's area gets an anon_vma of its own, if the parent's has one.

    Kernel: mm/rmap.c anon_vma_fork(), v6.1.
    """
    if vma.anon_vma:
        memory.anon_vmas += 1
    return memory.anon_vmas if vma.anon_vma else 0


def vma_needs_copy(vma: Vma) -> bool:
    """
    Must the page tables be copied? Where there is no private page, faults can fill them in again.

    Kernel: mm/memory.c vma_needs_copy(), v6.1.
    """
    return bool(vma.anon_vma or vma.flags & (VmFlag.PFNMAP | VmFlag.MIXEDMAP))


def copy_page_range(memory: Memory, source: AddressSpace, target: AddressSpace, vma: Vma) -> bool:
    """
    Copy the entries of an area, table by table. Private pages lose the right to write on both sides and belong to
    nobody alone any more; the child has accessed none of them. False: out of memory.

    Kernel: mm/memory.c copy_page_range(), copy_pte_range(), copy_present_pte(), v6.1.
    """
    size, pages = memory.tables.entry_size, memory.pages
    if not copy_huge_pmds(memory, source, target, vma):
        return False
    for table, low, high in tables(memory, source, vma.start, vma.end):
        if memory.frames.free < len(memory.tables.levels) and not memory.make_room(source):
            return False
        count = (high - low) // PAGE
        entries = memory.words(table + (low // PAGE % memory.tables.levels[-1].entries) * size, count)
        copies = memory.words(memory.pte_slot(target, low), count)
        word = entries.dtype.type
        present = (entries & word(x86.PRESENT | PAGE_NONE)) != 0
        counted = entries[present & ((entries & word(SPECIAL)) == 0)] & word(x86.PHYSICAL_MASK & np.iinfo(word).max)
        frames = (counted >> word(PAGE_SHIFT)).astype(np.int64)
        np.add.at(pages.refcount, frames, 1)
        np.add.at(pages.mapcount, frames, 1)
        if is_cow_mapping(vma):
            entries[present] &= ~word(x86.WRITABLE)
            pages.flags[frames] &= np.uint16(0xFFFF ^ PageFlag.EXCLUSIVE)
        for place in (~present & (entries != 0)).nonzero()[0].tolist():
            entries[place] = copies[place] = copy_swap_entry(memory, int(entries[place]))
        copies[present] = entries[present] & ~word(x86.ACCESSED | (x86.DIRTY if vma.shared else 0))
    return True


def is_cow_mapping(vma: Vma) -> bool:
    """Kernel: include/linux/mm.h is_cow_mapping(), v6.1."""
    return not vma.shared and bool(vma.flags & VmFlag.MAYWRITE)
