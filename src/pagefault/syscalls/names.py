"""System calls that find files by name, and tell about them."""

from __future__ import annotations

import struct
from errno import EACCES, EBADF, EFAULT, EINVAL, ENAMETOOLONG, ENOENT, ENOTDIR, ERANGE
from posixpath import join, normpath
from typing import TYPE_CHECKING

from ..fs.open_file import (
    O_CLOEXEC,
    O_CREAT,
    O_EXCL,
    O_LARGEFILE,
    O_NOCTTY,
    O_TRUNC,
    Directory,
    OpenFile,
)
from ..tables.inode import Inode
from ..vocabulary.address import PAGE
from .files import fd_install, unused_fd
from .identity import put
from .table import signed, system_call
from .task import UserTask

if TYPE_CHECKING:
    from .system import System

EMBEDDED_NAME_MAX, PATH_MAX, NAME_MAX = 4096 - 32, 4096, 255
UMASK = 0o022
CREATION = O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC
"""What open() does not remember."""
AT_FDCWD, AT_SYMLINK_NOFOLLOW, AT_EACCESS, AT_NO_AUTOMOUNT, AT_EMPTY_PATH = -100, 0x100, 0x200, 0x800, 0x1000
FSTATAT_FLAGS = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | 0x6000
FACCESSAT_FLAGS = AT_SYMLINK_NOFOLLOW | AT_EACCESS | AT_EMPTY_PATH
"""Kernel: fs/stat.c vfs_statx(); fs/open.c do_faccessat(), v6.1."""
STAT = struct.Struct("<QQQIIIIQqqqqqqqqqqqq")
"""Kernel: arch/x86/include/uapi/asm/stat.h struct stat, v6.1: 144 bytes."""
DIRECTORY, DEVICE, REGULAR = 0o040755, 0o020666, 0o100644


def getname(system: System, pointer: int, *, empty: bool = False) -> str | int:
    """
    A path from user memory, or -errno.

    Kernel: fs/namei.c getname_flags(), v6.1.
    """
    got = system.access.strncpy_from_user(pointer, EMBEDDED_NAME_MAX)
    if isinstance(got, bytes) and len(got) == EMBEDDED_NAME_MAX:
        got = system.access.strncpy_from_user(pointer, PATH_MAX)
        if isinstance(got, bytes) and len(got) == PATH_MAX:
            return -ENAMETOOLONG
    if isinstance(got, int):
        return got
    return got.decode("utf-8", "surrogateescape") if got or empty else -ENOENT


def path_at(system: System, task: UserTask, directory: int, pointer: int, *, empty: bool = False) -> str | int:
    """
    An absolute path from a directory's descriptor and a name in user memory; the descriptor's own for an empty name.

    Kernel: fs/namei.c path_init(), v6.1.
    """
    name = getname(system, pointer, empty=empty)
    if isinstance(name, int):
        return name
    number = signed(directory, 32)
    if name.startswith("/") or number == AT_FDCWD:
        return walk(system, join(task.cwd, name))
    file = task.files.get(number)
    if file is None:
        return -EBADF
    if not name:
        return file.path
    return walk(system, join(file.path, name)) if isinstance(file, Directory) else -ENOTDIR


def walk(system: System, path: str) -> str | int:
    """
    An absolute path without "." and "..", or -errno. Only what is there can be gone through.

    Kernel: fs/namei.c link_path_walk(), v6.1.
    """
    space, parts, way = system.namespace, path.split("/"), "/"
    if any(len(part.encode("utf-8", "surrogateescape")) > NAME_MAX for part in parts):
        return -ENAMETOOLONG
    for index, part in enumerate(parts[:-1]):
        way = normpath(join(way, part))
        if not space.is_directory(way):
            if space.exists(way):
                return -ENOTDIR
            if ".." in parts[index:]:
                return -ENOENT
            break
    return normpath(path)


def do_open(system: System, task: UserTask, directory: int, pointer: int, flags: int, mode: int) -> int:
    """
    Kernel: fs/open.c do_sys_openat2(), do_dentry_open(), v6.1.
    """
    path = path_at(system, task, directory, pointer)
    if isinstance(path, int):
        return path
    number = unused_fd(task)
    if number < 0:
        return number
    there = system.namespace.exists(path)
    file = system.namespace.open(path, flags & 0xFFFFFFFF)
    if isinstance(file, int):
        return file
    if file.inode is not None and not there:
        file.inode.mode = REGULAR & ~0o777 | mode & 0o7777 & ~UMASK
    file.flags = file.flags & ~CREATION | O_LARGEFILE
    return fd_install(task, number, file, flags)


@system_call(2, "open")
def open_(system: System, task: UserTask, path: int, flags: int, mode: int) -> int:
    """
    Kernel: fs/open.c SYSCALL_DEFINE3(open), v6.1.
    """
    return do_open(system, task, AT_FDCWD, path, flags, mode)


@system_call(257, "openat")
def openat(system: System, task: UserTask, directory: int, path: int, flags: int, mode: int) -> int:
    """
    Kernel: fs/open.c SYSCALL_DEFINE4(openat), v6.1.
    """
    return do_open(system, task, directory, path, flags, mode)


@system_call(87, "unlink")
def unlink(system: System, task: UserTask, path: int) -> int:
    """
    Kernel: fs/namei.c do_unlinkat(), v6.1.
    """
    name = path_at(system, task, AT_FDCWD, path)
    return name if isinstance(name, int) else system.namespace.unlink(name)


def check_access(system: System, task: UserTask, directory: int, path: int, mode: int) -> int:
    """
    Kernel: fs/open.c do_faccessat(), v6.1. Root may do anything that the file system allows.
    """
    if mode & ~7:
        return -EINVAL
    name = path_at(system, task, directory, path)
    if isinstance(name, int):
        return name
    if not system.namespace.exists(name):
        return -ENOENT
    inode = system.namespace.lookup(name)
    if mode & 1 and not (inode.mode & 0o111 if inode is not None else system.namespace.is_directory(name)):
        return -EACCES
    return -EACCES if mode & 2 and system.namespace.is_read_only(name) else 0


@system_call(21, "access")
def access(system: System, task: UserTask, path: int, mode: int) -> int:
    """
    Kernel: fs/open.c SYSCALL_DEFINE2(access), v6.1.
    """
    return check_access(system, task, AT_FDCWD, path, mode)


@system_call(439, "faccessat2")
def faccessat2(system: System, task: UserTask, directory: int, path: int, mode: int, flags: int) -> int:
    """
    Kernel: fs/open.c SYSCALL_DEFINE4(faccessat2), v6.1.
    """
    if flags & 0xFFFFFFFF & ~FACCESSAT_FLAGS:
        return -EINVAL
    return check_access(system, task, directory, path, mode)


def stat_of(system: System, path: str) -> bytes | int:
    """
    What stat() tells of a path, or -ENOENT.

    Differs: times are 0, everything belongs to root.
    """
    space = system.namespace
    inode = space.lookup(path)
    if inode is not None:
        return packed(inode.number, inode.mode, inode.size, inode.links, len(inode.cache))
    if space.is_device(path):
        return packed(1, DEVICE, 0, 1, 0)
    return packed(1, DIRECTORY, PAGE, 2, 0) if space.is_directory(path) else -ENOENT


def stat_file(file: OpenFile, system: System) -> bytes | int:
    """What fstat() tells of an open file."""
    inode: Inode | None = file.inode
    if inode is not None:
        return packed(inode.number, inode.mode, inode.size, inode.links, len(inode.cache))
    return stat_of(system, file.path) if isinstance(file, Directory) else packed(1, file.mode, 0, 1, 0)


def packed(number: int, mode: int, size: int, links: int, pages: int) -> bytes:
    return STAT.pack(1, number, links, mode, 0, 0, 0, 0, size, PAGE, pages * 8, *[0] * 9)


@system_call(4, "stat")
def stat(system: System, task: UserTask, path: int, buffer: int) -> int:
    """
    Kernel: fs/stat.c SYSCALL_DEFINE2(newstat), v6.1.
    """
    return statat(system, task, AT_FDCWD, path, buffer, 0)


@system_call(6, "lstat")
def lstat(system: System, task: UserTask, path: int, buffer: int) -> int:
    """
    Kernel: fs/stat.c SYSCALL_DEFINE2(newlstat), v6.1. There are no symbolic links.
    """
    return statat(system, task, AT_FDCWD, path, buffer, 0)


@system_call(5, "fstat")
def fstat(system: System, task: UserTask, fd: int, buffer: int) -> int:
    """
    Kernel: fs/stat.c SYSCALL_DEFINE2(newfstat), v6.1.
    """
    file = task.files.get(signed(fd, 32))
    found = -EBADF if file is None else stat_file(file, system)
    return found if isinstance(found, int) else put(system, buffer, found)


@system_call(262, "newfstatat")
def newfstatat(system: System, task: UserTask, directory: int, path: int, buffer: int, flags: int) -> int:
    """
    Kernel: fs/stat.c SYSCALL_DEFINE4(newfstatat), v6.1.
    """
    return statat(system, task, directory, path, buffer, flags)


def statat(system: System, task: UserTask, directory: int, path: int, buffer: int, flags: int) -> int:
    """
    Kernel: fs/stat.c vfs_fstatat(), vfs_statx(), v6.1.
    """
    if flags & 0xFFFFFFFF & ~FSTATAT_FLAGS:
        return -EINVAL
    name = path_at(system, task, directory, path, empty=bool(flags & AT_EMPTY_PATH))
    if isinstance(name, int):
        return name
    file = task.files.get(signed(directory, 32))
    found = stat_file(file, system) if file is not None and name == file.path else stat_of(system, name)
    return found if isinstance(found, int) else put(system, buffer, found)


def read_link(system: System, task: UserTask, directory: int, path: int, buffer: int, size: int) -> int:
    """
    /proc/self/exe is the only link there is.

    Kernel: fs/stat.c do_readlinkat(), v6.1.
    """
    if signed(size, 32) <= 0:
        return -EINVAL
    name = path_at(system, task, directory, path)
    if isinstance(name, int):
        return name
    if name != "/proc/self/exe":
        return -EINVAL if system.namespace.exists(name) else -ENOENT
    target = system.machine.mm.inodes[task.process.mm.exe].name.encode()[: signed(size, 32)]
    return -EFAULT if system.access.copy_to_user(buffer, target) else len(target)


@system_call(89, "readlink")
def readlink(system: System, task: UserTask, path: int, buffer: int, size: int) -> int:
    """
    Kernel: fs/stat.c SYSCALL_DEFINE3(readlink), v6.1.
    """
    return read_link(system, task, AT_FDCWD, path, buffer, size)


@system_call(267, "readlinkat")
def readlinkat(system: System, task: UserTask, directory: int, path: int, buffer: int, size: int) -> int:
    """
    Kernel: fs/stat.c SYSCALL_DEFINE4(readlinkat), v6.1.
    """
    return read_link(system, task, directory, path, buffer, size)


@system_call(79, "getcwd")
def getcwd(system: System, task: UserTask, buffer: int, size: int) -> int:
    """
    Kernel: fs/d_path.c SYSCALL_DEFINE2(getcwd), v6.1.
    """
    path = task.cwd.encode() + b"\0"
    if len(path) > size:
        return -ERANGE
    return -EFAULT if system.access.copy_to_user(buffer, path) else len(path)


@system_call(80, "chdir")
def chdir(system: System, task: UserTask, path: int) -> int:
    """
    Kernel: fs/open.c SYSCALL_DEFINE1(chdir), v6.1.
    """
    name = path_at(system, task, AT_FDCWD, path)
    if isinstance(name, int):
        return name
    if not system.namespace.is_directory(name):
        return -ENOTDIR if system.namespace.exists(name) else -ENOENT
    task.cwd = name
    return 0
