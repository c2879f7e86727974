"""
A platform: what one must know of an architecture to read a kernel image of it (not to run one: that is `architecture`).

    platform_of("EM_AARCH64", 64, "little")         # ARM64
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .exception_format import ExceptionFormat
from .x86_exception_types import X86_64_EXCEPTIONS

ByteOrder = Literal["little", "big"]


@dataclass(frozen=True, slots=True)
class ExtraTable:
    """
    A second exception table: its `section`, or the symbols `start` and `stop` around it, `purpose` in a few words, and
    the format of its entries where it is not the platform's own.
    """

    section: str
    start: str
    stop: str
    purpose: str
    format: ExceptionFormat | None = None


@dataclass(frozen=True, slots=True)
class Platform:
    """
    `name` is the kernel's for the architecture (its folder in arch/, with the width where there are two). `bits` is the
    width of a pointer, `kernel_half` the lowest address that kernel code has. `exceptions` is the format of
    __ex_table, `extra_tables` are the tables beside it.
    """

    name: str
    elf_machine: str
    bits: int
    byte_order: ByteOrder
    kernel_half: int
    exceptions: ExceptionFormat
    extra_tables: tuple[ExtraTable, ...] = ()

    @property
    def pointer(self) -> int:
        """The size of a pointer in bytes."""
        return self.bits // 8


X86_64 = Platform("x86_64", "EM_X86_64", 64, "little", 1 << 63, X86_64_EXCEPTIONS)

PLATFORMS = (X86_64,)


def platform_of(elf_machine: str, bits: int, byte_order: ByteOrder) -> Platform | None:
    """The platform whose kernels have this ELF header, or None."""
    for platform in PLATFORMS:
        if (platform.elf_machine, platform.bits, platform.byte_order) == (elf_machine, bits, byte_order):
            return platform
    return None
