"""The top of a process's page tables: what a new one starts with, and how it learns of new kernel mappings."""

from __future__ import annotations

from ..vocabulary.address import PAGE
from .boot import Booted


def pgd_ctor(booted: Booted, root: int) -> None:
    """
    Make the frame at `root` a top-level table: nothing of the user's, and the kernel's part of init_mm's as it is now.

    PAE's four entries exist from the start, since a CPU reads them at MOV to CR3 only; without a shared pmd table
    (SHARED_KERNEL_PMD) the kernel's is copied too.

    Kernel: arch/x86/mm/pgtable.c pgd_alloc(), pgd_ctor(), pgd_prepopulate_pmd(), v6.1.
    """
    ram, top, size = booted.ram, booted.tables.levels[0], booted.tables.entry_size
    first = booted.area.page_offset >> top.shift & top.entries - 1
    ram.fill(root, PAGE)
    ram.write(root + first * size, ram.read(booted.init_mm_root + first * size, (top.entries - first) * size) or b"")
    if top.has_rights:
        return
    for index in range(first if booted.shared_kernel_pmd else top.entries):
        master = (ram.read_entry(booted.init_mm_root + index * size, size) or 0) & -PAGE
        pmd = booted.frames.take()
        ram.write(pmd, (ram.read(master, PAGE) if index >= first else None) or bytes(PAGE))
        booted.tables.write(root + index * size, booted.form.table_entry(top, pmd))


def arch_sync_kernel_mappings(booted: Booted, roots: list[int], start: int, end: int) -> None:
    """
    Write the entries that lead to a range of kernel addresses into every table that lacks them.

    Kernel: arch/x86/mm/fault.c arch_sync_kernel_mappings(), vmalloc_sync_one(), v6.1.
    """
    tables, size = booted.tables, booted.tables.entry_size
    name = booted.form.vmalloc_level(booted.state)
    reach = 1 << next(level.shift for level in tables.levels if level.name == name)
    for address in range(start & -reach, end, reach):
        value = booted.ram.read_entry(tables.entry_slot(booted.init_mm_root, address, name), size) or 0
        for root in roots:
            tables.write(tables.entry_slot(root, address, name), value)
