"""A virtual memory area: what a process was promised, whatever its tables hold yet."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

from .address import PAGE_SHIFT


class VmFlag(IntFlag):
    """
    The flags of an area that are no right of its own. Kernel: include/linux/mm.h VM_*, v6.1 (the bits are ours).
    """

    MAYREAD = 1 << 0
    MAYWRITE = 1 << 1
    MAYEXEC = 1 << 2
    MAYSHARE = 1 << 3
    LOCKED = 1 << 4
    LOCKONFAULT = 1 << 5
    IO = 1 << 6
    PFNMAP = 1 << 7
    MIXEDMAP = 1 << 8
    DONTCOPY = 1 << 9
    DONTEXPAND = 1 << 10
    DONTDUMP = 1 << 11
    ACCOUNT = 1 << 12
    NORESERVE = 1 << 13
    WIPEONFORK = 1 << 14
    HUGEPAGE = 1 << 15
    NOHUGEPAGE = 1 << 16
    SOFTDIRTY = 1 << 17
    UFFD_MISSING = 1 << 18
    SEQ_READ = 1 << 19
    RAND_READ = 1 << 20
    MERGEABLE = 1 << 24


MAY_ALL = VmFlag.MAYREAD | VmFlag.MAYWRITE | VmFlag.MAYEXEC


@dataclass(frozen=True, slots=True)
class Vma:
    """
    Addresses `start` <= a < `end`, page-aligned. `read`, `write`, `execute`, `grows_down` and `shared` are VM_READ,
    VM_WRITE, VM_EXEC, VM_GROWSDOWN and VM_SHARED; `name` is what /proc/PID/maps shows in its last column.

    `inode` is the number of the file it maps (0: anonymous memory; shared anonymous memory has an inode of its own),
    `pgoff` the page of the file at `start`; for anonymous memory it is the page number at which it was first mapped.
    `anon_vma` says which areas' private pages may be found together (0: it has had none yet); `inherited`: it has pages
    of a parent's too, so its anon_vma_chain has more than one link. `userfault` is the userfaultfd that asked for its
    missing pages.
    """

    start: int
    end: int
    read: bool = True
    write: bool = True
    execute: bool = False
    grows_down: bool = False
    protection_key: int = 0
    name: str = ""
    shared: bool = False
    inode: int = 0
    pgoff: int = 0
    flags: VmFlag = MAY_ALL
    anon_vma: int = 0
    inherited: bool = False
    userfault: int = 0

    @property
    def anonymous(self) -> bool:
        """No file behind it (Kernel: include/linux/mm.h vma_is_anonymous(), v6.1)."""
        return not self.inode and not self.flags & VmFlag.PFNMAP

    @property
    def accessible(self) -> bool:
        """Any right at all (Kernel: include/linux/mm.h vma_is_accessible(), v6.1)."""
        return self.read or self.write or self.execute

    @property
    def data(self) -> bool:
        """Private and writable, and no stack (Kernel: mm/internal.h is_data_mapping(), v6.1)."""
        return self.write and not self.shared and not self.grows_down

    def linear_page_index(self, address: int) -> int:
        """
        The page of the file, or of the anonymous memory, at `address`.

        Kernel: include/linux/pagemap.h linear_page_index(), v6.1.
        """
        return (address - self.start >> PAGE_SHIFT) + self.pgoff
