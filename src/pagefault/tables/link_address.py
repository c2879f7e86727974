"""
The address that a flat image is linked to, when nothing but its exception table tells it.

    find_address(data, ARM)          # (0xc0208000, "linked to 0xc0208000, where …")

A table of absolute addresses has the answer in it: of the addresses that kernels are linked to, it is the one at which
the table is longest and the instructions that it lists may fault. A relative table reads the same at any address.
"""

from __future__ import annotations

from ..arch.exception_format import Addressing
from ..arch.platform import Platform
from .extable_shape import by_shape

MIPS = (
    *(0x10_0000, 0x20_0000, 0x110_0000, 0, 0x1000, 0x2000, 0x4000, 0x1_0000, 0x4_0000, 0x4_1000, 0x6_0000, 0x8_0000),
    *(0x10_1000, 0x800_0000, 0x800_2000, 0x800_4000, 0x1410_0000),
)
"""Above the start of CKSEG0, by board: Malta and generic kernels first. Kernel: arch/mips/*/Platform load-y, v6.1."""
LINKED = {
    ("EM_AARCH64", 64): (0xFFFF_8000_0800_0000,),
    ("EM_ARM", 32): tuple(
        split + offset
        for split in (0xC000_0000, 0x8000_0000, 0x4000_0000)
        for offset in (0x8000, 0x10_8000, 0x20_8000, 0x30_8000)
    ),
    ("EM_LOONGARCH", 64): (0x9000_0000_0020_0000,),
    ("EM_MIPS", 32): tuple(0x8000_0000 + offset for offset in MIPS),
    ("EM_MIPS", 64): tuple(0xFFFF_FFFF_8000_0000 + offset for offset in MIPS),
    ("EM_PPC", 32): (0xC000_0000,),
    ("EM_PPC64", 64): (0xC000_0000_0000_0000,),
    ("EM_RISCV", 32): (0xC000_0000,),
    ("EM_RISCV", 64): (0xFFFF_FFFF_8000_0000,),
    ("EM_S390", 64): (0x10_0000,),
}
"""
Where kernels of an architecture are linked to, the usual place first; the platform's `kernel_half` for those not named.

Kernel: arch/arm64/include/asm/memory.h KIMAGE_VADDR; arch/arm/Kconfig PAGE_OFFSET and Makefile TEXT_OFFSET;
arch/loongarch/Makefile load-y; arch/powerpc/Kconfig PAGE_OFFSET;
arch/riscv/include/asm/pgtable.h KERNEL_LINK_ADDR; arch/s390/kernel/vmlinux.lds.S, v6.1.
"""
ALIGNMENT = 0x20_0000
ENOUGH = 0.8
"""The share of a table's instructions that may fault, at the right address; at a wrong one it is half or less."""
FEWEST = 32
"""A table with fewer entries does not tell the address."""


def find_address(data: memoryview, platform: Platform, stext: int | None = None) -> tuple[int, str]:
    """
    The address of the first byte, and in words how it is known; the usual one if the image does not tell it.

    `stext` is the address of _stext, if symbols have it: in front of it is nothing but the code that boots, and where
    entries are relative (arm64, riscv, loongarch) kernels are linked to a multiple of 2 MiB.

    Differs: arm64's TEXT_OFFSET, before v5.8, is taken for 0.
    """
    linked = LINKED.get((platform.elf_machine, platform.bits), (platform.kernel_half,))
    if any(layout.addresses is Addressing.ABSOLUTE for layout in platform.exceptions.layouts):
        found = [
            (best.score, address, best.entries)
            for address in linked
            for best in by_shape([(address, data)], platform)[:1]
            if best.layout.addresses is Addressing.ABSOLUTE and best.entries >= FEWEST
            if best.faulting is not None and best.faulting >= ENOUGH
        ]
        if found:
            _, address, entries = max(found)
            return address, f"linked to {address:#x}, where the instructions of {entries} entries may fault"
    if stext is not None:
        address = stext & -ALIGNMENT
        return address, f"linked to {address:#x}, the 2 MiB boundary below _stext (assumed)"
    return linked[0], f"linked to {linked[0]:#x}, as kernels of this architecture are (assumed)"
