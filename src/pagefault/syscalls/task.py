"""A running task: what task_struct, signal_struct and their kin hold that system calls are about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from errno import EINTR

from ..fs.file_table import FileTable
from ..machine.process import Process
from ..machine.scheduler import Thread, WaitQueue

RLIM_INFINITY = (1 << 64) - 1
RLIMITS = {
    0: (RLIM_INFINITY, RLIM_INFINITY),  # CPU
    1: (RLIM_INFINITY, RLIM_INFINITY),  # FSIZE
    2: (RLIM_INFINITY, RLIM_INFINITY),  # DATA
    3: (8 << 20, RLIM_INFINITY),  # STACK
    4: (0, RLIM_INFINITY),  # CORE
    5: (RLIM_INFINITY, RLIM_INFINITY),  # RSS
    6: (1024, 1024),  # NPROC
    7: (1024, 4096),  # NOFILE
    8: (8 << 20, 8 << 20),  # MEMLOCK
    9: (RLIM_INFINITY, RLIM_INFINITY),  # AS
    10: (RLIM_INFINITY, RLIM_INFINITY),  # LOCKS
    11: (1024, 1024),  # SIGPENDING
    12: (819200, 819200),  # MSGQUEUE
    13: (0, 0),  # NICE
    14: (0, 0),  # RTPRIO
    15: (RLIM_INFINITY, RLIM_INFINITY),  # RTTIME
}
"""Kernel: include/asm-generic/resource.h INIT_RLIMITS, v6.1."""


SIGKILL, SIGSEGV, SIGBUS, SIGCHLD, SIGCONT, SIGSTOP = 9, 11, 7, 17, 18, 19
SI_USER, SI_KERNEL, SI_TKILL = 0, 128, -6
SIGNALS = {"SIGBUS": SIGBUS, "SIGSEGV": SIGSEGV}
CODES = {"SEGV_MAPERR": 1, "SEGV_ACCERR": 2, "SEGV_PKUERR": 4, "BUS_ADRERR": 2, "SI_KERNEL": SI_KERNEL}
"""Kernel: include/uapi/asm-generic/signal.h, siginfo.h, v6.1."""


@dataclass(frozen=True, slots=True)
class SigInfo:
    """
    A signal on its way: number, si_code, for faults the address (and the protection key), for others who sent it
    and, of a child's end, its status.
    """

    number: int
    code: int
    address: int = 0
    pid: int = 0
    status: int = 0
    key: int = 0

    @classmethod
    def of(cls, name: str, code: str, address: int) -> SigInfo:
        """From the kernel's words for them."""
        return cls(SIGNALS[name], CODES[code], address)


@dataclass(eq=False)
class SignalStruct:
    """
    What the threads of a process share, beside what clone() shares by choice. `children` are the tasks that wait4()
    waits for, `pending` the signals for any of the threads, `exit_code` what all of them are about to end with,
    `stopped` the signal that stopped them; `exec_task` is the only thread that is to remain. `changed` is woken when
    threads end or go on. `minor` and `major` are the faults of threads that have ended, `cminor` and
    `cmajor` those of children that were waited for.

    Kernel: include/linux/sched/signal.h struct signal_struct, v6.1.
    """

    threads: list[UserTask] = field(default_factory=list)
    children: list[UserTask] = field(default_factory=list)
    child_exited: WaitQueue = field(default_factory=WaitQueue)
    pending: list[SigInfo] = field(default_factory=list)
    rlimits: dict[int, tuple[int, int]] = field(default_factory=lambda: dict(RLIMITS))
    exit_code: int | None = None
    exit_signal: int = SIGCHLD
    stopped: int = 0
    changed: WaitQueue = field(default_factory=WaitQueue)
    exec_task: UserTask | None = None
    minor: int = 0
    major: int = 0
    cminor: int = 0
    cmajor: int = 0


@dataclass(eq=False)
class UserTask:
    """
    `registers` are the user-mode ones, as they were at the last entry to the kernel; `orig_rax` is the number of the
    system call it was entered with, -1 for another reason. `status` is what wait4() tells once it has ended. `minor`
    and `major` count its faults. `handlers` (a signal's handler, flags, restorer, mask), `files`, `process.mm` and
    `signal` may be another task's too.

    `fault` is what a signal frame tells of the last fault of user code that became a signal: trap number, error code,
    cr2. `vfork_done` is where the parent of a vfork() waits; `restart` goes on with what a signal interrupted
    (struct restart_block).
    """

    pid: int
    comm: str
    process: Process
    files: FileTable
    registers: dict[str, int]
    parent: UserTask | None = None
    tgid: int = 0
    thread: Thread | None = None
    signal: SignalStruct = field(default_factory=SignalStruct)
    handlers: dict[int, tuple[int, int, int, int]] = field(default_factory=dict)
    blocked: int = 0
    pending: list[SigInfo] = field(default_factory=list)
    altstack: tuple[int, int, int] = (0, 0, 2)
    """ss_sp, ss_size, ss_flags (SS_DISABLE)."""
    orig_rax: int = -1
    fault: tuple[int, int, int] = (0, 0, 0)
    restart: Callable[[], int] = lambda: -EINTR
    status: int | None = None
    vfork_done: WaitQueue | None = None
    minor: int = 0
    major: int = 0
    set_child_tid: int = 0
    clear_child_tid: int = 0
    robust_list: int = 0
    rseq: int = 0
    cwd: str = "/"
    exiting: bool = False

    @property
    def children(self) -> list[UserTask]:
        return self.signal.children

    @property
    def child_exited(self) -> WaitQueue:
        return self.signal.child_exited

    @property
    def rlimits(self) -> dict[int, tuple[int, int]]:
        return self.signal.rlimits

    @property
    def leader(self) -> bool:
        """Is it the thread that its process is named after?"""
        return self.pid == self.tgid

    @property
    def condemned(self) -> bool:
        """Is its process about to end, or another thread the only one to remain?"""
        return self.signal.exit_code is not None or self.signal.exec_task not in (None, self)

    def pending_set(self) -> int:
        """The signals that wait for it, as a set."""
        found = 0
        for info in (*self.pending, *self.signal.pending):
            found |= 1 << info.number - 1
        return found

    def signal_pending(self) -> bool:
        """Kernel: include/linux/sched/signal.h signal_pending(), v6.1."""
        return self.condemned or bool(self.pending_set() & ~self.blocked)

    def fatal_signal_pending(self) -> bool:
        """Kernel: include/linux/sched/signal.h fatal_signal_pending(), v6.1."""
        return self.condemned or bool(self.pending_set() >> SIGKILL - 1 & 1)
