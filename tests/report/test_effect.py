"""Every effect has its line, and the line says what is done to what."""

from __future__ import annotations

from typing import get_args

import pytest

from pagefault.arch.x86 import CpuState
from pagefault.memory.pages import PageFlag
from pagefault.report.effect import effect_words, register_value
from pagefault.vocabulary.effect import (
    AddToPageCache,
    ChangePage,
    CopyFrame,
    Effect,
    FlushPage,
    FreeSwap,
    GetPage,
    GrowStack,
    NewAnonPage,
    NewHugeAnonPage,
    PrepareAnonVma,
    PutPage,
    ReadSwap,
    ResetFpu,
    SetRegister,
    TakeFrame,
    Warn,
    WriteEntry,
    ZeroFrame,
)


@pytest.mark.parametrize(
    ("effect", "words"),
    [
        (TakeFrame(0x5000, "pte table"), "take the free frame 0x5000 for a pte table"),
        (ZeroFrame(0x5000), "fill 0x5000 with zeros"),
        (CopyFrame(0x1000, 0x5000), "copy the page at 0x1000 to 0x5000"),
        (WriteEntry("pte", 0x5FF8, 0x7067, 0), "write pte[511] at 0x5ff8 := 0x7067 -> USR RW ACC DRT x"),
        (NewAnonPage(0x5000, 16), "0x5000 is a private page of this process alone, page 0x10 of its area's memory"),
        (
            NewHugeAnonPage(0x200000, 512),
            "the 2 MiB at 0x200000 are one private page of this process alone, from page 0x200 on",
        ),
        (GetPage(0x5000), "one more entry maps 0x5000"),
        (PutPage(0x5000), "one entry less maps 0x5000"),
        (
            ChangePage(0x5000, set=PageFlag.EXCLUSIVE, clear=PageFlag.DIRTY),
            "set EXCLUSIVE and clear DIRTY on the page at 0x5000",
        ),
        (ChangePage(0x5000, set=PageFlag.DIRTY), "set DIRTY on the page at 0x5000"),
        (AddToPageCache(7, 3, 0x5000, read=True), "read page 3 of inode 7 in the page cache, at 0x5000"),
        (AddToPageCache(7, 3, 0x5000, read=False), "make page 3 of inode 7 in the page cache, at 0x5000"),
        (PrepareAnonVma(0x1000), "the area at 0x1000 has private pages from now on"),
        (ReadSwap(5, 0x5000), "read swap slot 5 into 0x5000"),
        (FreeSwap(5), "one user of swap slot 5 less"),
        (FlushPage(0x1234), "flush 0x1000 from the TLB"),
        (GrowStack(0x9000, 0x4000), "grow the stack's area down from 0x9000 to 0x4000"),
        (SetRegister("rcx", 24), "rcx := 0x18 (24)"),
        (ResetFpu(), "put the FPU into its initial state"),
        (Warn("General protection fault"), "warn: General protection fault"),
    ],
)
def test_effects(effect: Effect, words: str) -> None:
    assert effect_words(effect, CpuState()) == words


def test_no_effect_is_without_words() -> None:
    for kind in get_args(Effect):
        fields = [8 if field not in ("use", "level", "name", "text") else "pte" for field in kind.__slots__]
        assert effect_words(kind(*fields), CpuState())


@pytest.mark.parametrize(
    ("value", "words"),
    [((1 << 64) - 14, "0xfffffffffffffff2 (-EFAULT)"), (24, "0x18 (24)"), (3, "0x3"), (1 << 40, "0x10000000000")],
)
def test_register_values(value: int, words: str) -> None:
    assert register_value(value) == words
