"""An address space ends."""

from __future__ import annotations

from ..tables.address_space import AddressSpace
from .memory import Memory
from .munmap import do_munmap


def exit_mmap(memory: Memory, mm: AddressSpace) -> None:
    """
    Give up every area, page and table.

    Kernel: mm/mmap.c exit_mmap(), v6.1.
    Differs: the top-level table stays: it is in use until another task runs.
    """
    for vma in list(mm.vmas):
        do_munmap(memory, mm, vma.start, vma.end - vma.start)
    if mm in memory.spaces:
        memory.spaces.remove(mm)
