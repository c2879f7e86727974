"""A process: its task and its address space, and what mmap() and its kin do to that, as Python calls it."""

from __future__ import annotations

from dataclasses import dataclass

from ..arch import x86
from ..errors import BadInput
from ..handler.vmf import PAGE_NONE
from ..mm.gup import handle_fault
from ..mm.memory import Memory
from ..mm.mmap import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_GROWSDOWN,
    MAP_PRIVATE,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
    do_mmap,
)
from ..mm.mprotect import do_mprotect_pkey
from ..mm.munmap import do_munmap
from ..mm.unmapped_area import DEFAULT_MAP_WINDOW
from ..tables.address_space import AddressSpace
from ..vocabulary.address import PAGE, PAGE_MASK
from ..vocabulary.outcome import OutOfMemory
from ..vocabulary.vm_fault import FaultFlag

MMAP_GAP = 128 << 20
"""Room for the stack (Kernel: arch/x86/mm/mmap.c mmap_base() SIZE_128M, v6.1)."""
LETTERS = {"r": PROT_READ, "w": PROT_WRITE, "x": PROT_EXEC}


@dataclass(frozen=True, slots=True)
class Task:
    """
    The task_struct of a process: where it and its mm_struct lie, its kernel stack (low, high), its name and pid, and
    the physical address of the stack's last page.
    """

    address: int
    mm: int
    stack: tuple[int, int]
    comm: str
    pid: int
    stack_page: int


class Process:
    """
    One process. Its half of the tables is its own; the kernel's half was copied from the master table when it was made.
    """

    def __init__(self, task: Task, mm: AddressSpace, memory: Memory) -> None:
        self.task, self.mm, self._memory = task, mm, memory
        mm.mmap_base = mm.mmap_base or self.mmap_base

    @property
    def stack_top(self) -> int:
        """Where a stack ends (Kernel: arch/x86/include/asm/processor.h STACK_TOP, v6.1)."""
        return min(self._memory.task_size_max, DEFAULT_MAP_WINDOW)

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
        rights = prot_bits(protection)
        length = length + PAGE - 1 & PAGE_MASK
        if not 0 < length <= self._memory.task_size_max:
            raise BadInput("mmap length", expected="a positive number of bytes that fits user space", got=hex(length))
        if address is not None and (address % PAGE or not 0 <= address <= self._memory.task_size_max - length):
            raise BadInput("mmap address", expected="a page-aligned user address", got=f"{address:#x}")
        flags = MAP_PRIVATE | MAP_ANONYMOUS | (MAP_GROWSDOWN if grows_down else 0)
        flags |= MAP_FIXED if address is not None else 0
        start = do_mmap(self._memory, self.mm, address or 0, length, rights, flags, name=name)
        if start < 0:
            raise BadInput("mmap length", expected="one that fits user space", got=hex(length))
        if protection_key:
            do_mprotect_pkey(self._memory, self.mm, start, length, rights, protection_key)
        if content:
            self.write(start, content[:length])
        if populate:
            for page in range(start, start + length, PAGE):
                if self._physical(page, write=False) is None:
                    self._fault_in(page, write=bool(rights & PROT_WRITE))
        return start

    def munmap(self, address: int, length: int) -> None:
        """
        Unmap a range: areas are cut to fit, pages given back.

        Kernel: mm/mmap.c do_munmap(), unmap_region(), v6.1.
        """
        do_munmap(self._memory, self.mm, *self._range(address, length))

    def mprotect(self, address: int, length: int, protection: str) -> None:
        """
        Change the rights of a range that is mapped throughout. A right to write is given to a page only when it is next
        written.

        Kernel: mm/mprotect.c do_mprotect_pkey(), change_pte_range(), v6.1.
        """
        start, length = self._range(address, length)
        end = start + length
        covered = sum(min(end, v.end) - max(start, v.start) for v in self.mm.vmas.overlapping(start, end))
        if covered != length:
            raise BadInput(
                "mprotect", expected="a range that is mapped throughout", got=f"{start:#x}-{end:#x} with holes"
            )
        do_mprotect_pkey(self._memory, self.mm, start, length, prot_bits(protection))

    def read(self, address: int, length: int) -> bytes:
        """Bytes of user memory; a page that is not there yet is brought in, as ptrace would."""
        ram = self._memory.ram
        return b"".join(ram.read(at, size) or b"" for at, size in self._pieces(address, length, write=False))

    def write(self, address: int, data: bytes) -> None:
        """Write user memory whatever the rights of its areas, as ptrace would."""
        done = 0
        for physical, size in self._pieces(address, len(data), write=True):
            self._memory.ram.write(physical, data[done : done + size])
            done += size

    def _pieces(self, address: int, length: int, *, write: bool) -> list[tuple[int, int]]:
        """(physical, size) of each page's part of a range."""
        pieces = []
        while length > 0:
            size = min(length, PAGE - address % PAGE)
            if self.mm.vmas.vma_lookup(address) is None:
                raise BadInput("user address", expected="one inside a mapped area", got=f"{address:#x}")
            physical = self._physical(address, write=write)
            if physical is None:
                self._fault_in(address, write=write)
                physical = self._physical(address, write=write)
            if physical is None:
                raise BadInput("user address", expected="a page that can be brought in", got=f"{address:#x}")
            pieces.append((physical, size))
            address, length = address + size, length - size
        return pieces

    def _fault_in(self, address: int, *, write: bool) -> None:
        """
        Bring one page in, as get_user_pages() would: by the fault handler's own decision, without a CPU.

        Kernel: mm/gup.c faultin_page(), v6.1.
        """
        vma = self.mm.vmas.vma_lookup(address)
        assert vma is not None
        flags = FaultFlag.USER | (FaultFlag.WRITE if write else FaultFlag(0))
        if isinstance(handle_fault(self._memory, self.mm, vma, address, flags).outcome, OutOfMemory):
            raise BadInput(
                "user page", expected="a free frame of RAM to put it in", got="none left; boot with more RAM"
            )

    def _physical(self, address: int, *, write: bool) -> int | None:
        """
        Where the byte at `address` is, if its page is there, even for nobody to touch; the zero page, small or huge, is
        not what is written.
        """
        memory = self._memory
        entry = memory.tables.entry(self.mm.root, address)
        if entry is None or not entry.value & (x86.PRESENT | PAGE_NONE):
            return None
        level = next(level for level in memory.tables.levels if level.name == entry.level)
        frame = memory.form.page_frame(level, entry.value)
        if write and frame in (memory.zero_page, memory.huge_zero_page):
            return None
        return frame + (address & (1 << level.shift) - 1)

    def _range(self, address: int, length: int) -> tuple[int, int]:
        if address % PAGE or address < 0 or length <= 0:
            raise BadInput(
                "range", expected="a page-aligned address and a positive length", got=f"{address:#x}+{length}"
            )
        return address, length + PAGE - 1 & PAGE_MASK


def prot_bits(protection: str) -> int:
    """PROT_READ, PROT_WRITE and PROT_EXEC as in letters like "rw"; "none" or nothing for PROT_NONE."""
    letters = "" if protection == "none" else protection.replace("-", "")
    if not set(letters) <= set("rwx"):
        raise BadInput("protection", expected="letters of rwx, or none", got=repr(protection))
    return sum(LETTERS[letter] for letter in set(letters))
