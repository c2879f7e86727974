"""System calls that read and write open files."""

from __future__ import annotations

import struct
from errno import EBADF, EFAULT, EINVAL, EMFILE, ESPIPE
from typing import TYPE_CHECKING

from ..fs.open_file import O_APPEND, O_CLOEXEC, O_DIRECT, O_NOATIME, O_NONBLOCK, OpenFile
from ..fs.pipe import make_pipe
from ..machine.user_access import UIO_MAXIOV
from ..machine.user_access_iter import IovIter
from ..mm.seals import add_seals, get_seals
from .signal_sending import send_signal
from .table import signed, system_call
from .task import SI_USER, SigInfo, UserTask

if TYPE_CHECKING:
    from .system import System

MAX_RW_COUNT = 0x7FFFF000
"""Kernel: include/linux/fs.h MAX_RW_COUNT, v6.1."""
RLIMIT_NOFILE = 7
SEEK_MAX = 4
SIGPIPE = 13
SETFL_MASK = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME
"""Kernel: fs/fcntl.c SETFL_MASK, v6.1."""


def in_user_space(system: System, pointer: int, length: int) -> bool:
    """Kernel: arch/x86/include/asm/uaccess.h access_ok(), v6.1; uaccess_64.h, v6.12 (USER_PTR_MAX)."""
    limit = system.machine.area.task_size_max
    return length <= limit and pointer <= limit - length


def user_buffer(system: System, pointer: int, length: int) -> IovIter | int:
    """
    One buffer of the user's, checked and bounded, or -EFAULT.

    Kernel: fs/read_write.c vfs_read() (access_ok(), MAX_RW_COUNT), v6.1.
    """
    if not in_user_space(system, pointer, length):
        return -EFAULT
    return IovIter(system.access, [(pointer, min(length, MAX_RW_COUNT))])


def import_iovec(system: System, pointer: int, count: int) -> IovIter | int:
    """
    The buffers of readv() and its kin, or -errno.

    Kernel: lib/iov_iter.c __import_iovec(), v6.1.
    """
    if count > UIO_MAXIOV:
        return -EINVAL
    if not count:
        return IovIter(system.access, [])
    segments = system.access.copy_iovec_from_user(pointer, count)
    if isinstance(segments, int):
        return segments
    total, kept = 0, []
    for base, length in segments:
        if not in_user_space(system, base, length):
            return -EFAULT
        length = min(length, MAX_RW_COUNT - total)
        kept.append((base, length))
        total += length
    return IovIter(system.access, kept)


def read_into(file: OpenFile, to: IovIter | int, position: int | None) -> int:
    """Read at `position`, or where the file is and then further on."""
    if isinstance(to, int):
        return to
    if not to.count:
        return 0
    result = file.read(to, file.position if position is None else position)
    if result > 0 and position is None:
        file.position += result
    return result


def write_from(file: OpenFile, source: IovIter | int, position: int | None) -> int:
    """Write at `position`, or where the file is and then further on; at the end if it was opened so."""
    if isinstance(source, int):
        return source
    if not source.count:
        return 0
    start = file.position if position is None else position
    if file.flags & O_APPEND and file.inode is not None:
        start = file.inode.size
    result = file.write(source, start)
    if result > 0 and position is None:
        file.position = start + result
    return result


def unused_fd(task: UserTask, lowest: int = 0) -> int:
    """
    The lowest free descriptor, or -EMFILE.

    Kernel: fs/file.c alloc_fd(), v6.1.
    """
    number = task.files.free_from(lowest)
    return number if number < task.rlimits[RLIMIT_NOFILE][0] else -EMFILE


def fd_install(task: UserTask, number: int, file: OpenFile, flags: int = 0) -> int:
    """Put a file at a free descriptor; with O_CLOEXEC, until execve()."""
    task.files.install(file, number)
    if flags & O_CLOEXEC:
        task.files.close_on_exec.add(number)
    return number


def file_for(task: UserTask, fd: int, *, write: bool = False) -> OpenFile | None:
    """The open file of a descriptor, if it may be read (or written)."""
    file = task.files.get(signed(fd, 32))
    if file is None or not (file.writable if write else file.readable):
        return None
    return file


@system_call(0, "read")
def read(system: System, task: UserTask, fd: int, pointer: int, length: int) -> int:
    """
    Kernel: fs/read_write.c ksys_read(), vfs_read(), v6.1.
    """
    file = file_for(task, fd)
    return -EBADF if file is None else read_into(file, user_buffer(system, pointer, length), None)


@system_call(1, "write")
def write(system: System, task: UserTask, fd: int, pointer: int, length: int) -> int:
    """
    Kernel: fs/read_write.c ksys_write(), vfs_write(), v6.1.
    """
    file = file_for(task, fd, write=True)
    return -EBADF if file is None else write_from(file, user_buffer(system, pointer, length), None)


@system_call(17, "pread64")
def pread64(system: System, task: UserTask, fd: int, pointer: int, length: int, position: int) -> int:
    """
    Kernel: fs/read_write.c ksys_pread64(), v6.1.
    """
    if signed(position) < 0:
        return -EINVAL
    file = task.files.get(signed(fd, 32))
    if file is not None and not file.seekable:
        return -ESPIPE
    file = file_for(task, fd)
    return -EBADF if file is None else read_into(file, user_buffer(system, pointer, length), position)


@system_call(18, "pwrite64")
def pwrite64(system: System, task: UserTask, fd: int, pointer: int, length: int, position: int) -> int:
    """
    Kernel: fs/read_write.c ksys_pwrite64(), v6.1.
    """
    if signed(position) < 0:
        return -EINVAL
    file = task.files.get(signed(fd, 32))
    if file is not None and not file.seekable:
        return -ESPIPE
    file = file_for(task, fd, write=True)
    return -EBADF if file is None else write_from(file, user_buffer(system, pointer, length), position)


def vectored(
    system: System, task: UserTask, fd: int, pointer: int, count: int, *, write: bool, position: int | None
) -> int:
    """
    readv() and its kin. What comes first, the file's mode or the buffers, changed.

    Kernel: fs/read_write.c vfs_readv(), do_iter_read(), v6.1 (buffers first); vfs_readv(), v6.12 (mode first).
    """
    file = task.files.get(signed(fd, 32))
    if file is None:
        return -EBADF
    allowed = file.writable if write else file.readable
    if system.machine.mm.rules.iovec_after_mode and not allowed:
        return -EBADF
    buffers = import_iovec(system, pointer, count & 0xFFFFFFFFFFFFFFFF)
    if isinstance(buffers, int):
        return buffers
    if not allowed:
        return -EBADF
    return write_from(file, buffers, position) if write else read_into(file, buffers, position)


@system_call(19, "readv")
def readv(system: System, task: UserTask, fd: int, pointer: int, count: int) -> int:
    """
    Kernel: fs/read_write.c do_readv(), v6.1.
    """
    return vectored(system, task, fd, pointer, count, write=False, position=None)


@system_call(20, "writev")
def writev(system: System, task: UserTask, fd: int, pointer: int, count: int) -> int:
    """
    Kernel: fs/read_write.c do_writev(), v6.1.
    """
    return vectored(system, task, fd, pointer, count, write=True, position=None)


@system_call(8, "lseek")
def lseek(system: System, task: UserTask, fd: int, offset: int, whence: int) -> int:
    """
    Kernel: fs/read_write.c ksys_lseek(), v6.1.
    """
    file = task.files.get(signed(fd, 32))
    if file is None:
        return -EBADF
    whence &= 0xFFFFFFFF
    return file.seek(signed(offset), whence) if whence <= SEEK_MAX else -EINVAL


@system_call(3, "close")
def close(system: System, task: UserTask, fd: int) -> int:
    """
    Kernel: fs/open.c SYSCALL_DEFINE1(close), v6.1.
    """
    return task.files.close(signed(fd, 32))


@system_call(32, "dup")
def dup(system: System, task: UserTask, fd: int) -> int:
    """
    Kernel: fs/file.c SYSCALL_DEFINE1(dup), v6.1.
    """
    file = task.files.get(signed(fd, 32))
    if file is None:
        return -EBADF
    number = unused_fd(task)
    return number if number < 0 else fd_install(task, number, file)


@system_call(33, "dup2")
def dup2(system: System, task: UserTask, old: int, new: int) -> int:
    """
    Kernel: fs/file.c SYSCALL_DEFINE2(dup2), v6.1.
    """
    old, new = signed(old, 32), signed(new, 32)
    if old != new:
        return dup3(system, task, old, new, 0)
    return -EBADF if task.files.get(old) is None else old


@system_call(292, "dup3")
def dup3(system: System, task: UserTask, old: int, new: int, flags: int) -> int:
    """
    Kernel: fs/file.c ksys_dup3(), do_dup2(), v6.1.
    """
    old, new = signed(old, 32), signed(new, 32)
    if flags & 0xFFFFFFFF & ~O_CLOEXEC or old == new:
        return -EINVAL
    file = task.files.get(old)
    if file is None or not 0 <= new < task.rlimits[RLIMIT_NOFILE][0]:
        return -EBADF
    task.files.close(new)
    return fd_install(task, new, file, flags)


@system_call(72, "fcntl")
def fcntl(system: System, task: UserTask, fd: int, command: int, argument: int) -> int:
    """
    F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_ADD_SEALS and F_GET_SEALS.

    Kernel: fs/fcntl.c do_fcntl(), f_dupfd(), setfl(), v6.1.
    """
    number = signed(fd, 32)
    file = task.files.get(number)
    if file is None:
        return -EBADF
    match command & 0xFFFFFFFF:
        case 0 | 1030 as duplicates:
            if argument >= task.rlimits[RLIMIT_NOFILE][0]:
                return -EINVAL
            found = unused_fd(task, argument)
            return found if found < 0 else fd_install(task, found, file, O_CLOEXEC if duplicates else 0)
        case 1:
            return int(number in task.files.close_on_exec)
        case 2:
            (task.files.close_on_exec.add if argument & 1 else task.files.close_on_exec.discard)(number)
            return 0
        case 3:
            return file.flags
        case 4:
            of_memory = file.inode is not None and file.inode.swap_backed
            if argument & O_DIRECT and of_memory and not system.machine.mm.rules.tmpfs_opens_direct:
                return -EINVAL
            file.flags = file.flags & ~SETFL_MASK | argument & SETFL_MASK
            return 0
        case 1033 | 1034 if file.inode is not None:
            memory, seals = system.machine.mm, argument & 0xFFFFFFFF
            adds = command == 1033
            return add_seals(memory, file.inode, seals, writable=file.writable) if adds else get_seals(file.inode)
        case _:
            return -EINVAL


@system_call(16, "ioctl")
def ioctl(system: System, task: UserTask, fd: int, command: int, argument: int) -> int:
    """
    Kernel: fs/ioctl.c SYSCALL_DEFINE3(ioctl), v6.1.
    """
    file = task.files.get(signed(fd, 32))
    return -EBADF if file is None else file.ioctl(command & 0xFFFFFFFF, argument)


def sigpipe(system: System) -> None:
    """
    Who writes what nobody can read is told.

    Kernel: fs/pipe.c pipe_write() (send_sig(SIGPIPE, current, 0)), v6.1.
    """
    task = system.current
    assert task is not None
    send_signal(system, task, SigInfo(SIGPIPE, SI_USER, pid=task.tgid), thread=True)


@system_call(293, "pipe2")
def pipe2(system: System, task: UserTask, pointer: int, flags: int) -> int:
    """
    Kernel: fs/pipe.c do_pipe2(), v6.1.
    """
    if flags & 0xFFFFFFFF & ~(O_CLOEXEC | O_DIRECT | O_NONBLOCK):
        return -EINVAL
    numbers: list[int] = []
    for end in make_pipe(system.scheduler, system.access, flags & (O_DIRECT | O_NONBLOCK), lambda: sigpipe(system)):
        number = unused_fd(task)
        if number < 0:
            for installed in numbers:
                task.files.close(installed)
            return number
        numbers.append(fd_install(task, number, end, flags))
    if system.access.copy_to_user(pointer, struct.pack("<ii", *numbers)):
        for number in numbers:
            task.files.close(number)
        return -EFAULT
    return 0


@system_call(22, "pipe")
def pipe(system: System, task: UserTask, pointer: int) -> int:
    """
    Kernel: fs/pipe.c SYSCALL_DEFINE1(pipe), v6.1.
    """
    return pipe2(system, task, pointer, 0)
