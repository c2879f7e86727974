"""
The modules that a running or dead kernel has loaded, out of its memory: `struct module` by the kernel's own BTF.

    for module in loaded_modules(symbols, read, layout, pointer, where): ...

Kernel: include/linux/module.h struct module; kernel/module/main.c; kernel/extable.c search_module_extables(), v6.12.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..arch.platform import Platform
from ..errors import Absent, BadInput
from ..tables.symbols import SymbolTable
from .btf import Btf

Read = Callable[[int, int], bytes]
"""Bytes at a linear address: (address, length). Errors: Absent."""
MAX_MODULES = 10_000
MAX_NAME = 56
"""MODULE_NAME_LEN with 8-byte longs. Kernel: include/linux/moduleparam.h, v6.12."""
MAX_SYMBOL = 512
"""KSYM_NAME_LEN. Kernel: include/linux/kallsyms.h, v6.12."""
MAX_SYMBOLS = 1 << 18
MAX_STRINGS = 1 << 24
MAX_ENTRIES = 1 << 16
TEXT = (0, 4)
"""MOD_TEXT and MOD_INIT_TEXT in enum mod_mem_type. Kernel: include/linux/module.h, v6.12."""


@dataclass(frozen=True, slots=True)
class LoadedModule:
    """
    One module: its `code` as ranges of addresses (start, end), its exception table as the `entries` at `table`, and its
    symbols, None if the dump lacks the memory that they are in.
    """

    name: str
    code: tuple[tuple[int, int], ...]
    table: int
    entries: int
    symbols: SymbolTable | None


@dataclass(frozen=True, slots=True)
class Structures:
    """Reads fields of structures at addresses."""

    read: Read
    layout: Btf
    platform: Platform

    def number(self, address: int, length: int) -> int:
        """An unsigned number of `length` bytes."""
        return int.from_bytes(self.read(address, length), self.platform.byte_order)

    def pointer(self, structure: str, member: str, address: int) -> int:
        """A pointer, or an unsigned long, in the structure at `address`."""
        return self.number(address + self.layout.offset(structure, member), self.platform.pointer)

    def unsigned(self, structure: str, member: str, address: int) -> int:
        """An unsigned int in the structure at `address`."""
        return self.number(address + self.layout.offset(structure, member), 4)


def loaded_modules(
    symbols: SymbolTable, read: Read, layout: Btf, platform: Platform, *, where: str
) -> Iterator[LoadedModule]:
    """
    Every module on the kernel's list, in its order.

    Errors: Absent if memory that the list is in is missing; BadInput for a list that runs in circles or is endless.
    """
    memory = Structures(read, layout, platform)
    head, link = symbols.find("modules"), layout.offset("module", "list")
    at, seen = memory.pointer("list_head", "next", head), {head}
    while at != head:
        if at in seen or len(seen) > MAX_MODULES:
            raise BadInput(
                where, expected="a list of modules that ends where it began", got=f"an entry at {at:#x} twice"
            )
        seen.add(at)
        yield loaded_module(memory, at - link, where)
        at = memory.pointer("list_head", "next", at)


def loaded_module(memory: Structures, address: int, where: str) -> LoadedModule:
    """The module whose structure is at `address`."""
    raw = memory.read(address + memory.layout.offset("module", "name"), MAX_NAME)
    name = raw.partition(b"\0")[0].decode("ascii", "backslashreplace")
    entries = memory.unsigned("module", "num_exentries", address)
    if entries > MAX_ENTRIES:
        raise BadInput(f"{where}, module {name}", expected="an exception table of a module's size", got=str(entries))
    try:
        symbols = module_symbols(memory, address, name, where)
    except Absent:
        symbols = None
    table = memory.pointer("module", "extable", address)
    return LoadedModule(name, tuple(code_ranges(memory, address)), table, entries, symbols)


def code_ranges(memory: Structures, address: int) -> Iterator[tuple[int, int]]:
    """
    Where a module's code is; the code of its init functions only as long as they are there.

    Since Linux kernel commit ac3b43283923 ("module: replace module_layout with module_memory") (in v6.4) there is one
    piece of memory a kind, and `mem` has them all; before, core_layout and init_layout begin with their code.
    """
    layout = memory.layout
    try:
        first, size = layout.offset("module", "mem"), layout.size("module_memory")
    except Absent:
        for part in ("core_layout", "init_layout"):
            start = memory.pointer("module", f"{part}.base", address)
            length = memory.unsigned("module", f"{part}.text_size", address)
            if start and length:
                yield start, start + length
        return
    for kind in TEXT:
        piece = address + first + kind * size
        start, length = memory.pointer("module_memory", "base", piece), memory.unsigned("module_memory", "size", piece)
        if start and length:
            yield start, start + length


def module_symbols(memory: Structures, address: int, name: str, where: str) -> SymbolTable:
    """A module's symbols, as the kernel keeps them for its own oopses. Kernel: kernel/module/kallsyms.c, v6.12."""
    kept = memory.pointer("module", "kallsyms", address)
    count = memory.unsigned("mod_kallsyms", "num_symtab", kept)
    entry = 24 if memory.platform.bits == 64 else 16
    if count > MAX_SYMBOLS:
        raise BadInput(f"{where}, module {name}", expected=f"at most {MAX_SYMBOLS} symbols", got=str(count))
    symtab = memory.read(memory.pointer("mod_kallsyms", "symtab", kept), count * entry)
    order = memory.platform.byte_order
    last = max((int.from_bytes(symtab[at : at + 4], order) for at in range(0, len(symtab), entry)), default=0)
    if last > MAX_STRINGS:
        raise BadInput(f"{where}, module {name}", expected=f"names within {MAX_STRINGS} bytes", got=f"one at {last:#x}")
    strings = memory.pointer("mod_kallsyms", "strtab", kept)
    names = memory.read(strings, last)
    for at in range(strings + last, strings + last + MAX_SYMBOL):
        names += memory.read(at, 1)
        if names.endswith(b"\0"):
            break
    return SymbolTable.from_elf(
        symtab, names, where=f"{where}, module {name}", bits=memory.platform.bits, byte_order=order, module=name
    )
