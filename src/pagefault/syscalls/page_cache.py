"""System calls about the page cache: what is in it, what should be, and what is to be written back."""

from __future__ import annotations

import stat
from dataclasses import replace
from errno import EBADF, EBUSY, EFAULT, EINVAL, ENOMEM, ESPIPE
from typing import TYPE_CHECKING

from ..arch import x86
from ..handler.vmf import PAGE_NONE
from ..memory.pages import PageFlag
from ..memory.ram import HUGE
from ..mm.filemap import force_page_cache_ra, invalidate_mapping_pages
from ..mm.huge_memory import huge_pmds
from ..mm.memory import Memory
from ..mm.munmap import entries
from ..mm.truncate import NO_END
from ..mm.writeback import filemap_write_range
from ..tables.inode import Inode
from ..tables.swap_space import is_swap_entry, slot_of
from ..vocabulary.address import PAGE, PAGE_SHIFT
from ..vocabulary.readahead import RA_PAGES
from ..vocabulary.vma import Vma, VmFlag
from .files import in_user_space
from .table import signed, system_call
from .task import UserTask

if TYPE_CHECKING:
    from .system import System

FADV_NORMAL, FADV_RANDOM, FADV_SEQUENTIAL, FADV_WILLNEED, FADV_DONTNEED, FADV_NOREUSE = range(6)
"""Kernel: include/uapi/linux/fadvise.h, v6.1."""
MS_ASYNC, MS_INVALIDATE, MS_SYNC = 1, 2, 4
"""Kernel: include/uapi/asm-generic/mman-common.h, v6.1."""
LLONG_MAX = (1 << 63) - 1


@system_call(221, "fadvise64")
def fadvise64(system: System, task: UserTask, fd: int, offset: int, length: int, advice: int) -> int:
    """
    Kernel: mm/fadvise.c ksys_fadvise64_64(), generic_fadvise(), v6.1.
    """
    file = task.files.get(signed(fd, 32))
    if file is None:
        return -EBADF
    if stat.S_ISFIFO(file.mode):
        return -ESPIPE
    advice = signed(advice, 32)
    if signed(length) < 0 or not FADV_NORMAL <= advice <= FADV_NOREUSE:
        return -EINVAL
    if file.inode is not None and not file.inode.swap_backed:
        fadvise(system.machine.mm, file.inode, offset, length, advice)
    return 0


def fadvise(memory: Memory, inode: Inode, offset: int, length: int, advice: int) -> None:
    """
    What advice does to a file on a device; 0 bytes are all the rest.

    Kernel: mm/fadvise.c generic_fadvise(), v6.1.
    """
    end = offset + length - 1 if length and offset + length < 1 << 64 else LLONG_MAX
    first, last = offset >> PAGE_SHIFT, end >> PAGE_SHIFT
    if advice == FADV_NORMAL:
        inode.readahead = replace(inode.readahead, pages=RA_PAGES, random=False)
    elif advice == FADV_RANDOM:
        inode.readahead = replace(inode.readahead, random=True)
    elif advice == FADV_SEQUENTIAL:
        inode.readahead = replace(inode.readahead, pages=2 * RA_PAGES, random=False)
    elif advice == FADV_WILLNEED:
        force_page_cache_ra(memory, inode, first, last - first + 1)
    elif advice == FADV_DONTNEED:
        filemap_write_range(memory, inode, first, last)
        whole = end % PAGE == PAGE - 1 or end == inode.size - 1
        invalidate_mapping_pages(memory, inode, -(-offset // PAGE), last if whole else last - 1)


@system_call(187, "readahead")
def readahead(system: System, task: UserTask, fd: int, offset: int, length: int) -> int:
    """
    Kernel: mm/readahead.c ksys_readahead(), v6.1.
    """
    file = task.files.get(signed(fd, 32))
    if file is None or not file.readable:
        return -EBADF
    return fadvise64(system, task, fd, offset, length, FADV_WILLNEED) if file.inode is not None else -EINVAL


@system_call(74, "fsync")
def fsync(system: System, task: UserTask, fd: int) -> int:
    """
    Kernel: fs/sync.c do_fsync(), vfs_fsync(), v6.1.
    """
    file = task.files.get(signed(fd, 32))
    if file is None:
        return -EBADF
    if file.inode is None:
        return -EINVAL
    filemap_write_range(system.machine.mm, file.inode, 0, NO_END)
    return 0


@system_call(75, "fdatasync")
def fdatasync(system: System, task: UserTask, fd: int) -> int:
    """
    Kernel: fs/sync.c SYSCALL_DEFINE1(fdatasync), v6.1.
    """
    return fsync(system, task, fd)


@system_call(162, "sync")
def sync(system: System, task: UserTask) -> int:
    """
    Kernel: fs/sync.c ksys_sync(), v6.1.
    """
    for inode in system.machine.mm.inodes.values():
        filemap_write_range(system.machine.mm, inode, 0, NO_END)
    return 0


@system_call(26, "msync")
def msync(system: System, task: UserTask, start: int, length: int, flags: int) -> int:
    """
    Kernel: mm/msync.c SYSCALL_DEFINE3(msync), v6.1.
    """
    flags &= 0xFFFFFFFF
    if flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC) or start % PAGE:
        return -EINVAL
    if flags & (MS_ASYNC | MS_SYNC) == MS_ASYNC | MS_SYNC:
        return -EINVAL
    end = start + (length + PAGE - 1 & -PAGE)
    if end >> 64:
        return -ENOMEM
    memory, at, hole = system.machine.mm, start, False
    for vma in task.process.mm.vmas.overlapping(start, end):
        hole = hole or vma.start > at
        if flags & MS_INVALIDATE and vma.flags & VmFlag.LOCKED:
            return -EBUSY
        low, at = max(start, vma.start), min(end, vma.end)
        if flags & MS_SYNC and vma.inode and vma.shared:
            first = vma.linear_page_index(low)
            filemap_write_range(memory, memory.inodes[vma.inode], first, first + (at - low) // PAGE - 1)
    return -ENOMEM if hole or at < end else 0


@system_call(27, "mincore")
def mincore(system: System, task: UserTask, start: int, length: int, vector: int) -> int:
    """
    Kernel: mm/mincore.c SYSCALL_DEFINE3(mincore), do_mincore(), v6.1.
    """
    if start % PAGE:
        return -EINVAL
    if not in_user_space(system, start, length):
        return -ENOMEM
    pages = -(-length // PAGE)
    if not in_user_space(system, vector, pages):
        return -EFAULT
    while pages:
        vma = task.process.mm.vmas.vma_lookup(start)
        if vma is None:
            return -ENOMEM
        count = min(pages, PAGE, (vma.end - start) // PAGE)
        if system.access.copy_to_user(vector, incore(system, task, vma, start, count)):
            return -EFAULT
        pages, vector, start = pages - count, vector + count, start + count * PAGE
    return 0


def incore(system: System, task: UserTask, vma: Vma, start: int, count: int) -> bytes:
    """
    One byte a page: 1 if a touch would find it in memory.

    Kernel: mm/mincore.c mincore_pte_range(), __mincore_unmapped_range(), mincore_page(), v6.1.
    """
    memory, mm = system.machine.mm, task.process.mm
    inode = memory.inodes.get(vma.inode)
    if inode is not None and not inode.swap_backed and inode.backing is None:
        return b"\1" * count
    found = bytearray(count)
    for place in range(count if inode is not None else 0):
        frame = inode.cache.get(vma.linear_page_index(start) + place) if inode is not None else None
        found[place] = frame is not None and not memory.pages.has(frame, PageFlag.FALLOCATED)
    end = start + count * PAGE
    for _, _, address in huge_pmds(memory, mm, start, end):
        low, high = max(address, start), min(address + HUGE, end)
        found[(low - start) // PAGE : (high - start) // PAGE] = b"\1" * ((high - low) // PAGE)
    for _, value, address in entries(memory, mm, start, end):
        back = memory.swap is not None and is_swap_entry(value) and slot_of(value) in memory.swap.cache
        found[(address - start) // PAGE] = back or bool(value & (x86.PRESENT | PAGE_NONE))
    return bytes(found)
