"""
Exception tables whose entries are two addresses and nothing else: arm, mips, powerpc, sparc.

    arm, mips     two pointers, absolute
    sparc         two absolute addresses of 32 bits, on sparc64 as well
    powerpc       two pointers before 4.10; s32 insn, s32 fixup since, each relative to its own field

The fault's handler only moves the program counter: what is to be done, the code at the fixup does.
"""

from __future__ import annotations

from .exception_format import Addressing, ExceptionFormat, ExceptionType, Layout, ThirdWord

DEFAULT = ExceptionType(
    "default", None, (), "go on at the fixup", "include/asm-generic/extable.h struct exception_table_entry, v6.12"
)

BUILD_SORTS = (5, 4)
"""
From here on, if not before, the build sorts the tables of arm, arm64, mips, powerpc, s390 and x86.

Kernel: scripts/sortextable.c do_file() and who selects BUILDTIME_EXTABLE_SORT, v5.4;
scripts/sorttable.c do_file(), v6.1 and v6.12.
"""
BUILD_SORTS_MORE = (6, 1)
"""And those of riscv and loongarch. Kernel: who selects BUILDTIME_TABLE_SORT, v6.1 and v6.12."""


def pointers(architecture: str, bits: int, kernel: str, until: tuple[int, int] | None = None) -> Layout:
    """Two pointers of so many bits."""
    addresses = Addressing.ABSOLUTE
    return Layout("absolute", bits // 4, ThirdWord.NONE, (0, 0), until, kernel, architecture, addresses)


ARM_EXCEPTIONS = ExceptionFormat(
    "arm", (pointers("arm", 32, "include/asm-generic/extable.h, v6.12"),), (DEFAULT,), BUILD_SORTS
)

MIPS = "arch/mips/include/asm/extable.h struct exception_table_entry, v6.12"
MIPS_EXCEPTIONS = ExceptionFormat("mips", (pointers("mips", 32, MIPS),), (DEFAULT,), BUILD_SORTS)
MIPS64_EXCEPTIONS = ExceptionFormat("mips", (pointers("mips", 64, MIPS),), (DEFAULT,), BUILD_SORTS)

SPARC_EXCEPTIONS = ExceptionFormat(
    "sparc",
    (pointers("sparc", 32, "arch/sparc/include/asm/extable.h struct exception_table_entry, v6.12"),),
    (DEFAULT,),
)

POWERPC_RELATIVE = Layout(
    "relative",
    8,
    ThirdWord.NONE,
    (4, 10),
    None,
    'since Linux kernel commit 61a92f703120 ("powerpc: Add support for relative exception tables") (in v4.10)',
    "powerpc",
)
POWERPC_ABSOLUTE = "arch/powerpc/include/asm/uaccess.h struct exception_table_entry, v4.9"
POWERPC_EXCEPTIONS = ExceptionFormat(
    "powerpc",
    (POWERPC_RELATIVE, pointers("powerpc", 32, POWERPC_ABSOLUTE, until=(4, 10))),
    (DEFAULT,),
    BUILD_SORTS,
)
POWERPC64_EXCEPTIONS = ExceptionFormat(
    "powerpc",
    (POWERPC_RELATIVE, pointers("powerpc", 64, POWERPC_ABSOLUTE, until=(4, 10))),
    (DEFAULT,),
    BUILD_SORTS,
)
