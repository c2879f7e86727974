"""
PA-RISC's exception table by era. It is sorted at boot: the file has it as the linker left it.

    absolute     before 4.6    two pointers
    relative     4.6 to 6.7    s32 insn, s32 fixup
    err_opcode   6.8 on        s32 insn, s32 fixup, u32 err_opcode     in v6.1's stable series too

Since 4.6, addresses are relative to their own fields. The two lowest bits of a fixup are no part of it. Bit 0 says that
a register is to get -EFAULT: the one that the instruction `err_opcode` names; before, a fixed one.
"""

from __future__ import annotations

from .exception_format import DataField, ExceptionFormat, ExceptionType, FixupMark, Layout, ThirdWord
from .plain_exception_types import DEFAULT, pointers

REGISTERS = tuple(f"%r{number}" for number in range(32))
ERR = DataField("err", 0, 5, REGISTERS)
OR_ZEROES = 0x0800_0240
"""`or %r0,%r0,%r0`; the lowest five bits are the target's register. Manual: PA-RISC 1.1, OR."""

TYPES = (
    DEFAULT,
    ExceptionType(
        "efault",
        None,
        (),
        "a user access: err := -EFAULT, and a load's target := 0",
        "arch/parisc/mm/fault.c fixup_exception(), v6.12",
        (ERR,),
    ),
)

EXTABLE_H = "arch/parisc/include/asm/extable.h ASM_EXCEPTIONTABLE_ENTRY"
LAYOUTS = (
    Layout(
        "err_opcode",
        12,
        ThirdWord.ERR_OPCODE,
        (6, 8),
        None,
        f"{EXTABLE_H}, v6.12",
        "parisc",
        mark=FixupMark.EFAULT,
        opcode=(0xFFFF_FFE0, OR_ZEROES),
    ),
    Layout(
        "relative",
        8,
        ThirdWord.NONE,
        (4, 6),
        (6, 8),
        'since Linux kernel commit 0de79858 ("parisc: Use generic extable search and sort routines") (in v4.6)',
        "parisc",
        mark=FixupMark.EFAULT,
    ),
)
"""Newest first."""

UACCESS_H = "arch/parisc/include/asm/uaccess.h struct exception_table_entry, v4.4"
PARISC_EXCEPTIONS = ExceptionFormat("parisc", (*LAYOUTS, pointers("parisc", 32, UACCESS_H, until=(4, 6))), TYPES)
PARISC64_EXCEPTIONS = ExceptionFormat("parisc", (*LAYOUTS, pointers("parisc", 64, UACCESS_H, until=(4, 6))), TYPES)
