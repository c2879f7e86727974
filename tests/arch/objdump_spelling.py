"""
capstone and objdump spell one instruction differently; here both are brought to one spelling, to be compared.

What is dropped: spaces, comments, symbols in <>, `$` `#` and `%` before operands, the base of numbers (as 64 bits,
arm64's as 32), a displacement of 0, x86's size suffixes and the segments of its string instructions. What is
translated: the aliases below, each the same instruction by its manual.
"""

from __future__ import annotations

import re
from collections.abc import Callable

COMMENT = re.compile(r"\s*(?:<[^>]*>|//.*|;.*|@.*|\s#\s.*)")
NUMBER = re.compile(r"(?<![\w.])(-?)(0x[0-9a-f]+|\d+)(?![\w.])")
TARGET = re.compile(r"(?<![\w.])([0-9a-f]+)(?= <)")
X86_SUFFIX = re.compile(r"[bwlq]$")
X86_BARE = re.compile(r"(?:^| )(sub|shl|sal|rol|rcl|i?mul|l?call|vmmcall|sbb)$")
"""Mnemonics that end in a letter that could be a size, and are none the less whole."""
ARM_NAMES = {"sb": "r9", "sl": "r10", "fp": "r11", "ip": "r12", "sp": "r13", "lr": "r14"}
ALIASES: dict[str, tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]] = {
    "x86": (
        (r"^wait$", "fwait"),
        (r"^(xchg ax,ax|nop)$", "nop"),
        (r"^vmgexit$", "vmmcall"),
        (r",eiz\)", ")"),
        (r"^(rep )?(movs|stos)\w* .*", r"\1\2"),
        (r"^movabs ", "mov "),
    ),
    "arm64": ((r"^sys 3,c7,c13,1,", "dc cvadp,"),),
    "arm": (
        (r"^(\w+?)hs(\b)", r"\1cs\2"),
        (r"^stmia", "stm"),
        (r"^(mcr|mrc) (?:p)?(\d+),", r"\1 \2,"),
        (r",cr?(\d+)(?=,)", r",c\1"),
        (r"\{(\d)\}$", r"\1"),
    ),
    "mips": (
        (r"^addiu (\w+),zero,", r"li \1,"),
        (r"^(?:or|addu|daddu|move) (\w+),(\w+)(?:,zero)?$", r"move \1,\2"),
        (r"\bs8\b", "fp"),
    ),
    "powerpc": (
        (r"^rldicr (\w+),(\w+),0,(\d+)$", lambda found: f"clrrdi {found[1]},{found[2]},{63 - int(found[3])}"),
        (r"^(?:hw|lw)?sync$", "sync"),
    ),
    "s390": (
        (r"^bcr 0,r?(\w+)$", r"nopr r\1"),
        (r"^nopr$", "nopr r0"),
        (r"^brcl 0,", "jgnop "),
        (r"^risbgz? (.*),(\d+),(\d+),0$", lambda found: f"risbg {found[1]},{found[2]},{int(found[3]) & 127},0"),
        (r"^risbgz (.*),(\d+),(\d+)$", r"risbg \1,\2,\3,0"),
        (r"^(c\w*j)lh ", r"\1ne "),
    ),
}


def plain(family: str, text: str) -> str:
    """One spelling for both."""
    text = COMMENT.sub("", TARGET.sub(r"0x\1", text.lower().replace("\t", " "))).strip()
    mnemonic, _, operands = re.sub(r"\s+", " ", text).partition(" ")
    if mnemonic in ("rep", "lock"):
        more, _, operands = operands.partition(" ")
        mnemonic += " " + more
    operands = re.sub(r"\s", "", operands)
    operands = re.sub(r"[$#%]", "", operands)
    size = 1 << (32 if family == "arm64" else 64)
    operands = NUMBER.sub(lambda found: str(int(found[1] + found[2], 0) % size), operands)
    operands = re.sub(r"(?<![\w.])0\(", "(", operands)
    if family == "arm":
        operands = re.sub(r"\b(sb|sl|fp|ip|sp|lr)\b", lambda found: ARM_NAMES[found[0]], operands)
    if family == "x86":
        operands = operands.replace(",1)", ")")
        mnemonic = mnemonic if X86_BARE.search(mnemonic) else X86_SUFFIX.sub("", mnemonic)
    whole = f"{mnemonic} {operands}".rstrip()
    for pattern, replacement in ALIASES[family]:
        whole = re.sub(pattern, replacement, whole)
    return whole
