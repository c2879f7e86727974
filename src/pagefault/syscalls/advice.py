"""System calls that say how memory will be used, and that keep it where it is: madvise(), mlock()."""

from __future__ import annotations

from errno import EINVAL
from typing import TYPE_CHECKING

from ..mm.madvise import do_madvise
from ..mm.mlock import apply_mlockall_flags, do_mlock, do_mlockall, do_munlock
from ..vocabulary.vma import VmFlag
from .table import signed, system_call
from .task import UserTask

if TYPE_CHECKING:
    from .system import System

MLOCK_ONFAULT = 1


@system_call(28, "madvise")
def madvise(system: System, task: UserTask, start: int, length: int, behavior: int) -> int:
    """
    Kernel: mm/madvise.c SYSCALL_DEFINE3(madvise), v6.1.
    """
    return do_madvise(system.machine.mm, task.process.mm, start, length, signed(behavior, 32))


@system_call(149, "mlock")
def mlock(system: System, task: UserTask, start: int, length: int) -> int:
    """
    Kernel: mm/mlock.c SYSCALL_DEFINE2(mlock), v6.1.
    """
    return do_mlock(system.machine.mm, task.process.mm, start, length, VmFlag.LOCKED)


@system_call(325, "mlock2")
def mlock2(system: System, task: UserTask, start: int, length: int, flags: int) -> int:
    """
    Kernel: mm/mlock.c SYSCALL_DEFINE3(mlock2), v6.1.
    """
    if signed(flags, 32) & ~MLOCK_ONFAULT:
        return -EINVAL
    wanted = VmFlag.LOCKED | (VmFlag.LOCKONFAULT if flags & MLOCK_ONFAULT else VmFlag(0))
    return do_mlock(system.machine.mm, task.process.mm, start, length, wanted)


@system_call(150, "munlock")
def munlock(system: System, task: UserTask, start: int, length: int) -> int:
    """
    Kernel: mm/mlock.c SYSCALL_DEFINE2(munlock), v6.1.
    """
    return do_munlock(system.machine.mm, task.process.mm, start, length)


@system_call(151, "mlockall")
def mlockall(system: System, task: UserTask, flags: int) -> int:
    """
    Kernel: mm/mlock.c SYSCALL_DEFINE1(mlockall), v6.1.
    """
    return do_mlockall(system.machine.mm, task.process.mm, signed(flags, 32))


@system_call(152, "munlockall")
def munlockall(system: System, task: UserTask) -> int:
    """
    Kernel: mm/mlock.c SYSCALL_DEFINE0(munlockall), v6.1.
    """
    apply_mlockall_flags(system.machine.mm, task.process.mm, 0)
    return 0
