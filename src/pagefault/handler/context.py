"""All that a decision may look at: the handler reads this and nothing else, and changes none of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..arch.architecture import AddressMap, Architecture
from ..arch.architectures import architecture_of
from ..arch.x86 import CpuState
from ..arch.x86_eras import KernelProfile
from ..memory.pages import Pages
from ..memory.physical import FreeFrames, PhysicalMemory
from ..tables.address_space import AddressSpace
from ..tables.extable import ExceptionTables
from ..tables.inode import Inode
from ..tables.memory_cgroup import MemoryCgroup
from ..tables.pagetable import read_linear, walk
from ..tables.swap_space import SwapSpace
from ..tables.userfaultfd import UserfaultfdCtx
from ..vocabulary.mm_settings import MmSettings
from ..vocabulary.vm_fault import VmFault
from ..vocabulary.walk import Walk
from .mm_eras import MmRules


@dataclass(frozen=True, slots=True)
class Context:
    """
    The kernel around a fault, live or dead.

    `mm` is current->mm (None in a kernel thread), `init_mm_root` the master table's physical address, `zero_page` the
    shared page of zeros, `stack` the current kernel stack (low, high). `faulthandler_disabled` is the kernel's own
    word: in an interrupt, or between pagefault_disable() and pagefault_enable(). `pages` is what is known of each
    frame, `inodes` the files by number, `rules` and `settings` what memory management goes by. `tried`: what
    handle_mm_fault() said before in this fault, where it wanted to be asked again. `huge_zero_page` is the 2 MiB of
    zeros (0: nobody needed it yet), `swap` the swap space, `cgroups` the groups by number.
    """

    profile: KernelProfile
    cpu: CpuState
    memory: PhysicalMemory
    init_mm_root: int
    mm: AddressSpace | None
    extables: ExceptionTables
    faulthandler_disabled: bool
    frames: FreeFrames
    zero_page: int
    pages: Pages
    inodes: Mapping[int, Inode]
    rules: MmRules
    settings: MmSettings
    stack: tuple[int, int] | None = None
    tried: tuple[VmFault, ...] = ()
    userfaults: Mapping[int, UserfaultfdCtx] = field(default_factory=dict)
    huge_zero_page: int = 0
    swap: SwapSpace | None = None
    cgroups: Mapping[int, MemoryCgroup] = field(default_factory=dict)

    @property
    def form(self) -> Architecture:
        """All that is true of this architecture only."""
        return architecture_of(self.cpu)

    @property
    def area(self) -> AddressMap:
        """Where the kernel puts things."""
        return self.form.address_map(self.cpu)

    def walk(self, address: int) -> Walk:
        """The walk through the table in use (CR3)."""
        return walk(self.memory, self.cpu.root, address, self.cpu)

    def init_mm_walk(self, address: int) -> Walk:
        """The walk through the kernel's master table."""
        return walk(self.memory, self.init_mm_root, address, self.cpu)

    def read_kernel(self, address: int, length: int) -> bytes | None:
        """Bytes at a linear address, as the tables in use map them; None if any of them is not mapped."""
        data = read_linear(self.memory, self.cpu.root, address, length, self.cpu)
        return data if len(data) == length else None
