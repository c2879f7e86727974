"""
Walking page tables, and building them.

The walk reads and changes nothing: it returns every entry it met and how it ended. Accessed and dirty bits are
written by whoever does the access (`machine.mmu`), from the same walk.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..arch import x86_64
from ..arch.architecture import Level
from ..arch.x86_64 import CpuState
from ..memory.physical import PhysicalMemory
from ..memory.ram import Ram
from ..vocabulary.address import PAGE
from ..vocabulary.entry import Entry
from ..vocabulary.walk import Mapped, NonCanonical, NotPresent, Reserved, Unreadable, Walk, WalkEnd

ENTRIES = 512
TABLE_FLAGS = x86_64.PRESENT | x86_64.WRITABLE | x86_64.USER | x86_64.ACCESSED | x86_64.DIRTY
"""
What the kernel puts into an entry that points to a table, its own half included: the leaf decides who may enter.

Kernel: arch/x86/include/asm/pgtable_types.h _PAGE_TABLE; pgalloc.h pmd_populate_kernel(), v6.1.
"""


def walk(memory: PhysicalMemory, root: int, address: int, cpu: CpuState) -> Walk:
    """
    Translate `address` through the tables whose top is at physical `root`.

    Rights combine over the levels: user and writable need every level's consent, execution needs nobody's veto.

    Manual: Intel SDM vol. 3A, 4.5 (4-level and 5-level paging), 4.6.1 (how rights combine).
    """
    if not x86_64.canonical(address, cpu):
        return Walk(address, root, (), NonCanonical())
    entries: list[Entry] = []
    user = writable = executable = True
    table, levels = root, x86_64.geometry(cpu).levels
    for level in levels:
        index = address >> level.shift & ENTRIES - 1
        physical = table + index * 8
        value = memory.read_u64(physical)
        if value is None:
            return Walk(address, root, tuple(entries), Unreadable(level.name, physical))
        entries.append(Entry(level.name, physical, index, value))
        if not value & x86_64.PRESENT:
            return Walk(address, root, tuple(entries), NotPresent(level.name))
        if bad := x86_64.reserved_bits(level, value, cpu):
            return Walk(address, root, tuple(entries), Reserved(level.name, bad))
        user &= bool(value & x86_64.USER)
        writable &= bool(value & x86_64.WRITABLE)
        executable &= not (cpu.nxe and value & x86_64.EXECUTE_DISABLE)
        if x86_64.is_leaf(level, value):
            return Walk(address, root, tuple(entries), leaf(level, value, address, user, writable, executable))
        table = value & x86_64.PHYSICAL_MASK
    raise AssertionError("the last level is a leaf")


def leaf(level: Level, value: int, address: int, user: bool, writable: bool, executable: bool) -> WalkEnd:
    """What a leaf entry maps `address` to."""
    size = 1 << level.shift
    physical = (value & x86_64.PHYSICAL_MASK & -size) | (address & size - 1)
    key = value >> x86_64.PROTECTION_KEY_SHIFT & 15
    return Mapped(physical, size, user, writable, executable, key, bool(value & x86_64.DIRTY))


def read_linear(memory: PhysicalMemory, root: int, address: int, length: int, cpu: CpuState) -> bytes:
    """The bytes at a linear address, as many from the start as are mapped and in RAM, whatever the rights on them."""
    data = b""
    while len(data) < length:
        at = address + len(data)
        end = walk(memory, root, at, cpu).end
        piece = (
            memory.read(end.physical, min(length - len(data), PAGE - at % PAGE)) if isinstance(end, Mapped) else None
        )
        if not piece:
            break
        data += piece
    return data


class PageTables:
    """
    Our own writing of page tables: the kernel's mappings at boot, vmalloc, a populated user page. What a *fault* writes
    comes as effects from the handler instead.
    """

    def __init__(self, ram: Ram, cpu: CpuState, take_frame: Callable[[], int]) -> None:
        self._ram, self._cpu, self._take_frame = ram, cpu, take_frame
        self.levels = x86_64.geometry(cpu).levels
        self.supported = x86_64.supported_pte_mask(cpu)

    def entry_slot(self, root: int, address: int, leaf_level: str = "pte") -> int:
        """The physical address of the entry for `address` at `leaf_level`, making the tables above it as needed."""
        table = root
        for level in self.levels:
            slot = table + (address >> level.shift & ENTRIES - 1) * 8
            if level.name == leaf_level:
                return slot
            value = self._ram.read_u64(slot) or 0
            if not value & x86_64.PRESENT:
                value = self._take_frame() | TABLE_FLAGS
                self._ram.fill(value & x86_64.PHYSICAL_MASK, PAGE)
                self._ram.write_u64(slot, value)
            table = value & x86_64.PHYSICAL_MASK
        raise AssertionError(f"no level {leaf_level}")

    def map(self, root: int, address: int, physical: int, flags: int) -> None:
        """Map one 4 KiB page."""
        self._ram.write_u64(self.entry_slot(root, address), physical | flags & self.supported)

    def map_range(self, root: int, address: int, physical: int, length: int, flags: int) -> None:
        """
        Map `length` bytes (a multiple of the page size), with 2 MiB pages wherever both addresses allow: whole runs of
        entries of one table are written at once.
        """
        end = address + length
        while address < end:
            large = not (address | physical) & 0x1FFFFF and end - address >= 0x200000
            size, name = (0x200000, "pmd") if large else (PAGE, "pte")
            slot = self.entry_slot(root, address, name)
            room = (PAGE - slot % PAGE) // 8
            count = min(room, (end - address) // size)
            value = physical | flags & self.supported | (x86_64.PAGE_SIZE_BIT if large else 0)
            run = np.uint64(value) + np.arange(count, dtype=np.uint64) * np.uint64(size)
            self._ram.words[slot >> 3 : (slot >> 3) + count] = run
            address += count * size
            physical += count * size

    def entry(self, root: int, address: int) -> Entry | None:
        """The leaf entry for `address` if its tables exist down to it (present or not)."""
        return self.leaf_or_reach(root, address)[0]

    def leaf_or_reach(self, root: int, address: int) -> tuple[Entry | None, int]:
        """
        The leaf entry for `address` if its tables exist down to it, and how many bytes the entry at which the walk
        ended covers.
        """
        entries = walk(self._ram, root, address, self._cpu).entries
        if not entries:
            return None, PAGE
        reach = 1 << self.levels[len(entries) - 1].shift
        found = entries[-1].level == "pte" or entries[-1].value & x86_64.PRESENT
        return (entries[-1] if found else None), reach
