"""What lies at an address: in words, for somebody who does not know the map by heart."""

from __future__ import annotations

from collections.abc import Sequence

from ..arch.architectures import architecture_of
from ..arch.x86 import CpuState
from ..handler.user_address import describe
from ..tables.symbols import SymbolTable
from ..vocabulary.vma import Vma
from ..vocabulary.walk import Mapped, Walk


def what_is_at(address: int, cpu: CpuState, symbols: SymbolTable, vmas: Sequence[Vma], walk: Walk) -> str:
    """
    The part of the address map that `address` belongs to, and what is known of the place. `vmas` are the process's
    areas, in address order; `walk` is the walk of this address.

    Kernel: Documentation/x86/x86_64/mm.rst, v6.1; arch/x86/kernel/cpu/common.c arch_cpu_finalize_init(), v6.12, for
    USER_PTR_MAX.
    """
    form = architecture_of(cpu)
    area = form.address_map(cpu)
    if not form.canonical(address, cpu):
        sign = form.geometry(cpu).sign_bit
        return f"not canonical: bits 63 to {sign} of the address differ"
    if address < area.task_size_max:
        return "user space: " + user_place(address, vmas)
    if in_low_half(address, cpu):
        return "the guard page at the end of user space; Linux 6.12 clamps bad user pointers to it (USER_PTR_MAX)"
    if not form.fault_in_kernel_space(address, cpu):
        return "the vsyscall page"
    if area.kernel_map == area.page_offset <= address and symbols.at(address):
        return kernel_image_place(address, area.vmalloc_start, symbols, walk)
    if area.page_offset <= address < area.vmalloc_start:
        return f"the direct map: physical {address - area.page_offset:#x}"
    if area.vmalloc_start <= address < area.vmalloc_end:
        return f"vmalloc space, {address - area.vmalloc_start:#x} above its start"
    if area.vmemmap is not None and area.vmemmap <= address < area.vmemmap + (1 << 44):
        return "vmemmap: the struct page array"
    if area.kernel_map <= address < area.modules_end:
        return kernel_image_place(address, area.modules_start, symbols, walk)
    return "the kernel's half, in a range that holds nothing"


def in_low_half(address: int, cpu: CpuState) -> bool:
    """Is this an address of the low canonical half: of user space, or of the guard page that ends it?"""
    return address >> architecture_of(cpu).geometry(cpu).sign_bit == 0


def user_place(address: int, vmas: Sequence[Vma]) -> str:
    """Which vma holds a user address, or what its neighbours are."""
    if address < 1 << 12:
        return "the first page, which is never mapped (NULL and a small offset)"
    below = above = None
    for vma in vmas:
        if vma.start <= address < vma.end:
            return f"in the area {describe(vma)}"
        if vma.end <= address:
            below = vma
        elif above is None:
            above = vma
    if below is not None and below.end == address & ~0xFFF:
        return f"no area, just past {describe(below)}"
    if above is not None and above.grows_down:
        return f"no area, {above.start - address:#x} bytes below {describe(above)}"
    return "no area is here" if vmas else "no area is here, nor anywhere in this process"


def kernel_image_place(address: int, modules_start: int, symbols: SymbolTable, walk: Walk) -> str:
    """Kernel image or module: text, read-only data or data, and the symbol."""
    where = "the modules" if address >= modules_start else "the kernel image"
    kind = ""
    if isinstance(walk.end, Mapped):
        kind = "text" if walk.end.executable else "data" if walk.end.writable else "read-only data"
    named = symbols.format(address) if symbols.at(address) else ""
    return ": ".join(filter(None, (where, ", ".join(filter(None, (kind, named))))))
