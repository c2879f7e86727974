"""Signals on their way out of the kernel: which comes next, and what it does to its task."""

from __future__ import annotations

import struct
from errno import EINTR
from typing import TYPE_CHECKING

from ..machine.scheduler import ERESTARTSYS
from ..machine.user_access_signal import LastFault, SigAction, SignalStack
from ..mm.pkeys import INIT_PKRU
from .exit import do_group_exit
from .signal_sending import (
    ERESTART_RESTARTBLOCK,
    ERESTARTNOHAND,
    ERESTARTNOINTR,
    IGNORED,
    SIG_DFL,
    SIG_IGN,
    STOPPING,
    SYNCHRONOUS,
    UNBLOCKABLE,
    force_sigsegv,
)
from .table import signed
from .task import SI_USER, SIGCHLD, SIGKILL, SigInfo, UserTask

if TYPE_CHECKING:
    from .system import System

SA_NODEFER, SA_RESETHAND = 0x4000_0000, 0x8000_0000
SS_DISABLE, SS_AUTODISARM = 2, 1 << 31
RESTART_SYSCALL = 219
SYSCALL_SIZE = 2


def deliver_signals(system: System, task: UserTask) -> None:
    """
    Deliver what waits, before user code goes on: several handlers are entered one from the other, the last one first.

    Kernel: arch/x86/kernel/signal.c arch_do_signal_or_restart(), kernel/signal.c get_signal(), v6.1.
    """
    while task.signal_pending() and not task.exiting:
        got = get_signal(system, task)
        if task.exiting:
            return
        if got is None:
            break
        handle_signal(system, task, *got)
    restart_syscall(task)


def restart_syscall(task: UserTask) -> None:
    """
    A system call that a signal interrupted, and no handler was run for it: it is made again.

    Kernel: arch/x86/kernel/signal.c arch_do_signal_or_restart(), v6.1.
    """
    registers, result = task.registers, -signed(task.registers["rax"])
    if task.orig_rax < 0 or result not in (ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK):
        return
    registers["rax"] = RESTART_SYSCALL if result == ERESTART_RESTARTBLOCK else task.orig_rax
    registers["rip"] -= SYSCALL_SIZE
    task.orig_rax = -1


def get_signal(system: System, task: UserTask) -> tuple[SigInfo, SigAction] | None:
    """
    The next signal that has a handler; what the others do is done here.

    Kernel: kernel/signal.c get_signal(), v6.1.
    """
    while True:
        if task.condemned:
            system.observer.signal(task, SIGKILL, SI_USER, SIG_DFL)
            do_group_exit(system, task, SIGKILL)
            return None
        if task.signal.stopped:
            system.scheduler.wait_event(task.signal.changed, lambda: not task.signal.stopped)
            continue
        info = dequeue_signal(task)
        if info is None:
            return None
        handler, flags, restorer, mask = task.handlers.get(info.number, (SIG_DFL, 0, 0, 0))
        system.observer.signal(task, info.number, info.code, handler)
        if handler == SIG_IGN:
            continue
        if handler != SIG_DFL:
            if flags & SA_RESETHAND:
                task.handlers[info.number] = (SIG_DFL, flags, restorer, mask)
            return info, SigAction(handler, flags, restorer, mask)
        if info.number in IGNORED:
            continue
        if info.number in STOPPING:
            task.signal.stopped = info.number
            continue
        do_group_exit(system, task, info.number)
        return None


def dequeue_signal(task: UserTask) -> SigInfo | None:
    """
    What an instruction caused comes first, then the lowest number: the task's own, then its process's.

    Kernel: kernel/signal.c dequeue_synchronous_signal(), dequeue_signal(), next_signal(), v6.1.
    """
    for queue in (task.pending, task.signal.pending):
        waiting = [info for info in queue if not task.blocked >> info.number - 1 & 1]
        if waiting:
            info = min(waiting, key=lambda one: (not (one.number in SYNCHRONOUS and one.code > SI_USER), *rank(one)))
            queue.remove(info)
            return info
    return None


def rank(info: SigInfo) -> tuple[bool, int]:
    """Synchronous ones first (Kernel: kernel/signal.c next_signal(), v6.1)."""
    return info.number not in SYNCHRONOUS, info.number


def handle_signal(system: System, task: UserTask, info: SigInfo, action: SigAction) -> None:
    """
    Write the frame and let the task go on in its handler.

    Kernel: arch/x86/kernel/signal.c handle_signal(); kernel/signal.c signal_setup_done(), v6.1.
    """
    sp, size, flags = task.altstack
    registers = system.signals.setup_rt_frame(
        info.number,
        siginfo(info),
        action,
        {**task.registers, "orig_rax": task.orig_rax},
        blocked=task.blocked,
        stack=SignalStack(sp, size, flags),
        fault=LastFault(*task.fault),
    )
    if registers is None:
        interrupted(task, action)
        force_sigsegv(task, info.number)
        return
    task.registers = {**task.registers, **registers}
    task.orig_rax = -1
    system.machine.cpu.reset_fpu()
    system.machine.mm.write_pkru(INIT_PKRU)
    added = action.mask | (0 if action.flags & SA_NODEFER else 1 << info.number - 1)
    task.blocked = (task.blocked | added) & ~UNBLOCKABLE
    if flags & SS_AUTODISARM:
        task.altstack = (0, 0, SS_DISABLE)


def interrupted(task: UserTask, action: SigAction) -> None:
    """
    What a system call says that was interrupted by a signal with a handler, where the image's own code did not get so
    far as to say it.

    Kernel: arch/x86/kernel/signal.c handle_signal(), v6.1.
    """
    if task.orig_rax >= 0 and -signed(task.registers["rax"]) in (ERESTARTSYS, ERESTARTNOHAND, ERESTART_RESTARTBLOCK):
        task.registers["rax"] = -EINTR & (1 << 64) - 1


def siginfo(info: SigInfo) -> bytes:
    """
    The siginfo_t of a signal, as far as it is in use.

    Kernel: include/uapi/asm-generic/siginfo.h, v6.1.
    """
    head = struct.pack("<iiii", info.number, 0, info.code, 0)
    if info.number == SIGCHLD and info.code > SI_USER:
        return head + struct.pack("<iIi", info.pid, 0, info.status)
    if info.number in SYNCHRONOUS and info.code > SI_USER:
        return head + struct.pack("<QQI", info.address, 0, info.key)
    return head + struct.pack("<iI", info.pid, 0)
