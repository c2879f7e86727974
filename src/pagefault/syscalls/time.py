"""System calls about time, which passes with instructions: a nanosecond each."""

from __future__ import annotations

import struct
from errno import EFAULT, EINVAL, EOPNOTSUPP
from typing import TYPE_CHECKING

from .identity import put, take
from .signal_sending import ERESTART_RESTARTBLOCK, ERESTARTNOHAND
from .table import system_call
from .task import UserTask

if TYPE_CHECKING:
    from .system import System

SECOND = 1_000_000_000
CLOCKS = (0, 1, 2, 3, 4, 5, 6, 7)
"""CLOCK_REALTIME … CLOCK_BOOTTIME (Kernel: include/uapi/linux/time.h, v6.1)."""
SLEEPING_CLOCKS = (0, 1, 7)
TIMER_ABSTIME = 1
KTIME_MAX = (1 << 63) - 1


def timespec(system: System, pointer: int) -> int:
    """
    Nanoseconds from a struct timespec of the user's, or -errno.

    Kernel: kernel/time/time.c get_timespec64(); include/linux/time64.h timespec64_valid(); include/linux/ktime.h
    ktime_set(), v6.1.
    """
    data = take(system, pointer, 16)
    if isinstance(data, int):
        return data
    seconds: int
    nanoseconds: int
    seconds, nanoseconds = struct.unpack("<qq", data)
    if seconds < 0 or not 0 <= nanoseconds < SECOND:
        return -EINVAL
    return min(seconds * SECOND + nanoseconds, KTIME_MAX)


def hrtimer_nanosleep(system: System, task: UserTask, until: int, remaining: int) -> int:
    """
    Sleep; what is left of it when a signal comes is told, and a restart sleeps for no more than that.

    Kernel: kernel/time/hrtimer.c hrtimer_nanosleep(), do_nanosleep(), v6.1.
    """
    if system.scheduler.sleep_until(until):
        return 0
    task.restart = lambda: hrtimer_nanosleep(system, task, until, remaining)
    if not remaining:
        return -ERESTART_RESTARTBLOCK
    left = struct.pack("<qq", *divmod(until - system.scheduler.now, SECOND))
    return put(system, remaining, left) or -ERESTART_RESTARTBLOCK


@system_call(35, "nanosleep")
def nanosleep(system: System, task: UserTask, request: int, remaining: int) -> int:
    """
    Kernel: kernel/time/hrtimer.c SYSCALL_DEFINE2(nanosleep), v6.1.
    """
    length = timespec(system, request)
    if length < 0:
        return length
    return hrtimer_nanosleep(system, task, min(system.scheduler.now + length, KTIME_MAX), remaining)


@system_call(230, "clock_nanosleep")
def clock_nanosleep(system: System, task: UserTask, clock: int, flags: int, request: int, remaining: int) -> int:
    """
    Kernel: kernel/time/posix-timers.c SYSCALL_DEFINE4(clock_nanosleep), v6.1.
    Differs: nobody sleeps by the clock of a process's own time.
    """
    if clock & 0xFFFFFFFF not in SLEEPING_CLOCKS:
        return -EOPNOTSUPP if clock & 0xFFFFFFFF in CLOCKS else -EINVAL
    length = timespec(system, request)
    if length < 0:
        return length
    if flags & TIMER_ABSTIME:
        return 0 if system.scheduler.sleep_until(length) else -ERESTARTNOHAND
    return hrtimer_nanosleep(system, task, min(system.scheduler.now + length, KTIME_MAX), remaining)


@system_call(228, "clock_gettime")
def clock_gettime(system: System, task: UserTask, clock: int, pointer: int) -> int:
    """
    Kernel: kernel/time/posix-timers.c SYSCALL_DEFINE2(clock_gettime), v6.1.
    Differs: every clock says how long the system runs.
    """
    if clock & 0xFFFFFFFF not in CLOCKS:
        return -EINVAL
    return put(system, pointer, struct.pack("<qq", *divmod(system.scheduler.now, SECOND)))


@system_call(96, "gettimeofday")
def gettimeofday(system: System, task: UserTask, time: int, zone: int) -> int:
    """
    Kernel: kernel/time/time.c SYSCALL_DEFINE2(gettimeofday), v6.1.
    """
    if time:
        seconds, rest = divmod(system.scheduler.now, SECOND)
        for offset, value in ((0, seconds), (8, rest // 1000)):
            if not system.access.put_user(time + offset, value, 8):
                return -EFAULT
    return put(system, zone, bytes(8)) if zone else 0


@system_call(201, "time")
def time(system: System, task: UserTask, pointer: int) -> int:
    """
    Kernel: kernel/time/time.c SYSCALL_DEFINE1(time), v6.1.
    """
    now = system.scheduler.now // SECOND
    return now if not pointer or system.access.put_user(pointer, now, 8) else -EFAULT


@system_call(24, "sched_yield")
def sched_yield(system: System, task: UserTask) -> int:
    """
    Kernel: kernel/sched/core.c do_sched_yield(), v6.1.
    """
    system.scheduler.yield_()
    return 0
