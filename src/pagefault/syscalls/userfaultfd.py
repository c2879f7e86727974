"""userfaultfd(): a process answers first touches itself."""

from __future__ import annotations

from errno import EINVAL
from functools import partial
from typing import TYPE_CHECKING

from ..fs.open_file import O_CLOEXEC, O_NONBLOCK, O_RDWR
from ..fs.userfault_file import UserfaultFile
from ..tables.userfaultfd import UserfaultfdCtx
from ..vocabulary.fault import Fault
from .files import fd_install, unused_fd
from .table import system_call
from .task import UserTask

if TYPE_CHECKING:
    from .system import System

UFFD_USER_MODE_ONLY = 1


@system_call(323, "userfaultfd")
def userfaultfd(system: System, task: UserTask, flags: int) -> int:
    """
    Kernel: fs/userfaultfd.c SYSCALL_DEFINE1(userfaultfd), v6.1.
    """
    flags &= 0xFFFFFFFF
    if flags & ~(UFFD_USER_MODE_ONLY | O_CLOEXEC | O_NONBLOCK):
        return -EINVAL
    fd = unused_fd(task)
    if fd < 0:
        return fd
    memory = system.machine.mm
    memory.last_userfault += 1
    number = memory.last_userfault
    ctx = UserfaultfdCtx(number, task.process.mm, bool(flags & UFFD_USER_MODE_ONLY))
    memory.userfaults[number] = ctx
    file = system.userfault_files[number] = UserfaultFile(
        "anon_inode:[userfaultfd]",
        O_RDWR | flags & O_NONBLOCK,
        access=system.access,
        memory=memory,
        scheduler=system.scheduler,
        ctx=ctx,
        released=partial(system.userfault_files.pop, number),
    )
    return fd_install(task, fd, file, flags)


def wait_in_fault(system: System, fault: Fault, number: int) -> bool:
    """
    A fault that somebody has to answer: sleep. False: a signal came for user code, which will fault again after it.

    Kernel: fs/userfaultfd.c handle_userfault(); arch/x86/mm/fault.c do_user_addr_fault() (fault_signal_pending()),
    v6.1.
    Differs: in the kernel's own code only a signal that kills ends the sleep.
    """
    return wait_for(system, number, fault.address or 0, write=fault.write, interruptible=fault.user_mode)


def wait_in_gup(system: System, address: int, write: bool, number: int) -> None:
    """The same for a page that the kernel wants without a fault (Kernel: mm/gup.c faultin_page(), v6.1)."""
    wait_for(system, number, address, write=write, interruptible=False)


def wait_for(system: System, number: int, address: int, *, write: bool, interruptible: bool) -> bool:
    """Kernel: fs/userfaultfd.c handle_userfault(), v6.1."""
    file, task = system.userfault_files.get(number), system.current
    if file is None or task is None:
        return True
    system.observer.waits(task)
    return file.wait(address, task.pid, write=write, interruptible=interruptible)
