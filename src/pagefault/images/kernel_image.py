"""
What every file that holds kernel code can be asked, whatever container it came in: a vmlinux, a boot image, a module,
a dump, the running kernel.

    image = open_image("/boot/vmlinuz")
    for table in image.exception_tables: ...
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..arch.platform import Platform
from ..tables.extable import ExceptionTable
from ..tables.symbols import SymbolTable


@dataclass(frozen=True, slots=True)
class CodeSection:
    """
    A named range of addresses: an ELF section that is loaded, or what two symbols of the linker script enclose.

    `discarded` marks what the kernel frees once it is up (.init.text, …).
    """

    name: str
    address: int
    size: int
    executable: bool
    discarded: bool = False

    @property
    def end(self) -> int:
        """The first address past it."""
        return self.address + self.size


@dataclass(frozen=True, slots=True)
class FoundTable:
    """
    One exception table of an image: its name (`__ex_table`, `__dbe_table`, …) and how it was found. `module` is the
    one it belongs to, where an image holds a kernel and its modules.
    """

    name: str
    table: ExceptionTable
    found: str
    module: str | None = None


class KernelImage(Protocol):
    """
    `path` is the file, `how` what was done to get at the kernel in it, outermost first ("bzImage, xz-compressed
    vmlinux at 0x4000", "symbols from the image's own kallsyms"). `module` is the module's name, None for a kernel.
    Addresses of a relocatable module are made up: its sections lie one after another.
    """

    @property
    def path(self) -> str: ...
    @property
    def module(self) -> str | None: ...
    @property
    def platform(self) -> Platform: ...
    @property
    def how(self) -> tuple[str, ...]: ...
    @property
    def version(self) -> tuple[int, int]:
        """The kernel's release, (6, 1) for 6.1.192. Errors: Absent if nothing says it."""

    @property
    def symbols(self) -> SymbolTable: ...
    @property
    def sections(self) -> tuple[CodeSection, ...]:
        """Sections by address; empty if the image has none and no symbols stand for them."""

    @property
    def executable(self) -> tuple[tuple[int, int], ...]:
        """Ranges of addresses (start, end) that hold code, in order."""

    @property
    def exception_tables(self) -> tuple[FoundTable, ...]:
        """All of the image's tables, __ex_table first. Errors: Absent if it has none; BadInput; Unsupported."""

    def read(self, address: int, length: int) -> bytes:
        """`length` bytes at an address, zeros in .bss. Errors: Absent if the image does not hold them all."""
