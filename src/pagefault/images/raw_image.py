"""
A kernel as it lies in memory, without an ELF file around it: what a boot loader copies to one place and jumps to.

    image = RawImage.from_payload(unwrap(data, path), path)

Nothing in it says what is where but what the kernel needs itself: its symbols (kallsyms) name the linker script's
boundaries, and the exception table lies between two of them. Without them the table is found by its shape.
"""

from __future__ import annotations

import re
from functools import cached_property

from ..arch.platform import ExtraTable, Platform
from ..errors import Absent, BadInput
from ..tables.extable_shape import by_shape, the_one
from ..tables.symbols import SymbolTable
from .boot_image import Payload
from .flat_identity import identify
from .kernel_image import CodeSection, FoundTable
from .kernel_tables import EX_TABLE, Located, bounds, not_looked_for, tables_of
from .linker_sections import executable_of, freed_of, sections_of

BANNER = re.compile(rb"Linux version (\d{1,3})\.(\d{1,3})")


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
        self.symbols, self.strict = symbols, strict
        self.how = (*how, *not_looked_for(platform, symbols))

    @classmethod
    def from_payload(
        cls, payload: Payload, path: str, *, system_map: str | None = None, strict: bool = True
    ) -> RawImage:
        """
        The image that was in a boot image. Its symbols are those of the file `system_map`, or its own.

        `flat_identity` has how the architecture and the address are known.

        Errors: what `identify` raises; BadInput if the image does not fit the address space.
        """
        identity = identify(payload, path, system_map)
        address, platform = identity.address, identity.platform
        if address + len(payload.data) > platform.address_mask + 1:
            got = f"{len(payload.data):#x} bytes from {address:#x} on"
            raise BadInput(path, expected="an image that fits the address space", got=got)
        how = (*payload.how, *identity.how)
        return cls(path, payload.data, address, platform, symbols=identity.symbols, how=how, strict=strict)

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
        return sections_of(self.symbols)

    @cached_property
    def executable(self) -> tuple[tuple[int, int], ...]:
        """Ranges of addresses (start, end) that hold code; without symbols that may be anywhere in the image."""
        ranges = tuple((start, min(end, self.end)) for start, end in executable_of(self.sections) if start < self.end)
        return ranges or ((self.address, self.end),)

    @cached_property
    def exception_tables(self) -> tuple[FoundTable, ...]:
        """
        __ex_table, and after it the others, which are found by symbols only (`kernel_tables`).

        Errors: Absent if there is no __ex_table; BadInput or Unsupported if a table cannot be read.
        """
        code = (*self.executable, *freed_of(self.symbols))
        return tuple(tables_of(self, self._locate, strict=self.strict, executable=code))

    def read(self, address: int, length: int) -> bytes:
        """
        `length` bytes at an address, zeros from the image's end up to the kernel's (_end).

        Errors: Absent if the image does not hold them all.
        """
        at = address - self.address
        if length >= 0 <= at and address + length <= max(self.end, self._kernel_end):
            return bytes(self.data[at : at + length]).ljust(length, b"\0")
        raise Absent(f"{length} bytes at {address:#x}", where=self.path, hint="they are not in the image")

    @cached_property
    def _kernel_end(self) -> int:
        """
        Where .bss ends, by _end. No more than the image's own size is believed to follow it.

        Kernel: include/asm-generic/vmlinux.lds.h BSS_SECTION, v6.1.
        """
        return min(self.symbols.get("_end") or 0, self.end + len(self.data))

    def _locate(self, described: ExtraTable) -> Located | None:
        """A table between its symbols; __ex_table is also known by its shape."""
        found = bounds(self.symbols, described)
        if found is None:
            if described is not EX_TABLE:
                return None
            candidates = by_shape([(self.address, self.data)], self.platform, self.executable)
            best, words = the_one(candidates, where=self.path)
            found = best.address, len(best.raw), words
        address, size, words = found
        offset = address - self.address
        if not 0 <= offset <= offset + size <= len(self.data):
            expected, got = f"{described.section} inside the image", f"{size} bytes at {address:#x}"
            raise BadInput(self.path, expected=expected, got=f"{got} (symbols of another kernel?)")
        return Located(address, self.data[offset : offset + size], offset, words)
