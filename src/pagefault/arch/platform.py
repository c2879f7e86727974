"""
A platform: what one must know of an architecture to read a kernel image of it (not to run one: that is `architecture`).

    platform_of("EM_AARCH64", 64, "little")         # ARM64
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from .alpha_exception_types import ALPHA_EXCEPTIONS
from .arm64_exception_types import ARM64_EXCEPTIONS, KVM_EXCEPTIONS
from .exception_format import ExceptionFormat
from .loongarch_exception_types import LOONGARCH64_EXCEPTIONS
from .parisc_exception_types import PARISC_EXCEPTIONS
from .plain_exception_types import (
    ARM_EXCEPTIONS,
    MIPS64_EXCEPTIONS,
    MIPS_EXCEPTIONS,
    POWERPC64_EXCEPTIONS,
    POWERPC_EXCEPTIONS,
    SPARC_EXCEPTIONS,
)
from .riscv_exception_types import RISCV32_EXCEPTIONS, RISCV64_EXCEPTIONS
from .s390_exception_types import S390_EXCEPTIONS
from .x86_exception_types import X86_32_EXCEPTIONS, X86_64_EXCEPTIONS

ByteOrder = Literal["little", "big"]


@dataclass(frozen=True, slots=True)
class ExtraTable:
    """
    A second exception table: its `section`, or the symbols `start` and `stop` around it, `purpose` in a few words, and
    the format of its entries where it is not the platform's own. No build sorts it.
    """

    section: str
    start: str
    stop: str
    purpose: str
    format: ExceptionFormat | None = None


@dataclass(frozen=True, slots=True)
class Platform:
    """
    `name` is the kernel's for the architecture (its folder in arch/, with the width where there are two). `bits` is the
    width of a pointer, `kernel_half` the lowest address that kernel code has. `exceptions` is the format of
    __ex_table, `extra_tables` are the tables beside it.
    """

    name: str
    elf_machine: str
    bits: int
    byte_order: ByteOrder
    kernel_half: int
    exceptions: ExceptionFormat
    extra_tables: tuple[ExtraTable, ...] = ()

    @property
    def pointer(self) -> int:
        """The size of a pointer in bytes."""
        return self.bits // 8

    @property
    def address_mask(self) -> int:
        """The highest address: sums of addresses wrap there."""
        return (1 << self.bits) - 1


UPPER = 1 << 63
"""Where the upper half of 64-bit addresses begins."""

X86_64 = Platform("x86_64", "EM_X86_64", 64, "little", UPPER, X86_64_EXCEPTIONS)
X86_32 = Platform("x86_32", "EM_386", 32, "little", 0x4000_0000, X86_32_EXCEPTIONS)
"""Kernel: arch/x86/Kconfig PAGE_OFFSET (VMSPLIT_1G is the lowest), v6.12."""

ARM64 = Platform(
    "arm64",
    "EM_AARCH64",
    64,
    "little",
    UPPER,
    ARM64_EXCEPTIONS,
    (
        ExtraTable(
            "__kvm_ex_table",
            "__start___kvm_ex_table",
            "__stop___kvm_ex_table",
            "faults of the hypervisor's code",
            KVM_EXCEPTIONS,
        ),
    ),
)
"""Kernel: arch/arm64/kernel/vmlinux.lds.S HYPERVISOR_EXTABLE, v6.12."""

ARM = Platform("arm", "EM_ARM", 32, "little", 0x3F00_0000, ARM_EXCEPTIONS)
"""Kernel: arch/arm/Kconfig PAGE_OFFSET, arch/arm/include/asm/memory.h MODULES_VADDR (16 MiB below it), v6.12."""

DBE_TABLE = ExtraTable("__dbe_table", "__start___dbe_table", "__stop___dbe_table", "data bus errors")
"""Kernel: arch/mips/kernel/traps.c search_dbe_tables(), v6.12."""
MIPS = Platform("mips", "EM_MIPS", 32, "little", 0x8000_0000, MIPS_EXCEPTIONS, (DBE_TABLE,))
MIPS64 = Platform("mips64", "EM_MIPS", 64, "little", UPPER, MIPS64_EXCEPTIONS, (DBE_TABLE,))

POWERPC = Platform("powerpc", "EM_PPC", 32, "big", 0x8000_0000, POWERPC_EXCEPTIONS)
POWERPC64 = Platform("powerpc64", "EM_PPC64", 64, "little", 0xC000_0000_0000_0000, POWERPC64_EXCEPTIONS)

S390 = Platform(
    "s390",
    "EM_S390",
    64,
    "big",
    0,
    S390_EXCEPTIONS,
    (
        ExtraTable(
            ".amode31.ex_table",
            "_start_amode31_ex_table",
            "_stop_amode31_ex_table",
            "code that lies below 2 GiB, for 31-bit addressing",
        ),
    ),
)
"""
The kernel has an address space of its own, from 0 on.

Kernel: arch/s390/kernel/vmlinux.lds.S .amode31.ex_table, v6.1 and v6.12.
Differs: the table of the boot code itself (since v6.15) is not read.
"""

RISCV32 = Platform("riscv32", "EM_RISCV", 32, "little", 0x8000_0000, RISCV32_EXCEPTIONS)
RISCV64 = Platform("riscv64", "EM_RISCV", 64, "little", UPPER, RISCV64_EXCEPTIONS)
LOONGARCH64 = Platform("loongarch64", "EM_LOONGARCH", 64, "little", UPPER, LOONGARCH64_EXCEPTIONS)

PARISC = Platform("parisc", "EM_PARISC", 32, "big", 0x1000_0000, PARISC_EXCEPTIONS)
PARISC64 = Platform("parisc64", "EM_PARISC", 64, "big", 0x4000_0000, PARISC_EXCEPTIONS)
"""Kernel: arch/parisc/include/asm/page.h __PAGE_OFFSET_DEFAULT, v6.12."""
ALPHA = Platform("alpha", "EM_ALPHA", 64, "little", UPPER, ALPHA_EXCEPTIONS)
SPARC = Platform("sparc", "EM_SPARC", 32, "big", 0xF000_0000, SPARC_EXCEPTIONS)
SPARC64 = Platform("sparc64", "EM_SPARCV9", 64, "big", 0x40_0000, SPARC_EXCEPTIONS)
"""Kernel: arch/sparc/include/asm/head_32.h and head_64.h KERNBASE, v6.12."""

PLATFORMS = (
    *(X86_64, X86_32, ARM64, replace(ARM64, byte_order="big"), ARM, replace(ARM, byte_order="big")),
    *(MIPS, replace(MIPS, byte_order="big"), MIPS64, replace(MIPS64, byte_order="big")),
    *(POWERPC, POWERPC64, replace(POWERPC64, byte_order="big"), S390, RISCV64, RISCV32, LOONGARCH64),
    *(PARISC, PARISC64, ALPHA, SPARC, SPARC64),
)


def platform_of(elf_machine: str, bits: int, byte_order: ByteOrder) -> Platform | None:
    """The platform whose kernels have this ELF header, or None."""
    for platform in PLATFORMS:
        if (platform.elf_machine, platform.bits, platform.byte_order) == (elf_machine, bits, byte_order):
            return platform
    return None
