"""What a memfd's owner has forbidden for ever: F_ADD_SEALS."""

from __future__ import annotations

from errno import EBUSY, EINVAL, EPERM

from ..handler.mm_eras import MmRules
from ..tables.inode import (
    F_SEAL_EXEC,
    F_SEAL_FUTURE_WRITE,
    F_SEAL_GROW,
    F_SEAL_SEAL,
    F_SEAL_SHRINK,
    F_SEAL_WRITE,
    Inode,
)
from ..vocabulary.vma import VmFlag
from .filemap import file_areas
from .memory import Memory

F_ALL_SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE


def add_seals(memory: Memory, inode: Inode, seals: int, *, writable: bool) -> int:
    """
    0, or -errno. `writable`: is the file open for writing?

    Kernel: mm/memfd.c memfd_add_seals(), v6.1 and v6.12.
    """
    if not writable:
        return -EPERM
    if seals & ~(F_ALL_SEALS | (F_SEAL_EXEC if memory.rules.memfd_exec_flags else 0)):
        return -EINVAL
    if not inode.swap_backed:
        return -EINVAL
    if inode.seals & F_SEAL_SEAL:
        return -EPERM
    if seals & F_SEAL_WRITE and not inode.seals & F_SEAL_WRITE and shared_writable(memory, inode):
        return -EBUSY
    if seals & F_SEAL_EXEC and inode.mode & 0o111:
        seals |= F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE
    inode.seals |= seals
    return 0


def get_seals(inode: Inode) -> int:
    """The seals, or -EINVAL where there can be none (Kernel: mm/memfd.c memfd_get_seals(), v6.1)."""
    return inode.seals if inode.swap_backed else -EINVAL


def shared_writable(memory: Memory, inode: Inode) -> bool:
    """
    Could some mapping write to the file, now or after mprotect()?

    Kernel: include/linux/fs.h mapping_deny_writable(); include/linux/mm.h vma_is_shared_maywrite(), v6.1.
    """
    return any(vma.shared and vma.flags & VmFlag.MAYWRITE for _, vma in file_areas(memory, inode))


def check_seals_mmap(rules: MmRules, inode: Inode, *, write: bool) -> int:
    """
    May this file be mapped shared, by one who has it open for writing? 0: yes; 1: but never to be written; or -EPERM.

    Kernel: mm/mmap.c mmap_region() (mapping_map_writable()); include/linux/mm.h seal_check_write(), v6.1;
    mm/memfd.c memfd_check_seals_mmap(), v6.12.
    """
    if inode.seals & F_SEAL_WRITE and (write or not rules.sealed_files_map_read_only):
        return -EPERM
    if not inode.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE):
        return 0
    return -EPERM if write else 1
