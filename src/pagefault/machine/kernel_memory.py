"""
The kernel's own allocations: kmalloc in the direct map, vmalloc in its own space, mapped in the master table only.
"""

from __future__ import annotations

from ..arch import x86
from ..arch.architecture import AddressMap
from ..errors import BadInput, Unsupported
from ..memory.ram import FrameAllocator, Ram
from ..tables.pagetable import PageTables
from ..vocabulary.address import PAGE, PAGE_MASK
from ..vocabulary.entry import Entry

KERNEL_RO = x86.PRESENT | x86.ACCESSED | x86.DIRTY | x86.GLOBAL | x86.EXECUTE_DISABLE
KERNEL_RW = KERNEL_RO | x86.WRITABLE
KERNEL_ROX = KERNEL_RO & ~x86.EXECUTE_DISABLE
"""Kernel: arch/x86/include/asm/pgtable_types.h __PAGE_KERNEL, __PAGE_KERNEL_RO, __PAGE_KERNEL_ROX, v6.1."""


class KernelMemory:
    """
    Allocates and maps for the kernel, in `root`, the table of init_mm.

    Differs: kmalloc's objects are cut from fresh pages, each aligned to its size as a power of two; what is freed is
    kept for objects of the same size.
    """

    def __init__(self, ram: Ram, frames: FrameAllocator, tables: PageTables, area: AddressMap, root: int) -> None:
        self._ram, self._frames, self._tables, self.area, self.root = ram, frames, tables, area, root
        self._heap = self._heap_end = 0
        self._areas: dict[int, int] = {}
        self._sizes: dict[int, int] = {}
        self._freed: dict[int, list[int]] = {}

    def kmalloc(self, size: int) -> int:
        """`size` zeroed bytes in the direct map; returns their linear address."""
        if not 0 < size <= 4 << 20:
            raise BadInput("kmalloc", expected="a size from 1 byte to 4 MiB (KMALLOC_MAX_SIZE)", got=str(size))
        rounded = max(8, 1 << (size - 1).bit_length())
        freed = self._freed.get(rounded)
        start = freed.pop() if freed else self._fresh(rounded)
        self._sizes[start] = rounded
        self._ram.fill(start, rounded)
        return self.area.page_offset + start

    def _fresh(self, rounded: int) -> int:
        start = self._heap + rounded - 1 & -rounded
        if start + rounded > self._heap_end:
            start = self._frames.take_contiguous(max(rounded, PAGE), align=max(rounded, PAGE))
            self._heap_end = start + max(rounded, PAGE)
        self._heap = start + rounded
        return start

    def kfree(self, address: int) -> None:
        """Give an object back (Kernel: mm/slab_common.c kfree(), v6.1). Errors: BadInput if it is not one."""
        start = address - self.area.page_offset
        rounded = self._sizes.pop(start, None)
        if rounded is None:
            raise BadInput("kfree", expected="an address that kmalloc returned", got=f"{address:#x}")
        self._freed.setdefault(rounded, []).append(start)

    def vmalloc(self, size: int, *, start: int | None = None) -> int:
        """
        Map `size` bytes of fresh zeroed pages in the master table, with an unmapped guard page behind them. `start`
        asks for the lowest free place from there on.

        Kernel: mm/vmalloc.c __vmalloc_node_range(), __get_vm_area_node(), v6.1.
        """
        if size <= 0:
            raise BadInput("vmalloc", expected="a positive size", got=str(size))
        length = size + PAGE - 1 & PAGE_MASK
        # The first page stays free: the area after it has a guard page on both sides, like every other.
        lowest = self.area.vmalloc_start + PAGE if start is None else start
        address = self._free_area(length + PAGE, lowest & PAGE_MASK)
        self._areas[address] = length
        for page in range(address, address + length, PAGE):
            frame = self._frames.take()
            self._ram.fill(frame, PAGE)
            self._tables.map(self.root, page, frame, KERNEL_RW)
        return address

    def vfree(self, address: int) -> None:
        """
        Unmap an area and give its pages back. The page tables stay, as the kernel leaves them.

        Kernel: mm/vmalloc.c vfree(), vunmap_range_noflush(), v6.1.
        Differs: the kernel flushes TLBs later and for many areas at once (lazy_max_pages()); until then a CPU may go on
        using a translation that is gone from the tables.
        """
        length = self._areas.pop(address, None)
        if length is None:
            raise BadInput("vfree", expected="an address that vmalloc returned", got=f"{address:#x}")
        for page in range(address, address + length, PAGE):
            entry = self.entry(page)
            self._frames.release(entry.value & x86.PHYSICAL_MASK)
            self._tables.write(entry.physical, 0)

    def map_pages(self, address: int, data: bytes, length: int, flags: int) -> None:
        """Map fresh pages holding `data` (and zeros up to `length`) at `address`: how a module is loaded."""
        for offset in range(0, length, PAGE):
            frame = self._frames.take()
            self._ram.fill(frame, PAGE)
            self._ram.write(frame, data[offset : offset + PAGE])
            self._tables.map(self.root, address + offset, frame, flags)

    def set_memory(self, address: int, *, writable: bool) -> None:
        """
        Change the right to write one page in the tables, flushing nothing.

        Kernel: arch/x86/mm/pat/set_memory.c set_memory_rw(), set_memory_ro(), v6.1.
        """
        entry = self.entry(address)
        value = entry.value | x86.WRITABLE if writable else entry.value & ~x86.WRITABLE
        self._tables.write(entry.physical, value)

    def entry(self, address: int) -> Entry:
        """The leaf entry of a mapped kernel address."""
        entry = self._tables.entry(self.root, address)
        if entry is None or not entry.value & x86.PRESENT:
            raise BadInput("kernel address", expected="a mapped one", got=f"{address:#x}")
        return entry

    def _free_area(self, length: int, start: int) -> int:
        for taken in sorted(self._areas):
            if start + length <= taken:
                break
            start = max(start, taken + self._areas[taken] + PAGE)
        if start + length > self.area.vmalloc_end:
            raise Unsupported(f"vmalloc of {length} bytes", why="vmalloc space is full")
        return start
