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
from .parisc_exception_types import PARISC64_EXCEPTIONS, PARISC_EXCEPTIONS
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
from .x86_exception_types import VDSO_EXCEPTIONS, X86_32_EXCEPTIONS, X86_64_EXCEPTIONS

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
class Vdsos:
    """The vDSOs that have exception tables: `images` are the symbols of their descriptions in the kernel."""

    images: tuple[str, ...]
    format: ExceptionFormat


@dataclass(frozen=True, slots=True)
class Platform:
    """
    `name` is the kernel's for the architecture (its folder in arch/, with the width where there are two). `bits` is the
    width of a pointer, `kernel_half` the lowest address that kernel code has. `uts_machine` is what its kernels say in
    init_uts_ns that they run on, `linked` are the addresses of their first bytes, the usual one first. `exceptions` is
    the format of __ex_table, `extra_tables` are the tables beside it, `vdsos` have theirs in code that runs in user
    space.

    Kernel: Makefile and arch/*/Makefile UTS_MACHINE, init/version-timestamp.c init_uts_ns, v6.1.
    """

    name: str
    elf_machine: str
    bits: int
    byte_order: ByteOrder
    kernel_half: int
    uts_machine: str
    linked: tuple[int, ...]
    exceptions: ExceptionFormat
    extra_tables: tuple[ExtraTable, ...] = ()
    vdsos: Vdsos | None = None

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

X86_VDSOS = Vdsos(("vdso_image_64", "vdso_image_x32", "vdso_image_32"), VDSO_EXCEPTIONS)
"""Kernel: arch/x86/include/asm/vdso.h, v6.12."""
X86_64_LINKED = (0xFFFF_FFFF_8100_0000,)
X86_64 = Platform(
    "x86_64", "EM_X86_64", 64, "little", UPPER, "x86_64", X86_64_LINKED, X86_64_EXCEPTIONS, vdsos=X86_VDSOS
)
X86_32_LINKED = tuple(split + 0x100_0000 for split in (0xC000_0000, 0xB000_0000, 0x8000_0000, 0x7800_0000, 0x4000_0000))
X86_32 = Platform(
    "x86_32", "EM_386", 32, "little", 0x4000_0000, "i386", X86_32_LINKED, X86_32_EXCEPTIONS, vdsos=X86_VDSOS
)
"""
Kernel: arch/x86/Kconfig PAGE_OFFSET (VMSPLIT_1G is the lowest) and PHYSICAL_START, arch/x86/include/asm/page_64_types.h
__START_KERNEL, v6.12.
"""

ARM64 = Platform(
    "arm64",
    "EM_AARCH64",
    64,
    "little",
    UPPER,
    "aarch64",
    (0xFFFF_8000_0800_0000,),
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
"""
Kernel: arch/arm64/kernel/vmlinux.lds.S HYPERVISOR_EXTABLE, v6.12; arch/arm64/include/asm/memory.h KIMAGE_VADDR, v6.1.
"""
ARM64_BIG = replace(ARM64, byte_order="big", uts_machine="aarch64_be")

ARM_LINKED = tuple(
    split + offset
    for split in (0xC000_0000, 0x8000_0000, 0x4000_0000)
    for offset in (0x8000, 0x10_8000, 0x20_8000, 0x30_8000)
)
ARM = Platform("arm", "EM_ARM", 32, "little", 0x3F00_0000, "arm", ARM_LINKED, ARM_EXCEPTIONS)
"""
Kernel: arch/arm/Kconfig PAGE_OFFSET, arch/arm/include/asm/memory.h MODULES_VADDR (16 MiB below it), v6.12;
arch/arm/Makefile TEXT_OFFSET, v6.1.
"""

DBE_TABLE = ExtraTable("__dbe_table", "__start___dbe_table", "__stop___dbe_table", "data bus errors")
"""Kernel: arch/mips/kernel/traps.c search_dbe_tables(), v6.12."""
MIPS_BOARDS = (
    *(0x10_0000, 0x20_0000, 0x110_0000, 0, 0x1000, 0x2000, 0x4000, 0x1_0000, 0x4_0000, 0x4_1000, 0x6_0000, 0x8_0000),
    *(0x10_1000, 0x800_0000, 0x800_2000, 0x800_4000, 0x1410_0000),
)
"""Above the start of CKSEG0, by board: Malta and generic kernels first. Kernel: arch/mips/*/Platform load-y, v6.1."""
CKSEG0 = 0xFFFF_FFFF_8000_0000
MIPS_LINKED, MIPS64_LINKED = (tuple(start + board for board in MIPS_BOARDS) for start in (CKSEG0 & 0xFFFF_FFFF, CKSEG0))
MIPS = Platform("mips", "EM_MIPS", 32, "little", 0x8000_0000, "mips", MIPS_LINKED, MIPS_EXCEPTIONS, (DBE_TABLE,))
MIPS64 = Platform("mips64", "EM_MIPS", 64, "little", UPPER, "mips64", MIPS64_LINKED, MIPS64_EXCEPTIONS, (DBE_TABLE,))

POWERPC = Platform("powerpc", "EM_PPC", 32, "big", 0x8000_0000, "ppc", (0xC000_0000,), POWERPC_EXCEPTIONS)
"""Kernel: arch/powerpc/Kconfig PAGE_OFFSET, v6.1."""
PPC64_START = 0xC000_0000_0000_0000
POWERPC64 = Platform(
    "powerpc64", "EM_PPC64", 64, "little", PPC64_START, "ppc64le", (PPC64_START,), POWERPC64_EXCEPTIONS
)
POWERPC64_BIG = replace(POWERPC64, byte_order="big", uts_machine="ppc64")

S390 = Platform(
    "s390",
    "EM_S390",
    64,
    "big",
    0,
    "s390x",
    (0x10_0000,),
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

Kernel: arch/s390/kernel/vmlinux.lds.S .amode31.ex_table, and where it begins, v6.1 and v6.12.
Differs: the table of the boot code itself (since v6.15) is not read.
"""

RISCV32 = Platform("riscv32", "EM_RISCV", 32, "little", 0x8000_0000, "riscv32", (0xC000_0000,), RISCV32_EXCEPTIONS)
RISCV64 = Platform("riscv64", "EM_RISCV", 64, "little", UPPER, "riscv64", (0xFFFF_FFFF_8000_0000,), RISCV64_EXCEPTIONS)
"""
The load offset in an Image's header is one of physical addresses.

Kernel: arch/riscv/include/asm/pgtable.h KERNEL_LINK_ADDR, arch/riscv/kernel/vmlinux.lds.S LOAD_OFFSET, v6.1.
"""
LOONGARCH64 = Platform(
    *("loongarch64", "EM_LOONGARCH", 64, "little", UPPER, "loongarch64", (0x9000_0000_0020_0000,)),
    exceptions=LOONGARCH64_EXCEPTIONS,
)
"""Kernel: arch/loongarch/Makefile load-y, v6.1."""

PARISC = Platform("parisc", "EM_PARISC", 32, "big", 0x1000_0000, "parisc", (0x1010_0000,), PARISC_EXCEPTIONS)
PARISC64 = Platform("parisc64", "EM_PARISC", 64, "big", 0x4000_0000, "parisc64", (0x4010_0000,), PARISC64_EXCEPTIONS)
"""Kernel: arch/parisc/include/asm/page.h __PAGE_OFFSET_DEFAULT, KERNEL_BINARY_TEXT_START, v6.12."""
ALPHA = Platform("alpha", "EM_ALPHA", 64, "little", UPPER, "alpha", (0xFFFF_FC00_0101_0000,), ALPHA_EXCEPTIONS)
"""Kernel: arch/alpha/kernel/vmlinux.lds.S, v6.12."""
SPARC = Platform("sparc", "EM_SPARC", 32, "big", 0xF000_0000, "sparc", (0xF000_4000,), SPARC_EXCEPTIONS)
SPARC64 = Platform("sparc64", "EM_SPARCV9", 64, "big", 0x40_0000, "sparc64", (0x40_4000,), SPARC_EXCEPTIONS)
"""
Kernel: arch/sparc/include/asm/head_32.h and head_64.h KERNBASE, arch/sparc/kernel/vmlinux.lds.S TEXTSTART, v6.12.
"""

PLATFORMS = (
    *(X86_64, X86_32, ARM64, ARM64_BIG, ARM, replace(ARM, byte_order="big")),
    *(MIPS, replace(MIPS, byte_order="big"), MIPS64, replace(MIPS64, byte_order="big")),
    *(POWERPC, POWERPC64, POWERPC64_BIG, S390, RISCV64, RISCV32, LOONGARCH64),
    *(PARISC, PARISC64, ALPHA, SPARC, SPARC64),
)


def platform_of(elf_machine: str, bits: int, byte_order: ByteOrder) -> Platform | None:
    """The platform whose kernels have this ELF header, or None."""
    for platform in PLATFORMS:
        if (platform.elf_machine, platform.bits, platform.byte_order) == (elf_machine, bits, byte_order):
            return platform
    return None
