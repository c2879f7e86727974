"""
Alpha's exception table. It is sorted at boot: the file has it as the linker left it.

    nextinsn   s32 insn, u32 fixup     insn relative to its own field; fixup is `lda valreg, nextinsn(errreg)`:
                                       opcode 31:26, valreg 25:21, errreg 20:16, nextinsn 15:0 (signed)

The fixup is nextinsn bytes after the instruction that faulted; register 31 stands for none.
"""

from __future__ import annotations

from .exception_format import Addressing, DataField, ExceptionFormat, ExceptionType, Layout, ThirdWord

REGISTERS = tuple(f"${number}" for number in range(32))
ERR = DataField("err", 16, 5, REGISTERS, none=31)
ZERO = DataField("zero", 21, 5, REGISTERS, none=31)
LDA = 0x08 << 26
"""The opcode of `lda`, in the six highest bits. Manual: Alpha Architecture Handbook, 4.2.1."""

NEXTINSN = Layout(
    "nextinsn",
    8,
    ThirdWord.NONE,
    (0, 0),
    None,
    "arch/alpha/include/asm/extable.h struct exception_table_entry, v6.12",
    "alpha",
    Addressing.NEXTINSN,
    opcode=(0xFC00_0000, LDA),
)

ALPHA_EXCEPTIONS = ExceptionFormat(
    "alpha",
    (NEXTINSN,),
    (
        ExceptionType(
            "default",
            None,
            (),
            "err := -EFAULT, zero := 0, and go on at the fixup",
            "arch/alpha/include/asm/extable.h fixup_exception(), v6.12",
            (ERR, ZERO),
        ),
    ),
)
