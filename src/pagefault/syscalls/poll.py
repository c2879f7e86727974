"""poll(): wait until one of several files can be read or written."""

from __future__ import annotations

import struct
from errno import EFAULT, EINVAL
from typing import TYPE_CHECKING

from ..fs.open_file import EPOLLERR, EPOLLHUP, EPOLLNVAL
from .files import RLIMIT_NOFILE, in_user_space
from .signal_sending import ERESTART_RESTARTBLOCK
from .table import signed, system_call
from .task import UserTask

if TYPE_CHECKING:
    from .system import System

POLLFD = struct.Struct("<iHH")
"""Kernel: include/uapi/asm-generic/poll.h struct pollfd, v6.1: fd, events, revents."""
N_STACK_PPS, POLLFD_PER_PAGE = 30, 510
"""How many are copied at first, and at once after that (Kernel: fs/select.c, v6.1)."""
REVENTS = 6
MSEC = 1_000_000


@system_call(7, "poll")
def poll(system: System, task: UserTask, pointer: int, count: int, timeout: int) -> int:
    """
    Kernel: fs/select.c SYSCALL_DEFINE3(poll), v6.1.
    """
    timeout = signed(timeout, 32)
    until = None if timeout < 0 else system.scheduler.now + timeout * MSEC
    return do_sys_poll(system, task, pointer, count & 0xFFFFFFFF, until)


def do_sys_poll(system: System, task: UserTask, pointer: int, count: int, until: int | None) -> int:
    """
    How many files have something to say by then (None: whenever that is), or -errno.

    Kernel: fs/select.c do_sys_poll(), do_poll(), do_restart_poll(), v6.1.
    """
    if count > task.rlimits[RLIMIT_NOFILE][0]:
        return -EINVAL
    asked = copy_pollfds(system, pointer, count)
    if asked is None:
        return -EFAULT
    found = wait_for(system, task, asked, until)
    if not in_user_space(system, pointer, count * POLLFD.size):
        return -EFAULT
    for index, revents in enumerate(found):
        if not system.access.put_user(pointer + index * POLLFD.size + REVENTS, revents, 2, checked=False):
            return -EFAULT
    ready = sum(map(bool, found))
    if not ready and task.signal_pending():
        task.restart = lambda: do_sys_poll(system, task, pointer, count, until)
        return -ERESTART_RESTARTBLOCK
    return ready


def copy_pollfds(system: System, pointer: int, count: int) -> list[tuple[int, int]] | None:
    """(descriptor, events) of each; None for -EFAULT."""
    asked, most = list[tuple[int, int]](), N_STACK_PPS
    while len(asked) < count:
        size = min(most, count - len(asked)) * POLLFD.size
        data, left = system.access.copy_from_user(pointer + len(asked) * POLLFD.size, size)
        if left:
            return None
        asked += [(fd, events) for fd, events, _ in POLLFD.iter_unpack(data)]
        most = POLLFD_PER_PAGE
    return asked


def wait_for(system: System, task: UserTask, asked: list[tuple[int, int]], until: int | None) -> list[int]:
    """What each file says, once one of them says something, a signal comes or the time has come."""
    files = [task.files.get(fd) if fd >= 0 else None for fd, _ in asked]
    queues = [file.poll_queue for file in files if file is not None]

    def look() -> list[int]:
        """Kernel: fs/select.c do_pollfd(), v6.1."""
        return [
            (0 if fd < 0 else EPOLLNVAL) if file is None else file.poll() & (events | EPOLLERR | EPOLLHUP)
            for (fd, events), file in zip(asked, files, strict=True)
        ]

    system.scheduler.wait_event_on_any([queue for queue in queues if queue is not None], lambda: any(look()), until)
    return look()
