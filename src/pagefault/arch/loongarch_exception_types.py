"""
LoongArch's exception table by era. The type numbers are not RISC-V's.

    absolute   before 6.2    two pointers
    data       6.2 on        s32 insn, s32 fixup, u16 type, u16 data     addresses relative to their own fields
"""

from __future__ import annotations

from .data_exception_types import access_err_zero, bpf, data_layout, fixup
from .exception_format import BpfFixup, ExceptionFormat
from .plain_exception_types import BUILD_SORTS_MORE, DEFAULT, pointers

EXTABLE = "arch/loongarch/mm/extable.c"

REGISTERS = (
    *("$zero", "$ra", "$tp", "$sp"),
    *(f"$a{number}" for number in range(8)),
    *(f"$t{number}" for number in range(9)),
    *("$r21", "$fp"),
    *(f"$s{number}" for number in range(9)),
)
"""By the ABI's names. 0 is the zero register. Kernel: arch/loongarch/include/asm/gpr-num.h, v6.12."""

TYPES = (
    fixup(1, f"{EXTABLE} ex_handler_fixup(), v6.12"),
    access_err_zero("uaccess_err_zero", 2, "a user access", EXTABLE, REGISTERS),
    bpf(3, "arch/loongarch/net/bpf_jit.c ex_handler_bpf(), v6.12"),
    DEFAULT,
)

LAYOUT_DATA = data_layout(
    "loongarch", TYPES, (6, 2), "arch/loongarch/include/asm/asm-extable.h __ASM_EXTABLE_RAW, v6.12"
)

LOONGARCH64_EXCEPTIONS = ExceptionFormat(
    "loongarch",
    (LAYOUT_DATA, pointers("loongarch", 64, "arch/loongarch/mm/extable.c fixup_exception(), v6.1", until=(6, 2))),
    TYPES,
    BUILD_SORTS_MORE,
    bpf=BpfFixup(distance=27, back=True, registers=dict(enumerate(REGISTERS)), skips=(4,)),
)
"""Kernel: arch/loongarch/net/bpf_jit.c add_exception_handler(), v6.12."""
