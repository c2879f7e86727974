"""One process's memory, as the kernel keeps it: struct mm_struct."""

from __future__ import annotations

from dataclasses import dataclass, field

from .vmas import Vmas

STACK_GUARD_GAP = 256 << 12
"""Kernel: mm/mmap.c stack_guard_gap, v6.1."""
MMAP_MIN_ADDR = 65536
"""Kernel: security/min_addr.c mmap_min_addr, with Debian's CONFIG_DEFAULT_MMAP_MIN_ADDR, v6.1."""
STACK_RLIMIT = 8 << 20
"""Kernel: include/uapi/linux/resource.h _STK_LIM, v6.1."""


@dataclass(slots=True)
class AddressSpace:
    """`root` is the physical address of the top-level table (mm->pgd), `vmas` what was promised."""

    root: int
    vmas: Vmas = field(default_factory=Vmas)
    stack_rlimit: int = STACK_RLIMIT
