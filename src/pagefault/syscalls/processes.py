"""System calls that make processes and threads, wait for them and end them."""

from __future__ import annotations

import struct
from errno import E2BIG, EAGAIN, ECHILD, EFAULT, EINVAL, ENOMEM, EPERM
from typing import TYPE_CHECKING

from ..machine.process import Process
from ..machine.scheduler import ERESTARTSYS, WaitQueue
from ..mm.fork import dup_mmap
from ..mm.oom import room_for
from ..vocabulary.address import PAGE
from .exit import do_exit, do_group_exit, drop_process
from .table import signed, system_call
from .task import SIGCHLD, SignalStruct, UserTask

if TYPE_CHECKING:
    from .system import System

CSIGNAL, CLONE_VM, CLONE_FILES, CLONE_SIGHAND, CLONE_PIDFD = 0xFF, 0x100, 0x400, 0x800, 0x1000
CLONE_VFORK, CLONE_PARENT, CLONE_THREAD, CLONE_SETTLS = 0x4000, 0x8000, 0x10000, 0x80000
CLONE_PARENT_SETTID, CLONE_CHILD_CLEARTID, CLONE_CHILD_SETTID = 0x100000, 0x200000, 0x1000000
CLONE_CLEAR_SIGHAND, CLONE_INTO_CGROUP = 0x1_0000_0000, 0x2_0000_0000
NAMESPACES = 0x7E020080
"""CLONE_NEWNS and its kin (Kernel: include/uapi/linux/sched.h, v6.1)."""
CLONE_ARGS = struct.Struct("<11Q")
CLONE_ARGS_SIZE_VER0 = 64
WNOHANG, WUNTRACED, WCONTINUED = 1, 2, 8
WNOTHREAD, WALL, WCLONE = 0x20000000, 0x40000000, 0x80000000
"""Kernel: include/uapi/linux/wait.h, v6.1."""
MAX_TASKS = 1024
"""Kernel: RLIMIT_NPROC of the first program, as in INIT_RLIMITS here."""


@system_call(60, "exit")
def exit_(system: System, task: UserTask, code: int) -> int:
    """
    Kernel: kernel/exit.c SYSCALL_DEFINE1(exit), v6.1.
    """
    do_exit(system, task, (code & 0xFF) << 8)
    return 0


@system_call(231, "exit_group")
def exit_group(system: System, task: UserTask, code: int) -> int:
    """
    Kernel: kernel/exit.c SYSCALL_DEFINE1(exit_group), v6.1.
    """
    do_group_exit(system, task, (code & 0xFF) << 8)
    return 0


@system_call(57, "fork")
def fork(system: System, task: UserTask) -> int:
    """
    Kernel: kernel/fork.c SYSCALL_DEFINE0(fork), v6.1.
    """
    return kernel_clone(system, task, "fork", 0, SIGCHLD)


@system_call(58, "vfork")
def vfork(system: System, task: UserTask) -> int:
    """
    Kernel: kernel/fork.c SYSCALL_DEFINE0(vfork), v6.1.
    """
    return kernel_clone(system, task, "vfork", CLONE_VFORK | CLONE_VM, SIGCHLD)


@system_call(56, "clone")
def clone(system: System, task: UserTask, flags: int, stack: int, parent_tid: int, child_tid: int, tls: int) -> int:
    """
    Kernel: kernel/fork.c SYSCALL_DEFINE5(clone), v6.1.
    """
    flags &= 0xFFFFFFFF
    return kernel_clone(system, task, "clone", flags & ~CSIGNAL, flags & CSIGNAL, stack, parent_tid, child_tid, tls)


@system_call(435, "clone3")
def clone3(system: System, task: UserTask, arguments: int, size: int) -> int:
    """
    Kernel: kernel/fork.c copy_clone_args_from_user(), clone3_args_valid(), v6.1.
    """
    if size > PAGE:
        return -E2BIG
    if size < CLONE_ARGS_SIZE_VER0:
        return -EINVAL
    data, left = system.access.copy_from_user(arguments, size)
    if left:
        return -EFAULT
    if any(data[CLONE_ARGS.size :]):
        return -E2BIG
    flags, _, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, _ = CLONE_ARGS.unpack(
        data[: CLONE_ARGS.size].ljust(CLONE_ARGS.size, b"\0")
    )
    if bool(set_tid) != bool(set_tid_size) or set_tid or flags & CLONE_INTO_CGROUP or exit_signal & ~CSIGNAL:
        return -EINVAL
    if flags & CSIGNAL or flags >> 33 or (flags & (CLONE_THREAD | CLONE_PARENT) and exit_signal):
        return -EINVAL
    if (flags & CLONE_CLEAR_SIGHAND and flags & CLONE_SIGHAND) or bool(stack) != bool(stack_size):
        return -EINVAL
    return kernel_clone(system, task, "clone3", flags, exit_signal, stack + stack_size, parent_tid, child_tid, tls)


def kernel_clone(
    system: System,
    task: UserTask,
    name: str,
    flags: int,
    exit_signal: int,
    stack: int = 0,
    parent_tid: int = 0,
    child_tid: int = 0,
    tls: int = 0,
) -> int:
    """
    Make a task; returns its id, or -errno. The child's first event is the return of the same call, with 0.

    Kernel: kernel/fork.c kernel_clone(), copy_process(), v6.1.
    Differs: no namespaces and no pidfd: -EINVAL.
    """
    if flags & (NAMESPACES | CLONE_PIDFD) or (flags & CLONE_THREAD and not flags & CLONE_SIGHAND):
        return -EINVAL
    if flags & CLONE_SIGHAND and not flags & CLONE_VM:
        return -EINVAL
    if flags & CLONE_SETTLS and tls >= system.machine.area.task_size_max:
        return -EPERM
    if len(system.tasks) >= MAX_TASKS:
        return -EAGAIN
    process = copy_mm(system, task, flags)
    if process is None:
        return -ENOMEM
    child = copy_process(system, task, process, flags, exit_signal)
    child.registers = {**task.registers, "rax": 0} | ({"rsp": stack} if stack else {})
    if flags & CLONE_SETTLS:
        child.registers["fs_base"] = tls
    child.set_child_tid = child_tid if flags & CLONE_CHILD_SETTID else 0
    child.clear_child_tid = child_tid if flags & CLONE_CHILD_CLEARTID else 0
    system.observer.fork(task, child)
    if flags & CLONE_PARENT_SETTID:
        system.access.put_user(parent_tid, child.pid, 4)

    def ret_from_fork() -> None:
        # Kernel: kernel/sched/core.c schedule_tail(), v6.1.
        if child.set_child_tid:
            system.access.put_user(child.set_child_tid, child.pid, 4)
        system.observer.leave(child, name, 0)

    system.start(child, ret_from_fork)
    assert child.thread is not None
    # The child's FPU is the parent's.
    child.thread.saved = system.machine.cpu.save()
    if flags & CLONE_VFORK:
        done = child.vfork_done = WaitQueue()
        system.scheduler.wait_event(done, lambda: child.vfork_done is not done)
    return child.pid


def copy_mm(system: System, task: UserTask, flags: int) -> Process | None:
    """
    The address space of a new task: the same (CLONE_VM) or a copy. None: out of memory.

    Kernel: kernel/fork.c copy_mm(), v6.1.
    """
    machine = system.machine
    if not room_for(machine.mm, task.process.mm, machine.tasks.frames_needed()):
        return None
    if flags & CLONE_VM:
        mm = task.process.mm
        process = Process(machine.tasks.new(mm.root, task.comm), mm, machine.mm)
        machine.processes.append(process)
        return process
    process = machine.spawn(task.comm)
    if not dup_mmap(machine.mm, task.process.mm, process.mm):
        return process
    drop_process(system, process)
    return None


def copy_process(system: System, task: UserTask, process: Process, flags: int, exit_signal: int) -> UserTask:
    """
    A task like this one, sharing what `flags` say.

    Kernel: kernel/fork.c copy_files(), copy_sighand(), copy_signal(), copy_process(), v6.1.
    """
    child = system.new_task(task.comm, process, None, {})
    child.files = task.files if flags & CLONE_FILES else task.files.copy()
    child.handlers = task.handlers if flags & CLONE_SIGHAND else dict(task.handlers)
    if flags & CLONE_CLEAR_SIGHAND:
        child.handlers = {number: action for number, action in child.handlers.items() if action[0] == 1}
    child.blocked, child.cwd, child.fault = task.blocked, task.cwd, task.fault
    child.altstack = (0, 0, 2) if flags & (CLONE_VM | CLONE_VFORK) == CLONE_VM else task.altstack
    child.rseq = 0 if flags & CLONE_VM else task.rseq
    if flags & CLONE_THREAD:
        child.tgid, child.signal, child.parent = task.tgid, task.signal, task.parent
    else:
        child.signal = SignalStruct(rlimits=dict(task.rlimits), exit_signal=exit_signal)
        child.parent = task.parent if flags & CLONE_PARENT else system.tasks[task.tgid]
        if flags & CLONE_PARENT:
            child.signal.exit_signal = task.signal.exit_signal
        if child.parent is not None:
            child.parent.children.append(child)
    child.signal.threads.append(child)
    return child


@system_call(61, "wait4")
def wait4(system: System, task: UserTask, pid: int, status: int, options: int, usage: int) -> int:
    """
    Kernel: kernel/exit.c kernel_wait4(), SYSCALL_DEFINE4(wait4), v6.1.
    Differs: nobody is told of children that stop and go on; there are no process groups: a pid of 0 or less means any
    child.
    """
    wanted, options = signed(pid, 32), options & 0xFFFFFFFF
    if options & ~(WNOHANG | WUNTRACED | WCONTINUED | WNOTHREAD | WALL | WCLONE):
        return -EINVAL

    def eligible(child: UserTask) -> bool:
        cloned = child.signal.exit_signal != SIGCHLD
        return wanted in (child.pid, *range(-1, 1)) and bool(options & WALL or cloned == bool(options & WCLONE))

    def ended() -> UserTask | None:
        return next((c for c in task.children if eligible(c) and c.status is not None and not c.signal.threads), None)

    def decided() -> bool:
        return ended() is not None or not any(eligible(child) for child in task.children)

    if not decided():
        if options & WNOHANG:
            return 0
        if not system.scheduler.wait_event_interruptible(task.child_exited, decided):
            return -ERESTARTSYS
    child = ended()
    if child is None:
        return -ECHILD
    task.children.remove(child)
    system.tasks.pop(child.pid, None)
    minor = child.minor + child.signal.minor + child.signal.cminor
    major = child.major + child.signal.major + child.signal.cmajor
    task.signal.cminor += minor
    task.signal.cmajor += major
    if status and not system.access.put_user(status, child.status or 0, 4):
        return -EFAULT
    if usage:
        words = [0] * 18
        words[8], words[9] = minor, major
        if system.access.copy_to_user(usage, struct.pack("<18Q", *words)):
            return -EFAULT
    return child.pid
