"""
RISC-V's exception table by era.

    absolute   before 5.17    two pointers
    data       5.17 on        s32 insn, s32 fixup, u16 type, u16 data     addresses relative to their own fields
"""

from __future__ import annotations

from .data_exception_types import access_err_zero, bpf, data_layout, fixup, load_unaligned_zeropad
from .exception_format import BpfFixup, ExceptionFormat
from .plain_exception_types import BUILD_SORTS_MORE, DEFAULT, pointers

EXTABLE = "arch/riscv/mm/extable.c"

REGISTERS = (
    *("zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1"),
    *(f"a{number}" for number in range(8)),
    *(f"s{number}" for number in range(2, 12)),
    *("t3", "t4", "t5", "t6"),
)
"""By the ABI's names. 0 is the zero register: nothing is written. Kernel: arch/riscv/include/asm/gpr-num.h, v6.12."""

TYPES = (
    fixup(1, f"{EXTABLE} ex_handler_fixup(), v6.12"),
    bpf(2, "arch/riscv/net/bpf_jit_comp64.c ex_handler_bpf(), v6.12"),
    access_err_zero("uaccess_err_zero", 3, "a user access", EXTABLE, REGISTERS),
    load_unaligned_zeropad(4, f"{EXTABLE} ex_handler_load_unaligned_zeropad(), v6.12; not in v6.1", REGISTERS),
    DEFAULT,
)

LAYOUT_DATA = data_layout(
    "riscv", TYPES, (5, 17), "arch/riscv/include/asm/asm-extable.h __ASM_EXTABLE_RAW, v6.1 and v6.12"
)
ABSOLUTE = "arch/riscv/include/asm/asm.h RISCV_PTR, v5.16"

BPF = BpfFixup(distance=27, back=True, registers=dict(enumerate((None, *REGISTERS[1:]))), skips=(2, 4))
"""
Registers by their numbers. The zero register stands for none: a store.

Kernel: arch/riscv/net/bpf_jit_comp64.c add_exception_handler(), v6.1 (loads only); REG_DONT_CLEAR_MARKER, v6.12.
"""

RISCV64_EXCEPTIONS = ExceptionFormat(
    "riscv", (LAYOUT_DATA, pointers("riscv", 64, ABSOLUTE, until=(5, 17))), TYPES, BUILD_SORTS_MORE, bpf=BPF
)
RISCV32_EXCEPTIONS = ExceptionFormat(
    "riscv", (LAYOUT_DATA, pointers("riscv", 32, ABSOLUTE, until=(5, 17))), TYPES, BUILD_SORTS_MORE, bpf=BPF
)
