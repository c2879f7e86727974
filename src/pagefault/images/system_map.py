"""
A kernel's symbols as text: System.map, /proc/kallsyms, and what `nm -n` prints.

    read_system_map("/boot/System.map-6.1.0", X86_64).find("memcpy")

A line is an address, nm's letter and a name, and in /proc/kallsyms a tab and the module in brackets; all addresses have
the same width. So the lines are looked at all at once, as arrays: there are 118,000 and more.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..arch.platform import Platform
from ..errors import Absent, BadInput
from ..tables.symbol_names import MAX_NAME, Flags, Indices, Words
from ..tables.symbols import SymbolTable

MAX_SIZE = 1 << 28
"""What is read at most: /proc/kallsyms does not say how long it is."""
MAX_MODULES = 2_000
"""Every module is asked for an address that is not the kernel's own. A machine has one or two hundred."""
LF, TAB, SPACE = b"\n\t "
OPENED, CLOSED = b"[]"
NIBBLES = np.full(256, 0xFF, np.uint8)
NIBBLES[list(b"0123456789abcdef")] = range(16)
NIBBLES[list(b"ABCDEF")] = range(10, 16)
BLANK = np.isin(np.arange(256), list(b"\0\t\v\f\r "))
SHORTEST = len("80000000 T a")
UNDEFINED = np.isin(np.arange(256), list(b"UvVwW"))
"""Letters of symbols that may have no address."""
STUB = b"The real System.map is in "
"""What Debian's /boot/System.map says instead of symbols; the package it names follows."""


def read_system_map(path: str, platform: Platform) -> SymbolTable:
    """
    The symbols in the file at `path`.

    Errors: BadInput if it cannot be read or is not such a list; Absent if it tells no addresses.
    """
    try:
        with Path(path).open("rb") as file:
            try:
                data: bytes | mmap.mmap = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except (OSError, ValueError):
                # A file of /proc has no length, and cannot be mapped.
                data = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise BadInput(path, expected="a readable list of symbols", got=error.strerror or "an error") from error
    return parse_system_map(data, platform, where=path)


def parse_system_map(data: bytes | mmap.mmap, platform: Platform, *, where: str) -> SymbolTable:
    """
    The symbols in a list's text: the kernel's, and beside them each module's.

    Errors: as above; BadInput names the first line that is none.
    """
    if len(data) > MAX_SIZE:
        raise BadInput(where, expected=f"at most {MAX_SIZE} bytes of symbols", got="more")
    head = data[:200]
    if STUB in head:
        package = head.partition(STUB)[2].split(b"\n")[0].decode("ascii", "replace")
        raise Absent("symbols in it", where=where, hint=f"the real System.map is in {package}")
    lines = _Lines(np.frombuffer(data, np.uint8), platform.bits, where)
    lines.check()
    values = lines.values
    if not values[lines.defined].any():
        raise Absent("addresses", where=where, hint="the kernel hides them (kptr_restrict): run as root")
    letters = lines.text[lines.starts + lines.width + 1]
    strings = lines.text.tobytes().translate(bytes.maketrans(b"\n\t", b"\0\0")) + b"\0"
    own, half = np.flatnonzero(lines.defined & (lines.tabs < 0)), platform.kernel_half
    found = SymbolTable.from_names(values[own], letters[own], lines.names[own], strings, where=where, kernel_half=half)
    for module, rows in lines.modules().items():
        # A module's names by themselves: whoever looks for one looks through no other's.
        places = zip(lines.names[rows].tolist(), lines.ends[rows].tolist(), strict=True)
        names = [strings[start:end] + b"\0" for start, end in places]
        starts = np.cumsum([0, *map(len, names[:-1])], dtype=np.int64)
        table = SymbolTable.from_names(values[rows], letters[rows], starts, b"".join(names), where=where, kernel_half=0)
        found = found.with_module(table, module.decode("ascii", "replace"))
    return found


@dataclass(slots=False)
class _Lines:
    """The lines of `text` as columns: one element each."""

    text: npt.NDArray[np.uint8]
    bits: int
    where: str

    @cached_property
    def ends(self) -> Indices:
        found = np.flatnonzero(self.text == LF)
        return found if len(self.text) and self.text[-1] == LF else np.append(found, len(self.text))

    @cached_property
    def starts(self) -> Indices:
        return np.concatenate(([0], self.ends[:-1] + 1))

    @cached_property
    def width(self) -> int:
        """How many digits an address has: the first line's that has one."""
        start = int(self.starts[int(np.argmax(self.defined))])
        width = self.text[start : start + 17].tobytes().find(b" ")
        # For MIPS, nm prints 32-bit addresses with their sign extended to 64 bits.
        if width != 16 and (width != 8 or self.bits == 64):
            raise self.bad(int(np.argmax(self.defined)), f"an address of {self.bits // 4} hexadecimal digits")
        return width

    @cached_property
    def defined(self) -> Flags:
        """Which lines have an address: nm prints spaces for what is undefined."""
        found: Flags = self.text[np.minimum(self.starts, len(self.text) - 1)] != SPACE
        return found

    @property
    def names(self) -> Indices:
        """Where the names start."""
        return self.starts + self.width + 3

    @cached_property
    def tabs(self) -> Indices:
        """Where the tab in front of a module's name is, -1 where there is none."""
        found = np.flatnonzero(self.text == TAB)
        tabs = np.full(len(self.starts), -1, np.int64)
        tabs[np.searchsorted(self.starts, found, "right") - 1] = found
        return tabs

    @cached_property
    def values(self) -> Words:
        return self._addresses[0]

    @cached_property
    def _addresses(self) -> tuple[Words, Flags]:
        """The addresses, and which of them have a character that is no digit."""
        values, wrong = np.zeros(len(self.starts), np.uint64), np.zeros(len(self.starts), np.bool_)
        for place in range(self.width):
            nibbles = NIBBLES[self.text[self.starts + place]]
            wrong |= nibbles == 0xFF
            values = values << np.uint64(4) | nibbles
        if self.bits == 32:
            values &= np.uint64(0xFFFFFFFF)
        return values, wrong

    def check(self) -> None:
        """Errors: BadInput with the first line that is not a symbol's."""
        if not len(self.text):
            raise BadInput(self.where, expected="lines of an address, a letter and a name", got="an empty file")
        lines = int(np.count_nonzero(self.text == LF))
        if lines > len(self.text) // SHORTEST + 1:
            # Columns of that many lines would take much more memory than the file.
            raise BadInput(self.where, expected=f"lines of {SHORTEST} bytes and more", got=f"{lines} shorter ones")
        lengths = self.ends - self.starts
        self.refuse(lengths < self.width + 4, "an address, a letter and a name")
        text, starts, tabs = self.text, self.starts, self.tabs
        letters = text[starts + self.width + 1]
        self.refuse(np.where(self.defined, self._addresses[1], ~UNDEFINED[letters]), "an address in hexadecimal")
        self.refuse((text[starts + self.width] != SPACE) | (text[starts + self.width + 2] != SPACE), "one letter")
        module = tabs >= 0
        size = np.where(module, tabs, self.ends) - self.names
        self.refuse((size < 1) | (size > MAX_NAME), f"a name of 1 to {MAX_NAME} bytes")
        bracketed = (text[np.minimum(tabs + 1, self.ends - 1)] == OPENED) & (text[self.ends - 1] == CLOSED)
        self.refuse(module & (~bracketed | (self.ends - tabs < 4)), "a module's name in brackets")
        # As many blanks as there must be, and no others. GNU as has a character 2 in its names of local labels.
        blanks = np.flatnonzero(BLANK[text])
        counts = np.bincount(np.searchsorted(starts, blanks, "right") - 1, minlength=len(starts))
        self.refuse(counts != 2 + module + np.where(self.defined, 0, self.width), "a name without blanks")

    def modules(self) -> dict[bytes, list[int]]:
        """The lines of each module."""
        found: dict[bytes, list[int]] = {}
        rows = np.flatnonzero(self.defined & (self.tabs >= 0))
        strings = self.text.data
        for row, tab, end in zip(rows.tolist(), self.tabs[rows].tolist(), self.ends[rows].tolist(), strict=True):
            found.setdefault(bytes(strings[tab + 2 : end - 1]), []).append(row)
        if len(found) > MAX_MODULES:
            raise BadInput(self.where, expected=f"at most {MAX_MODULES} modules", got=f"{len(found)}")
        return found

    def refuse(self, wrong: Flags, expected: str) -> None:
        if wrong.any():
            raise self.bad(int(np.argmax(wrong)), expected)

    def bad(self, row: int, expected: str) -> BadInput:
        start, end = int(self.starts[row]), int(self.ends[row])
        line = self.text[start : min(end, start + 80)].tobytes().decode("ascii", "backslashreplace")
        return BadInput(self.where, offset=start, expected=f"{expected} in line {row + 1}", got=repr(line))
