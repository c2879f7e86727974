"""
`.altinstructions`: for each place in the code, another way to write it for a CPU that has (or lacks) some feature.

    up to 5.12 or so   s32 site, s32 replacement, u16 feature, u8 length, u8 replacement length, u8 padding   13 bytes
    v6.1               s32 site, s32 replacement, u16 feature, u8 length, u8 replacement length               12 bytes
    v6.12              s32 site, s32 replacement, u16 feature, u16 flags, u8 length, u8 replacement length    14 bytes

The two addresses are relative to their own fields. In v6.1 bit 15 of the feature inverts it; in v6.12 a flag does.

Kernel: arch/x86/include/asm/alternative.h struct alt_instr, arch/x86/kernel/alternative.c apply_alternatives(),
v6.1 and v6.12. Differs: 13-byte tables are applied by v6.1's rules, which do the same with other no-ops.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import BadInput
from .code_bytes import CALL, NOP, branch, optimize_nops_61, optimize_nops_612, relocate_61, relocate_612
from .cpu_features import feature_numbers
from .text import Addresses, Text, signed
from .vmlinux import Vmlinux

LAYOUTS = {
    12: np.dtype([("site", "<i4"), ("other", "<i4"), ("feature", "<u2"), ("length", "u1"), ("other_length", "u1")]),
    14: np.dtype(
        [
            ("site", "<i4"),
            ("other", "<i4"),
            ("feature", "<u2"),
            ("flags", "<u2"),
            ("length", "u1"),
            ("other_length", "u1"),
        ]
    ),
    13: np.dtype(
        [
            ("site", "<i4"),
            ("other", "<i4"),
            ("feature", "<u2"),
            ("length", "u1"),
            ("other_length", "u1"),
            ("padding", "u1"),
        ]
    ),
}
INVERTED_61 = 1 << 15
INDIRECT_CALL = b"\xff\x15"
FLAG_NOT, FLAG_DIRECT_CALL = 1, 2
KNOWN_FLAGS = FLAG_NOT | FLAG_DIRECT_CALL
MAX_FEATURE = 24 * 32


class Alternative(NamedTuple):
    """One entry: `length` bytes at `site`, or the `other_length` at `other` if the CPU is so that `wanted`."""

    site: int
    other: int
    wanted: bool
    direct_call: bool
    length: int
    other_length: int


def apply_alternatives(text: Text, features: frozenset[str]) -> None:
    """
    Rewrite the code in `text` for a CPU with these features, in the order of the table: a later entry may overwrite
    an earlier one.

    Errors: BadInput if no layout of the table makes sense, or a feature is unknown.
    """
    found = text.image.between(".altinstructions", "__alt_instructions", "__alt_instructions_end")
    if found is None:
        feature_numbers(features, moved=False)
        return
    address, table = found
    size = choose_layout(text, address, table)
    entries = read_alternatives(address, table, size, features)
    if size == 14:
        apply_612(text, entries)
    else:
        apply_61(text, entries)


def choose_layout(text: Text, address: int, table: memoryview) -> int:
    """The entry size under which the whole table makes sense: it divides, all lies in code, all lengths are sane."""
    for size, layout in LAYOUTS.items():
        if len(table) % size:
            continue
        rows = np.frombuffer(table, layout)
        at = signed(address) + np.arange(len(rows)) * size
        feature = rows["feature"] if size == 14 else rows["feature"] & ~np.uint16(INVERTED_61)
        length, other_length = rows["length"].astype(np.int64), rows["other_length"].astype(np.int64)
        sane = bool((feature < MAX_FEATURE).all() and (other_length <= length).all())
        if size == 14:
            sane = sane and not (rows["flags"] & ~np.uint16(KNOWN_FLAGS)).any()
        if sane and text.holds(at + rows["site"], length) and text.holds(at + 4 + rows["other"], other_length):
            return size
    where = f"{text.image.path} .altinstructions"
    raise BadInput(where, expected="entries of 12, 13 or 14 bytes that lead into code", got=f"{len(table)} other bytes")


def read_alternatives(address: int, table: memoryview, size: int, features: frozenset[str]) -> list[Alternative]:
    """The entries, with the CPU's answer to each."""
    rows = np.frombuffer(table, LAYOUTS[size])
    numbers = np.array(sorted(feature_numbers(features, moved=size == 14)))
    at = signed(address) + np.arange(len(rows)) * size
    if size == 14:
        feature, inverted = rows["feature"], rows["flags"] & FLAG_NOT != 0
        direct, length = rows["flags"] & FLAG_DIRECT_CALL != 0, longest_at_site(at + rows["site"], rows["length"])
    else:
        feature, inverted = rows["feature"] & ~np.uint16(INVERTED_61), rows["feature"] & INVERTED_61 != 0
        direct, length = np.zeros(len(rows), bool), rows["length"]
    columns = (
        at + rows["site"],
        at + 4 + rows["other"],
        np.isin(feature, numbers) != inverted,
        direct,
        length,
        rows["other_length"],
    )
    return [Alternative(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def longest_at_site(sites: Addresses, lengths: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Entries in a row for one site all get the longest one's length. Kernel: apply_alternatives(), v6.12."""
    firsts = np.flatnonzero(np.concatenate(([True], sites[1:] != sites[:-1])))
    counts = np.diff(np.append(firsts, len(sites)))
    return np.repeat(np.maximum.reduceat(lengths, firsts), counts)


def apply_61(text: Text, entries: list[Alternative]) -> None:
    """Kernel: apply_alternatives(), v6.1."""
    bits = text.image.platform.bits
    for entry in entries:
        before = text.read(entry.site, entry.length)
        code = before
        if entry.wanted:
            other = relocate_61(text.read(entry.other, entry.other_length), entry.other, entry.site, bits)
            code = other.ljust(entry.length, bytes((NOP,)))
        code = optimize_nops_61(code, bits)
        if code != before:
            text.write(entry.site, code)


def apply_612(text: Text, entries: list[Alternative]) -> None:
    """Kernel: apply_alternatives() and text_poke_apply_relocation(), v6.12."""
    target, bits = call_targets(text.image), text.image.platform.bits
    for entry in entries:
        before = text.read(entry.site, entry.length)
        code = before
        if entry.wanted:
            other = text.read(entry.other, entry.other_length)
            if entry.direct_call:
                if len(other) != 5 or other[0] != CALL or len(before) != 6 or before[:2] != INDIRECT_CALL:
                    where = f"{text.image.path} .altinstructions"
                    raise BadInput(where, expected="ALT_FLAG_DIRECT_CALL on an indirect call", got=before.hex(" "))
                function = target(entry.site + 6 + int.from_bytes(before[2:], "little", signed=True))
                other = b"" if function is None else branch(CALL, entry.other, function)
            code = relocate_612(other, entry.other, entry.site, bits).ljust(entry.length, bytes((NOP,)))
        code = optimize_nops_612(code, bits)
        if code != before:
            text.write(entry.site, code)


def call_targets(image: Vmlinux) -> Callable[[int], int | None]:
    """
    What an indirect call through a pointer at some address calls, as a direct call: BUG_func if it is NULL, None (no
    call at all) if it is nop_func.

    Kernel: alt_replace_call(), v6.12.
    """
    nothing = image.symbols.get("nop_func")

    @cache
    def target(pointer: int) -> int | None:
        function = int.from_bytes(image.read(pointer % (1 << 64), 8), "little")
        if function == nothing:
            return None
        return signed(function or image.symbols.find("BUG_func"))

    return target
