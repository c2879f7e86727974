"""
Which exception tables an image has, and how one is read: the same for every container. A container says only where the
bytes of a table are.

    def locate(described: ExtraTable) -> Located | None: ...
    tables = tuple(tables_of(image, locate, strict=True))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..arch.exception_format import ExceptionFormat
from ..arch.platform import ExtraTable, Platform
from ..errors import Absent, BadInput
from ..tables.extable import ExceptionTable
from ..tables.extable_reading import HandlerSymbol
from ..tables.symbols import SymbolTable
from ..tables.vdso_extable import vdso_exception_tables
from .elf import Section
from .kernel_image import FoundTable, KernelImage

START, STOP = "__start___ex_table", "__stop___ex_table"
EX_TABLE = ExtraTable("__ex_table", START, STOP, "whatever else may fault")
"""
The table that every kernel has, described like the second ones.

Kernel: include/asm-generic/vmlinux.lds.h EXCEPTION_TABLE, v6.12.
"""
MOST_BYTES = 4 << 20
"""Of a table: over 250,000 entries of any layout. The largest real ones have below 20,000."""


@dataclass(frozen=True, slots=True)
class Located:
    """A table's bytes, its relocations applied; its address, and its offset in the file. `found` says how, in words."""

    address: int
    raw: bytes | memoryview
    offset: int
    found: str


Locate = Callable[[ExtraTable], Located | None]
"""Finds a table; None if the image has none of that name. Errors: Absent, BadInput."""


def tables_of(
    image: KernelImage,
    locate: Locate,
    *,
    strict: bool,
    executable: Sequence[tuple[int, int]] | None = None,
    handler_symbol: HandlerSymbol | None = None,
) -> Iterator[FoundTable]:
    """
    __ex_table, then the platform's other tables, then those of x86's vDSOs. For the parameters see `read_table`.

    Errors: those of `locate` and `read_table`.
    """
    for described in (EX_TABLE, *image.platform.extra_tables):
        located = locate(described)
        if located is not None:
            yield read_table(
                image,
                described.section,
                located,
                strict=strict,
                exceptions=described.format,
                executable=executable,
                handler_symbol=handler_symbol,
            )
    if image.module is None:
        for name, table in vdso_exception_tables(image.read, image.symbols.get, image.platform, where=image.path):
            yield FoundTable(f"{name} __ex_table", table, f"the symbol {name}")


def read_table(
    image: KernelImage,
    name: str,
    located: Located,
    *,
    strict: bool,
    exceptions: ExceptionFormat | None = None,
    executable: Sequence[tuple[int, int]] | None = None,
    handler_symbol: HandlerSymbol | None = None,
    module: str | None = None,
) -> FoundTable:
    """
    Read one table. Its layout is chosen by what it holds, with the version as a hint. `executable` and
    `handler_symbol` are the image's own, if they are not given.

    Errors: BadInput, Unsupported, Absent, as `ExceptionTable.from_bytes` has them; BadInput, strict or not, if it is
    larger than any kernel's.
    """
    check_size(len(located.raw), image.path, offset=located.offset)
    try:
        version = image.version
    except Absent:
        version = None
    if handler_symbol is None and len(image.symbols):
        handler_symbol = functions_of(image.symbols)
    table = ExceptionTable.from_bytes(
        bytes(located.raw),
        located.address,
        where=image.path,
        executable=image.executable if executable is None else executable,
        platform=image.platform,
        exceptions=exceptions,
        offset=located.offset,
        version=version,
        handler_symbol=handler_symbol,
        code=image.read,
        strict=strict,
    )
    return FoundTable(name, table, located.found, module=module)


def check_size(size: int, where: str, *, offset: int | None = None) -> None:
    """
    Is a table of so many bytes one that a kernel may have?

    Errors: BadInput.
    """
    if size > MOST_BYTES:
        expected = f"an exception table of at most {MOST_BYTES:,} bytes"
        raise BadInput(where, offset=offset, expected=expected, got=f"{size:,} bytes")


def functions_of(symbols: SymbolTable) -> HandlerSymbol:
    """What tells the name of the function that starts at an address."""

    def starting(address: int) -> str | None:
        symbol = symbols.at(address)
        return symbol.name if symbol is not None and symbol.offset == 0 else None

    return starting


def bounds(symbols: SymbolTable, described: ExtraTable) -> tuple[int, int, str] | None:
    """Address and size of the table between two symbols, and how it was found; None for an empty one."""
    first, last = symbols.get(described.start), symbols.get(described.stop)
    if first is None or last is None or first >= last:
        return None
    return first, last - first, f"the symbols {described.start} and {described.stop}"


def not_looked_for(platform: Platform, symbols: SymbolTable, *, by_section: bool = False) -> tuple[str, ...]:
    """
    The tables that the image may have, but of which nothing would tell, in words; () if there is none. Symbols are
    those of all data, or (a kernel's own, without CONFIG_KALLSYMS_ALL) of functions and little else; __ex_table's tell
    which. `by_section` says that the platform's tables are where section headers say.
    """
    if symbols.get(START) is not None:
        return ()
    names = []
    if not by_section:
        names += [each.section for each in platform.extra_tables if symbols.get(each.start) is None]
    if platform.vdsos is not None and all(symbols.get(name) is None for name in platform.vdsos.images):
        names.append("the vDSO's __ex_table")
    if not names:
        return ()
    return (
        f"{' and '.join(names)} not looked for: no symbol says where it would be (a System.map does: --system-map)",
    )


def check_in_file(section: Section, where: str) -> None:
    """
    A table that has memory but no bytes is not empty: they are in another file.

    Errors: Absent.
    """
    if section.type == "SHT_NOBITS" and section.size:
        hint = "this is a file of debug information only: use the one that it was made from"
        raise Absent(f"{section.name}, but for its header", where=where, hint=hint)
