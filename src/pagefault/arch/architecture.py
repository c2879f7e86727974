"""
The form every architecture fills in.

Code above this room asks the form; it never asks which architecture it is. What an architecture cannot do it answers
with `Unsupported`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..vocabulary.access import Access
from ..vocabulary.entry import Entry
from ..vocabulary.fault import Fault, Registers
from ..vocabulary.walk import Mapped, Walk


@dataclass(frozen=True, slots=True)
class Level:
    """
    One level of the page tables: the kernel's name, the lowest address bit it indexes by, may it map memory, how many
    entries a table has (a power of two), and do these have rights and an accessed bit of their own?
    """

    name: str
    shift: int
    may_be_leaf: bool
    entries: int = 512
    has_rights: bool = True


@dataclass(frozen=True, slots=True)
class Geometry:
    """
    The shape of a page-table tree, top level first. `sign_bit` is the highest bit that translation looks at: a
    canonical address has every bit above it equal to it. `entry_size` is in bytes.
    """

    levels: tuple[Level, ...]
    sign_bit: int
    entry_size: int = 8


@dataclass(frozen=True, slots=True)
class AddressMap:
    """
    Where the kernel puts things in its part of the address space (Kernel: Documentation/arch/x86/x86_64/mm.rst).
    `end` values are exclusive. `vmemmap` is None where the array of struct page is not mapped at a place of its own.
    """

    task_size_max: int
    page_offset: int
    vmalloc_start: int
    vmalloc_end: int
    vmemmap: int | None
    kernel_map: int
    modules_start: int
    modules_end: int


Version = tuple[int, int]
"""A kernel's release: (6, 1) for 6.1.192."""


@dataclass(frozen=True, slots=True)
class VmallocPolicy:
    """
    How a new mapping in vmalloc space, which is written to the master table, gets into the other tables.

    `faulting`: the first access through a table that lacks it faults, and the handler copies an entry. `preallocated`:
    every top-level entry exists from boot on, so that all tables share what is below. `synced`: the entry is written
    into every table at once, by arch_sync_kernel_mappings().
    """

    faulting: bool
    preallocated: bool
    synced: bool


@dataclass(frozen=True, slots=True)
class UserCopyRoutine:
    """
    A routine that touches user memory: which registers take destination, source (None: it writes zeros) and count,
    which one leaves the number of bytes not done, and does it open its own user-access window (STAC .. CLAC) or expect
    its caller to have done so?
    """

    name: str
    destination: str
    source: str | None
    count: str
    left: str
    opens_window: bool


@dataclass(frozen=True, slots=True)
class Violation:
    """A permission that an access to a mapped page lacks, in the manual's words."""

    rule: str
    protection_key: bool = False


class Architecture(Protocol):
    """
    What the walk, the handler, the machine and the reports need to know of an architecture. `cpu` is its own CpuState.

    `bits` is the width of a linear address. `pt_regs` has the manual's name for each of the kernel's (struct pt_regs:
    ax, ip, …). `kernel_selectors` are what the segment registers hold in kernel code.
    """

    @property
    def name(self) -> str: ...
    @property
    def bits(self) -> int: ...
    @property
    def pt_regs(self) -> Mapping[str, str]: ...
    @property
    def general_registers(self) -> tuple[str, ...]: ...
    @property
    def argument_registers(self) -> tuple[str, ...]: ...
    @property
    def kernel_selectors(self) -> Mapping[str, int]: ...

    @property
    def percpu_base(self) -> str:
        """The register that leads to the CPU's own area, in kernel code."""

    @property
    def master_table(self) -> str:
        """The symbol of init_mm's top-level table."""

    @property
    def soft_dirty(self) -> int:
        """The bit of a pte that says: written since the last clear_refs; 0 if there is none."""

    def gdt(self, percpu: int) -> Mapping[int, int]:
        """The segment descriptors that must be in memory for code to run, by selector."""

    def boot_state(self, features: frozenset[str], *, pae: bool) -> Any:
        """Control registers as the kernel sets them on a CPU with these features; `pae`: was it built so?"""

    def geometry(self, cpu: Any) -> Geometry:
        """The page tables' shape in the CPU's present mode."""

    def canonical(self, address: int, cpu: Any) -> bool:
        """Is it an address that the tables can translate?"""

    def is_leaf(self, level: Level, value: int) -> bool:
        """Does this present entry map memory (as opposed to pointing to the next table)?"""

    def reserved_bits(self, level: Level, value: int, cpu: Any) -> int:
        """The bits of a present entry that must be 0 and are not."""

    def page_frame(self, level: Level, value: int) -> int:
        """The physical address of the first byte of what a leaf maps."""

    def table_entry(self, level: Level, frame: int) -> int:
        """What the kernel writes at `level` to lead to the table in `frame`."""

    def supported_pte_mask(self, cpu: Any) -> int:
        """The bits that the kernel may set in an entry."""

    def entry_flags(self, entry: Entry, cpu: Any) -> tuple[str, ...]:
        """The set bits of an entry, by the kernel's names, with what it leads to first."""

    def violation(self, mapped: Mapped, access: Access, cpu: Any) -> Violation | None:
        """The first permission check the access fails, or None."""

    def fault(self, walk: Walk, access: Access, cpu: Any, registers: Registers) -> Fault | None:
        """The exception the CPU raises for this access over this walk; None if it goes through."""

    def general_protection(self, registers: Registers, code: int) -> Fault:
        """The exception the CPU raises for what is forbidden but about no page."""

    def accessed_dirty(self, walk: Walk, access: Access, cpu: Any) -> Sequence[tuple[Entry, int]]:
        """The entries the CPU rewrites on a permitted access, with their new values."""

    def address_map(self, cpu: Any) -> AddressMap:
        """The kernel's address map in the CPU's present mode, without KASLR."""

    def fault_in_kernel_space(self, address: int, cpu: Any) -> bool:
        """Does the kernel take a fault at this address for one on its own part of the address space?"""

    def vmalloc_level(self, cpu: Any) -> str:
        """The level whose entry a vmalloc fault copies from the master table, where there are such faults."""

    def vmalloc_policy(self, version: Version) -> VmallocPolicy:
        """How this release's vmalloc space gets into every table."""

    def user_copy_routines(self, version: Version) -> tuple[UserCopyRoutine, ...]:
        """This release's routines that copy and clear user memory."""
