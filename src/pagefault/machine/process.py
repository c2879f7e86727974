"""A process: its address space, and what mmap() and its kin do to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ..arch import x86
from ..errors import BadInput
from ..memory.ram import FrameAllocator, Ram
from ..tables.address_space import AddressSpace
from ..tables.pagetable import PageTables
from ..vocabulary.address import PAGE, PAGE_MASK
from ..vocabulary.entry import Entry
from ..vocabulary.vma import Vma

DEFAULT_MAP_WINDOW = (1 << 47) - PAGE
"""Five levels give no more to whom does not ask (Kernel: arch/x86/include/asm/page_64_types.h, v6.1)."""
MMAP_GAP = 128 << 20
"""Room for the stack (Kernel: arch/x86/mm/mmap.c mmap_base() SIZE_128M, v6.1)."""
PAGE_NONE = 1 << 8
"""A present page of a PROT_NONE area (Kernel: arch/x86/include/asm/pgtable_types.h _PAGE_PROTNONE, v6.1)."""


@dataclass(frozen=True, slots=True)
class Task:
    """The task_struct of a process: where it and its mm_struct lie, its kernel stack (low, high), its name and pid."""

    address: int
    mm: int
    stack: tuple[int, int]
    comm: str
    pid: int


class Process:
    """
    One process. Its half of the tables is its own; the kernel's half was copied from the master table when it was made.

    `fault_in(process, address, write)` brings one page in through the fault handler's own decision.
    """

    def __init__(
        self,
        task: Task,
        mm: AddressSpace,
        ram: Ram,
        frames: FrameAllocator,
        tables: PageTables,
        fault_in: Callable[[Process, int, bool], None],
        flush: Callable[[], None],
        zero_page: int,
        task_size_max: int,
    ) -> None:
        self.task, self.mm = task, mm
        self._ram, self._frames, self._tables = ram, frames, tables
        self._fault_in, self._flush, self._zero_page = fault_in, flush, zero_page
        self._task_size_max = task_size_max

    @property
    def stack_top(self) -> int:
        """Where a stack ends (Kernel: arch/x86/include/asm/processor.h STACK_TOP, v6.1)."""
        return min(self._task_size_max, DEFAULT_MAP_WINDOW)

    @property
    def mmap_base(self) -> int:
        """The first mmap ends here with randomisation off (Kernel: arch/x86/mm/mmap.c mmap_base(), v6.1)."""
        return self.stack_top - MMAP_GAP

    def mmap(
        self,
        length: int,
        *,
        address: int | None = None,
        protection: str = "rw",
        populate: bool = False,
        grows_down: bool = False,
        content: bytes = b"",
        protection_key: int = 0,
        name: str = "",
    ) -> int:
        """
        Map `length` bytes of private anonymous memory and return where. `protection` is any of the letters r, w, x
        (empty or "none": PROT_NONE). `content` is written at its start, which populates those pages; `populate` brings
        all in.

        Kernel: mm/mmap.c do_mmap(), v6.1.
        """
        length = length + PAGE - 1 & PAGE_MASK
        if not 0 < length <= self._task_size_max:
            raise BadInput("mmap length", expected="a positive number of bytes that fits user space", got=hex(length))
        start = self._place(length) if address is None else address
        if start % PAGE or not 0 <= start <= self._task_size_max - length:
            raise BadInput("mmap address", expected="a page-aligned user address", got=f"{start:#x}")
        self.munmap(start, length)
        vma = with_rights(Vma(start, start + length, name=name), protection)
        vma = replace(vma, grows_down=grows_down, protection_key=protection_key)
        self.mm.vmas.insert(vma)
        if content:
            self.write(start, content[:length])
        if populate:
            for page in range(start, start + length, PAGE):
                self._fault_in(self, page, vma.write)
        return start

    def munmap(self, address: int, length: int) -> None:
        """
        Unmap a range: areas are cut to fit, pages given back.

        Kernel: mm/mmap.c do_munmap(), unmap_region(), v6.1.
        """
        start, end = self._range(address, length)
        for vma in self.mm.vmas.overlapping(start, end):
            self.mm.vmas.replace(vma, *outside(vma, start, end))
            for entry in self._present(max(start, vma.start), min(end, vma.end)):
                if entry.value & x86.PHYSICAL_MASK != self._zero_page:
                    self._frames.release(entry.value & x86.PHYSICAL_MASK)
                self._tables.write(entry.physical, 0)
        self._flush()

    def mprotect(self, address: int, length: int, protection: str) -> None:
        """
        Change the rights of a range that is mapped throughout.

        Kernel: mm/mprotect.c do_mprotect_pkey(), change_pte_range(), v6.1. A right to write is given to a page only
        when it is next written.
        """
        start, end = self._range(address, length)
        covered = sum(min(end, v.end) - max(start, v.start) for v in self.mm.vmas.overlapping(start, end))
        if covered != end - start:
            raise BadInput(
                "mprotect", expected="a range that is mapped throughout", got=f"{start:#x}-{end:#x} with holes"
            )
        for vma in self.mm.vmas.overlapping(start, end):
            changed = with_rights(replace(vma, start=max(start, vma.start), end=min(end, vma.end)), protection)
            self.mm.vmas.replace(vma, *outside(vma, start, end), changed)
            for entry in self._present(changed.start, changed.end):
                self._tables.write(entry.physical, protected(entry.value, changed) & self._tables.supported)
        self._flush()

    def read(self, address: int, length: int) -> bytes:
        """Bytes of user memory; a page that is not there yet is brought in, as ptrace would."""
        return b"".join(self._ram.read(at, size) or b"" for at, size in self._pieces(address, length, write=False))

    def write(self, address: int, data: bytes) -> None:
        """Write user memory whatever the rights of its areas, as ptrace would."""
        done = 0
        for physical, size in self._pieces(address, len(data), write=True):
            self._ram.write(physical, data[done : done + size])
            done += size

    def _pieces(self, address: int, length: int, *, write: bool) -> list[tuple[int, int]]:
        """(physical, size) of each page's part of a range."""
        pieces = []
        while length > 0:
            size = min(length, PAGE - address % PAGE)
            if self.mm.vmas.vma_lookup(address) is None:
                raise BadInput("user address", expected="one inside a mapped area", got=f"{address:#x}")
            entry = self._leaf(address)
            shared = entry is not None and entry.value & x86.PHYSICAL_MASK == self._zero_page
            if entry is None or (write and shared):
                self._fault_in(self, address, write)
                entry = self._leaf(address)
            if entry is None:
                raise BadInput("user address", expected="a page that can be brought in", got=f"{address:#x}")
            pieces.append(((entry.value & x86.PHYSICAL_MASK) + address % PAGE, size))
            address, length = address + size, length - size
        return pieces

    def _leaf(self, address: int) -> Entry | None:
        entry = self._tables.entry(self.mm.root, address)
        return entry if entry and entry.value & (x86.PRESENT | PAGE_NONE) else None

    def _present(self, start: int, end: int) -> list[Entry]:
        """The entries of the pages that are there. Where a whole table is missing, its reach is passed over at once."""
        found, page = [], start
        while page < end:
            entry, reach = self._tables.leaf_or_reach(self.mm.root, page)
            if entry is not None and entry.value & (x86.PRESENT | PAGE_NONE):
                found.append(entry)
            page = (page // reach + 1) * reach
        return found

    def _place(self, length: int) -> int:
        """The highest free range below the mmap base that is large enough."""
        end = self.mmap_base
        for vma in reversed(list(self.mm.vmas)):
            if vma.end <= end - length:
                break
            end = min(end, vma.start)
        if end - length < PAGE:
            raise BadInput("mmap length", expected="one that fits user space", got=hex(length))
        return end - length

    def _range(self, address: int, length: int) -> tuple[int, int]:
        if address % PAGE or address < 0 or length <= 0:
            raise BadInput(
                "range", expected="a page-aligned address and a positive length", got=f"{address:#x}+{length}"
            )
        return address, address + (length + PAGE - 1 & PAGE_MASK)


def with_rights(vma: Vma, protection: str) -> Vma:
    """The area with PROT_READ, PROT_WRITE and PROT_EXEC as in letters like "rw"; "none" or nothing for PROT_NONE."""
    letters = "" if protection == "none" else protection.replace("-", "")
    if not set(letters) <= set("rwx"):
        raise BadInput("protection", expected="letters of rwx, or none", got=repr(protection))
    return replace(vma, read="r" in letters, write="w" in letters, execute="x" in letters)


def outside(vma: Vma, start: int, end: int) -> list[Vma]:
    """What is left of an area outside start..end."""
    parts = []
    if vma.start < start:
        parts.append(replace(vma, end=start))
    if vma.end > end:
        parts.append(replace(vma, start=end, grows_down=False if vma.start < start else vma.grows_down))
    return parts


def protected(value: int, vma: Vma) -> int:
    """A pte's value after mprotect to this area's rights."""
    value &= ~(x86.PRESENT | PAGE_NONE | x86.EXECUTE_DISABLE)
    value |= x86.PRESENT if vma.read or vma.write or vma.execute else PAGE_NONE
    value |= 0 if vma.execute else x86.EXECUTE_DISABLE
    return value if vma.write else value & ~x86.WRITABLE
