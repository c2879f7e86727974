"""
Names of addresses, and addresses of names: an ELF symbol table as arrays, searched the way the kernel's kallsyms is.

No Python object is made per symbol (vmlinux has 118,000 and more). A name is looked for by its first and its last eight
bytes, gathered from the string table once; ld merges the tails of strings, so a name may begin inside another.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ..errors import Absent, BadInput

SYMBOL = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")]
)
"""Elf64_Sym. Manual: System V ABI, chapter 4, "Symbol Table"."""
STB_WEAK = 2
STT_OBJECT, STT_SECTION, STT_FILE = 1, 3, 4
SHN_UNDEF, SHN_ABS, SHN_COMMON = 0, 0xFFF1, 0xFFF2
KERNEL_HALF = 1 << 63
MAX_NAME = 512
"""KSYM_NAME_LEN. Kernel: include/linux/kallsyms.h, v6.1."""
UNLISTED_PREFIXES = (b".L", b"$", b"__crc_", b"__kstrtab_", b"__kstrtabns_", b"__kcfi_typeid_", b"L0\0")
"""Names that System.map and kallsyms leave out. Kernel: scripts/mksysmap, v6.12 (and scripts/kallsyms.c, v6.1)."""
HIDDEN = ("__crc_", "__kstrtab", "__pfx_", "__SC", "__ksymtab", ".")
"""What a name that somebody mistyped was hardly meant to be."""
Words = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Symbol:
    """
    Where an address lies: `offset` bytes into `name`, which starts at `address`. `size` is the distance to the next
    symbol at another address, as kallsyms has it, whatever the ELF symbol says. `module` is None for the kernel.
    """

    name: str
    address: int
    size: int
    offset: int
    module: str | None = None

    def __str__(self) -> str:
        """As %pS prints it. Kernel: kernel/kallsyms.c __sprint_symbol(), v6.1."""
        text = f"{self.name}+{self.offset:#x}/{self.size:#x}"
        return text if self.module is None else f"{text} [{self.module}]"


class SymbolTable:
    """
    The symbols of one file, and of the modules put beside it with `with_module`.

    A per-CPU symbol's value is an offset (0 .. 0x39000 or so) and not an address: `find` knows it, `at` does not.

    Errors: BadInput if the tables contradict themselves; Absent from `find`.
    """

    def __init__(
        self,
        symtab: bytes | memoryview,
        strtab: bytes | memoryview,
        *,
        where: str,
    ) -> None:
        if len(symtab) % SYMBOL.itemsize:
            raise BadInput(where, expected=f"symbols of {SYMBOL.itemsize} bytes each", got=f"{len(symtab)} bytes")
        self.where = where
        self.module: str | None = None
        self._modules: tuple[SymbolTable, ...] = ()
        entries = np.frombuffer(symtab, SYMBOL)
        # Section and file symbols name no place in memory, undefined ones name somebody else's.
        kind = entries["info"] & 0xF
        entries = entries[(entries["section"] != SHN_UNDEF) & (kind != STT_SECTION) & (kind != STT_FILE)]
        self._entries, self._values = entries, entries["value"]
        self._names = entries["name"].astype(np.int64)
        self._strings = memoryview(strtab)
        if len(entries) and (not len(strtab) or strtab[-1] or int(self._names.max()) >= len(strtab)):
            raise BadInput(where, expected="symbol names inside a string table that ends in NUL", got="one outside it")

    @classmethod
    def empty(cls, where: str) -> SymbolTable:
        """The table of a file that has none: nothing is found, and `find` says why."""
        return cls(b"", b"", where=where)

    def __len__(self) -> int:
        return len(self._values)

    def with_module(self, table: SymbolTable, name: str) -> SymbolTable:
        """
        The same symbols, and after them `table`'s as the module `name`'s: whatever is looked for is looked for here
        first.
        """
        joined, module = copy(self), copy(table)
        module.module = name
        joined._modules = (*self._modules, module)
        return joined

    # ------------------------------------------------------------------------------------------------- name -> address

    def get(self, name: str) -> int | None:
        """The address of `name` (the first in file order, if several have it), or None."""
        return next(iter(self.all(name)), None)

    def find(self, name: str) -> int:
        """
        The address of `name`.

        Errors: Absent, with the names nearest to it.
        """
        found = self.get(name)
        if found is not None:
            return found
        if not len(self):
            hint = "the file has no symbol table; use one with symbols (Debian: the -dbg package's vmlinux)"
        else:
            near = self.near(name)
            hint = f"did you mean {', '.join(near)}?" if near else "list what there is with nm"
        raise Absent(f"symbol {name!r}", where=self.where, hint=hint)

    def all(self, name: str) -> tuple[int, ...]:
        """Every address that `name` has: static functions of one name are common."""
        return tuple(int(self._values[i]) for i in self._indices(name)) + tuple(
            address for table in self._modules for address in table.all(name)
        )

    def near(self, name: str, limit: int = 3) -> list[str]:
        """Names like `name`. This looks at every name and takes its time: it is for a failure's message."""
        strings, wanted = bytes(self._strings), name.strip("_")
        names = {strings[start : strings.index(0, start)].decode("ascii", "replace") for start in self._names.tolist()}
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

    def _indices(self, name: str) -> list[int]:
        """Where in the table `name` stands."""
        sought = name.encode("utf-8", "surrogateescape") + b"\0"
        if len(sought) == 1 or b"\0" in sought[:-1] or len(sought) > len(self._strings) or not len(self):
            return []
        head = sought[:8]
        mask = np.uint64((1 << 8 * len(head)) - 1)
        candidates = np.flatnonzero((self._heads & mask) == np.uint64(int.from_bytes(head, "little")))
        starts = self._names[candidates]
        if len(sought) > 8:
            fits = starts + len(sought) <= len(self._strings)
            candidates, starts = candidates[fits], starts[fits]
            tail = np.uint64(int.from_bytes(sought[-8:], "little"))
            same = self._windows[starts + (len(sought) - 8)] == tail
            candidates, starts = candidates[same], starts[same]
        return [
            int(i)
            for i, start in zip(candidates.tolist(), starts.tolist(), strict=True)
            if self._strings[start : start + len(sought)] == sought
        ]

    @cached_property
    def _windows(self) -> Words:
        """The eight bytes from every offset of the string table on, as one overlapping view of it."""
        padded = len(self._strings) - 7
        return np.ndarray((max(padded, 0),), "<u8", self._strings, strides=(1,))

    @cached_property
    def _heads(self) -> Words:
        """The first eight bytes of every name; past the string table's end they are zeros."""
        heads = np.zeros(len(self), np.uint64)
        whole = self._names < len(self._windows)
        heads[whole] = self._windows[self._names[whole]]
        last = bytes(self._strings[-8:]).rjust(8, b"\0") + bytes(8)
        ends = np.array([int.from_bytes(last[i : i + 8], "little") for i in range(9)], np.uint64)
        heads[~whole] = ends[self._names[~whole] - len(self._strings) + 8]
        return heads

    # ------------------------------------------------------------------------------------------------- address -> name

    def at(self, address: int) -> Symbol | None:
        """
        The symbol that `address` lies in, as the kernel names it, or None outside the kernel (and its modules).

        Kernel: kernel/kallsyms.c get_symbol_pos(), include/linux/kallsyms.h is_ksym_addr() with CONFIG_KALLSYMS_ALL,
        v6.1 and v6.12. Differs: the vsyscall page, which the kernel gives to its last symbol, is nobody's here.
        """
        addresses, indices = self._listed
        place = int(np.searchsorted(addresses, np.uint64(address), "right")) if 0 <= address < 1 << 64 else 0
        start, end = self._bounds
        if not place or not start <= address < end:
            return next((found for table in self._modules if (found := table.at(address))), None)
        here = addresses[place - 1]
        first = int(np.searchsorted(addresses, here, "left"))
        following = int(addresses[place]) if place < len(addresses) else end
        named = min((int(i) for i in indices[first:place]), key=self._precedence)
        return Symbol(self._name(named), int(here), following - int(here), address - int(here), self.module)

    def format(self, address: int) -> str:
        """`address` as %pS prints it: name+0x9/0x20, and 0x… where no symbol is."""
        found = self.at(address)
        return str(found) if found else f"{address:#x}"

    def matching(self, predicate: Callable[[str], bool]) -> Iterator[tuple[str, int]]:
        """Name and value of every symbol whose name the predicate wants, in file order."""
        for index in range(len(self)):
            name = self._name(index)
            if predicate(name):
                yield name, int(self._values[index])
        for table in self._modules:
            yield from table.matching(predicate)

    def _name(self, index: int) -> str:
        start = int(self._names[index])
        return bytes(self._strings[start : start + MAX_NAME]).partition(b"\0")[0].decode("utf-8", "backslashreplace")

    @cached_property
    def _listed(self) -> tuple[Words, npt.NDArray[np.int64]]:
        """Addresses of the symbols that kallsyms lists, sorted, and each one's index."""
        section = self._entries["section"]
        listed = (self._values >= KERNEL_HALF) & (section != SHN_ABS) & (section != SHN_COMMON)
        for prefix in UNLISTED_PREFIXES:
            mask = (1 << 8 * min(len(prefix), 8)) - 1
            starts = (self._heads & np.uint64(mask)) == np.uint64(int.from_bytes(prefix[:8], "little"))
            listed &= ~starts
        listed &= (self._heads & np.uint64(0xFF)) != 0
        indices = np.flatnonzero(listed)
        indices = indices[np.argsort(self._values[indices], kind="stable")]
        return self._values[indices], indices

    @cached_property
    def _bounds(self) -> tuple[int, int]:
        """The addresses that this table answers for: _stext .. _end, or else what its symbols span."""
        addresses, indices = self._listed
        if not len(addresses):
            return 0, 0
        start, end = (next((int(self._values[i]) for i in self._indices(name)), None) for name in ("_stext", "_end"))
        if end is None:
            end = int(addresses[-1]) + max(1, int(self._entries["size"][indices[-1]]))
        return int(addresses[0]) if start is None else start, min(end, 1 << 64)

    def _precedence(self, index: int) -> tuple[bool, bool, int, str]:
        """
        Which of several symbols at one address is printed: the least.

        Kernel: scripts/kallsyms.c compare_symbols(), v6.1 and v6.12; equals stay in the order of `nm -n`, by name.
        """
        name = self._name(index)
        info = int(self._entries["info"][index])
        weak = info >> 4 == STB_WEAK and info & 0xF != STT_OBJECT
        provided = len(name) >= 8 and name.startswith("__")
        provided = provided and (
            name.startswith(("start_", "stop_", "end_"), 2) or name.endswith(("_start", "_end"), 2)
        )
        return weak, provided, len(name) - len(name.lstrip("_")), name
