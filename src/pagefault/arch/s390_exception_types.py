"""
s390's exception table by era.

    absolute    before 3.7      u64 insn, u64 fixup
    relative    3.7 to 5.8      s32 insn, s32 fixup
    handler     5.9 to 5.17     s32 insn, s32 fixup, s64 handler      0: no handler
    data-5.18   5.18            s32 insn, s32 fixup, u16 type, u16 data
    data-6.1    5.19 to 6.13    the same, with more types
    data-6.14   6.14 on         the same: type 3 renamed, 4 dropped, 9 and 10 added later

Since 3.7, addresses are relative to their own fields. A user access has two entries with one fixup, for its instruction
and for the one behind it: some of its faults are reported there.
"""

from __future__ import annotations

from .exception_format import DataField, ExceptionFormat, ExceptionType, Layout, ThirdWord, newest_numbers
from .plain_exception_types import BUILD_SORTS, DEFAULT, pointers

EXTABLE = "arch/s390/mm/extable.c"

REGISTERS = tuple(f"%r{number}" for number in range(16))

ERR = DataField("err", 16, 4, REGISTERS)
ADDR = DataField("addr", 20, 4, REGISTERS)
LEN = DataField("len", 24, 4)
"""Kernel: arch/s390/include/asm/asm-extable.h EX_DATA_REG_ERR and its neighbours, v6.1."""
ZERO = DataField("zero", 20, 4, REGISTERS)
DATA = DataField("data", 16, 4, REGISTERS)
"""What two of them mean to single types."""
REG = DataField("reg", 16, 16, REGISTERS)
BPF_REG = DataField("reg", 16, 16, REGISTERS, none=0xFFFF)

TYPES = (
    ExceptionType("fixup", 1, (), "go on at the fixup", f"{EXTABLE} ex_handler_fixup(), v6.12"),
    ExceptionType(
        "bpf",
        2,
        ("ex_handler_bpf",),
        "a BPF program's load: reg := 0",
        "arch/s390/net/bpf_jit_comp.c ex_handler_bpf(), v6.12",
        (BPF_REG,),
    ),
    ExceptionType(
        "ua_fault",
        3,
        (),
        "a user access: err := -EFAULT",
        "arch/s390/include/asm/asm-extable.h EX_TYPE_UA_FAULT (in v6.14)",
        (ERR, ADDR),
    ),
    ExceptionType(
        "ua_load_reg",
        5,
        (),
        "a load from user space: err := -EFAULT, zero := 0",
        f"{EXTABLE} ex_handler_ua_load_reg(), v6.12",
        (ERR, ZERO),
    ),
    ExceptionType(
        "ua_load_regpair",
        6,
        (),
        "a load of two registers from user space: err := -EFAULT, zero and the one after it := 0",
        f"{EXTABLE} ex_handler_ua_load_reg(), v6.12; not in v6.1",
        (ERR, ZERO),
    ),
    ExceptionType(
        "zeropad",
        7,
        (),
        "a word load across a page's end: zeroes for what is not there",
        f'{EXTABLE} ex_handler_zeropad(); since Linux kernel commit 802ba53eefc5 ("s390: add support for '
        'DCACHE_WORD_ACCESS"), until 37540b8c287f ("s390: Revert support for DCACHE_WORD_ACCESS") (in v7.2)',
        (DATA, ADDR),
    ),
    ExceptionType(
        "fpc", 8, (), "the floating-point control register := 0", f"{EXTABLE} ex_handler_fpc(), v6.12; not in v6.1"
    ),
    ExceptionType(
        "ua_mvcos_to",
        9,
        (),
        "MVCOS to user space: again, with a length that ends at the page's end, or with 0",
        f"{EXTABLE} ex_handler_ua_mvcos() (in v6.15)",
    ),
    ExceptionType(
        "ua_mvcos_from",
        10,
        (),
        "MVCOS from user space: again, with a length that ends at the page's end, or with 0",
        f"{EXTABLE} ex_handler_ua_mvcos() (in v6.15)",
    ),
    ExceptionType(
        "ua_store",
        None,
        (),
        "a user access: err := -EFAULT",
        f"{EXTABLE} ex_handler_ua_store(), v6.12",
        (ERR, ADDR),
    ),
    ExceptionType(
        "ua_load_mem",
        None,
        (),
        "a copy from user space: err := -EFAULT, len bytes at addr := 0",
        f"{EXTABLE} ex_handler_ua_load_mem(), v6.12",
        (ERR, ADDR, LEN),
    ),
    ExceptionType(
        "uaccess", None, (), "a user access: reg := -EFAULT", f"{EXTABLE} ex_handler_uaccess(), v5.18", (REG,)
    ),
    DEFAULT,
)

ASM = "arch/s390/include/asm/asm-extable.h"
NEWEST = newest_numbers(TYPES)
LAYOUTS = (
    Layout(
        "data-6.14",
        12,
        ThirdWord.TYPE_AND_DATA,
        (6, 14),
        None,
        f"{ASM} EX_TYPE_UA_FAULT (in v6.14): 3 renamed, 4 dropped",
        "s390",
        numbers=NEWEST,
    ),
    Layout(
        "data-6.1",
        12,
        ThirdWord.TYPE_AND_DATA,
        (5, 19),
        (6, 14),
        'since Linux kernel commit 454ede3f1424 ("s390/uaccess: use exception handler to zero result on get_user() '
        'failure") (in v5.19)',
        "s390",
        numbers={
            **{number: name for number, name in NEWEST.items() if number < 9},
            3: "ua_store",
            4: "ua_load_mem",
        },
    ),
    Layout(
        "data-5.18",
        12,
        ThirdWord.TYPE_AND_DATA,
        (5, 18),
        (5, 19),
        'since Linux kernel commit 3d66718cd62d ("s390/extable: convert to relative table with data") (in v5.18)',
        "s390",
        numbers={1: "fixup", 2: "bpf", 3: "uaccess"},
    ),
    Layout(
        "handler",
        16,
        ThirdWord.HANDLER,
        (5, 9),
        (5, 18),
        'since Linux kernel commit 05a68e892e89 ("s390/kernel: expand exception table logic to allow new handling '
        'options") (in v5.9)',
        "s390",
        handler_bytes=8,
        handler_optional=True,
    ),
    Layout(
        "relative",
        8,
        ThirdWord.NONE,
        (3, 7),
        (5, 9),
        'since Linux kernel commit eb608fb366de ("s390/exceptions: switch to relative exception table entries") '
        "(in v3.7)",
        "s390",
    ),
    pointers("s390", 64, "arch/s390/include/asm/uaccess.h struct exception_table_entry, v3.6", until=(3, 7)),
)
"""Newest first."""


def sensible(name: str, word: int, _code: bytes | None) -> bool:
    """
    Would the kernel write such an entry? A user access that only reports its fault names the same register twice.

    Kernel: arch/s390/include/asm/asm-extable.h EX_TABLE_UA_STORE, v6.1.
    """
    return name not in ("ua_store", "ua_fault") or ERR.value(word) == ADDR.value(word)


S390_EXCEPTIONS = ExceptionFormat("s390", LAYOUTS, TYPES, sorted_since=BUILD_SORTS, sensible=sensible)
