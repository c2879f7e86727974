"""
The names in a kernel's own list of its symbols: compressed with a table of 256 tokens.

A name is a length and as many bytes, each of which stands for a token; what they spell is the symbol's letter (nm's)
and its name. The tables lie one behind the other, each aligned to the size of a pointer:

    num_syms, names, markers (where every 256th name begins), [seqs_of_names], token_table, token_index

Kernel: scripts/kallsyms.c write_src(), kernel/kallsyms.c kallsyms_expand_symbol(), v6.1 and v6.12.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from ..arch.platform import Platform
from ..errors import BadInput
from ..tables.symbol_names import MAX_NAME, Indices

Bytes = npt.NDArray[np.uint8]
TOKENS, BLOCK = 256, 256
MAX_EXPANSION = 16
"""How many times longer than its compressed form the whole of the names may be; in real kernels it is two to three."""
MAX_TOKEN_TABLE = 1 << 16
"""What the two bytes of kallsyms_token_index can point into."""
MAX_NAMES_SIZE = 1 << 24
"""Of compressed names; Debian's largest kernels have 2 MB."""
MAX_SYMBOLS = 1 << 24
"""What the three bytes of kallsyms_seqs_of_names can number."""
SEARCHED = (1 << 20, 1 << 24)
"""How far before the token table the markers are looked for: kallsyms_seqs_of_names may lie between."""
CHUNK = 1 << 20
MATCHES, RUNS, COUNTS, TRIED = 256, 16, 64, 2
"""
How many things that look like a token table, the first markers, num_syms and all of them are looked into. A kernel has
one of each; a file made to have many shall not keep us.
"""


def _themselves(first: str, last: str) -> bytes:
    return b"".join(bytes((code, 0)) for code in range(ord(first), ord(last) + 1))


TOKEN_TABLE = re.compile(
    re.escape(_themselves("0", "9"))
    + rb"(?:[^\0]{0,%d}+\0){%d}+" % (MAX_NAME, ord("a") - ord("9") - 1)
    + re.escape(_themselves("a", "z"))
)
"""Characters that occur in names stand for themselves, digits and small letters among them."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenTable:
    """kallsyms_token_table: its bytes, and where in them each token starts and how long it is (256 each)."""

    text: Bytes
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]

    @classmethod
    def of(cls, text: memoryview, index: memoryview, platform: Platform) -> TokenTable | None:
        """
        The table with these bytes, behind which there may be more, and this kallsyms_token_index; None if the index
        does not name the starts of the text's first 256 strings.
        """
        codes = np.frombuffer(text, np.uint8)
        ends = np.flatnonzero(codes == 0)[:TOKENS]
        starts = np.concatenate(([0], ends[:-1] + 1))
        named = np.frombuffer(index, f"{_order(platform)}u2")
        if len(ends) < TOKENS or len(named) != TOKENS or (named != starts).any():
            return None
        return cls(codes[: ends[-1] + 1], starts, ends - starts)


def token_tables(data: memoryview, platform: Platform) -> Iterator[tuple[int, int, TokenTable]]:
    """Offsets of what must be a token table and of its index behind it, and the two as one."""
    for digits in islice(TOKEN_TABLE.finditer(data), MATCHES):
        # Only from the digits on is it certain where tokens begin: in front of them anything may lie.
        codes = np.frombuffer(data[digits.start() : digits.start() + MAX_TOKEN_TABLE], np.uint8)
        stops = np.flatnonzero(codes == 0)[: TOKENS - ord("0")]
        if len(stops) < TOKENS - ord("0"):
            continue
        behind = digits.start() + int(stops[-1]) + 1
        for at in range(behind, min(behind + platform.pointer, len(data) - 2 * TOKENS + 1)):
            index = data[at : at + 2 * TOKENS]
            start = digits.start() - int(np.frombuffer(index, f"{_order(platform)}u2")[ord("0")])
            if tokens := TokenTable.of(data[start:at], index, platform):
                yield start, at, tokens


@dataclass(frozen=True, slots=True, eq=False)
class FoundNames:
    """The compressed names: `num_syms` and `names` are offsets, `starts` where each of the symbols' lengths lies."""

    num_syms: int
    names: int
    size: int
    starts: Indices


def names_before(data: memoryview, token_table: int, platform: Platform) -> FoundNames | None:
    """The names in front of the token table at that offset, found by their markers, or None."""
    for num_syms, count, markers, markers_at in islice(_counts(data, token_table, platform), TRIED):
        names = bytes(data[num_syms + platform.pointer : markers_at])
        walked = walk(names, count, markers)
        if walked is not None and len(names) - walked[1] < platform.pointer and not any(names[walked[1] :]):
            return FoundNames(num_syms, num_syms + platform.pointer, walked[1], walked[0])
    return None


def _counts(
    data: memoryview, token_table: int, platform: Platform
) -> Iterator[tuple[int, int, npt.NDArray[np.unsignedinteger], int]]:
    """
    What may be num_syms in front of the token table: its offset and value, and the markers of as many names, behind
    which the first 256 names end where they must; the offset of the markers.

    Markers and the count were as wide as a pointer before Linux 5.0; the count's padding makes both look alike here.
    """
    for searched in SEARCHED:
        for width in dict.fromkeys((4, platform.pointer)):
            length = min(searched, token_table) // width * width
            words = np.frombuffer(data, f"{_order(platform)}u{width}", length // width, token_table - length)
            for first, run in _marker_runs(words):
                at = token_table - length + first * width
                # What follows the markers may look like one more.
                for markers in (words[first : first + run], words[first : first + run - 1]):
                    for num_syms, count in _counts_of(data, at, markers, platform):
                        yield num_syms, count, markers, at
        if searched >= token_table:
            break


def _marker_runs(words: npt.NDArray[np.unsignedinteger]) -> Iterator[tuple[int, int]]:
    """Places of 0 that numbers follow that grow the way markers do, and how many: the last place first."""
    if len(words) < 2:
        return
    # A block is 256 names of two bytes at least, and of two for the length and MAX_NAME more at most.
    grown = words[1:] - words[:-1]
    grows = (words[1:] > words[:-1]) & (grown >= 2 * BLOCK) & (grown <= (MAX_NAME + 2) * BLOCK)
    firsts = np.flatnonzero((words[:-1] == 0) & grows)[::-1][:RUNS]
    stops = np.append(np.flatnonzero(~grows), len(grows))
    for first in firsts.tolist():
        yield first, int(stops[np.searchsorted(stops, first)]) - first + 1


def _counts_of(
    data: memoryview, markers_at: int, markers: npt.NDArray[np.unsignedinteger], platform: Platform
) -> Iterator[tuple[int, int]]:
    """What may be num_syms of names that end where these markers begin: its offset and its value."""
    pointer = platform.pointer
    last = int(markers[-1])
    if len(markers) < 2 or last > min(markers_at, MAX_NAMES_SIZE):
        return
    stop = markers_at - up(last, pointer)
    size = min(BLOCK * (MAX_NAME + 2), stop) // pointer * pointer
    if not size:
        return
    words = np.frombuffer(data, f"{_order(platform)}u4", size // 4, stop - size).reshape(-1, pointer // 4)
    counts = words.max(1)
    fits = (counts > (len(markers) - 1) * BLOCK) & (counts <= min(len(markers) * BLOCK, MAX_SYMBOLS))
    for place in np.flatnonzero(fits)[::-1][:COUNTS].tolist():
        num_syms = stop - size + place * pointer
        if walk(data[num_syms + pointer : markers_at], BLOCK + 1, markers):
            yield num_syms, int(counts[place])


def walk(
    names: bytes | memoryview, count: int, markers: npt.NDArray[np.unsignedinteger] | None = None
) -> tuple[Indices, int] | None:
    """
    Where each of `count` names begins, and where the last one ends; None if they do not fit, or not their markers.

    A length of more than 127 takes a second byte. Before v6.1 there are none so long.

    Kernel: kernel/kallsyms.c get_symbol_offset(), v6.1 and v6.12.
    """
    starts, place = array("I"), 0
    append = starts.append
    try:
        for block in range(0, count, BLOCK):
            if markers is not None and markers[block // BLOCK] != place:
                return None
            for _ in range(min(BLOCK, count - block)):
                append(place)
                length = names[place]
                if length < 0x80:
                    place += length + 1
                else:
                    place += (length & 0x7F | names[place + 1] << 7) + 2
    except IndexError:
        return None
    if place > len(names):
        return None
    return np.frombuffer(starts, np.uint32).astype(np.int64), place


def expand(names: bytes, starts: Indices, size: int, tokens: TokenTable, where: str) -> tuple[bytes, Indices]:
    """
    The text of the names in the first `size` bytes of `names`, each behind a NUL, and where each one starts in it.

    Errors: BadInput if they are not a letter and a name of at most MAX_NAME bytes each.
    """
    codes = np.frombuffer(names, np.uint8, size)
    # A length's byte becomes the NUL that ends the name before it, the second byte of a long one nothing.
    lengths, sources = tokens.lengths[codes], tokens.starts[codes]
    lengths[starts], sources[starts] = 1, len(tokens.text) - 1
    lengths[starts[codes[starts] >= 0x80] + 1] = 0
    ends = np.cumsum(lengths)
    begins = ends[starts]
    total = int(ends[-1])
    sizes = np.diff(begins, append=total + 1) - 1
    if int(sizes.min()) < 2 or int(sizes.max()) > MAX_NAME or total > MAX_EXPANSION * size:
        got = f"names of {int(sizes.min())} to {int(sizes.max())} bytes, {total} in all"
        raise BadInput(where, expected=f"kallsyms names of 2 to {MAX_NAME} bytes", got=got)
    text = bytearray(total + 1)
    written = np.frombuffer(text, np.uint8)
    shifts = sources - (ends - lengths)
    for first in range(0, size, CHUNK):
        last = min(first + CHUNK, size)
        start, stop = int(ends[first] - lengths[first]), int(ends[last - 1])
        written[start:stop] = tokens.text[np.repeat(shifts[first:last], lengths[first:last]) + np.arange(start, stop)]
    return bytes(text), begins


def _order(platform: Platform) -> str:
    return "<" if platform.byte_order == "little" else ">"


def up(size: int, alignment: int) -> int:
    """`size` and what pads it to the alignment."""
    return -(-size // alignment) * alignment
