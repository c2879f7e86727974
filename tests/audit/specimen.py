"""Images made of a few instructions and a table: what an audit is tried on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from pagefault.arch.exception_format import Layout
from pagefault.arch.platform import X86_64, Platform
from pagefault.errors import Absent
from pagefault.images.kernel_image import CodeSection, FoundTable
from pagefault.tables.extable import ExceptionTable
from pagefault.tables.extable_build import TableEntry, encode
from pagefault.tables.symbols import SymbolTable

TEXT = 0xFFFF_FFFF_8100_0000
INIT = TEXT + 0x10_0000
TABLE = TEXT + 0x20_0000
ALTERNATIVES = TEXT + 0x30_0000
REPLACEMENTS = TEXT + 0x31_0000
DATA = TEXT + 0x40_0000
UACCESS, IMM_REG, UCOPY_LEN, ZEROPAD, RDMSR, WRMSR = 3, 17, 19, 20, 9, 8
SMAP = 9 * 32 + 20


@dataclass(frozen=True)
class Specimen:
    """A `KernelImage` in memory. `pieces` are sections with their bytes, `names` symbols by address."""

    pieces: tuple[tuple[CodeSection, bytes], ...]
    names: tuple[tuple[int, str], ...]
    entries: tuple[TableEntry, ...] = ()
    platform: Platform = X86_64
    layout: Layout | None = None
    module: str | None = None
    path: str = "specimen"
    version: tuple[int, int] = (6, 1)
    how: tuple[str, ...] = ()
    table_name: str = "__ex_table"
    kept: dict[str, SymbolTable] = field(default_factory=dict, init=False)

    @property
    def symbols(self) -> SymbolTable:
        if "symbols" not in self.kept:
            names = sorted(self.names)
            strings = b"".join(name.encode() + b"\0" for _, name in names)
            starts = np.cumsum([0, *(len(name) + 1 for _, name in names)])[:-1].astype(np.int64)
            addresses = np.array([address for address, _ in names], np.uint64)
            types = np.full(len(names), ord("t"), np.uint8)
            half = self.platform.kernel_half
            self.kept["symbols"] = SymbolTable.from_names(
                addresses, types, starts, strings, where=self.path, kernel_half=half
            )
        return self.kept["symbols"]

    @property
    def sections(self) -> tuple[CodeSection, ...]:
        return tuple(section for section, _ in self.pieces)

    @property
    def executable(self) -> tuple[tuple[int, int], ...]:
        return tuple((section.address, section.end) for section in self.sections if section.executable)

    @property
    def exception_tables(self) -> tuple[FoundTable, ...]:
        layout = self.layout or self.platform.exceptions.layouts[0]
        raw = encode(self.entries, TABLE, layout, self.platform)
        table = ExceptionTable.from_bytes(
            raw,
            TABLE,
            where=self.path,
            executable=self.executable,
            platform=self.platform,
            version=self.version,
            strict=False,
        )
        return (FoundTable(self.table_name, table, "made"),)

    def read(self, address: int, length: int) -> bytes:
        for section, data in self.pieces:
            at = address - section.address
            if 0 <= at <= at + length <= len(data):
                return data[at : at + length]
        raise Absent(f"{length} bytes at {address:#x}", where=self.path)

    def with_entries(self, *entries: TableEntry) -> Specimen:
        return replace(self, entries=entries)


def piece(
    name: str, address: int, data: bytes, *, executable: bool = True, discarded: bool = False
) -> tuple[CodeSection, bytes]:
    return CodeSection(name, address, len(data), executable, discarded), data


def x86(*functions: tuple[str, str], init: str = "", module: str | None = None, data: bytes = b"") -> Specimen:
    """
    x86-64 code of functions by name, in hexadecimal, each on a boundary of 256 bytes from TEXT on; STAC and CLAC as
    they are. `init` is the code of the function `begin` in .init.text.
    """
    code = b"".join(bytes.fromhex(text).ljust(256, b"\xcc") for _, text in functions)
    names = [(TEXT + 256 * number, name) for number, (name, _) in enumerate(functions)]
    pieces = [piece(".text", TEXT, code)]
    if init:
        pieces.append(piece(".init.text", INIT, bytes.fromhex(init).ljust(64, b"\xcc"), discarded=True))
        names.append((INIT, "begin"))
    if data:
        pieces.append(piece(".data", DATA, data, executable=False))
    names += [(TEXT, "_stext"), (TEXT + len(code), "_etext"), (DATA + 0x1000, "_end")]
    return Specimen(tuple(pieces), tuple(names), module=module)


def entry(insn: int, fixup: int, type_: int = UACCESS, *, register: int = 0, immediate: int = 0) -> TableEntry:
    """An x86 entry by offsets from TEXT."""
    return TableEntry(TEXT + insn, TEXT + fixup, type_ | register << 8 | (immediate & 0xFFFF) << 16)
