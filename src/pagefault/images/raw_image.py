"""
A kernel as it lies in memory, without an ELF file around it: what a boot loader copies to one place and jumps to.

    image = RawImage.from_payload(unwrap(data, path), path)

Nothing in it says what is where but what the kernel needs itself: its symbols (kallsyms) name the linker script's
boundaries, and the exception table lies between two of them. Without them the table is found by its shape.
"""

from __future__ import annotations

import re
from functools import cached_property

from ..arch.exception_format import ExceptionFormat
from ..arch.platform import PLATFORMS, Platform, platform_of
from ..errors import Absent, BadInput, Unsupported
from ..tables.extable import ExceptionTable
from ..tables.extable_shape import by_shape, the_one
from ..tables.link_address import find_address
from ..tables.symbols import SymbolTable
from .boot_image import Payload
from .kallsyms import find_kallsyms
from .kernel_image import CodeSection, FoundTable
from .system_map import read_system_map

BANNER = re.compile(rb"Linux version (\d{1,3})\.(\d{1,3})")
FIRST_SYMBOLS = ("_start", "_text")
"""
What lies at the image's first byte: _start on riscv, whose _text comes a page later, _text elsewhere.

Kernel: arch/*/kernel/vmlinux.lds.S, v6.1.
"""
SECTIONS = (
    (".head.text", "_text", "_stext", True, False),
    (".text", "_stext", "_etext", True, False),
    (".init.text", "_sinittext", "_einittext", True, True),
    (".exit.text", "__exittext_begin", "__exittext_end", True, True),
    (".amode31.text", "_stext_amode31", "_etext_amode31", True, False),
    (".rodata", "__start_rodata", "__end_rodata", False, False),
    ("__ex_table", "__start___ex_table", "__stop___ex_table", False, False),
    (".data", "_sdata", "_edata", False, False),
    (".bss", "__bss_start", "__bss_stop", False, False),
)
"""
Sections by the symbols that a linker script puts around them; whether they are code, and whether they are freed.

Kernel: include/asm-generic/vmlinux.lds.h, include/asm-generic/sections.h, arch/*/kernel/vmlinux.lds.S, v6.1 and v6.12.
"""


class RawImage:
    """
    A flat image of a kernel (`KernelImage`): `data`, whose first byte is linked to `address`. Nothing of it but its
    symbols is read before it is asked for. `strict` is `ExceptionTable.from_bytes()`'s.
    """

    module = None

    def __init__(
        self,
        path: str,
        data: memoryview,
        address: int,
        platform: Platform,
        *,
        symbols: SymbolTable,
        how: tuple[str, ...] = (),
        strict: bool = True,
    ) -> None:
        self.path, self.data, self.address, self.platform = path, data, address, platform
        self.symbols, self.how, self.strict = symbols, how, strict

    @classmethod
    def from_payload(
        cls, payload: Payload, path: str, *, system_map: str | None = None, strict: bool = True
    ) -> RawImage:
        """
        The image that was in a boot image. Its symbols are those of the file `system_map`, or its own.

        The architecture is what a header said, or else that whose exception table is in it. The address is its first
        symbol's, or else what the table tells (`tables.link_address`).

        Errors: Unsupported if the architecture is not known; BadInput or Absent if `system_map` cannot be read.
        """
        platform, how = platform_of_payload(payload, path)
        symbols, said = symbols_of(payload.data, platform, path, system_map)
        first = next((at for name in FIRST_SYMBOLS if (at := symbols.get(name)) is not None), None)
        if first is None:
            address, words = find_address(payload.data, platform, symbols.get("_stext"))
            said = (*said, words)
        else:
            address = first
        if address + len(payload.data) > platform.address_mask + 1:
            got = f"{len(payload.data):#x} bytes from {address:#x} on"
            raise BadInput(path, expected="an image that fits the address space", got=got)
        how = (*payload.how, *how, *said)
        return cls(path, payload.data, address, platform, symbols=symbols, how=how, strict=strict)

    @property
    def end(self) -> int:
        """The address past the image's last byte."""
        return self.address + len(self.data)

    @cached_property
    def version(self) -> tuple[int, int]:
        """
        The release, (6, 1) for 6.1.192, out of the banner.

        Errors: Absent if there is none.
        """
        found = BANNER.search(self.data)
        if found is None:
            raise Absent("version banner", where=self.path, hint="a kernel image holds the text 'Linux version …'")
        return int(found[1]), int(found[2])

    @cached_property
    def sections(self) -> tuple[CodeSection, ...]:
        """What the symbols of the linker script enclose, by address; none without symbols."""
        found = []
        for name, first, last, executable, discarded in SECTIONS:
            start, end = self.symbols.get(first), self.symbols.get(last)
            if start is not None and end is not None and start < end:
                found.append(CodeSection(name, start, end - start, executable, discarded))
        return tuple(sorted(found, key=lambda section: section.address))

    @cached_property
    def executable(self) -> tuple[tuple[int, int], ...]:
        """Ranges of addresses (start, end) that hold code; without symbols that may be anywhere in the image."""
        ranges = tuple(
            (section.address, min(section.end, self.end))
            for section in self.sections
            if section.executable and section.address < self.end
        )
        return ranges or ((self.address, self.end),)

    @cached_property
    def exception_tables(self) -> tuple[FoundTable, ...]:
        """
        __ex_table, and after it the platform's other tables, which are found by symbols only.

        Errors: Absent if there is no __ex_table; BadInput or Unsupported if a table cannot be read.
        """
        found = self._between("__start___ex_table", "__stop___ex_table")
        if found is None:
            candidates = by_shape([(self.address, self.data)], self.platform, self.executable)
            best, words = the_one(candidates, where=self.path)
            found = best.address, len(best.raw), words
        tables = [self._table("__ex_table", found, self.platform.exceptions)]
        for extra in self.platform.extra_tables:
            found = self._between(extra.start, extra.stop)
            if found is not None:
                tables.append(self._table(extra.section, found, extra.format or self.platform.exceptions))
        return tuple(tables)

    def read(self, address: int, length: int) -> bytes:
        """
        `length` bytes at an address, zeros from the image's end up to the kernel's (_end).

        Errors: Absent if the image does not hold them all.
        """
        at = address - self.address
        if length >= 0 <= at and address + length <= max(self.end, self._kernel_end):
            return bytes(self.data[at : at + length]).ljust(length, b"\0")
        raise Absent(f"{length} bytes at {address:#x}", where=self.path, hint="they are not in the image")

    def function_at(self, address: int) -> str | None:
        """The name of the function that starts at `address`."""
        symbol = self.symbols.at(address)
        return symbol.name if symbol is not None and symbol.offset == 0 else None

    @cached_property
    def _kernel_end(self) -> int:
        """
        Where .bss ends, by _end. No more than the image's own size is believed to follow it.

        Kernel: include/asm-generic/vmlinux.lds.h BSS_SECTION, v6.1.
        """
        return min(self.symbols.get("_end") or 0, self.end + len(self.data))

    def _between(self, start: str, stop: str) -> tuple[int, int, str] | None:
        """Address and size of the table between two symbols, and how it was found; None for an empty one."""
        first, last = self.symbols.get(start), self.symbols.get(stop)
        if first is None or last is None or first >= last:
            return None
        return first, last - first, f"the symbols {start} and {stop}"

    def _table(self, name: str, found: tuple[int, int, str], exceptions: ExceptionFormat) -> FoundTable:
        address, size, words = found
        offset = address - self.address
        if not 0 <= offset <= offset + size <= len(self.data):
            expected, got = f"{name} inside the image", f"{size} bytes at {address:#x}"
            raise BadInput(self.path, expected=expected, got=f"{got} (symbols of another kernel?)")
        try:
            version = self.version
        except Absent:
            version = None
        table = ExceptionTable.from_bytes(
            bytes(self.data[offset : offset + size]),
            address,
            platform=self.platform,
            exceptions=exceptions,
            where=self.path,
            executable=self.executable,
            offset=offset,
            version=version,
            handler_symbol=self.function_at if len(self.symbols) else None,
            code=self.read,
            strict=self.strict,
        )
        return FoundTable(name, table, words)


def platform_of_payload(payload: Payload, where: str) -> tuple[Platform, tuple[str, ...]]:
    """
    The platform, by the header of the boot image, or by whose exception table is in it; and how, if so.

    Differs: for want of a disassembler, loongarch and big-endian arm64 are known by their headers only.
    """
    if payload.machine is not None:
        platform = platform_of(*payload.machine)
        if platform is None:
            machine, bits, order = payload.machine
            feature = f"an image for {machine} ({bits} bits, {order}-endian)"
            raise Unsupported(feature, why=f"{where}: no exception table of that architecture is known here")
        return platform, ()
    best: tuple[float, Platform] | None = None
    for platform in PLATFORMS:
        address, _ = find_address(payload.data, platform)
        for candidate in by_shape([(address, payload.data)], platform)[:1]:
            if candidate.faulting is not None and (best is None or candidate.score > best[0]):
                best = candidate.score, platform
    if best is None:
        raise Unsupported("a flat image without a header", why=f"{where}: there is no exception table that tells whose")
    return best[1], (f"{best[1].name}, by the shape of its exception table",)


def symbols_of(
    data: memoryview, platform: Platform, where: str, system_map: str | None
) -> tuple[SymbolTable, tuple[str, ...]]:
    """The symbols of the file `system_map`, or else the image's own; and in words whose, or why there are none."""
    if system_map is not None:
        return read_system_map(system_map, platform), (f"symbols from {system_map}",)
    try:
        kallsyms = find_kallsyms(data, platform, where=where)
        return kallsyms.symbols(), (kallsyms.how,)
    except (Absent, BadInput) as error:
        return SymbolTable.empty(where), (f"no symbols ({error})",)
