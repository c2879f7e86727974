"""
From a kernel image to a machine that is ready to run its functions: what a boot leaves behind, put there directly.

RAM holds the image at its physical addresses, patched as the kernel patches itself for the chosen CPU. The master table
(the image's own) maps the image, all of RAM and the struct page array. One CPU has its per-CPU area.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from ..arch import x86
from ..arch.architecture import AddressMap, Architecture
from ..arch.architectures import RUNNABLE
from ..arch.x86 import CpuState
from ..errors import Absent, Unsupported
from ..images.boot_patches import boot_patches
from ..images.vmlinux import Vmlinux
from ..memory.ram import FrameAllocator, Ram
from ..tables.pagetable import PageTables
from ..vocabulary.address import PAGE
from .kernel_memory import KERNEL_RO, KERNEL_ROX, KERNEL_RW, KernelMemory

LARGE = 2 << 20
VMALLOC_OFFSET = 8 << 20
"""Kernel: arch/x86/include/asm/pgtable_32_areas.h VMALLOC_OFFSET, v6.1."""
PAE_TABLE = "initial_pg_pmd"
"""What only a 32-bit kernel built for PAE has (Kernel: arch/x86/kernel/head_32.S, v6.1)."""
STRUCT_PAGE = 64
"""Kernel: include/linux/mm_types.h struct page, with Debian's configuration, v6.1."""
PREEMPT_ENABLED = 1 << 31
"""An empty preempt count: the top bit is "need_resched", inverted (arch/x86/include/asm/preempt.h, v6.1)."""
UNKNOWN_TO_THE_KERNEL = frozenset({"pks"})
"""
Features of the CPU that no kernel patches itself for: Linux has had protection keys for its own pages in review only.
"""
DEFAULT_FEATURES = frozenset({"nx", "smep", "smap", "rep_good", "erms"})


@dataclass(frozen=True, slots=True)
class Booted:
    """
    RAM, tables and allocators after boot, and the addresses that matter. `shared_kernel_pmd`: PAE's kernel part has one
    table of pmds for all processes, as it has without page-table isolation (`pti`).

    Kernel: arch/x86/include/asm/pgtable-3level_types.h SHARED_KERNEL_PMD, v6.1.
    """

    image: Vmlinux
    form: Architecture
    ram: Ram
    frames: FrameAllocator
    tables: PageTables
    memory: KernelMemory
    state: CpuState
    area: AddressMap
    init_mm_root: int
    zero_page: int
    percpu: int
    gdt: int
    shared_kernel_pmd: bool


def boot(image: Vmlinux, features: frozenset[str], ram_size: int, *, preallocate_vmalloc: bool) -> Booted:
    """
    Put the image into RAM and build what it needs around it.

    Kernel: arch/x86/kernel/head_64.S, head_32.S, setup_percpu.c; arch/x86/mm/init_64.c, init_32.c mem_init(),
    mark_rodata_ro(), v6.1.
    Differs: nothing of the image runs during boot; drivers, the scheduler and interrupts do not exist.
    """
    form = RUNNABLE[image.platform.name]
    state = form.boot_state(features, pae=image.symbols.get(PAE_TABLE) is not None)
    area = form.address_map(state)
    end = max(segment.physical + segment.memory_size for segment in image.segments)
    end = end + LARGE - 1 & -LARGE
    if end + (32 << 20) > ram_size:
        raise Unsupported(f"{ram_size >> 20} MiB of RAM", why=f"this kernel needs at least {(end >> 20) + 32}")
    if ram_size > lowmem(area):
        why = f"this kernel maps {lowmem(area) >> 20} MiB of it directly, and highmem is not modelled"
        raise Unsupported(f"{ram_size >> 20} MiB of RAM", why=why)
    ram = Ram(ram_size)
    patches = boot_patches(image, features - UNKNOWN_TO_THE_KERNEL)
    for segment in image.segments:
        ram.write(segment.physical, segment.data)
        patches.write_into(ram.view(segment.physical, segment.memory_size), segment.virtual)
    identify_cpu(image, ram, state)
    set_high_memory(image, ram, area)
    frames = FrameAllocator(end, ram_size)
    tables = PageTables(ram, state, frames.take)
    symbol = image.symbols.get(form.master_table)
    root = frames.take() if symbol is None else image.physical(symbol)
    ram.fill(root, PAGE)
    memory = KernelMemory(ram, frames, tables, area, root)
    if preallocate_vmalloc:
        preallocate_vmalloc_pages(ram, frames, tables, area, root)
    map_kernel(image, ram, frames, tables, area, root)
    percpu = setup_per_cpu_area(image, ram, frames, area)
    zero = image.symbols.get("empty_zero_page")
    return Booted(
        image=image,
        form=form,
        ram=ram,
        frames=frames,
        tables=tables,
        memory=memory,
        state=state,
        area=area,
        init_mm_root=root,
        zero_page=frames.take() if zero is None else image.physical(zero),
        percpu=percpu,
        gdt=setup_gdt(image, ram, frames, area, percpu),
        shared_kernel_pmd="pti" not in features,
    )


def lowmem(area: AddressMap) -> int:
    """How many bytes the direct map has room for, with the hole behind it that catches overruns."""
    return area.vmalloc_start - VMALLOC_OFFSET - area.page_offset


def identify_cpu(image: Vmlinux, ram: Ram, state: CpuState) -> None:
    """
    Tell the kernel how many address bits its CPU has: until it knows, copy_from_kernel_nofault() checks less.

    Kernel: arch/x86/kernel/cpu/common.c get_cpu_address_sizes(), v6.1.
    """
    data = image.symbols.get("boot_cpu_data")
    if data is None:
        return
    form = RUNNABLE[image.platform.name]
    virtual = form.geometry(state).sign_bit + 1
    with contextlib.suppress(Absent):
        for member, bits in (("x86_virt_bits", virtual), ("x86_phys_bits", state.maxphyaddr)):
            ram.write(image.physical(data + image.layout.offset("cpuinfo_x86", member)), bytes((bits,)))


def set_high_memory(image: Vmlinux, ram: Ram, area: AddressMap) -> None:
    """
    Tell a 32-bit kernel where vmalloc space begins: by where lowmem ends.

    Kernel: arch/x86/mm/init_32.c initmem_init(), v6.1.
    Differs: as on a machine with more RAM than lowmem has room for (`x86_32.address_map`).
    """
    known, high = image.symbols.get("__vmalloc_start_set"), image.symbols.get("high_memory")
    if known is not None and high is not None:
        ram.write(image.physical(known), b"\1")
        ram.write_entry(image.physical(high), area.vmalloc_start - VMALLOC_OFFSET, image.platform.pointer)


def preallocate_vmalloc_pages(
    ram: Ram, frames: FrameAllocator, tables: PageTables, area: AddressMap, root: int
) -> None:
    """
    Give every top-level entry of vmalloc space its table, so that each process's copy of the top level has it.

    Kernel: arch/x86/mm/init_64.c preallocate_vmalloc_pages(), v6.1.
    """
    shift = tables.levels[0].shift
    for index in range(area.vmalloc_start >> shift & 511, (area.vmalloc_end - 1 >> shift & 511) + 1):
        frame = frames.take()
        ram.fill(frame, PAGE)
        ram.write_u64(root + index * 8, frame | x86.TABLE_FLAGS)


def map_kernel(
    image: Vmlinux, ram: Ram, frames: FrameAllocator, tables: PageTables, area: AddressMap, root: int
) -> None:
    """
    The image at its own addresses, all of RAM in the direct map (on x86-32 the image lies in that), and a struct page
    for each of its pages where they have a place of their own.
    """
    runs, twice = page_rights(image), area.kernel_map != area.page_offset
    for physical, length, flags in runs if twice else ():
        tables.map_range(root, area.kernel_map + physical, physical, length, flags)
    at = 0
    for physical, length, flags in runs:
        if not flags & x86.WRITABLE:
            tables.map_range(root, area.page_offset + at, at, physical - at, KERNEL_RW)
            tables.map_range(root, area.page_offset + physical, physical, length, KERNEL_RO if twice else flags)
            at = physical + length
    tables.map_range(root, area.page_offset + at, at, ram.size - at, KERNEL_RW)
    if area.vmemmap is None:
        return
    pages = ram.size // PAGE * STRUCT_PAGE
    tables.map_range(root, area.vmemmap, frames.take_contiguous(pages, LARGE), pages, KERNEL_RW)


def page_rights(image: Vmlinux) -> list[tuple[int, int, int]]:
    """
    (physical, length, flags) of the image's pages, in order: text may be executed, rodata only read, the rest written.

    Kernel: arch/x86/mm/init_64.c mark_rodata_ro(), v6.1.
    """
    start = min(s.physical for s in image.segments) & -LARGE
    end = max(s.physical + s.memory_size for s in image.segments) + PAGE - 1 & -PAGE
    flags = [KERNEL_RW] * ((end - start) // PAGE)

    def mark(low: int, high: int, value: int) -> None:
        first, last = (image.physical(low) - start) // PAGE, (image.physical(high - 1) - start) // PAGE + 1
        flags[first:last] = [value] * (last - first)

    rodata, rodata_end = image.symbols.get("__start_rodata"), image.symbols.get("__end_rodata")
    if rodata is not None and rodata_end is not None and rodata < rodata_end:
        mark(rodata, rodata_end, KERNEL_RO)
    for low, high in image.executable:
        mark(low, high, KERNEL_ROX)
    runs: list[tuple[int, int, int]] = []
    for index, value in enumerate(flags):
        if runs and runs[-1][2] == value:
            runs[-1] = (runs[-1][0], runs[-1][1] + PAGE, value)
        else:
            runs.append((start + index * PAGE, PAGE, value))
    return runs


def setup_per_cpu_area(image: Vmlinux, ram: Ram, frames: FrameAllocator, area: AddressMap) -> int:
    """
    CPU 0's own copy of the per-CPU section. Returns what to add to a per-CPU symbol to get its address: the base of GS
    (x86-32: of FS).

    Kernel: arch/x86/kernel/setup_percpu.c setup_per_cpu_areas(), v6.1.
    """
    start, end, load = (image.symbols.get(name) for name in ("__per_cpu_start", "__per_cpu_end", "__per_cpu_load"))
    if start is None or end is None or load is None or end <= start:
        raise Absent("per-CPU area (__per_cpu_start, __per_cpu_end, __per_cpu_load)", where=str(image.path))
    copy = frames.take_contiguous(end - start, LARGE)
    data = ram.read(image.physical(load), end - start)
    ram.write(copy, data or b"")
    word = image.platform.pointer
    offset = area.page_offset + copy - start & image.platform.address_mask
    for name, value in (("__per_cpu_offset", None), ("this_cpu_off", copy - start)):
        symbol = image.symbols.get(name)
        if symbol is not None:
            ram.write_entry(image.physical(symbol) if value is None else value + symbol, offset, word)
    return offset


def setup_gdt(image: Vmlinux, ram: Ram, frames: FrameAllocator, area: AddressMap, percpu: int) -> int:
    """
    The descriptor table: the per-CPU gdt_page, or a page of its own if the image has none. Returns its linear address.

    Kernel: arch/x86/kernel/cpu/common.c load_direct_gdt(), v6.1.
    """
    symbol = image.symbols.get("gdt_page")
    address = area.page_offset + frames.take() if symbol is None else percpu + symbol & image.platform.address_mask
    for selector, descriptor in RUNNABLE[image.platform.name].gdt(percpu).items():
        ram.write_u64(address - area.page_offset + selector, descriptor)
    return address
