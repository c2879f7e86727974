"""System calls that change an address space."""

from __future__ import annotations

from errno import EBADF, EINVAL, ENODEV, ENOMEM, ENOSPC
from typing import TYPE_CHECKING

from ..fs.open_file import OpenFile
from ..mm.brk import do_brk
from ..mm.gup import mm_populate
from ..mm.mmap import MAP_ANONYMOUS, MAP_HUGETLB, MAP_LOCKED, MAP_NONBLOCK, MAP_POPULATE, do_mmap
from ..mm.mprotect import do_mprotect_pkey
from ..mm.mremap import do_mremap
from ..mm.munmap import do_munmap
from ..mm.pkeys import arch_set_user_pkey_access, mm_pkey_alloc, mm_pkey_is_allocated
from ..vocabulary.address import PAGE, PAGE_SHIFT
from ..vocabulary.vma import VmFlag
from .table import signed, system_call
from .task import UserTask

if TYPE_CHECKING:
    from .system import System

PKEY_ACCESS_MASK = 3
"""Kernel: include/uapi/asm-generic/mman-common.h PKEY_ACCESS_MASK, v6.1."""


@system_call(9, "mmap")
def mmap(
    system: System, task: UserTask, address: int, length: int, protection: int, flags: int, fd: int, offset: int
) -> int:
    """
    Kernel: arch/x86/kernel/sys_x86_64.c SYSCALL_DEFINE6(mmap); mm/mmap.c ksys_mmap_pgoff(); mm/util.c vm_mmap_pgoff(),
    v6.1.
    Differs: there is no pool of MAP_HUGETLB's pages.
    """
    if offset % PAGE:
        return -EINVAL
    file: OpenFile | None = None
    if not flags & MAP_ANONYMOUS:
        file = task.files.get(signed(fd, 32))
        if file is None:
            return -EBADF
        if not length or flags & MAP_HUGETLB:
            return -EINVAL
        if file.inode is None:
            return -ENODEV
    elif flags & MAP_HUGETLB:
        return -ENOMEM
    memory, mm = system.machine.mm, task.process.mm
    result = do_mmap(
        memory,
        mm,
        address,
        length,
        protection,
        flags,
        file.inode if file is not None else None,
        offset >> PAGE_SHIFT,
        readable=file is None or file.readable,
        writable=file is None or file.writable,
    )
    locked = flags & MAP_LOCKED or mm.def_flags & VmFlag.LOCKED
    if result >= 0 and (locked or flags & (MAP_POPULATE | MAP_NONBLOCK) == MAP_POPULATE):
        mm_populate(memory, mm, result, length)
    return result


@system_call(11, "munmap")
def munmap(system: System, task: UserTask, address: int, length: int) -> int:
    """
    Kernel: mm/mmap.c SYSCALL_DEFINE2(munmap), v6.1.
    """
    return do_munmap(system.machine.mm, task.process.mm, address, length)


@system_call(25, "mremap")
def mremap(
    system: System, task: UserTask, address: int, old_length: int, new_length: int, flags: int, new_address: int
) -> int:
    """
    Kernel: mm/mremap.c SYSCALL_DEFINE5(mremap), v6.1.
    """
    return do_mremap(system.machine.mm, task.process.mm, address, old_length, new_length, flags, new_address)


@system_call(12, "brk")
def brk(system: System, task: UserTask, end: int) -> int:
    """
    Kernel: mm/mmap.c SYSCALL_DEFINE1(brk), v6.1.
    """
    mm = task.process.mm
    old = mm.brk + PAGE - 1 & -PAGE
    new = do_brk(system.machine.mm, mm, end)
    if new > old and mm.def_flags & VmFlag.LOCKED:
        mm_populate(system.machine.mm, mm, old, new - old)
    return new


@system_call(10, "mprotect")
def mprotect(system: System, task: UserTask, start: int, length: int, protection: int) -> int:
    """
    Kernel: mm/mprotect.c SYSCALL_DEFINE3(mprotect), v6.1.
    """
    return do_mprotect_pkey(system.machine.mm, task.process.mm, start, length, protection)


@system_call(329, "pkey_mprotect")
def pkey_mprotect(system: System, task: UserTask, start: int, length: int, protection: int, key: int) -> int:
    """
    Kernel: mm/mprotect.c SYSCALL_DEFINE4(pkey_mprotect), v6.1. Key -1 is mprotect().
    """
    wanted = signed(key, 32)
    return do_mprotect_pkey(
        system.machine.mm, task.process.mm, start, length, protection, None if wanted == -1 else wanted
    )


@system_call(330, "pkey_alloc")
def pkey_alloc(system: System, task: UserTask, flags: int, rights: int) -> int:
    """
    Kernel: mm/mprotect.c SYSCALL_DEFINE2(pkey_alloc), v6.1.
    """
    if flags or rights & ~PKEY_ACCESS_MASK:
        return -EINVAL
    memory, mm = system.machine.mm, task.process.mm
    key = mm_pkey_alloc(memory, mm)
    if key == -1:
        return -ENOSPC
    arch_set_user_pkey_access(memory, mm, key, rights)
    return key


@system_call(331, "pkey_free")
def pkey_free(system: System, task: UserTask, key: int) -> int:
    """
    Kernel: mm/mprotect.c SYSCALL_DEFINE1(pkey_free), v6.1.
    """
    mm, number = task.process.mm, signed(key, 32)
    if not mm_pkey_is_allocated(mm, number):
        return -EINVAL
    mm.pkey_allocation_map &= ~(1 << number)
    return 0
