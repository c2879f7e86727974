"""
arm64's exception table by era.

    absolute    before 4.6      u64 insn, u64 fixup
    relative    4.6 to 5.15     s32 insn, s32 fixup                          each relative to its own field
    data-5.16   5.16 to 5.19    s32 insn, s32 fixup, u16 type, u16 data
    data-6.0    6.0 to 6.14     the same, types renumbered
    data-6.15   6.15 on         the same, types renumbered

                 0     1      2           3                 4                       5
    data-5.16    none  fixup  bpf         uaccess_err_zero  load_unaligned_zeropad
    data-6.0     none  bpf    uaccess_…   kaccess_err_zero  load_unaligned_zeropad
    data-6.15    none  bpf    uaccess_…   kaccess_err_zero  uaccess_cpy             load_unaligned_zeropad
"""

from __future__ import annotations

from .data_exception_types import (
    access_err_zero,
    bpf,
    data_layout,
    fixup,
    load_unaligned_zeropad,
    register_fields,
)
from .exception_format import BpfFixup, DataField, ExceptionFormat, ExceptionType, Layout, ThirdWord
from .plain_exception_types import BUILD_SORTS, DEFAULT, pointers

EXTABLE = "arch/arm64/mm/extable.c"

REGISTERS = (*(f"x{number}" for number in range(31)), "wzr")
"""31 is the zero register: nothing is written. Kernel: arch/arm64/include/asm/gpr-num.h, v6.12."""

DATA, ADDR = register_fields("data", "addr", REGISTERS)
WRITE = DataField("uaccess", 16, 1, ("read", "write"))
"""Which half of a copy is the user's. Kernel: arch/arm64/include/asm/asm-extable.h EX_DATA_UACCESS_WRITE, v6.15."""

TYPES = (
    bpf(1, "arch/arm64/net/bpf_jit_comp.c ex_handler_bpf(), v6.12"),
    access_err_zero("uaccess_err_zero", 2, "a user access", EXTABLE, REGISTERS),
    access_err_zero("kaccess_err_zero", 3, "a kernel access that may fault", EXTABLE, REGISTERS),
    ExceptionType(
        "uaccess_cpy",
        4,
        (),
        "a copy instruction: only a fault of the user's half is fixed up",
        f"{EXTABLE} fixup_exception(), v6.15",
        (WRITE,),
    ),
    load_unaligned_zeropad(5, f"{EXTABLE} ex_handler_load_unaligned_zeropad(), v6.12", REGISTERS),
    fixup(None, f"{EXTABLE} ex_handler_fixup(), v5.16"),
    DEFAULT,
)

LAYOUTS = (
    data_layout(
        "arm64",
        TYPES,
        (6, 15),
        "arch/arm64/include/asm/asm-extable.h EX_TYPE_UACCESS_CPY (in v6.15): types renumbered",
        "data-6.15",
    ),
    Layout(
        "data-6.0",
        12,
        ThirdWord.TYPE_AND_DATA,
        (6, 0),
        (6, 15),
        "arch/arm64/include/asm/asm-extable.h EX_TYPE_BPF and its neighbours, v6.1 and v6.12",
        "arm64",
        numbers={1: "bpf", 2: "uaccess_err_zero", 3: "kaccess_err_zero", 4: "load_unaligned_zeropad"},
    ),
    Layout(
        "data-5.16",
        12,
        ThirdWord.TYPE_AND_DATA,
        (5, 16),
        (6, 0),
        'since Linux kernel commit d6e2cc564775 ("arm64: extable: add `type` and `data` fields") (in v5.16)',
        "arm64",
        numbers={1: "fixup", 2: "bpf", 3: "uaccess_err_zero", 4: "load_unaligned_zeropad"},
    ),
    Layout(
        "relative",
        8,
        ThirdWord.NONE,
        (4, 6),
        (5, 16),
        'since Linux kernel commit 6c94f27ac847 ("arm64: switch to relative exception tables") (in v4.6)',
        "arm64",
    ),
    pointers("arm64", 64, "arch/arm64/include/asm/uaccess.h struct exception_table_entry, v4.5", until=(4, 6)),
)
"""Newest first."""


def sensible(name: str, word: int, code: bytes | None) -> bool:
    """
    Would the kernel write such an entry? Number 4 is a load before 6.15 and a copy since, and the instruction tells:
    `ldr data, [addr]` has the registers that the entry names.

    Kernel: arch/arm64/include/asm/word-at-a-time.h load_unaligned_zeropad(), v6.12.
    Manual: Arm ARM C6.2, LDR (immediate), unsigned offset; C4.1.94, memory copy and memory set.
    """
    if code is None or len(code) < 4:
        return True
    opcode = int.from_bytes(code[:4], "little")
    match name:
        case "load_unaligned_zeropad":
            return opcode == 0xF940_0000 | ADDR.value(word) << 5 | DATA.value(word)
        case "uaccess_cpy":
            return opcode & 0xFB20_0C00 == 0x1900_0400
        case _:
            return True


ARM64_EXCEPTIONS = ExceptionFormat(
    "arm64",
    LAYOUTS,
    TYPES,
    sorted_since=BUILD_SORTS,
    bpf=BpfFixup(distance=27, back=True, registers={**dict(enumerate(REGISTERS)), 5: None}, skips=(4,)),
    sensible=sensible,
)
"""BPF code has no use for x5, which stands for none. Kernel: arch/arm64/net/bpf_jit_comp.c DONT_CLEAR, v6.12."""

KVM_EXCEPTIONS = ExceptionFormat(
    "arm64",
    (
        Layout(
            "relative",
            8,
            ThirdWord.NONE,
            (5, 9),
            None,
            "arch/arm64/include/asm/kvm_asm.h __KVM_EXTABLE, v6.12",
            "arm64",
        ),
    ),
    (DEFAULT,),
)
"""
For faults of the hypervisor's code at EL2. Searched entry by entry: the order does not matter.

Kernel: arch/arm64/kvm/hyp/include/hyp/switch.h __kvm_unexpected_el2_exception(), v6.12.
"""
