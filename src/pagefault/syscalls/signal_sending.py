"""Signals are sent: by other tasks, by the kernel, or forced on who caused a fault."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .task import SI_KERNEL, SIGCHLD, SIGCONT, SIGKILL, SIGSEGV, SIGSTOP, SigInfo, UserTask

if TYPE_CHECKING:
    from .system import System

ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK = 513, 514, 516
"""Kernel: include/linux/errno.h, v6.1, as ERESTARTSYS: what a system call says that a signal interrupted."""
SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGFPE = 3, 4, 5, 6, 8
SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGXCPU, SIGXFSZ, SIGWINCH, SIGSYS = 20, 21, 22, 23, 24, 25, 28, 31
IGNORED = frozenset({SIGCONT, SIGCHLD, SIGWINCH, SIGURG})
STOPPING = frozenset({SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU})
COREDUMP = frozenset({SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGFPE, SIGSEGV, 7, SIGSYS, SIGXCPU, SIGXFSZ})
"""By default: nothing, stop, die with a core dump. Kernel: include/linux/signal.h SIG_KERNEL_*_MASK, v6.1."""
SYNCHRONOUS = frozenset({SIGSEGV, 7, SIGILL, SIGTRAP, SIGFPE, SIGSYS})
"""What a task's own instruction causes: taken first (Kernel: kernel/signal.c SYNCHRONOUS_MASK, v6.1)."""
SIG_DFL, SIG_IGN = 0, 1
SIGRTMIN = 32
UNBLOCKABLE = 1 << SIGKILL - 1 | 1 << SIGSTOP - 1


def handler_of(task: UserTask, number: int) -> int:
    """Where its handler is, or SIG_DFL, SIG_IGN."""
    return task.handlers.get(number, (SIG_DFL, 0, 0, 0))[0]


def send_signal(system: System, task: UserTask, info: SigInfo, *, thread: bool = False) -> None:
    """
    Send to a process (any thread that does not block it), or to one thread. A signal that is ignored is gone; one below
    SIGRTMIN that waits already is not sent twice.

    Kernel: kernel/signal.c prepare_signal(), __send_signal_locked(), complete_signal(), v6.1.
    """
    number, group = info.number, task.signal
    prepare_signal(system, task, number)
    if not thread and not group.threads:
        return
    # It is the thread that is named that decides, even for a signal to them all.
    if not task.blocked >> number - 1 & 1 and ignored(task, number):
        return
    queue = task.pending if thread else group.pending
    if number < SIGRTMIN and any(other.number == number for other in queue):
        return
    queue.append(info)
    wanting = [task] if thread else sorted(group.threads, key=lambda one: one is not task)
    target = next((one for one in wanting if wants_signal(one, number)), None)
    if target is None:
        return
    dies = handler_of(target, number) == SIG_DFL and number not in IGNORED | STOPPING | COREDUMP
    if number == SIGKILL or (dies and group.exit_code is None):
        group.exit_code = number if group.exit_code is None else group.exit_code
        for other in group.threads:
            signal_wake_up(system, other)
        system.scheduler.wake_up(group.changed)
    else:
        signal_wake_up(system, target)


def prepare_signal(system: System, task: UserTask, number: int) -> None:
    """
    Stopping and going on undo each other.

    Kernel: kernel/signal.c prepare_signal(), v6.1.
    """
    group = task.signal
    undone = STOPPING if number == SIGCONT else {SIGCONT} if number in STOPPING else set()
    for queue in (group.pending, *(one.pending for one in group.threads)):
        queue[:] = [info for info in queue if info.number not in undone]
    if number in (SIGCONT, SIGKILL):
        group.stopped = 0
        system.scheduler.wake_up(group.changed)


def ignored(task: UserTask, number: int) -> bool:
    """Kernel: kernel/signal.c sig_handler_ignored(), v6.1."""
    handler = handler_of(task, number)
    return handler == SIG_IGN or (handler == SIG_DFL and number in IGNORED)


def wants_signal(task: UserTask, number: int) -> bool:
    """Kernel: kernel/signal.c wants_signal(), v6.1."""
    return not task.exiting and (number == SIGKILL or not task.blocked >> number - 1 & 1)


def signal_wake_up(system: System, task: UserTask) -> None:
    """Let a task that sleeps look (Kernel: kernel/signal.c signal_wake_up_state(), v6.1)."""
    if task.thread is not None and system.scheduler.current is not task.thread:
        system.scheduler.wake(task.thread)


def force_signal(task: UserTask, info: SigInfo) -> None:
    """
    A signal that the task cannot refuse: if it blocks or ignores it, it dies of it.

    Kernel: kernel/signal.c force_sig_info_to_task(), v6.1.
    """
    bit = 1 << info.number - 1
    if task.blocked & bit or handler_of(task, info.number) == SIG_IGN:
        _, flags, restorer, mask = task.handlers.get(info.number, (0, 0, 0, 0))
        task.handlers[info.number] = (SIG_DFL, flags, restorer, mask)
        task.blocked &= ~bit
    if not any(other.number == info.number for other in task.pending):
        task.pending.append(info)


def signal_fault(task: UserTask) -> None:
    """A frame that cannot be read (Kernel: arch/x86/kernel/signal.c signal_fault(), v6.1)."""
    force_signal(task, SigInfo(SIGSEGV, SI_KERNEL))


def force_sigsegv(task: UserTask, number: int) -> None:
    """
    A frame that cannot be written; if it was SIGSEGV's own, nothing but death is left.

    Kernel: kernel/signal.c force_sigsegv(), force_fatal_sig(), v6.1.
    """
    if number == SIGSEGV:
        task.handlers[SIGSEGV] = (SIG_DFL, 0, 0, 0)
        task.blocked &= ~(1 << SIGSEGV - 1)
    force_signal(task, SigInfo(SIGSEGV, SI_KERNEL))
