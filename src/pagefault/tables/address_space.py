"""One process's memory, as the kernel keeps it: struct mm_struct."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..vocabulary.address import PAGE_SHIFT
from ..vocabulary.vma import VmFlag
from .vmas import Vmas

STACK_GUARD_GAP = 256 << 12
"""Kernel: mm/mmap.c stack_guard_gap, v6.1."""
MMAP_MIN_ADDR = 65536
"""Kernel: security/min_addr.c mmap_min_addr, with Debian's CONFIG_DEFAULT_MMAP_MIN_ADDR, v6.1."""
RLIM_INFINITY = (1 << 64) - 1
STACK_RLIMIT = 8 << 20
"""Kernel: include/uapi/linux/resource.h _STK_LIM, v6.1."""


@dataclass(slots=True, eq=False)
class AddressSpace:
    """
    `root` is the physical address of the top-level table (mm->pgd), `vmas` what was promised. Where execve() put things
    (0 before): `mmap_base`, below which mmap() looks for room, `start_brk` and `brk`, `start_stack`, `arguments` and
    `environment` (start, end), `vdso`, and `exe`, the inode of the program. `def_flags` go to every new area
    (mlockall()), `rlimit_memlock` bounds what may be locked, `rlimit_as` the whole and `rlimit_data` what is
    private and writable; `cgroup` is the group its pages are counted in (0: none). `pkey_allocation_map` has a bit
    for each protection key that was given out, and `execute_only_pkey` is the one of memory that may only be
    executed (-1: none yet). `deposited` are tables kept for huge pages that will be split, one each; `thp_disabled`
    is PR_SET_THP_DISABLE.

    Kernel: include/linux/mm_types.h struct mm_struct, v6.1.
    """

    root: int
    vmas: Vmas = field(default_factory=Vmas)
    stack_rlimit: int = STACK_RLIMIT
    mmap_base: int = 0
    start_brk: int = 0
    brk: int = 0
    start_stack: int = 0
    arguments: tuple[int, int] = (0, 0)
    environment: tuple[int, int] = (0, 0)
    vdso: int = 0
    exe: int = 0
    def_flags: VmFlag = field(default=VmFlag(0))
    rlimit_memlock: int = 8 << 20
    rlimit_as: int = RLIM_INFINITY
    rlimit_data: int = RLIM_INFINITY
    cgroup: int = 0
    pkey_allocation_map: int = 1
    execute_only_pkey: int = -1
    deposited: list[int] = field(default_factory=list)
    thp_disabled: bool = False

    def may_expand_vm(self, pages: int, *, data: bool) -> bool:
        """
        May so many pages more be mapped? `data`: they are private and writable, and no stack.

        Kernel: mm/mmap.c may_expand_vm(), v6.1.
        Differs: RLIMIT_DATA of 0 is no exception (which Valgrind needs).
        """
        if self.rlimit_as != RLIM_INFINITY and self._mapped() + pages > self.rlimit_as >> PAGE_SHIFT:
            return False
        limited = data and self.rlimit_data != RLIM_INFINITY
        return not limited or self._mapped(only_data=True) + pages <= self.rlimit_data >> PAGE_SHIFT

    def _mapped(self, *, only_data: bool = False) -> int:
        """Pages of all areas, or of those that count as data (Kernel: mm/mmap.c vm_stat_account(), v6.1)."""
        return sum(vma.end - vma.start >> PAGE_SHIFT for vma in self.vmas if vma.data or not only_data)
