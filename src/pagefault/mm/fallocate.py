"""Room in a file ahead of its use, and holes: fallocate() and MADV_REMOVE."""

from __future__ import annotations

from errno import EACCES, EINVAL, ENOMEM, EPERM

from ..memory.pages import PageFlag
from ..tables.address_space import AddressSpace
from ..tables.inode import F_SEAL_FUTURE_WRITE, F_SEAL_GROW, F_SEAL_WRITE, FileSystem, Inode
from ..vocabulary.address import PAGE, PAGE_SHIFT
from ..vocabulary.vma import Vma, VmFlag
from .memory import Memory
from .truncate import drop_pages, punch_hole


def fallocate_hole(memory: Memory, inode: Inode, start: int, end: int) -> int:
    """
    Bytes start..end become a hole; 0, or -EPERM where a seal forbids it.

    Kernel: mm/shmem.c shmem_fallocate(); fs/ext4/inode.c ext4_punch_hole(), v6.1.
    """
    if inode.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE):
        return -EPERM
    punch_hole(memory, inode, start, end)
    return 0


def shmem_fallocate(memory: Memory, inode: Inode, start: int, end: int, *, keep_size: bool) -> int:
    """
    Pages ahead of their use: all of them, or none. 0, or -errno.

    Kernel: mm/shmem.c shmem_fallocate(), v6.1.
    """
    if inode.seals & F_SEAL_GROW and end > inode.size:
        return -EPERM
    first, last = start >> PAGE_SHIFT, -(-end // PAGE) - 1
    if last - first + 1 - len(inode.cache) > memory.frames.free:
        return -ENOMEM
    made: list[int] = []
    for index in range(first, last + 1):
        if inode.cache.get(index) is None and index not in inode.swapped:
            if not memory.frames.free:
                for undone in made:
                    drop_pages(memory, inode, undone, undone)
                return -ENOMEM
            memory.pages.set(memory.page_cache_page(inode, index), PageFlag.FALLOCATED | PageFlag.DIRTY)
            made.append(index)
    if not keep_size and end > inode.size:
        inode.size = end
    return 0


def madvise_remove(memory: Memory, _mm: AddressSpace, vma: Vma, start: int, end: int) -> int:
    """
    A hole in the file that an area shares.

    Kernel: mm/madvise.c madvise_remove(), v6.1.192.
    """
    inode = memory.inodes.get(vma.inode)
    if vma.flags & VmFlag.LOCKED or inode is None or inode.kind is FileSystem.SPECIAL:
        return -EINVAL
    if not (vma.shared and vma.flags & VmFlag.MAYWRITE):
        return -EACCES
    first, last = (vma.linear_page_index(address) << PAGE_SHIFT for address in (start, end))
    return fallocate_hole(memory, inode, first, last)
