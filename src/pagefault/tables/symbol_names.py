"""
Many names in one string table, as arrays: which of them is this one, and what is the n-th called.

A name is looked for by its first and its last eight bytes, gathered from the strings once; ld merges the tails of
strings, so a name may begin inside another.
"""

from __future__ import annotations

import difflib
from array import array
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ..errors import BadInput

MAX_NAME = 512
"""KSYM_NAME_LEN. Kernel: include/linux/kallsyms.h, v6.1."""
HIDDEN = ("__crc_", "__kstrtab", "__pfx_", "__SC", "__ksymtab", ".")
"""What a name that somebody mistyped was hardly meant to be."""
Words = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class Names:
    """
    The NUL-terminated names at the offsets `starts` of `strings`.

    Errors: BadInput if one of them lies outside, or the strings do not end in NUL.
    """

    def __init__(self, strings: bytes | memoryview, starts: Indices, *, where: str) -> None:
        self.strings, self.starts = memoryview(strings).cast("B"), starts
        if not len(starts):
            return
        if not len(strings) or strings[-1] or int(starts.max()) >= len(strings) or int(starts.min()) < 0:
            raise BadInput(where, expected="symbol names inside a string table that ends in NUL", got="one outside it")

    def __len__(self) -> int:
        return len(self.starts)

    def name(self, index: int) -> str:
        """The name at `index`, of MAX_NAME bytes at most."""
        start = int(self.starts[index])
        return bytes(self.strings[start : start + MAX_NAME]).partition(b"\0")[0].decode("utf-8", "backslashreplace")

    def indices(self, name: str) -> list[int]:
        """Where among the names `name` stands."""
        sought = name.encode("utf-8", "surrogateescape") + b"\0"
        if len(sought) == 1 or b"\0" in sought[:-1] or len(sought) > len(self.strings) or not len(self):
            return []
        found: list[int] = self._beginning(sought).tolist()
        return found

    def starting(self, prefix: bytes) -> Flags:
        """For each name, whether it begins with `prefix`; with a NUL at its end, whether it is that."""
        found = np.zeros(len(self), np.bool_)
        found[self._beginning(prefix)] = True
        return found

    def containing(self, part: bytes) -> Flags:
        """For each name, whether `part` stands somewhere in it; with a NUL at its end, whether it ends so."""
        text, places = bytes(self.strings), array("q")
        place = text.find(part)
        while place >= 0:
            places.append(place)
            place = text.find(part, place + 1)
        if not places:
            return np.zeros(len(self), np.bool_)
        ends = np.flatnonzero(np.frombuffer(text, np.uint8) == 0)
        found = np.append(np.frombuffer(places, np.int64), len(text))
        inside: Flags = found[np.searchsorted(found, self.starts)] < ends[np.searchsorted(ends, self.starts)]
        return inside

    def _beginning(self, prefix: bytes) -> Indices:
        """The indices of the names that begin with `prefix`."""
        head = prefix[:8]
        mask = np.uint64((1 << 8 * len(head)) - 1)
        candidates = np.flatnonzero((self._heads & mask) == np.uint64(int.from_bytes(head, "little")))
        starts = self.starts[candidates]
        if len(prefix) > 8:
            fits = starts + len(prefix) <= len(self.strings)
            candidates, starts = candidates[fits], starts[fits]
            tail = np.uint64(int.from_bytes(prefix[-8:], "little"))
            same = self._windows[starts + (len(prefix) - 8)] == tail
            candidates, starts = candidates[same], starts[same]
        if len(prefix) <= 16:
            return candidates
        whole = [bytes(self.strings[start : start + len(prefix)]) == prefix for start in starts.tolist()]
        return candidates[np.array(whole, np.bool_)]

    def near(self, name: str, limit: int) -> list[str]:
        """Names like `name`. This looks at every name and takes its time: it is for a failure's message."""
        strings, wanted = bytes(self.strings), name.strip("_")
        names = {strings[start : strings.index(0, start)].decode("ascii", "replace") for start in self.starts.tolist()}
        plain = [each for each in sorted(names) if not each.startswith(HIDDEN)]
        alike = [
            each
            for each in plain
            if (bare := each.strip("_"))
            and abs(len(bare) - len(wanted)) <= 3
            and (bare[:3] == wanted[:3] or bare[-4:] == wanted[-4:])
        ]
        close = difflib.get_close_matches(name, alike[:4000], limit, 0.7)
        longer = sorted((each for each in plain if len(wanted) > 3 and wanted in each), key=len)
        return list(dict.fromkeys((*longer[:2], *close, *longer)))[:limit]

    @cached_property
    def _windows(self) -> Words:
        """The eight bytes from every offset of the string table on, as one overlapping view of it."""
        padded = len(self.strings) - 7
        return np.ndarray((max(padded, 0),), "<u8", self.strings, strides=(1,))

    @cached_property
    def _heads(self) -> Words:
        """The first eight bytes of every name; past the string table's end they are zeros."""
        heads = np.zeros(len(self), np.uint64)
        whole = self.starts < len(self._windows)
        heads[whole] = self._windows[self.starts[whole]]
        last = bytes(self.strings[-8:]).rjust(8, b"\0") + bytes(8)
        ends = np.array([int.from_bytes(last[i : i + 8], "little") for i in range(9)], np.uint64)
        heads[~whole] = ends[self.starts[~whole] - len(self.strings) + 8]
        return heads
