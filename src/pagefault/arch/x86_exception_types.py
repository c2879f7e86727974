"""
x86's exception table by era: how an entry is laid out, and what its type means.

    absolute   before 3.5     u64 insn, u64 fixup                  u32 on 32-bit x86
    relative   3.5 to 4.5     s32 insn, s32 fixup                  each relative to its own field
    handler    4.6 to 5.15    s32 insn, s32 fixup, s32 handler     the handler is a function
    type       5.16           s32 insn, s32 fixup, s32 type        a plain number, numbered its own way
    data       5.17 on        s32 insn, s32 fixup, u32 data        imm 31:16 (signed), flags 15:12, reg 11:8, type 7:0

32-bit x86 differs in the registers' names only. The vDSO has a table of its own form.

Stable series and distributions carry these changes back: a version says where a layout *began*, not what a file holds.
"""

from __future__ import annotations

from dataclasses import replace

from .exception_format import (
    Addressing,
    BpfFixup,
    DataField,
    ExceptionFormat,
    ExceptionType,
    FixupMark,
    Layout,
    ThirdWord,
    newest_numbers,
)
from .plain_exception_types import BUILD_SORTS

REGISTERS = (
    *("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
)
"""What the data word's register field counts. Kernel: arch/x86/lib/insn-eval.c pt_regoff[], v6.12."""

REGISTERS_32 = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "ds", "es", "fs", "gs")
"""The same on 32-bit x86. Kernel: arch/x86/include/asm/extable_fixup_types.h EX_REG_DS and its neighbours, v6.12."""

FLAGS = ("clear_ax", "clear_dx")
"""Bits 12 and 13 of the data word. Kernel: arch/x86/include/asm/extable_fixup_types.h EX_FLAG_CLEAR_AX, v6.12."""

REG = DataField("reg", 8, 4, REGISTERS)
REG_32 = replace(REG, names=REGISTERS_32)
IMM = DataField("imm", 16, 16, signed=True)
"""Kernel: arch/x86/include/asm/extable_fixup_types.h EX_DATA_REG_MASK, EX_DATA_IMM_MASK, v6.12."""

EXTABLE = "arch/x86/mm/extable.c"

TYPES = (
    ExceptionType(
        "default", 1, ("ex_handler_default",), "go on at the fixup", f"{EXTABLE} ex_handler_default(), v6.12"
    ),
    ExceptionType(
        "fault", 2, ("ex_handler_fault",), "rax := the trap's number", f"{EXTABLE} ex_handler_fault(), v6.12"
    ),
    ExceptionType(
        "uaccess",
        3,
        ("ex_handler_uaccess",),
        "a user access: a #GP may warn",
        f"{EXTABLE} ex_handler_uaccess(), v6.12",
    ),
    ExceptionType(
        "copy",
        4,
        ("ex_handler_copy",),
        "a user copy: rax := the trap's number, a #GP warns",
        f"{EXTABLE} ex_handler_copy(), v6.1; unused since Linux kernel commit cb517619f967 "
        '("x86/extable: Remove unused fixup type EX_TYPE_COPY") (in v6.10)',
    ),
    ExceptionType("clear_fs", 5, ("ex_handler_clear_fs",), "fs := 0", f"{EXTABLE} ex_handler_clear_fs(), v6.12"),
    ExceptionType(
        "fpu_restore",
        6,
        ("ex_handler_fprestore",),
        "the FPU goes to its initial state, with a warning",
        f"{EXTABLE} ex_handler_fprestore(), v6.12",
    ),
    ExceptionType(
        "bpf",
        7,
        ("ex_handler_bpf",),
        "a BPF program's load: skip it and clear its target (the fixup word holds both)",
        "arch/x86/net/bpf_jit_comp.c ex_handler_bpf(), v6.12",
    ),
    ExceptionType(
        "wrmsr",
        8,
        ("ex_handler_wrmsr_unsafe",),
        "an unchecked WRMSR: warn, pretend that it worked",
        f"{EXTABLE} ex_handler_msr(), v6.12",
    ),
    ExceptionType(
        "rdmsr",
        9,
        ("ex_handler_rdmsr_unsafe",),
        "an unchecked RDMSR: warn, pretend that it read 0",
        f"{EXTABLE} ex_handler_msr(), v6.12",
    ),
    ExceptionType("wrmsr_safe", 10, (), "WRMSR: reg := -EIO", f"{EXTABLE} ex_handler_msr(), v6.12", fields=(REG,)),
    ExceptionType(
        "rdmsr_safe",
        11,
        (),
        "RDMSR: rax and rdx := 0, reg := -EIO",
        f"{EXTABLE} ex_handler_msr(), v6.12",
        fields=(REG,),
    ),
    ExceptionType(
        "wrmsr_in_mce",
        12,
        ("ex_handler_wrmsr_fault",),
        "a WRMSR of the machine-check code: panic",
        "arch/x86/kernel/cpu/mce/core.c ex_handler_msr_mce(), v6.12",
    ),
    ExceptionType(
        "rdmsr_in_mce",
        13,
        ("ex_handler_rdmsr_fault",),
        "an RDMSR of the machine-check code: panic",
        "arch/x86/kernel/cpu/mce/core.c ex_handler_msr_mce(), v6.12",
    ),
    ExceptionType(
        "default_mce_safe",
        14,
        (),
        "default, and good for a machine check too",
        f"{EXTABLE} ex_handler_default(); arch/x86/kernel/cpu/mce/severity.c error_context(), v6.12",
    ),
    ExceptionType(
        "fault_mce_safe",
        15,
        (),
        "fault, and good for a machine check too",
        f"{EXTABLE} ex_handler_fault(); arch/x86/kernel/cpu/mce/severity.c error_context(), v6.12",
    ),
    ExceptionType(
        "pop_reg",
        16,
        (),
        "rsp += 8, reg := the immediate",
        f"{EXTABLE} fixup_exception(), v6.12",
        fields=(REG, IMM),
    ),
    ExceptionType(
        "imm_reg", 17, (), "reg := the immediate", f"{EXTABLE} ex_handler_imm_reg(), v6.12", fields=(REG, IMM)
    ),
    ExceptionType(
        "fault_sgx",
        18,
        (),
        "rax := the trap's number with SGX_ENCLS_FAULT_FLAG",
        f"{EXTABLE} ex_handler_sgx(), v6.12",
    ),
    ExceptionType(
        "ucopy_len",
        19,
        (),
        "rcx := immediate * rcx + reg, then uaccess",
        f"{EXTABLE} ex_handler_ucopy_len(), v6.12",
        fields=(REG, IMM),
    ),
    ExceptionType(
        "zeropad",
        20,
        (),
        "a word load across a page's end: zeroes for what is not there",
        f"{EXTABLE} ex_handler_zeropad(), v6.12",
    ),
    ExceptionType(
        "eretu",
        21,
        (),
        "a failed FRED return to user mode: deliver the event as the user's",
        f"{EXTABLE} ex_handler_eretu(), v6.12",
    ),
    ExceptionType(
        "ext",
        None,
        ("ex_handler_ext",),
        "a user access of a get_user_try block: note uaccess_err in the thread",
        f"{EXTABLE} ex_handler_ext(), v4.19; before 4.6 marked by the fixup's value",
    ),
    ExceptionType(
        "refcount",
        None,
        ("ex_handler_refcount",),
        "a reference count overflowed: saturate it",
        f"{EXTABLE} ex_handler_refcount(), v4.19",
    ),
)

BY_NAME = {type_.name: type_ for type_ in TYPES}

NUMBERS_5_16 = {
    1: "default",
    2: "fault",
    3: "uaccess",
    4: "copy",
    5: "clear_fs",
    6: "fpu_restore",
    7: "wrmsr",
    8: "rdmsr",
    9: "bpf",
    10: "wrmsr_in_mce",
    11: "rdmsr_in_mce",
    12: "default_mce_safe",
    13: "fault_mce_safe",
}
"""Kernel: arch/x86/include/asm/extable_fixup_types.h EX_TYPE_NONE and its neighbours, v5.16."""

UACCESS_ERR_SKIP = 16
"""
Before 3.5, the fixup of an entry that also notes `uaccess_err` is below this: a number of bytes to skip, no address.
From 3.5 to 4.5 it is relative, with 0x7fff_fff0 added, 16 less than 2 GiB.

Kernel: arch/x86/mm/extable.c fixup_exception(), v3.4 and v3.10; arch/x86/include/asm/asm.h _ASM_EXTABLE_EX, v3.10.
"""

ABSOLUTE = Layout(
    "absolute",
    16,
    ThirdWord.NONE,
    (0, 0),
    (3, 5),
    "arch/x86/include/asm/asm.h _ASM_EXTABLE, v3.4",
    addresses=Addressing.ABSOLUTE,
    mark=FixupMark.UACCESS_ERR,
    mark_skip=UACCESS_ERR_SKIP,
)
ABSOLUTE_32 = replace(ABSOLUTE, size=8)
RELATIVE = Layout(
    "relative",
    8,
    ThirdWord.NONE,
    (3, 5),
    (4, 6),
    'since Linux kernel commit 706276543b69 ("x86, extable: Switch to relative exception table entries") (in v3.5)',
    mark=FixupMark.UACCESS_ERR,
    mark_skip=UACCESS_ERR_SKIP,
)
HANDLER = Layout(
    "handler",
    12,
    ThirdWord.HANDLER,
    (4, 6),
    (5, 16),
    'since Linux kernel commit 548acf19234d ("x86/mm: Expand the exception table logic to allow new handling options") '
    "(in v4.6)",
)
TYPE = Layout(
    "type",
    12,
    ThirdWord.TYPE,
    (5, 16),
    (5, 17),
    'since Linux kernel commit 46d28947d987 ("x86/extable: Rework the exception table mechanics") (in v5.16)',
    numbers=NUMBERS_5_16,
)
DATA = Layout(
    "data",
    12,
    ThirdWord.DATA,
    (5, 17),
    None,
    'since Linux kernel commit 4b5305decc84 ("x86/extable: Extend extable functionality") (in v5.17): types renumbered',
    numbers=newest_numbers(TYPES),
)
LAYOUTS = (DATA, TYPE, HANDLER, RELATIVE, ABSOLUTE)
"""Newest first."""

PT_REGS = dict(
    zip(
        range(0, 120, 8),
        ["r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi"],
        strict=True,
    )
)
"""A register by its byte offset in the saved frame. Kernel: arch/x86/include/asm/ptrace.h struct pt_regs, v6.12."""

BPF_DONT_CLEAR = 1
"""In place of an offset into pt_regs: a store, nothing to clear. Kernel: arch/x86/net/bpf_jit_comp.c, v6.12."""

X86_64_EXCEPTIONS = ExceptionFormat(
    "x86",
    LAYOUTS,
    TYPES,
    sorted_since=BUILD_SORTS,
    flags=FLAGS,
    immediate=IMM,
    bpf=BpfFixup(distance=8, back=False, registers={**PT_REGS, BPF_DONT_CLEAR: None}),
)
"""Kernel: arch/x86/net/bpf_jit_comp.c ex_handler_bpf(), v6.12."""

X86_32_EXCEPTIONS = ExceptionFormat(
    "x86",
    (*LAYOUTS[:-1], ABSOLUTE_32),
    tuple(replace(type_, fields=tuple(REG_32 if part is REG else part for part in type_.fields)) for type_ in TYPES),
    sorted_since=BUILD_SORTS,
    flags=FLAGS,
    immediate=IMM,
    bpf=BpfFixup(distance=8, back=False, registers={}),
)
"""The JIT of 32-bit x86 writes no entries. Kernel: arch/x86/net/bpf_jit_comp32.c, v6.12."""

VDSO = Layout(
    "vdso",
    8,
    ThirdWord.NONE,
    (5, 11),
    None,
    "arch/x86/entry/vdso/extable.h _ASM_VDSO_EXTABLE_HANDLE, v6.12",
    addresses=Addressing.TABLE,
    default="vdso",
)
VDSO_EXCEPTIONS = ExceptionFormat(
    "x86",
    (VDSO,),
    (
        ExceptionType(
            "vdso",
            None,
            (),
            "user code of the vDSO: rdi := the trap's number, rsi := the error code, rdx := the address",
            "arch/x86/entry/vdso/extable.c fixup_vdso_exception(), v6.12",
        ),
    ),
)
"""Searched entry by entry: the order does not matter."""
