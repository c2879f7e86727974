"""
An exception table without a section header or a symbol that says where it is: found by its shape.

    candidates = by_shape([(address, data)], platform, executable)      # the best first
    table, found = the_one(candidates, where="vmlinuz")

A table is the longest run of entries whose two addresses lie in code, whose type is one the architecture has, and
whose instructions are in order: most architectures sort their table when the image is linked. Where it is sorted at
boot, nothing is found.

What else in an image looks so, and why it is not taken:

    .orc_unwind_ip, __mcount_loc    addresses of code in order: the words of two entries, read in a row, are in order
                                    as well. A fixup may lie anywhere, so the words of a table are not.
    .notes, zeros                   as relative addresses they point at themselves or right behind.
    equal or counting words         as relative addresses they point at things that lie as near together as they do.
    __bug_table, jump tables        few entries in a row have a type that is one.
    arrays of pointers, call sites  the instructions at a table's addresses may fault, and are no calls.

Only the kernel's own table can be found so. A second one (arm64's __kvm_ex_table, s390's .amode31.ex_table) has a few
entries, and many other things in an image are as long.

Kernel: scripts/sorttable.c do_sort(), v6.12.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from ..arch.exception_format import Addressing, FixupMark, Layout, ThirdWord
from ..arch.platform import Platform
from ..errors import Absent

Piece = tuple[int, memoryview]
"""An address and the bytes that lie there."""
Ranges = Sequence[tuple[int, int]]
Addresses = NDArray[np.uint64]
Words = NDArray[np.unsignedinteger]

CHUNK = 1 << 16
"""Words looked at at a time: what is computed for them stays in the processor's cache."""
FEWEST = 8
"""A run shorter than this is chance."""
MOST_RUNS = 64
"""The longest runs of a piece that are looked at closely."""
NEARBY = 256
"""A relative entry does not point this near to itself: tables lie in read-only data, code in pages of its own."""
NEW_TYPES = 8
"""Type numbers above those we know that are let pass: a newer kernel's table is found, and its type named, later."""
SPREAD = 4
"""The instructions of a table lie over this many times its own size, at least."""
MOST_HANDLERS = 64
"""Handler functions that a table may name: kernels have had a dozen."""
CLOSE = 0.5
"""A runner-up with this share of the best score leaves a doubt."""

SAMPLE = 64
"""Instructions of a candidate that are disassembled."""
MOST_DISASSEMBLED = 48
"""Candidates whose instructions are looked at, those with the most entries."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """
    A run of bytes that has a table's shape: it lies at `address`, `raw` are its bytes and `layout` reads them.

    `inside` is the share of its entries both of whose addresses lie in code, None where it is not known what is code;
    `faulting` is the share of its instructions that may fault, None where they were not looked at. `score` compares
    candidates of one image: entries, weighed by these shares.
    """

    layout: Layout
    address: int
    raw: memoryview
    inside: float | None = None
    faulting: float | None = None

    @property
    def entries(self) -> int:
        return len(self.raw) // self.layout.size

    @property
    def score(self) -> float:
        inside = 1.0 if self.inside is None else self.inside
        return self.entries * inside * (1.0 if self.faulting is None else self.faulting**2)


def by_shape(pieces: Sequence[Piece], platform: Platform, executable: Ranges | None = None) -> tuple[Candidate, ...]:
    """
    What has the shape of an exception table, best first. An entry may point anywhere into `pieces`, which are all of
    the image. `executable` has the ranges (start, end) of its code if they are known; they weigh the candidates, and do
    not cut them: code lies outside of them more often than one thinks (.exit.text; the .init.text of an i386 kernel is
    in an ELF segment that is not marked executable).

    Takes time in proportion to the bytes, whatever they are, and a quarter of their size in memory.
    """
    places = [(start, start + len(data)) for start, data in pieces if len(data) and start >= platform.kernel_half]
    if not places or platform.exceptions.sorted_since is None:
        return ()
    found = [
        weighed
        for layout in distinct(platform)
        for start, data in pieces
        for candidate in in_piece(start, data, layout, platform, places)
        if (weighed := weigh(candidate, platform, executable)) is not None
    ]
    found.sort(key=lambda candidate: -candidate.score)
    looked_at = [replace(c, faulting=faulting(c, pieces, platform)) for c in found[:MOST_DISASSEMBLED]]
    return tuple(sorted(looked_at, key=lambda candidate: -candidate.score))


def the_one(candidates: Sequence[Candidate], *, where: str) -> tuple[Candidate, str]:
    """
    The best of them, and in words how sure that is.

    Errors: Absent if there is none.
    """
    if not candidates:
        hint = f"nothing in it has the shape of one: {FEWEST} entries in order whose addresses lie in code"
        raise Absent("exception table", where=where, hint=hint)
    best = candidates[0]
    others = [c for c in candidates[1:] if not overlap(c, best)]
    words = f"its shape: {best.entries} entries of {best.layout.size} bytes in order at {best.address:#x}"
    place = f"addresses lie in code ({best.inside:.0%})" if best.inside is not None else "addresses lie in the image"
    words += f" whose {place}"
    if best.faulting is not None:
        words += f" and whose instructions may fault ({best.faulting:.0%})"
    if not others:
        return best, f"{words}; nothing else is like it"
    next_best = others[0]
    words += f"; the next best run, at {next_best.address:#x}, has {next_best.entries}"
    if next_best.faulting is not None:
        words += f" ({next_best.faulting:.0%})"
    if next_best.score >= CLOSE * best.score:
        words += ", which is close: this may be the wrong one"
    return best, words


def overlap(one: Candidate, other: Candidate) -> bool:
    return one.address < other.address + len(other.raw) and other.address < one.address + len(one.raw)


def distinct(platform: Platform) -> Iterator[Layout]:
    """The layouts that differ in what is looked for here; the newest of those that do not."""
    seen = set()
    for layout in platform.exceptions.layouts:
        key = (layout.size, layout.addresses, layout.third)
        if layout.addresses in (Addressing.ABSOLUTE, Addressing.OWN_FIELD) and key not in seen:
            seen.add(key)
            yield layout


def word_type(layout: Layout, platform: Platform) -> np.dtype[np.unsignedinteger]:
    """What an address in an entry is: 32 bits where it is relative."""
    width = layout.size // 2 if layout.addresses is Addressing.ABSOLUTE else 4
    return np.dtype(f"{'<' if platform.byte_order == 'little' else '>'}u{width}")


def in_piece(address: int, data: memoryview, layout: Layout, platform: Platform, places: Ranges) -> Iterator[Candidate]:
    """The longest runs of one layout in one piece."""
    type_ = word_type(layout, platform)
    width = type_.itemsize
    skip = -address % width
    whole = (len(data) - skip) // width * width
    if whole < FEWEST * layout.size:
        return
    linked = links(np.frombuffer(data[skip : skip + whole], type_), address + skip, layout, places)
    for first, count in runs(linked, layout.size // width):
        start = skip + first * width
        yield Candidate(layout, address + start, data[start : start + count * layout.size])


def links(words: Words, address: int, layout: Layout, places: Ranges) -> NDArray[np.bool_]:
    """
    For every word: does an entry begin here, and the next one after it, in order? Shape (words,).

    Addresses are computed modulo the width of a word and counted from the lowest of `places`: that is all their order
    needs. What is wrong by a multiple of 4 GiB is told later, when the table is read.
    """
    width = words.dtype.itemsize
    native = np.dtype(f"u{width}").type
    mask = (1 << 8 * width) - 1
    step = layout.size // width
    relative = layout.addresses is Addressing.OWN_FIELD
    big = words.dtype.str.startswith(">")
    low = min(start for start, _ in places)
    bounds = [(native(start - low & mask), native(min(end - start, mask))) for start, end in places]
    linked = np.zeros(len(words), np.bool_)
    own = np.arange(CHUNK + 2 * step, dtype=native) * native(width)
    for at in range(0, len(words) - 2 * step + 1, CHUNK):
        chunk = words[at : at + CHUNK + 2 * step - 1].astype(native)
        target = chunk - native(low & mask)
        if relative:
            target += own[: len(chunk)]
            target += native(address + at * width & mask)
        code = np.zeros(len(chunk), np.bool_)
        for start, size in bounds:
            code |= target - start < size
        if relative:
            code &= chunk + native(NEARBY) >= 2 * NEARBY
        count = len(chunk) - step + 1
        entry = code[:count] & fixups(chunk, code, layout, count) & fits(chunk, code, layout, count, big=big)
        count -= step
        linked[at : at + count] = entry[:count] & entry[step:] & (target[:count] <= target[step : step + count])
    return linked


def fixups(chunk: Words, code: NDArray[np.bool_], layout: Layout, count: int) -> NDArray[np.bool_]:
    """
    Of the entries that might begin at the first `count` words of a chunk: whose fixup is possible?

    Kernel: arch/x86/mm/extable.c fixup_exception(), v3.5 to v4.5, for the mark uaccess_err.
    """
    possible = code[1 : count + 1]
    if layout.mark is FixupMark.UACCESS_ERR and layout.addresses is Addressing.OWN_FIELD:
        return possible | ((chunk[1 : count + 1] - chunk[:count]).view(np.int32) >= layout.mark_bias - 4)
    return possible


def fits(chunk: Words, code: NDArray[np.bool_], layout: Layout, count: int, *, big: bool) -> NDArray[np.bool_]:
    """Of the same entries: whose third word is possible? The lower half of a handler's address is its last word."""
    third = chunk[2 : count + 2]
    match layout.third:
        case ThirdWord.NONE | ThirdWord.ERR_OPCODE:
            return np.ones(count, np.bool_)
        case ThirdWord.HANDLER:
            last = layout.size // 4 - 1 if big else 2
            return code[last : count + last]
        case ThirdWord.TYPE | ThirdWord.DATA | ThirdWord.TYPE_AND_DATA:
            swapped = big and layout.third is ThirdWord.TYPE_AND_DATA
            number = third >> 16 if swapped else third & layout.type_mask
            return (number > 0) & (number <= max(layout.numbers) + NEW_TYPES)
    assert_never(layout.third)


def runs(linked: NDArray[np.bool_], step: int) -> list[tuple[int, int]]:
    """The longest runs of entries, each as its first word and its number of entries."""
    found: list[tuple[int, int]] = []
    for phase in range(step):
        every = linked[phase::step]
        edges = np.flatnonzero(every[1:] != every[:-1]) + 1
        starts = np.concatenate(([0], edges))
        lengths = np.diff(np.append(starts, len(every)))
        places = np.flatnonzero(every[starts] & (lengths + 1 >= FEWEST))
        if len(places) > MOST_RUNS:
            places = places[np.argpartition(-lengths[places], MOST_RUNS)[:MOST_RUNS]]
        found += [(int(starts[place]) * step + phase, int(lengths[place]) + 1) for place in places]
    return found


def addresses(candidate: Candidate, platform: Platform) -> tuple[Addresses, Addresses]:
    """A candidate's instructions and fixups, each of shape (entries,)."""
    words = np.frombuffer(candidate.raw, word_type(candidate.layout, platform)).reshape(candidate.entries, -1)[:, :2]
    if candidate.layout.addresses is Addressing.ABSOLUTE:
        return words[:, 0].astype(np.uint64), words[:, 1].astype(np.uint64)
    own = np.uint64(candidate.address) + np.arange(candidate.entries, dtype=np.uint64) * np.uint64(
        candidate.layout.size
    )
    relative = words.astype(np.int32).astype(np.int64).view(np.uint64)
    mask = np.uint64((1 << platform.bits) - 1)
    return relative[:, 0] + own & mask, relative[:, 1] + own + np.uint64(4) & mask


def inside(values: Addresses, ranges: Ranges) -> NDArray[np.bool_]:
    """Which of the addresses lie in one of the ranges?"""
    found = np.zeros(len(values), np.bool_)
    for start, end in ranges:
        found |= (values >= start) & (values < end)
    return found


def weigh(candidate: Candidate, platform: Platform, executable: Ranges | None) -> Candidate | None:
    """
    The candidate with its share in code; None for a list of single addresses in order, for words that hardly change,
    and for what points at itself or names too many handlers.
    """
    insn, fixup = addresses(candidate, platform)
    row = (insn < fixup) & (fixup <= np.append(insn[1:], fixup[-1:]))
    itself = insn - np.uint64(candidate.address) < len(candidate.raw)
    spread = int(insn[-1] - insn[0])
    if itself.any() or row.mean() > 0.9 or spread <= SPREAD * len(candidate.raw):
        return None
    if candidate.layout.third is ThirdWord.HANDLER:
        words = np.frombuffer(candidate.raw, word_type(candidate.layout, platform)).reshape(candidate.entries, -1)
        last = words[:, -1 if platform.byte_order == "big" else 2].astype(np.uint32)
        handlers = last + np.arange(candidate.entries, dtype=np.uint32) * np.uint32(candidate.layout.size)
        if len(np.unique(handlers)) > MOST_HANDLERS:
            return None
    share = float((inside(insn, executable) & inside(fixup, executable)).mean()) if executable else None
    return replace(candidate, inside=share)


def faulting(candidate: Candidate, pieces: Sequence[Piece], platform: Platform) -> float | None:
    """
    Which share of the instructions, by a sample, may fault? None where we cannot disassemble. A call may, as it writes
    the stack, but is counted as one that may not: tables of call sites list nothing else.
    """
    from ..arch.disassembly import can_disassemble, disassemble  # capstone takes its time to start
    from ..arch.faulting import can_fault

    if not can_disassemble(platform):
        return None
    insn = addresses(candidate, platform)[0]
    sample = insn[np.linspace(0, len(insn) - 1, min(SAMPLE, len(insn))).astype(np.intp)].tolist()
    count = 0
    for ip in sample:
        for address, data in pieces:
            at = ip - address
            if 0 <= at < len(data):
                found = disassemble(platform, bytes(data[at : at + 16]), ip)
                if found is not None and not found.mnemonic.startswith("call"):
                    count += can_fault(platform, found, before=bytes(data[max(at - 6, 0) : at]))
                break
    return count / len(sample)
