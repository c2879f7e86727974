"""System calls that give a file another size, or room, or a hole."""

from __future__ import annotations

import stat
from errno import EBADF, EFBIG, EINVAL, EISDIR, ENODEV, ENOENT, EOPNOTSUPP, EPERM, ESPIPE
from typing import TYPE_CHECKING

from ..mm.fallocate import fallocate_hole, shmem_fallocate
from ..mm.memory import Memory
from ..mm.truncate import truncate_setsize
from ..tables.inode import F_SEAL_GROW, F_SEAL_SHRINK, MAX_LFS_FILESIZE, Inode
from .names import AT_FDCWD, path_at
from .table import signed, system_call
from .task import UserTask

if TYPE_CHECKING:
    from .system import System

KEEP_SIZE, PUNCH_HOLE, COLLAPSE_RANGE, ZERO_RANGE, INSERT_RANGE, UNSHARE_RANGE = 0x1, 0x2, 0x8, 0x10, 0x20, 0x40
"""Kernel: include/uapi/linux/falloc.h FALLOC_FL_*, v6.1."""
MODES = {0, PUNCH_HOLE, COLLAPSE_RANGE, ZERO_RANGE, INSERT_RANGE, UNSHARE_RANGE}


@system_call(77, "ftruncate")
def ftruncate(system: System, task: UserTask, fd: int, length: int) -> int:
    """
    Kernel: fs/open.c do_sys_ftruncate(), v6.1.
    """
    size = signed(length)
    if size < 0:
        return -EINVAL
    file = task.files.get(signed(fd, 32))
    if file is None:
        return -EBADF
    if file.inode is None or not file.writable:
        return -EINVAL
    return do_truncate(system.machine.mm, file.inode, size)


@system_call(76, "truncate")
def truncate(system: System, task: UserTask, path: int, length: int) -> int:
    """
    Kernel: fs/open.c do_sys_truncate(), vfs_truncate(), v6.1.
    """
    size = signed(length)
    if size < 0:
        return -EINVAL
    name = path_at(system, task, AT_FDCWD, path)
    if isinstance(name, int):
        return name
    inode = system.namespace.lookup(name)
    if inode is None:
        if system.namespace.is_device(name):
            return -EINVAL
        return -EISDIR if system.namespace.is_directory(name) else -ENOENT
    if system.namespace.is_read_only(name):
        return -EPERM
    return do_truncate(system.machine.mm, inode, size)


def do_truncate(memory: Memory, inode: Inode, size: int) -> int:
    """
    0, or -EPERM where a seal forbids it.

    Kernel: fs/open.c do_truncate(); mm/shmem.c shmem_setattr(), v6.1.
    Differs: a file of ext2 may be as large as any other.
    """
    shrinks, grows = size < inode.size, size > inode.size
    if (shrinks and inode.seals & F_SEAL_SHRINK) or (grows and inode.seals & F_SEAL_GROW):
        return -EPERM
    truncate_setsize(memory, inode, size)
    return 0


@system_call(285, "fallocate")
def fallocate(system: System, task: UserTask, fd: int, mode: int, offset: int, length: int) -> int:
    """
    Kernel: fs/open.c vfs_fallocate(), v6.1.
    """
    mode, offset, length = mode & 0xFFFFFFFF, signed(offset), signed(length)
    file = task.files.get(signed(fd, 32))
    if file is None:
        return -EBADF
    if offset < 0 or length <= 0:
        return -EINVAL
    what = mode & ~KEEP_SIZE
    if what not in MODES or (what == PUNCH_HOLE and mode == what):
        return -EOPNOTSUPP
    if what in (COLLAPSE_RANGE, INSERT_RANGE) and mode != what:
        return -EOPNOTSUPP
    if not file.writable:
        return -EBADF
    if file.inode is None:
        return -ESPIPE if stat.S_ISFIFO(file.mode) else -EISDIR if stat.S_ISDIR(file.mode) else -ENODEV
    if offset + length > MAX_LFS_FILESIZE:
        return -EFBIG
    if what == PUNCH_HOLE:
        return fallocate_hole(system.machine.mm, file.inode, offset, offset + length)
    # ext2 has no blocks that are there without content, so it cannot give room ahead.
    if what or not file.inode.swap_backed:
        return -EOPNOTSUPP
    return shmem_fallocate(system.machine.mm, file.inode, offset, offset + length, keep_size=bool(mode & KEEP_SIZE))
