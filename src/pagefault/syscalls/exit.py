"""A task ends: its memory goes, its files are closed, its parent is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..machine.process import Process
from ..mm.exit_mmap import exit_mmap
from ..tables.address_space import AddressSpace
from .futex import exit_robust_list, wake_cleared_tid
from .signal_sending import send_signal
from .task import SIGCHLD, SigInfo, UserTask

if TYPE_CHECKING:
    from .system import System

CLD_EXITED, CLD_KILLED = 1, 2
SA_NOCLDWAIT = 2
IGNORE = 1
"""Kernel: include/uapi/asm-generic/siginfo.h, signal-defs.h, v6.1."""


def do_group_exit(system: System, task: UserTask, status: int) -> None:
    """
    The whole process ends: the other threads are killed and see it when they run next. Who is first says with which
    status.

    Kernel: kernel/exit.c do_group_exit(); kernel/signal.c zap_other_threads(), v6.1.
    """
    if task.signal.exit_code is None and task.signal.exec_task is None:
        task.signal.exit_code = status
        wake_threads(system, task)
    do_exit(system, task, status if task.signal.exit_code is None else task.signal.exit_code)


def wake_threads(system: System, task: UserTask) -> None:
    """Wake the other threads of a process, whatever they wait for: they are to end."""
    for other in task.signal.threads:
        if other is not task and other.thread is not None:
            system.scheduler.wake(other.thread)
    system.scheduler.wake_up(task.signal.changed)


def do_exit(system: System, task: UserTask, status: int) -> None:
    """
    `status` is what wait4() tells: the signal, or the exit code << 8.

    Kernel: kernel/exit.c do_exit(), v6.1.
    """
    task.exiting = True
    mm_release(system, task)
    system.observer.exit(task)
    system.on_end(task)
    if not any(other.files is task.files and not other.exiting for other in system.tasks.values()):
        task.files.close_all()
    machine = system.machine
    machine.switch_to(machine.processes[0])
    drop_process(system, task.process)
    exit_notify(system, task, status)


def mm_users(system: System, mm: AddressSpace) -> int:
    """How many tasks have this address space (Kernel: struct mm_struct.mm_users, v6.1)."""
    return sum(other.process.mm is mm and not other.exiting for other in system.tasks.values())


def drop_process(system: System, process: Process) -> None:
    """
    A task has another address space now, or none: the old one goes with its last user. It must not be in CR3.
    The machine's own first process stays.

    Kernel: kernel/fork.c mmput(), v6.1.
    """
    machine = system.machine
    if process is machine.processes[0]:
        return
    machine.processes.remove(process)
    machine.tasks.free(process.task)
    if not mm_users(system, process.mm):
        exit_mmap(machine.mm, process.mm)
        machine.frames.release(process.mm.root)


def mm_release(system: System, task: UserTask) -> None:
    """
    What a task owes others before it leaves its address space: robust futexes, its cleared thread id, the parent of a
    vfork().

    Kernel: kernel/fork.c exit_mm_release(), mm_release(), v6.1.
    """
    if task.robust_list:
        exit_robust_list(system, task)
        task.robust_list = 0
    others = mm_users(system, task.process.mm) - (not task.exiting)
    if task.clear_child_tid:
        if others:
            wake_cleared_tid(system, task)
        task.clear_child_tid = 0
    done, task.vfork_done = task.vfork_done, None
    if done is not None:
        system.scheduler.wake_up(done)


def exit_notify(system: System, task: UserTask, status: int) -> None:
    """
    A process is waited for once its last thread has ended; the others leave nothing behind.

    Kernel: kernel/exit.c exit_notify(), release_task(), v6.1.
    """
    task.status = status
    group = task.signal
    group.threads.remove(task)
    if not task.leader:
        group.minor, group.major = group.minor + task.minor, group.major + task.major
        system.tasks.pop(task.pid, None)
    system.scheduler.wake_up(group.changed)
    if group.threads:
        return
    for child in group.children:
        child.parent = None
        if child.status is not None and not child.signal.threads:
            system.tasks.pop(child.pid, None)
    leader = task if task.leader else system.tasks.get(task.tgid)
    if leader is not None:
        do_notify_parent(system, leader, status if group.exit_code is None else group.exit_code)


def do_notify_parent(system: System, leader: UserTask, status: int) -> None:
    """
    Kernel: kernel/signal.c do_notify_parent(), v6.1. A parent that ignores SIGCHLD need not wait: the child is gone.
    """
    leader.status, parent = status, leader.parent
    if parent is None:
        system.tasks.pop(leader.pid, None)
        return
    number = leader.signal.exit_signal
    if number == SIGCHLD:
        action = parent.handlers.get(SIGCHLD, (0, 0, 0, 0))
        if action[0] == IGNORE or action[1] & SA_NOCLDWAIT:
            parent.children.remove(leader)
            system.tasks.pop(leader.pid, None)
    if number:
        code = CLD_KILLED if status & 0x7F else CLD_EXITED
        told = status & 0x7F or status >> 8
        send_signal(system, parent, SigInfo(number, code, pid=leader.pid, status=told))
    system.scheduler.wake_up(parent.child_exited)
