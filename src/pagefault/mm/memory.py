"""All that address spaces share: RAM and what is known of each frame, files in the page cache, rules and settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arch.architecture import Architecture
from ..arch.x86 import CpuState
from ..handler.context import Context
from ..handler.mm_eras import MmRules
from ..memory.pages import HUGE_FRAMES, PageFlag, Pages
from ..memory.ram import FrameAllocator, Ram
from ..tables.address_space import AddressSpace
from ..tables.disk_file import DiskFile
from ..tables.inode import FileSystem, Inode
from ..tables.memory_cgroup import MemoryCgroup
from ..tables.pagetable import PageTables
from ..tables.swap_space import SwapSpace
from ..tables.userfaultfd import UserfaultfdCtx
from ..vocabulary.address import PAGE, PAGE_SHIFT
from ..vocabulary.mm_settings import MmSettings
from ..vocabulary.vm_fault import FaultFlag, VmFault


@dataclass(eq=False)
class Memory:
    """
    `context(mm)` is what the handler may look at when a page of `mm` is wanted; `flush()` drops what the CPU holds of
    any translation. `populated` is told of each page that was brought in without a fault: mm, address, flags, results.
    `hand` is the frame at which reclaim goes on. `make_room` is asked when a frame, or a charge, could not be had for
    somebody: True to try again (mm.oom). `out_of_memory` is asked when nothing can be reclaimed: True if somebody
    else's memory was freed (mm.oom). `write_pkru` sets the running task's PKRU.
    """

    ram: Ram
    frames: FrameAllocator
    pages: Pages
    tables: PageTables
    form: Architecture
    cpu: CpuState
    zero_page: int
    rules: MmRules
    settings: MmSettings
    task_size_max: int
    flush: Callable[[], None]
    context: Callable[[AddressSpace], Context]
    populated: Callable[[AddressSpace, int, FaultFlag, tuple[VmFault, ...]], None] = lambda *_: None
    inodes: dict[int, Inode] = field(default_factory=dict)
    last_inode: int = 0
    userfaults: dict[int, UserfaultfdCtx] = field(default_factory=dict)
    last_userfault: int = 0
    wait_for_userfault: Callable[[int, bool, int], None] = lambda *_: None
    spaces: list[AddressSpace] = field(default_factory=list)
    anon_vmas: int = 0
    huge_zero_page: int = 0
    hand: int = 0
    swap: SwapSpace | None = None
    cgroups: dict[int, MemoryCgroup] = field(default_factory=dict)
    make_room: Callable[[AddressSpace | None], bool] = lambda _: False
    out_of_memory: Callable[[AddressSpace | None], bool] = lambda _: False
    write_pkru: Callable[[int], None] = lambda _: None

    def new_inode(self, name: str, kind: FileSystem, size: int = 0, backing: DiskFile | None = None) -> Inode:
        """A file that memory can be mapped from."""
        self.last_inode += 1
        inode = Inode(self.last_inode, name, kind, size, backing)
        self.inodes[inode.number] = inode
        return inode

    def put_inode(self, inode: Inode) -> None:
        """
        One user less: an area, or an open file. What has no name and no user any more is gone, with its page cache.

        Kernel: fs/inode.c iput(), evict(); mm/shmem.c shmem_evict_inode(), v6.1.
        """
        inode.users -= 1
        if not inode.users and not inode.links:
            for index, frame in inode.cache.items():
                inode.cache.remove(index)
                self.put_page(frame)
            for slot in inode.swapped.values():
                self.free_swap(slot)
            del self.inodes[inode.number]

    def words(self, physical: int, count: int) -> npt.NDArray[np.unsignedinteger[Any]]:
        """`count` page-table entries from a physical address on, as an array that is RAM itself."""
        size = self.tables.entry_size
        words = self.ram.words if size == 8 else self.ram.words_32
        return words[physical // size : physical // size + count]

    def new_page(self) -> int:
        """A frame with one user, its content whatever it was. Errors: NoFrame (memory.ram) if there is none."""
        frame = self.frames.take()
        self.pages.refcount[frame >> PAGE_SHIFT] = 1
        return frame

    def pte_slot(self, mm: AddressSpace, address: int) -> int:
        """
        The physical address of the pte for `address`, its tables made if they are missing.

        Kernel: mm/memory.c pte_alloc(), v6.1. Errors: NoFrame if none is left.
        """
        return self.tables.entry_slot(mm.root, address, take_frame=lambda: self.new_table(mm))

    def new_table(self, mm: AddressSpace) -> int:
        """A frame for a table of entries of `mm` (Kernel: include/asm-generic/pgalloc.h __pte_alloc_one(), v6.1)."""
        frame = self.new_page()
        self.charge(mm, frame)
        return frame

    def put_page(self, frame: int) -> None:
        """
        One user less; the last one's going frees the frame.

        Kernel: include/linux/mm.h put_page(), v6.1.
        """
        number = frame >> PAGE_SHIFT
        self.pages.refcount[number] -= 1
        if self.pages.refcount[number]:
            return
        if self.pages.is_huge(frame):
            folio = self.pages.folio(frame)
            if not self.pages.refcount[folio].any():
                self._uncharge(frame, HUGE_FRAMES)
                self.pages.forget(frame)
                self.frames.release_huge(folio.start << PAGE_SHIFT)
            return
        self._uncharge(frame, 1)
        self.pages.forget(frame)
        self.frames.release(frame)

    def charge(self, mm: AddressSpace, frame: int, count: int = 1) -> None:
        """
        A page, or a table of entries, counts as the group's that `mm` is in.

        Kernel: mm/memcontrol.c charge_memcg(), v6.1.
        """
        if mm.cgroup:
            self.pages.cgroup[frame >> PAGE_SHIFT] = mm.cgroup
            self.cgroups[mm.cgroup].usage += count

    def _uncharge(self, frame: int, count: int) -> None:
        """
        Kernel: mm/memcontrol.c uncharge_folio(), v6.1.
        """
        group = int(self.pages.cgroup[self.pages.folio(frame).start])
        if group:
            self.cgroups[group].usage -= count

    def remove_rmap(self, frame: int) -> None:
        """
        One page-table entry less maps this frame.

        Kernel: mm/rmap.c page_remove_rmap(), v6.1.
        """
        self.pages.mapcount[frame >> PAGE_SHIFT] -= 1
        if self.pages.has(frame, PageFlag.SWAPCACHE) and not self.pages.mapcount[frame >> PAGE_SHIFT]:
            self.free_swap_cache(frame)
        self.put_page(frame)

    def free_swap(self, slot: int) -> None:
        """
        One user of a slot less. What nobody else has leaves the swap cache, too, if no entry maps it.

        Kernel: mm/swapfile.c swap_free(), free_swap_and_cache(), v6.1.
        """
        assert self.swap is not None
        self.swap.count[slot] -= 1
        if self.swap.count[slot]:
            return
        frame = self.swap.cache.get(slot)
        if frame is None:
            self._release_slot(slot)
        elif not self.pages.mapcount[frame >> PAGE_SHIFT]:
            self.delete_from_swap_cache(frame)

    def free_swap_cache(self, frame: int) -> None:
        """
        Let the swap cache give up a page that no page-table entry names by its slot any more.

        Kernel: mm/swap_state.c free_swap_cache(); mm/swapfile.c folio_free_swap(), v6.1.
        """
        assert self.swap is not None
        if not self.swap.count[int(self.pages.swap[frame >> PAGE_SHIFT]) - 1]:
            self.delete_from_swap_cache(frame)

    def delete_from_swap_cache(self, frame: int) -> None:
        """
        The page is memory's alone again, and so worth writing.

        Kernel: mm/swap_state.c delete_from_swap_cache(), v6.1.
        """
        assert self.swap is not None
        slot = int(self.pages.swap[frame >> PAGE_SHIFT]) - 1
        del self.swap.cache[slot]
        self.pages.swap[frame >> PAGE_SHIFT] = 0
        self.pages.clear(frame, PageFlag.SWAPCACHE)
        self.pages.set(frame, PageFlag.DIRTY)
        if not self.swap.count[slot]:
            self._release_slot(slot)
        self.put_page(frame)

    def _release_slot(self, slot: int) -> None:
        assert self.swap is not None
        group = self.swap.groups.pop(slot, 0)
        if group:
            self.cgroups[group].swap -= 1
        self.swap.release(slot)

    def page_cache_page(self, inode: Inode, index: int) -> int:
        """The frame of a page of a file, read into the page cache if it is not there."""
        frame = inode.cache.get(index)
        if frame is None and index in inode.swapped:
            return self.swap_in_shmem(inode, index)
        if frame is None:
            frame = self.new_page()
            self.add_to_page_cache(inode, index, frame)
        return frame

    def swap_in_shmem(self, inode: Inode, index: int, frame: int | None = None) -> int:
        """
        A page of the swap space is the page cache's again; `frame` if it is in the swap cache already.

        Kernel: mm/shmem.c shmem_swapin_folio(), v6.1.
        """
        assert self.swap is not None
        slot = inode.swapped.pop(index)
        frame = self.swap.cache.get(slot) if frame is None else frame
        if frame is None:
            frame = self.new_page()
            self.ram.write(frame, self.swap.read(slot))
        else:
            self.pages.refcount[frame >> PAGE_SHIFT] += 1
            self.delete_from_swap_cache(frame)
        self.free_swap(slot)
        inode.cache.set(index, frame)
        self.pages.inode[frame >> PAGE_SHIFT], self.pages.index[frame >> PAGE_SHIFT] = inode.number, index
        self.pages.clear(frame, PageFlag.ANON)
        self.pages.set(frame, PageFlag.DIRTY)
        return frame

    def add_to_page_cache(self, inode: Inode, index: int, frame: int) -> None:
        """
        A frame, already the cache's own (its one reference), becomes page `index` of a file, with the file's content.

        Kernel: mm/filemap.c filemap_add_folio(), v6.1.
        """
        self.ram.write(frame, inode.backing.read_page(index) if inode.backing is not None else bytes(PAGE))
        inode.cache.set(index, frame)
        self.pages.inode[frame >> PAGE_SHIFT] = inode.number
        self.pages.index[frame >> PAGE_SHIFT] = index
