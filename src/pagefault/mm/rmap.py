"""Reverse mapping: which page-table entries map a page, over all address spaces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..arch import x86
from ..handler.vmf import PAGE_NONE
from ..memory.pages import PageFlag
from ..tables.address_space import AddressSpace
from ..vocabulary.address import PAGE, PAGE_SHIFT
from ..vocabulary.vma import Vma
from .memory import Memory


@dataclass(frozen=True, slots=True)
class Mapping:
    """One pte that maps the page: its place, its content and the address it is for."""

    mm: AddressSpace
    vma: Vma
    address: int
    slot: int
    value: int


def rmap_walk(memory: Memory, frame: int) -> Iterator[Mapping]:
    """
    The ptes that map this frame. A page has its place in a file, or in the private memory that it was made for: areas
    that have that place are looked at.

    Kernel: mm/rmap.c rmap_walk_anon(), rmap_walk_file(), v6.1.
    Differs: without anon_vma chains, every area is asked for the place. Pages of a huge page are found where they are
    mapped by ptes.
    """
    pages, number = memory.pages, frame >> PAGE_SHIFT
    anon, inode, index = pages.has(frame, PageFlag.ANON), int(pages.inode[number]), int(pages.index[number])
    left = int(pages.mapcount[number])
    for mm in memory.spaces:
        for vma in mm.vmas if left > 0 else ():
            if not (vma.anon_vma if anon else inode and vma.inode == inode):
                continue
            address = vma.start + (index - vma.pgoff) * PAGE
            if not vma.start <= address < vma.end:
                continue
            table, _ = memory.tables.table_or_reach(mm.root, address)
            if table is None:
                continue
            slot = table + address // PAGE % memory.tables.levels[-1].entries * memory.tables.entry_size
            value = memory.ram.read_entry(slot, memory.tables.entry_size) or 0
            if value & (x86.PRESENT | PAGE_NONE) and value & x86.PHYSICAL_MASK == frame:
                left -= 1
                yield Mapping(mm, vma, address, slot, value)
