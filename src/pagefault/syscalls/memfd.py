"""memfd_create(): a file that is memory and has no name."""

from __future__ import annotations

from errno import EFAULT, EINVAL, ENOSYS
from typing import TYPE_CHECKING

from ..fs.open_file import O_CLOEXEC, O_LARGEFILE, O_RDWR
from ..tables.inode import F_SEAL_EXEC, FileSystem
from .files import fd_install, unused_fd
from .table import system_call
from .task import UserTask

if TYPE_CHECKING:
    from .system import System

MFD_CLOEXEC, MFD_ALLOW_SEALING, MFD_HUGETLB, MFD_NOEXEC_SEAL, MFD_EXEC = 0x1, 0x2, 0x4, 0x8, 0x10
"""Kernel: include/uapi/linux/memfd.h, v6.12."""
MFD_NAME_MAX_LEN = 255 - len("memfd:")
"""Kernel: mm/memfd.c MFD_NAME_MAX_LEN, v6.1."""
HUGE_SIZE = 0x3F << 26
"""Kernel: include/uapi/linux/memfd.h MFD_HUGE_*: the size of the pages, as a power of two, v6.1."""


@system_call(319, "memfd_create")
def memfd_create(system: System, task: UserTask, pointer: int, flags: int) -> int:
    """
    Kernel: mm/memfd.c SYSCALL_DEFINE2(memfd_create), v6.1 and v6.12.
    Differs: no hugetlbfs: -ENOSYS, as of a kernel built without it (include/linux/hugetlb.h hugetlb_file_setup()).
    """
    flags &= 0xFFFFFFFF
    known = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB | (HUGE_SIZE if flags & MFD_HUGETLB else 0)
    if system.machine.mm.rules.memfd_exec_flags:
        known |= MFD_NOEXEC_SEAL | MFD_EXEC
    if flags & ~known or flags & (MFD_NOEXEC_SEAL | MFD_EXEC) == MFD_NOEXEC_SEAL | MFD_EXEC:
        return -EINVAL
    length = system.access.strnlen_user(pointer, MFD_NAME_MAX_LEN + 1)
    if length <= 0:
        return -EFAULT
    if length > MFD_NAME_MAX_LEN + 1:
        return -EINVAL
    name, left = system.access.copy_from_user(pointer, length)
    if left or name[-1]:
        return -EFAULT
    fd = unused_fd(task)
    if fd < 0:
        return fd
    if flags & MFD_HUGETLB:
        system.note("memfd_create() with MFD_HUGETLB is unknown here: -ENOSYS")
        return -ENOSYS
    shown = name[:-1].decode("utf-8", "surrogateescape")
    inode = system.machine.mm.new_inode(f"/memfd:{shown}", FileSystem.SHMEM)
    inode.links, inode.mode = 0, 0o100777
    if flags & MFD_NOEXEC_SEAL:
        inode.mode &= ~0o111
        inode.seals = F_SEAL_EXEC
    elif flags & MFD_ALLOW_SEALING:
        inode.seals = 0
    file = system.namespace.opened(inode, inode.name, O_RDWR | O_LARGEFILE)
    return fd_install(task, fd, file, O_CLOEXEC if flags & MFD_CLOEXEC else 0)
