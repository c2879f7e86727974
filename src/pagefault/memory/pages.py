"""What the kernel knows of each frame: struct page, as arrays with one element a frame."""

from __future__ import annotations

from enum import IntFlag

import numpy as np
import numpy.typing as npt

from ..vocabulary.address import PAGE_SHIFT

HUGE_FRAMES = 512
"""Frames of a huge page (Kernel: include/linux/huge_mm.h HPAGE_PMD_NR, v6.1)."""


class PageFlag(IntFlag):
    """
    ANON: private memory; else of a file (or of nobody). EXCLUSIVE: of one process for sure (PageAnonExclusive).
    LAZYFREE: may be dropped while clean (anonymous and not swap-backed). HUGE: the first frame of 2 MiB that are one
    page. TAIL: one of the others. READAHEAD: when it is used, the pages after it are read.
    FALLOCATED: a file's page that was made ahead of its use, and has no content yet (not PG_uptodate).

    Kernel: include/linux/page-flags.h enum pageflags, v6.1 (the bits are ours).
    """

    ANON = 1 << 0
    EXCLUSIVE = 1 << 1
    DIRTY = 1 << 2
    SWAPCACHE = 1 << 3
    LAZYFREE = 1 << 4
    UNEVICTABLE = 1 << 5
    HUGE = 1 << 6
    TAIL = 1 << 7
    REFERENCED = 1 << 8
    READAHEAD = 1 << 9
    FALLOCATED = 1 << 10


class Pages:
    """
    One element a frame of RAM, 31 bytes in all; indexed by frame number (physical address >> 12). Untouched parts cost
    nothing on the host.

    `refcount` counts who uses a page: each page-table entry, the page cache, the swap cache. `mapcount` counts the
    entries only. Of a huge page each frame counts what refers to that frame alone; what maps all of it counts in its
    first frame, in `refcount` and in `entire_mapcount`. `cgroup` is the group that it is charged to (0: none). `inode`
    is the file whose page cache it is in (0: none), `index` its place there; for a private page the
    `Vma.linear_page_index` at which it was made. `swap` is its slot in the swap file + 1, if it has one. `flags` are
    `PageFlag`s.
    """

    def __init__(self, frames: int) -> None:
        self.refcount: npt.NDArray[np.int32] = np.zeros(frames, np.int32)
        self.mapcount: npt.NDArray[np.int32] = np.zeros(frames, np.int32)
        self.inode: npt.NDArray[np.uint32] = np.zeros(frames, np.uint32)
        self.swap: npt.NDArray[np.uint32] = np.zeros(frames, np.uint32)
        self.index: npt.NDArray[np.uint64] = np.zeros(frames, np.uint64)
        self.flags: npt.NDArray[np.uint16] = np.zeros(frames, np.uint16)
        self.entire_mapcount: npt.NDArray[np.int32] = np.zeros(frames, np.int32)
        self.cgroup: npt.NDArray[np.uint8] = np.zeros(frames, np.uint8)

    def has(self, physical: int, flag: PageFlag) -> bool:
        """Is any of these flags set on the page at a physical address?"""
        return bool(int(self.flags[physical >> PAGE_SHIFT]) & flag)

    def set(self, physical: int, flag: PageFlag) -> None:
        self.flags[physical >> PAGE_SHIFT] |= flag

    def clear(self, physical: int, flag: PageFlag) -> None:
        self.flags[physical >> PAGE_SHIFT] &= 0xFFFF ^ flag

    def is_huge(self, physical: int) -> bool:
        """Is this frame part of a huge page? (Kernel: include/linux/page-flags.h PageTransCompound(), v6.1)"""
        return self.has(physical, PageFlag.HUGE | PageFlag.TAIL)

    def folio(self, physical: int) -> slice:
        """The frame numbers of the whole page that the frame at a physical address is part of."""
        number = physical >> PAGE_SHIFT
        if not self.is_huge(physical):
            return slice(number, number + 1)
        first = number & -HUGE_FRAMES
        return slice(first, first + HUGE_FRAMES)

    def folio_refcount(self, physical: int) -> int:
        """Who uses the whole page (Kernel: include/linux/page_ref.h folio_ref_count(), v6.1)."""
        return int(self.refcount[self.folio(physical)].sum())

    def page_mapcount(self, physical: int) -> int:
        """
        How many page-table entries map this frame, alone or with all of a huge page.

        Kernel: include/linux/mm.h page_mapcount(), v6.1.
        """
        folio = self.folio(physical)
        return int(self.mapcount[physical >> PAGE_SHIFT]) + int(self.entire_mapcount[folio.start])

    def folio_mapcount(self, physical: int) -> int:
        """
        How many page-table entries map the whole page or any frame of it (Kernel: mm/util.c folio_mapcount(), v6.1).
        """
        folio = self.folio(physical)
        return int(self.mapcount[folio].sum()) + int(self.entire_mapcount[folio.start])

    def new_huge(self, physical: int, index: int) -> None:
        """
        2 MiB become one private page, of one process alone, made at page `index`, mapped once and as a whole.

        Kernel: mm/rmap.c page_add_new_anon_rmap(), v6.1.
        """
        first = physical >> PAGE_SHIFT
        folio = slice(first, first + HUGE_FRAMES)
        self.refcount[folio], self.refcount[first], self.entire_mapcount[first] = 0, 1, 1
        self.flags[folio] = PageFlag.ANON | PageFlag.TAIL
        self.flags[first] = PageFlag.ANON | PageFlag.EXCLUSIVE | PageFlag.HUGE
        self.index[folio] = np.arange(index, index + HUGE_FRAMES, dtype=np.uint64)

    def forget(self, physical: int) -> None:
        """The page is free: nothing is known of it any more."""
        which = self.folio(physical)
        self.refcount[which] = self.mapcount[which] = self.entire_mapcount[which] = 0
        self.inode[which] = self.swap[which] = self.flags[which] = self.cgroup[which] = 0
        self.index[which] = 0

    def forget_small(self, numbers: npt.NDArray[np.int64]) -> None:
        """The same for many small pages, by frame number. What was never written stays so, and costs nothing."""
        for known in (self.refcount, self.mapcount, self.inode, self.swap, self.flags, self.cgroup, self.index):
            known[numbers[known[numbers] != 0]] = 0
