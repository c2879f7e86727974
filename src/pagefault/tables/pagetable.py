"""
Walking page tables, and building them.

The walk reads and changes nothing: it returns every entry it met and how it ended. Accessed and dirty bits are
written by whoever does the access (`machine.mmu`), from the same walk.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..arch.architecture import Architecture, Level
from ..arch.architectures import architecture_of
from ..arch.x86 import (
    DIRTY,
    EXECUTE_DISABLE,
    PAGE_SIZE_BIT,
    PHYSICAL_MASK,
    PRESENT,
    PROTECTION_KEY_SHIFT,
    USER,
    WRITABLE,
    CpuState,
)
from ..memory.physical import PhysicalMemory
from ..memory.ram import Ram
from ..vocabulary.address import PAGE
from ..vocabulary.entry import Entry
from ..vocabulary.walk import Mapped, NonCanonical, NotPresent, Reserved, Unreadable, Walk, WalkEnd


def walk(memory: PhysicalMemory, root: int, address: int, cpu: CpuState) -> Walk:
    """
    Translate `address` through the tables whose top is at physical `root`.

    Rights combine over the levels: user and writable need every level's consent, execution needs nobody's veto.

    Manual: Intel SDM vol. 3A, 4.3 to 4.5 (32-bit, PAE, 4-level and 5-level paging), 4.6.1 (how rights combine).
    """
    form = architecture_of(cpu)
    if not form.canonical(address, cpu):
        return Walk(address, root, (), NonCanonical())
    entries: list[Entry] = []
    user = writable = executable = True
    shape = form.geometry(cpu)
    size, table, nxe = shape.entry_size, root, cpu.nxe
    for level in shape.levels:
        index = address >> level.shift & level.entries - 1
        physical = table + index * size
        value = memory.read_entry(physical, size)
        if value is None:
            return Walk(address, root, tuple(entries), Unreadable(level.name, physical))
        entries.append(Entry(level.name, physical, index, value))
        if not value & PRESENT:
            return Walk(address, root, tuple(entries), NotPresent(level.name))
        if bad := form.reserved_bits(level, value, cpu):
            return Walk(address, root, tuple(entries), Reserved(level.name, bad))
        if level.has_rights:
            user &= bool(value & USER)
            writable &= bool(value & WRITABLE)
            executable &= not (nxe and value & EXECUTE_DISABLE)
        if form.is_leaf(level, value):
            return Walk(address, root, tuple(entries), leaf(form, level, value, address, user, writable, executable))
        table = value & PHYSICAL_MASK
    raise AssertionError("the last level is a leaf")


def leaf(
    form: Architecture, level: Level, value: int, address: int, user: bool, writable: bool, executable: bool
) -> WalkEnd:
    """What a leaf entry maps `address` to."""
    size = 1 << level.shift
    physical = form.page_frame(level, value) | (address & size - 1)
    key = value >> PROTECTION_KEY_SHIFT & 15
    return Mapped(physical, size, user, writable, executable, key, bool(value & DIRTY))


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
        self._form = architecture_of(cpu)
        shape = self._form.geometry(cpu)
        self.levels, self.entry_size = shape.levels, shape.entry_size
        self.supported = self._form.supported_pte_mask(cpu)

    def entry_slot(
        self, root: int, address: int, leaf_level: str = "pte", take_frame: Callable[[], int] | None = None
    ) -> int:
        """
        The physical address of the entry for `address` at `leaf_level`, making the tables above it as needed, in frames
        from `take_frame`.
        """
        table = root
        for level in self.levels:
            slot = table + (address >> level.shift & level.entries - 1) * self.entry_size
            if level.name == leaf_level:
                return slot
            value = self._ram.read_entry(slot, self.entry_size) or 0
            if not value & PRESENT:
                value = self._form.table_entry(level, (take_frame or self._take_frame)())
                self._ram.fill(value & PHYSICAL_MASK, PAGE)
                self._ram.write_entry(slot, value, self.entry_size)
            table = value & PHYSICAL_MASK
        raise AssertionError(f"no level {leaf_level}")

    def write(self, slot: int, value: int) -> None:
        """Set the entry at a physical address."""
        self._ram.write_entry(slot, value, self.entry_size)

    def map(self, root: int, address: int, physical: int, flags: int) -> None:
        """Map one 4 KiB page."""
        self.write(self.entry_slot(root, address), physical | flags & self.supported)

    def map_range(self, root: int, address: int, physical: int, length: int, flags: int) -> None:
        """
        Map `length` bytes (a multiple of the page size), with the lowest large pages (2 MiB, 4 MiB with two levels)
        wherever both addresses allow: whole runs of entries of one table are written at once.
        """
        end = address + length
        pte, pmd = self.levels[-1], self.levels[-2]
        words = self._ram.words if self.entry_size == 8 else self._ram.words_32
        while address < end:
            large = pmd.may_be_leaf and not (address | physical) & (1 << pmd.shift) - 1
            level = pmd if large and end - address >= 1 << pmd.shift else pte
            size = 1 << level.shift
            slot = self.entry_slot(root, address, level.name)
            room = level.entries - slot % PAGE // self.entry_size
            count = min(room, (end - address) // size)
            value = physical | flags & self.supported | (PAGE_SIZE_BIT if level is pmd else 0)
            run = np.uint64(value) + np.arange(count, dtype=np.uint64) * np.uint64(size)
            at = slot // self.entry_size
            words[at : at + count] = run
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
        level, value = self.levels[len(entries) - 1], entries[-1].value
        # A large page of PROT_NONE is not present for the CPU, and there.
        found = value & PRESENT or self._form.is_leaf(level, value)
        return (entries[-1] if found else None), 1 << level.shift

    def slot_or_reach(self, root: int, address: int, name: str) -> tuple[int | None, int]:
        """
        The physical address of the entry for `address` at the level of that name; or None, and how many bytes the empty
        entry covers at which the way down ended.
        """
        table = root
        for level in self.levels:
            slot = table + (address >> level.shift & level.entries - 1) * self.entry_size
            if level.name == name:
                return slot, 1 << level.shift
            value = self._ram.read_entry(slot, self.entry_size) or 0
            if not value & PRESENT:
                return None, 1 << level.shift
            table = value & PHYSICAL_MASK
        return None, PAGE

    def table_or_reach(self, root: int, address: int) -> tuple[int | None, int]:
        """
        The frame of the table of ptes for `address`; or None, and how many bytes the entry covers at which the way down
        ended: an empty one, or one that maps a large page.
        """
        table = root
        for level in self.levels[:-1]:
            slot = table + (address >> level.shift & level.entries - 1) * self.entry_size
            value = self._ram.read_entry(slot, self.entry_size) or 0
            if not value & PRESENT or self._form.is_leaf(level, value):
                return None, 1 << level.shift
            table = value & PHYSICAL_MASK
        return table, PAGE

    def free_range(
        self, root: int, start: int, end: int, floor: int, ceiling: int, free: Callable[[int], None]
    ) -> None:
        """
        Free the tables below `root` for start..end whose whole reach lies in floor..ceiling (0: no ceiling).

        Kernel: mm/memory.c free_pgd_range(), v6.1.
        """
        self._free_below(root, 0, start, end, (floor, ceiling or 1 << 64), free)

    def _free_below(
        self, table: int, depth: int, start: int, end: int, within: tuple[int, int], free: Callable[[int], None]
    ) -> None:
        level = self.levels[depth]
        reach, address = 1 << level.shift, start
        while address < end:
            base = address & -reach
            slot = table + (base >> level.shift & level.entries - 1) * self.entry_size
            value = self._ram.read_entry(slot, self.entry_size) or 0
            if value & PRESENT and not self._form.is_leaf(level, value):
                below = value & PHYSICAL_MASK
                if depth + 2 < len(self.levels):
                    self._free_below(below, depth + 1, address, min(base + reach, end), within, free)
                if level.has_rights and within[0] <= base and base + reach <= within[1]:
                    self.write(slot, 0)
                    free(below)
            address = base + reach
