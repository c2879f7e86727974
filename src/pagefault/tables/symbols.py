"""
Names of addresses, and addresses of names: a kernel's symbols as arrays, searched the way the kernel's kallsyms is.

No Python object is made per symbol (vmlinux has 118,000 and more).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..errors import Absent, BadInput
from .symbol_names import Flags, Indices, Names, Words

STB_WEAK = 2
STT_OBJECT, STT_SECTION, STT_FILE = 1, 3, 4
SHN_UNDEF, SHN_LORESERVE, SHN_ABS, SHN_COMMON = 0, 0xFF00, 0xFFF1, 0xFFF2
KERNEL_HALF = 1 << 63
"""The lowest address that x86-64's kernel has."""
UNLISTED_PREFIXES = (
    *(b".L", b"$", b"L0\0", b"__crc_", b"__kstrtab_", b"__kstrtabns_", b"__kcfi_typeid_"),
    *(b"__efistub_", b"__pi_$", b"__pi_.L", b"__kvm_nvhe_$", b"__kvm_nvhe_.L"),
)
UNLISTED_PARTS = (b"_from_arm\0", b"_from_thumb\0", b"_veneer\0", b".long_branch.", b".plt_branch.")
"""
Names that System.map and kallsyms leave out: local labels, the mapping symbols $a, $d, $t and $x among them; what the
linker makes; the arm64 EFI stub's names.

Kernel: scripts/mksysmap, v6.12; scripts/mksysmap and scripts/kallsyms.c is_ignored_symbol(), v6.1. Differs: lld's
thunks are not looked for.
"""


def elf_symbol(bits: int, byte_order: Literal["little", "big"]) -> np.dtype[np.void]:
    """The layout of Elf32_Sym or Elf64_Sym. Manual: System V ABI, chapter 4, "Symbol Table"."""
    end = "<" if byte_order == "little" else ">"
    name, place = ("name", f"{end}u4"), [("info", "u1"), ("other", "u1"), ("section", f"{end}u2")]
    if bits == 64:
        return np.dtype([name, *place, ("value", f"{end}u8"), ("size", f"{end}u8")])
    return np.dtype([name, ("value", f"{end}u4"), ("size", f"{end}u4"), *place])


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
    The symbols of one file, and of the modules put beside it with `with_module`. `from_elf` and `from_names` make one.

    `values`, `names`, and for each symbol whether it is `weak`, whether it is a place that the kernel would list, and
    its `sizes` (None where the source has none). Only symbols from `kernel_half` on are places: on x86-64 a per-CPU
    symbol's value is an offset (0 .. 0x39000 or so) and not an address, so `find` knows it and `at` does not.
    `file_order` says which of several names of one address counts: the first in the file, as the kernel has it for a
    module, or the one that scripts/kallsyms.c puts first.

    Errors: BadInput if the tables contradict themselves; Absent from `find`.
    """

    def __init__(
        self,
        values: Words,
        names: Names,
        *,
        weak: Flags,
        listed: Flags,
        where: str,
        sizes: Words | None = None,
        kernel_half: int = KERNEL_HALF,
        module: str | None = None,
        file_order: bool = False,
    ) -> None:
        self.where, self.module, self.kernel_half = where, module, kernel_half
        self._values, self._names, self._weak, self._sizes = values, names, weak, sizes
        self._places, self._file_order = listed, file_order
        self._modules: tuple[SymbolTable, ...] = ()
        self._named: dict[int, int] = {}
        """Of the symbols at one address, which one counts: there may be as many as a file likes."""

    @classmethod
    def from_elf(
        cls,
        symtab: bytes | memoryview,
        strtab: bytes | memoryview,
        *,
        where: str,
        bits: int = 64,
        byte_order: Literal["little", "big"] = "little",
        kernel_half: int = KERNEL_HALF,
        section_bases: Sequence[int] | None = None,
        module: str | None = None,
    ) -> SymbolTable:
        """
        The symbols of an ELF file.

        `section_bases` is for a relocatable file, whose symbols are offsets into their sections: the address made up
        for each section, by its number, -1 for one that is not loaded. Such a file's names count in file order.

        Kernel: of a module's names kernel/module/kallsyms.c find_kallsyms_symbol() takes the first, v6.1 and v6.12.
        """
        layout = elf_symbol(bits, byte_order)
        if len(symtab) % layout.itemsize:
            raise BadInput(where, expected=f"symbols of {layout.itemsize} bytes each", got=f"{len(symtab)} bytes")
        entries = np.frombuffer(symtab, layout)
        # Section and file symbols name no place in memory, undefined ones name somebody else's.
        kind = entries["info"] & 0xF
        kept = (entries["section"] != SHN_UNDEF) & (kind != STT_SECTION) & (kind != STT_FILE)
        bases = None
        if section_bases is not None:
            known = np.full(1 << 16, -1, np.int64)
            known[: min(len(section_bases), SHN_LORESERVE)] = section_bases[:SHN_LORESERVE]
            known[SHN_LORESERVE:] = 0
            bases = known[entries["section"]]
            kept &= bases >= 0
        entries = entries[kept]
        values = entries["value"].astype(np.uint64)
        if bases is not None:
            values += bases[kept].astype(np.uint64)
        return cls(
            values,
            Names(strtab, entries["name"].astype(np.int64), where=where),
            weak=(entries["info"] >> 4 == STB_WEAK) & (entries["info"] & 0xF != STT_OBJECT),
            listed=(entries["section"] != SHN_ABS) & (entries["section"] != SHN_COMMON),
            sizes=entries["size"].astype(np.uint64),
            where=where,
            kernel_half=kernel_half if section_bases is None else 0,
            module=module,
            file_order=section_bases is not None,
        )

    @classmethod
    def from_names(
        cls,
        addresses: Words,
        types: npt.NDArray[np.uint8],
        starts: Indices,
        strings: bytes | memoryview,
        *,
        where: str,
        kernel_half: int = KERNEL_HALF,
        module: str | None = None,
    ) -> SymbolTable:
        """
        The symbols of a list that nm, System.map or kallsyms made: addresses, nm's letters for them, and where in
        `strings` each one's name starts. What is absolute (A) is not listed, as in `from_elf`.
        """
        return cls(
            addresses,
            Names(strings, starts, where=where),
            weak=types | 0x20 == ord("w"),
            listed=types | 0x20 != ord("a"),
            where=where,
            kernel_half=kernel_half,
            module=module,
        )

    @classmethod
    def empty(cls, where: str) -> SymbolTable:
        """The table of a file that has none: nothing is found, and `find` says why."""
        return cls.from_elf(b"", b"", where=where)

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

    @property
    def has_modules(self) -> bool:
        return bool(self._modules)

    def moved(self, by: int, start: int | None = None, stop: int = 1 << 64) -> SymbolTable:
        """
        The same symbols, those from `start` (the kernel's half, if it is not given) up to `stop` moved by so many bytes
        up or down: what is below is per-CPU or absolute. Modules' stay where they are.
        """
        inside = self._values >= np.uint64(self.kernel_half if start is None else start)
        inside &= self._values <= np.uint64(stop - 1)
        moved = SymbolTable(
            np.where(inside, self._values + np.uint64(by % (1 << 64)), self._values),
            self._names,
            weak=self._weak,
            listed=self._places,
            where=self.where,
            sizes=self._sizes,
            kernel_half=self.kernel_half,
            module=self.module,
            file_order=self._file_order,
        )
        moved._modules = self._modules
        return moved

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
        return tuple(int(self._values[i]) for i in self._names.indices(name)) + tuple(
            address for table in self._modules for address in table.all(name)
        )

    def near(self, name: str, limit: int = 3) -> list[str]:
        """Names like `name`. This looks at every name and takes its time: it is for a failure's message."""
        return self._names.near(name, limit)

    def matching(self, predicate: Callable[[str], bool]) -> Iterator[tuple[str, int]]:
        """Name and value of every symbol whose name the predicate wants, in file order."""
        for index in range(len(self)):
            name = self._names.name(index)
            if predicate(name):
                yield name, int(self._values[index])
        for table in self._modules:
            yield from table.matching(predicate)

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
            # Modules' pieces lie between each other's: the nearest symbol below is the one.
            inside = (found for table in self._modules if (found := table.at(address)))
            return max(inside, key=lambda found: found.address, default=None)
        here = addresses[place - 1]
        first = int(np.searchsorted(addresses, here, "left"))
        following = int(addresses[place]) if place < len(addresses) else end
        named = self._named.get(first)
        if named is None:
            named = self._named[first] = min(indices[first:place].tolist(), key=self._precedence)
        return Symbol(self._names.name(named), int(here), following - int(here), address - int(here), self.module)

    def format(self, address: int) -> str:
        """`address` as %pS prints it: name+0x9/0x20, and 0x… where no symbol is."""
        found = self.at(address)
        return str(found) if found else f"{address:#x}"

    @cached_property
    def _listed(self) -> tuple[Words, Indices]:
        """Addresses of the symbols that kallsyms lists, sorted, and each one's index."""
        listed = (self._values >= np.uint64(self.kernel_half)) & self._places
        for prefix in UNLISTED_PREFIXES:
            listed &= ~self._names.starting(prefix)
        for part in UNLISTED_PARTS:
            listed &= ~self._names.containing(part)
        listed &= ~self._names.starting(b"\0")
        indices = np.flatnonzero(listed)
        indices = indices[np.argsort(self._values[indices], kind="stable")]
        return self._values[indices], indices

    @cached_property
    def _bounds(self) -> tuple[int, int]:
        """The addresses that this table answers for: _stext .. _end, or else what its symbols span."""
        addresses, indices = self._listed
        if not len(addresses):
            return 0, 0
        start, end = (
            next((int(self._values[i]) for i in self._names.indices(name)), None) for name in ("_stext", "_end")
        )
        if end is None:
            end = int(addresses[-1]) + max(1, 0 if self._sizes is None else int(self._sizes[indices[-1]]))
        return int(addresses[0]) if start is None else start, min(end, 1 << 64)

    def _precedence(self, index: int) -> tuple[bool, bool, int, str]:
        """
        Which of several symbols at one address is printed: the least.

        Kernel: scripts/kallsyms.c compare_symbols(), v6.1 and v6.12; equals stay in the order of `nm -n`, by name.
        """
        if self._file_order:
            return False, False, index, ""
        name = self._names.name(index)
        provided = len(name) >= 8 and name.startswith("__")
        provided = provided and (
            name.startswith(("start_", "stop_", "end_"), 2) or name.endswith(("_start", "_end"), 2)
        )
        return bool(self._weak[index]), provided, len(name) - len(name.lstrip("_")), name
