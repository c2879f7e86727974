"""Pipes: a ring of pages between a writer and a reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from errno import EAGAIN, EFAULT, EPIPE

from ..machine.scheduler import ERESTARTSYS, Scheduler, WaitQueue
from ..machine.user_access import UserAccess
from ..machine.user_access_iter import IovIter
from ..vocabulary.address import PAGE
from .open_file import (
    EPOLLERR,
    EPOLLHUP,
    EPOLLIN,
    EPOLLOUT,
    EPOLLRDNORM,
    EPOLLWRNORM,
    O_DIRECT,
    O_NONBLOCK,
    O_RDONLY,
    O_WRONLY,
    OpenFile,
)

RING = 16
"""Pages of a pipe (Kernel: include/linux/pipe_fs_i.h PIPE_DEF_BUFFERS, v6.1)."""
"""Kernel: include/linux/errno.h, v6.1."""


@dataclass(slots=True)
class PipeBuffer:
    """
    One page of a pipe: what was written into it, of which `offset` bytes have been read. A packet is read at once or
    lost.

    Kernel: include/linux/pipe_fs_i.h struct pipe_buffer, v6.1.
    """

    packet: bool
    data: bytes = b""
    offset: int = 0


@dataclass(eq=False)
class Pipe:
    """
    What has been written and not yet read. `broken` is called when somebody writes that nobody can read: SIGPIPE.

    Kernel: include/linux/pipe_fs_i.h struct pipe_inode_info, v6.1.
    """

    scheduler: Scheduler
    access: UserAccess
    broken: Callable[[], None]
    buffers: list[PipeBuffer] = field(default_factory=list)
    readers: int = 1
    writers: int = 1
    changed: WaitQueue = field(default_factory=WaitQueue)

    @property
    def full(self) -> bool:
        return len(self.buffers) >= RING


@dataclass(eq=False)
class PipeEnd(OpenFile):
    """One end of a pipe."""

    pipe: Pipe | None = None

    @property
    def mode(self) -> int:
        return 0o010600

    def read(self, to: IovIter, position: int) -> int:
        """
        Kernel: fs/pipe.c pipe_read(), v6.1.
        """
        pipe = self._of()
        while not (result := self._take(to)) and pipe.writers:
            if self.flags & O_NONBLOCK:
                return -EAGAIN
            if not pipe.scheduler.wait_event_interruptible(
                pipe.changed, lambda: bool(pipe.buffers) or not pipe.writers
            ):
                return -ERESTARTSYS
        return result

    def _take(self, to: IovIter) -> int:
        """What is there: how much of it, or -EFAULT."""
        pipe, done = self._of(), 0
        while pipe.buffers and to.count:
            buffer = pipe.buffers[0]
            data = buffer.data[buffer.offset : buffer.offset + to.count]
            with pipe.access.buffer(PAGE) as page:
                pipe.access.machine.write(page, data)
                copied = to.copy_page_to(page, len(data))
            if copied < len(data):
                done = done or -EFAULT
                break
            done, buffer.offset = done + copied, buffer.offset + copied
            if buffer.packet or buffer.offset == len(buffer.data):
                pipe.buffers.pop(0)
            if buffer.packet and copied:
                break
        pipe.scheduler.wake_up(pipe.changed)
        return done

    def write(self, source: IovIter, position: int) -> int:
        """
        Kernel: fs/pipe.c pipe_write(), v6.1.
        """
        pipe = self._of()
        result = self._merge(source) if pipe.readers else 0
        while source.count and result >= 0:
            if not pipe.readers:
                pipe.broken()
                result = result or -EPIPE
                break
            if not pipe.full:
                buffer = PipeBuffer(packet=bool(self.flags & O_DIRECT))
                pipe.buffers.append(buffer)
                buffer.data = self._copy(source, min(PAGE, source.count))
                if not buffer.data:
                    result = result or -EFAULT
                    break
                result += len(buffer.data)
            elif self.flags & O_NONBLOCK:
                result = result or -EAGAIN
                break
            else:
                pipe.scheduler.wake_up(pipe.changed)
                if not pipe.scheduler.wait_event_interruptible(pipe.changed, lambda: not pipe.full or not pipe.readers):
                    result = result or -ERESTARTSYS
                    break
        pipe.scheduler.wake_up(pipe.changed)
        return result

    def _merge(self, source: IovIter) -> int:
        """
        Let the last page take what is more than whole pages, if it has room: how much that is, or -EFAULT.

        Kernel: fs/pipe.c pipe_write() (PIPE_BUF_FLAG_CAN_MERGE), v6.1.
        """
        pipe, part = self._of(), source.count % PAGE
        last = pipe.buffers[-1] if pipe.buffers else None
        if not part or last is None or last.packet or len(last.data) + part > PAGE:
            return 0
        data = self._copy(source, part)
        last.data += data
        return len(data) or -EFAULT

    def _copy(self, source: IovIter, length: int) -> bytes:
        """All of the next bytes, or none."""
        pipe = self._of()
        with pipe.access.buffer(PAGE) as page:
            copied = source.copy_page_from(page, length)
            return pipe.access.machine.read(page, length) if copied == length else b""

    def poll(self) -> int:
        """
        Kernel: fs/pipe.c pipe_poll(), v6.1.
        """
        pipe = self._of()
        if self.readable:
            return (EPOLLIN | EPOLLRDNORM if pipe.buffers else 0) | (0 if pipe.writers else EPOLLHUP)
        return (0 if pipe.full else EPOLLOUT | EPOLLWRNORM) | (0 if pipe.readers else EPOLLERR)

    @property
    def poll_queue(self) -> WaitQueue:
        return self._of().changed

    def release(self) -> None:
        pipe = self._of()
        if self.readable:
            pipe.readers -= 1
        else:
            pipe.writers -= 1
        pipe.scheduler.wake_up(pipe.changed)

    def _of(self) -> Pipe:
        assert self.pipe is not None
        return self.pipe


def make_pipe(
    scheduler: Scheduler, access: UserAccess, flags: int, broken: Callable[[], None]
) -> tuple[PipeEnd, PipeEnd]:
    """The two ends, for reading and for writing."""
    pipe = Pipe(scheduler, access, broken)
    return PipeEnd("pipe", O_RDONLY | flags, pipe=pipe), PipeEnd("pipe", O_WRONLY | flags, pipe=pipe)
