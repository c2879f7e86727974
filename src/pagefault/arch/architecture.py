"""
The form every architecture fills in.

Code above this room asks the form; it never asks which architecture it is. What an architecture cannot do it answers
with `Unsupported`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..vocabulary.access import Access
from ..vocabulary.entry import Entry
from ..vocabulary.fault import Fault, Registers
from ..vocabulary.walk import Mapped, Walk


@dataclass(frozen=True, slots=True)
class Level:
    """One level of the page tables: the kernel's name, the lowest address bit it indexes by, and may it map memory?"""

    name: str
    shift: int
    may_be_leaf: bool


@dataclass(frozen=True, slots=True)
class Geometry:
    """
    The shape of a page-table tree, top level first. `sign_bit` is the highest bit that translation looks at: a
    canonical address has every bit above it equal to it.
    """

    levels: tuple[Level, ...]
    sign_bit: int


@dataclass(frozen=True, slots=True)
class AddressMap:
    """
    Where the kernel puts things in its half of the address space (Kernel: Documentation/arch/x86/x86_64/mm.rst).
    `end` values are exclusive.
    """

    task_size_max: int
    page_offset: int
    vmalloc_start: int
    vmalloc_end: int
    vmemmap: int
    kernel_map: int
    modules_start: int
    modules_end: int


@dataclass(frozen=True, slots=True)
class Violation:
    """A permission that an access to a mapped page lacks, in the manual's words."""

    rule: str
    protection_key: bool = False


class Architecture(Protocol):
    """What the walk, the handler and the reports need to know of an architecture. `cpu` is its own CpuState."""

    name: str

    def geometry(self, cpu: Any) -> Geometry:
        """The page tables' shape in the CPU's present mode."""

    def entry_flags(self, entry: Entry, cpu: Any) -> tuple[str, ...]:
        """The set bits of an entry, by the kernel's names, with what it leads to first."""

    def violation(self, mapped: Mapped, access: Access, cpu: Any) -> Violation | None:
        """The first permission check the access fails, or None."""

    def fault(self, walk: Walk, access: Access, cpu: Any, registers: Registers) -> Fault | None:
        """The exception the CPU raises for this access over this walk; None if it goes through."""

    def accessed_dirty(self, walk: Walk, access: Access) -> Sequence[tuple[Entry, int]]:
        """The entries the CPU rewrites on a permitted access, with their new values."""

    def address_map(self, cpu: Any) -> AddressMap:
        """The kernel's address map in the CPU's present mode, without KASLR."""
