"""An open file: struct file, and what its kind does when it is read and written."""

from __future__ import annotations

from dataclasses import dataclass, field
from errno import EINVAL, EISDIR, ENOTTY, ENXIO, ESPIPE

from ..machine.scheduler import WaitQueue
from ..machine.user_access_iter import IovIter
from ..tables.inode import MAX_LFS_FILESIZE, Inode

O_ACCMODE, O_RDONLY, O_WRONLY, O_RDWR = 0o3, 0o0, 0o1, 0o2
O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_NONBLOCK = 0o100, 0o200, 0o1000, 0o2000, 0o4000
O_NOCTTY, O_DIRECT, O_LARGEFILE, O_DIRECTORY = 0o400, 0o40000, 0o100000, 0o200000
O_NOATIME, O_CLOEXEC = 0o1000000, 0o2000000
"""Kernel: include/uapi/asm-generic/fcntl.h, v6.1."""
SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA, SEEK_HOLE = 0, 1, 2, 3, 4
EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP, EPOLLNVAL, EPOLLRDNORM, EPOLLWRNORM = 0x1, 0x4, 0x8, 0x10, 0x20, 0x40, 0x100
"""Kernel: include/uapi/linux/eventpoll.h, v6.1."""


@dataclass(eq=False)
class OpenFile:
    """
    `flags` are O_*, `position` the offset that read() and write() move. A kind of file is a subclass: `read` and
    `write` copy between an iterator over the user's buffers and the file at `position`, and return a count or -errno;
    they do not move `OpenFile.position`. `inode` is what can be mapped, if anything can.

    Kernel: include/linux/fs.h struct file, struct file_operations, v6.1.
    """

    path: str
    flags: int
    position: int = 0
    inode: Inode | None = None
    users: int = field(default=0, init=False)
    """Descriptors of all processes that have it."""

    @property
    def readable(self) -> bool:
        return self.flags & O_ACCMODE in (O_RDONLY, O_RDWR)

    @property
    def writable(self) -> bool:
        return self.flags & O_ACCMODE in (O_WRONLY, O_RDWR)

    @property
    def seekable(self) -> bool:
        return self.inode is not None

    def read(self, to: IovIter, position: int) -> int:
        """Up to `to.count` bytes."""
        return -EINVAL

    def write(self, source: IovIter, position: int) -> int:
        """Up to `source.count` bytes."""
        return -EINVAL

    def seek(self, offset: int, whence: int) -> int:
        """
        Move `position`: where it is then, or -errno.

        Kernel: fs/read_write.c generic_file_llseek(), vfs_setpos(), v6.1.
        """
        if not self.seekable:
            return -ESPIPE
        size = self.inode.size if self.inode is not None else 0
        if self.inode is not None and whence in (SEEK_DATA, SEEK_HOLE):
            if not 0 <= offset < size:
                return -ENXIO
            found = self.seek_data(offset) if whence == SEEK_DATA else self.seek_hole(offset)
            self.position = self.position if found < 0 else found
            return found
        base = {SEEK_SET: 0, SEEK_CUR: self.position, SEEK_END: size}.get(whence)
        if base is None or not 0 <= base + offset <= MAX_LFS_FILESIZE:
            return -EINVAL
        self.position = base + offset
        return self.position

    def seek_data(self, offset: int) -> int:
        """
        Where there is something, from `offset` in the file on: -ENXIO for nowhere. All of a file, by default.

        Kernel: fs/read_write.c generic_file_llseek_size() (SEEK_DATA), v6.1.
        """
        return offset

    def seek_hole(self, offset: int) -> int:
        """
        Where there is nothing, from `offset` in the file on; the file's end if nowhere else.

        Kernel: fs/read_write.c generic_file_llseek_size() (SEEK_HOLE), v6.1.
        """
        return self.inode.size if self.inode is not None else 0

    def ioctl(self, command: int, argument: int) -> int:
        """A control of this kind of file's own; most have none."""
        return -ENOTTY

    @property
    def mode(self) -> int:
        """What stat() tells of a file without an inode: a character device."""
        return 0o020666

    def poll(self) -> int:
        """
        EPOLL*: what can be done at once. Most files never let anybody wait.

        Kernel: include/linux/poll.h vfs_poll(), DEFAULT_POLLMASK, v6.1.
        """
        return EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLWRNORM

    @property
    def poll_queue(self) -> WaitQueue | None:
        """Who is woken when that changes; None where it never does."""
        return None

    def release(self) -> None:
        """The last descriptor is closed."""


class Directory(OpenFile):
    """
    An open directory: names are looked up from it.

    Kernel: fs/libfs.c simple_dir_operations, generic_read_dir(), v6.1.
    Differs: what is in it is not told.
    """

    @property
    def seekable(self) -> bool:
        return True

    @property
    def mode(self) -> int:
        return 0o040755

    def read(self, to: IovIter, position: int) -> int:
        return -EISDIR
