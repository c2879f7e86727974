"""System calls about signals."""

from __future__ import annotations

import struct
from errno import EINTR, EINVAL, ENOMEM, EPERM, ESRCH
from typing import TYPE_CHECKING

from .identity import put, take
from .signal_delivery import SS_AUTODISARM, SS_DISABLE
from .signal_sending import UNBLOCKABLE, ignored, send_signal, signal_fault
from .table import signed, system_call
from .task import SI_TKILL, SI_USER, SigInfo, UserTask

if TYPE_CHECKING:
    from .system import System

NSIG = 64
SIGSET_SIZE = 8
KERNEL_SIGACTION = struct.Struct("<QQQQ")
UAPI_SA_FLAGS = 0x1 | 0x2 | 0x4 | 0x800 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000 | 0x4000_0000 | 0x8000_0000
"""Kernel: include/linux/signal_types.h UAPI_SA_FLAGS with x86's SA_RESTORER, v6.1."""
SIG_BLOCK, SIG_UNBLOCK, SIG_SETMASK = 0, 1, 2
STACK_T = struct.Struct("<Qi4xQ")
SS_ONSTACK, MIN_ALTSTACK = 1, 2048
"""Kernel: include/uapi/linux/signal.h, arch/x86/include/uapi/asm/signal.h, v6.1."""

FRAME_SIZE, UC_FLAGS, UC_STACK, UC_MCONTEXT, UC_SIGMASK = 440, 8, 24, 48, 304
"""Kernel: arch/x86/include/asm/sigframe.h struct rt_sigframe, v6.1: its size, and what lies where in it."""
SIGCONTEXT = struct.Struct("<18QHHHHQQQQQ")
SIGCONTEXT_REGISTERS = (
    *(
        "r8",
        "r9",
        "r10",
        "r11",
        "r12",
        "r13",
        "r14",
        "r15",
        "rdi",
        "rsi",
        "rbp",
        "rbx",
        "rdx",
        "rax",
        "rcx",
        "rsp",
        "rip",
    ),
    "eflags",
)
"""Kernel: arch/x86/include/uapi/asm/sigcontext.h struct sigcontext_64, up to reserved1, v6.1."""
FIX_EFLAGS = 0x50DD5
"""AC, RF, OF, DF, TF and the arithmetic flags (Kernel: arch/x86/kernel/signal.c FIX_EFLAGS, v6.1)."""


@system_call(13, "rt_sigaction")
def rt_sigaction(system: System, task: UserTask, number: int, action: int, old: int, size: int) -> int:
    """
    Kernel: kernel/signal.c SYSCALL_DEFINE4(rt_sigaction), do_sigaction(), v6.1.
    """
    if size != SIGSET_SIZE:
        return -EINVAL
    number = signed(number, 32)
    new: tuple[int, int, int, int] | None = None
    if action:
        data = take(system, action, KERNEL_SIGACTION.size)
        if isinstance(data, int):
            return data
        handler, flags, restorer, mask = KERNEL_SIGACTION.unpack(data)
        new = (handler, flags & UAPI_SA_FLAGS, restorer, mask & ~UNBLOCKABLE)
    if not 1 <= number <= NSIG or (new is not None and UNBLOCKABLE >> number - 1 & 1):
        return -EINVAL
    before = task.handlers.get(number, (0, 0, 0, 0))
    if new is not None:
        task.handlers[number] = new
        if ignored(task, number):
            for queue in (task.signal.pending, *(thread.pending for thread in task.signal.threads)):
                queue[:] = [info for info in queue if info.number != number]
    return put(system, old, KERNEL_SIGACTION.pack(*before)) if old else 0


@system_call(14, "rt_sigprocmask")
def rt_sigprocmask(system: System, task: UserTask, how: int, new: int, old: int, size: int) -> int:
    """
    Kernel: kernel/signal.c SYSCALL_DEFINE4(rt_sigprocmask), v6.1.
    """
    if size != SIGSET_SIZE:
        return -EINVAL
    before = task.blocked
    if new:
        data = take(system, new, SIGSET_SIZE)
        if isinstance(data, int):
            return data
        wanted = int.from_bytes(data, "little") & ~UNBLOCKABLE
        match signed(how, 32):
            case 0:
                task.blocked |= wanted
            case 1:
                task.blocked &= ~wanted
            case 2:
                task.blocked = wanted
            case _:
                return -EINVAL
    return put(system, old, before.to_bytes(8, "little")) if old else 0


@system_call(127, "rt_sigpending")
def rt_sigpending(system: System, task: UserTask, pending: int, size: int) -> int:
    """
    Kernel: kernel/signal.c SYSCALL_DEFINE2(rt_sigpending), v6.1.
    """
    if size > SIGSET_SIZE:
        return -EINVAL
    return put(system, pending, (task.pending_set() & task.blocked).to_bytes(8, "little")[:size])


@system_call(131, "sigaltstack")
def sigaltstack(system: System, task: UserTask, new: int, old: int) -> int:
    """
    Kernel: kernel/signal.c SYSCALL_DEFINE2(sigaltstack), v6.1.
    """
    before, sp = task.altstack, task.registers["rsp"]
    if new:
        data = take(system, new, STACK_T.size)
        if isinstance(data, int):
            return data
        start, flags, size = STACK_T.unpack(data)
        error = do_sigaltstack(task, start, flags, size, sp)
        if error:
            return error
    if not old:
        return 0
    start, size, flags = before
    told = SS_DISABLE if not size else SS_ONSTACK if on_sig_stack(before, sp) else 0
    return put(system, old, STACK_T.pack(start, signed(told | flags & SS_AUTODISARM, 32), size))


def do_sigaltstack(task: UserTask, start: int, flags: int, size: int, sp: int) -> int:
    """
    0, or -errno.

    Kernel: kernel/signal.c do_sigaltstack(), v6.1.
    """
    flags &= 0xFFFFFFFF
    mode = flags & ~SS_AUTODISARM
    if on_sig_stack(task.altstack, sp):
        return -EPERM
    if mode not in (0, SS_ONSTACK, SS_DISABLE):
        return -EINVAL
    if mode == SS_DISABLE:
        start = size = 0
    elif size < MIN_ALTSTACK:
        return -ENOMEM
    task.altstack = (start, size, flags)
    return 0


def on_sig_stack(stack: tuple[int, int, int], sp: int) -> bool:
    """
    Does the task run on its alternate stack? One that disarms itself is never in use.

    Kernel: include/linux/sched/signal.h on_sig_stack(), v6.1.
    """
    start, size, flags = stack
    return not flags & SS_AUTODISARM and start < sp <= start + size


@system_call(62, "kill")
def kill(system: System, task: UserTask, pid: int, number: int) -> int:
    """
    Kernel: kernel/signal.c SYSCALL_DEFINE2(kill), kill_something_info(), v6.1.
    Differs: all processes are one process group, so a pid of 0 means them all; any other group is empty.
    """
    wanted, number = signed(pid, 32), signed(number, 32)
    leaders = [one for one in list(system.tasks.values()) if one.leader]
    if wanted > 0:
        found = [system.tasks[wanted]] if wanted in system.tasks else []
    elif wanted < -1:
        found = []
    else:
        found = [one for one in leaders if wanted == 0 or one.tgid != task.tgid]
    if not found:
        return -ESRCH
    if not 0 <= number <= NSIG:
        return -EINVAL
    for one in found if number else ():
        send_signal(system, one, SigInfo(number, SI_USER, pid=task.tgid))
    return 0


@system_call(200, "tkill")
def tkill(system: System, task: UserTask, pid: int, number: int) -> int:
    """
    Kernel: kernel/signal.c SYSCALL_DEFINE2(tkill), v6.1.
    """
    return do_tkill(system, task, 0, pid, number) if signed(pid, 32) > 0 else -EINVAL


@system_call(234, "tgkill")
def tgkill(system: System, task: UserTask, tgid: int, pid: int, number: int) -> int:
    """
    Kernel: kernel/signal.c SYSCALL_DEFINE3(tgkill), v6.1.
    """
    if signed(pid, 32) <= 0 or signed(tgid, 32) <= 0:
        return -EINVAL
    return do_tkill(system, task, signed(tgid, 32), pid, number)


def do_tkill(system: System, task: UserTask, tgid: int, pid: int, number: int) -> int:
    """
    Kernel: kernel/signal.c do_tkill(), do_send_specific(), v6.1.
    """
    one, number = system.tasks.get(signed(pid, 32)), signed(number, 32)
    if one is None or (tgid and one.tgid != tgid):
        return -ESRCH
    if not 0 <= number <= NSIG:
        return -EINVAL
    if number:
        send_signal(system, one, SigInfo(number, SI_TKILL, pid=task.tgid), thread=True)
    return 0


@system_call(219, "restart_syscall")
def restart_syscall(system: System, task: UserTask) -> int:
    """
    Go on with a system call that a signal interrupted, and that knows how long it has waited already.

    Kernel: kernel/signal.c SYSCALL_DEFINE0(restart_syscall), v6.1.
    """
    return task.restart()


@system_call(15, "rt_sigreturn")
def rt_sigreturn(system: System, task: UserTask) -> int:
    """
    Take back what a signal frame saved: the stack pointer is just above its first word.

    Kernel: arch/x86/kernel/signal.c SYSCALL_DEFINE0(rt_sigreturn), v6.1; signal_64.c, v6.12.
    """
    access, frame = system.access, task.registers["rsp"] - 8
    task.restart = lambda: -EINTR
    task.orig_rax = -1
    limit = system.machine.area.task_size_max
    if not 0 <= frame <= limit - FRAME_SIZE:
        signal_fault(task)
        return 0
    mask = access.get_user(frame + UC_SIGMASK, 8, checked=False)
    if mask is None or access.get_user(frame + UC_FLAGS, 8, checked=False) is None:
        signal_fault(task)
        return 0
    task.blocked = mask & ~UNBLOCKABLE
    steps = [restore_sigcontext, restore_altstack]
    if system.machine.mm.rules.altstack_restored_first:
        steps.reverse()
    if not all(step(system, task, frame) for step in steps):
        signal_fault(task)
        return 0
    return signed(task.registers["rax"])


def restore_sigcontext(system: System, task: UserTask, frame: int) -> bool:
    """
    Kernel: arch/x86/kernel/signal_64.c restore_sigcontext(), v6.12; signal.c, v6.1.
    Differs: the code segment stays that of 64-bit user code.
    """
    data = take(system, frame + UC_MCONTEXT, SIGCONTEXT.size)
    if isinstance(data, int):
        return False
    values = SIGCONTEXT.unpack(data)
    saved = dict(zip(SIGCONTEXT_REGISTERS, values, strict=False))
    saved["eflags"] = task.registers["eflags"] & ~FIX_EFLAGS | saved["eflags"] & FIX_EFLAGS
    task.registers = {**task.registers, **saved}
    return system.signals.restore_fpu(values[-1])


def restore_altstack(system: System, task: UserTask, frame: int) -> bool:
    """
    Only what cannot be read counts as an error.

    Kernel: kernel/signal.c restore_altstack(), v6.1.
    """
    data = take(system, frame + UC_STACK, STACK_T.size)
    if isinstance(data, int):
        return False
    start, flags, size = STACK_T.unpack(data)
    do_sigaltstack(task, start, flags, size, task.registers["rsp"])
    return True
