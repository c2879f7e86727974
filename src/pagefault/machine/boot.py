"""
From a kernel image to a machine that is ready to run its functions: what a boot leaves behind, put there directly.

RAM holds the image at its physical addresses, patched as the kernel patches itself for the chosen CPU. The master table
(the image's own init_top_pgt) maps the image, all of RAM and the struct page array. One CPU has its per-CPU area.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

from ..arch import x86, x86_64
from ..arch.architecture import AddressMap
from ..arch.x86 import CpuState
from ..errors import Absent, Unsupported
from ..images.boot_patches import boot_patches
from ..images.vmlinux import Vmlinux
from ..memory.ram import FrameAllocator, Ram
from ..tables.pagetable import PageTables
from ..vocabulary.address import PAGE
from .kernel_memory import KERNEL_RO, KERNEL_ROX, KERNEL_RW, KernelMemory

LARGE = 2 << 20
STRUCT_PAGE = 64
"""Kernel: include/linux/mm_types.h struct page, with Debian's configuration, v6.1."""
PREEMPT_ENABLED = 1 << 31
"""An empty preempt count: the top bit is "need_resched", inverted (arch/x86/include/asm/preempt.h, v6.1)."""
CR4_BITS = {
    "smep": x86.CR4_SMEP,
    "smap": x86.CR4_SMAP,
    "la57": x86.CR4_LA57,
    "pku": x86.CR4_PKE,
    "pks": x86.CR4_PKS,
    "fsgsbase": x86.CR4_FSGSBASE,
}
UNKNOWN_TO_THE_KERNEL = frozenset({"pks"})
"""
Features of the CPU that no kernel patches itself for: Linux has had protection keys for its own pages in review only.
"""
DEFAULT_FEATURES = frozenset({"nx", "smep", "smap", "rep_good", "erms"})


@dataclass(frozen=True, slots=True)
class Booted:
    """RAM, tables and allocators after boot, and the addresses that matter."""

    image: Vmlinux
    ram: Ram
    frames: FrameAllocator
    tables: PageTables
    memory: KernelMemory
    state: CpuState
    area: AddressMap
    init_mm_root: int
    zero_page: int
    percpu: int


def cpu_state(features: Iterable[str]) -> CpuState:
    """Control registers as the kernel sets them on a CPU with these features."""
    features = frozenset(features)
    state = CpuState()
    cr4 = state.cr4
    for name in features & CR4_BITS.keys():
        cr4 |= CR4_BITS[name]
    efer = state.efer if "nx" in features else state.efer & ~x86.EFER_NXE
    return CpuState(cr4=cr4, efer=efer)


def boot(image: Vmlinux, features: frozenset[str], ram_size: int, *, preallocate_vmalloc: bool) -> Booted:
    """
    Put the image into RAM and build what it needs around it.

    Kernel: arch/x86/kernel/head_64.S, setup_percpu.c; arch/x86/mm/init_64.c mem_init(), mark_rodata_ro(), v6.1.
    Differs: nothing of the image runs during boot; drivers, the scheduler and interrupts do not exist.
    """
    state = cpu_state(features)
    area = x86_64.address_map(state)
    end = max(segment.physical + segment.memory_size for segment in image.segments)
    end = end + LARGE - 1 & -LARGE
    if end + (32 << 20) > ram_size:
        raise Unsupported(f"{ram_size >> 20} MiB of RAM", why=f"this kernel needs at least {(end >> 20) + 32}")
    ram = Ram(ram_size)
    patches = boot_patches(image, features - UNKNOWN_TO_THE_KERNEL)
    for segment in image.segments:
        ram.write(segment.physical, segment.data)
        patches.write_into(ram.view(segment.physical, segment.memory_size), segment.virtual)
    identify_cpu(image, ram, state)
    frames = FrameAllocator(end, ram_size)
    tables = PageTables(ram, state, frames.take)
    symbol = image.symbols.get("init_top_pgt")
    root = frames.take() if symbol is None else image.physical(symbol)
    ram.fill(root, PAGE)
    memory = KernelMemory(ram, frames, tables, area, root)
    if preallocate_vmalloc:
        preallocate_vmalloc_pages(ram, frames, tables, area, root)
    map_kernel(image, ram, frames, tables, area, root)
    zero = image.symbols.get("empty_zero_page")
    return Booted(
        image=image,
        ram=ram,
        frames=frames,
        tables=tables,
        memory=memory,
        state=state,
        area=area,
        init_mm_root=root,
        zero_page=frames.take() if zero is None else image.physical(zero),
        percpu=setup_per_cpu_area(image, ram, frames, area),
    )


def identify_cpu(image: Vmlinux, ram: Ram, state: CpuState) -> None:
    """
    Tell the kernel how many address bits its CPU has: until it knows, copy_from_kernel_nofault() checks less.

    Kernel: arch/x86/kernel/cpu/common.c get_cpu_address_sizes(), v6.1.
    """
    data = image.symbols.get("boot_cpu_data")
    if data is None:
        return
    with contextlib.suppress(Absent):
        for member, bits in (("x86_virt_bits", 57 if state.la57 else 48), ("x86_phys_bits", state.maxphyaddr)):
            ram.write(image.physical(data + image.layout.offset("cpuinfo_x86", member)), bytes((bits,)))


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
    """The image at its own addresses, all of RAM in the direct map, and a struct page for each of its pages."""
    runs = page_rights(image)
    for physical, length, flags in runs:
        tables.map_range(root, area.kernel_map + physical, physical, length, flags)
    at = 0
    for physical, length, flags in runs:
        if not flags & x86.WRITABLE:
            tables.map_range(root, area.page_offset + at, at, physical - at, KERNEL_RW)
            tables.map_range(root, area.page_offset + physical, physical, length, KERNEL_RO)
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
    CPU 0's own copy of the per-CPU section. Returns what to add to a per-CPU symbol to get its address: the GS base.

    Kernel: arch/x86/kernel/setup_percpu.c setup_per_cpu_areas(), v6.1.
    """
    start, end, load = (image.symbols.get(name) for name in ("__per_cpu_start", "__per_cpu_end", "__per_cpu_load"))
    if start is None or end is None or load is None or end <= start:
        raise Absent("per-CPU area (__per_cpu_start, __per_cpu_end, __per_cpu_load)", where=str(image.path))
    copy = frames.take_contiguous(end - start, LARGE)
    data = ram.read(image.physical(load), end - start)
    ram.write(copy, data or b"")
    offset = area.page_offset + copy - start & x86_64.U64
    for name, value in (("__per_cpu_offset", None), ("this_cpu_off", copy - start)):
        symbol = image.symbols.get(name)
        if symbol is not None:
            ram.write_u64(image.physical(symbol) if value is None else value + symbol, offset)
    return offset
