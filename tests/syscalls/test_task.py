"""What is pending for a task, and what condemns it."""

from __future__ import annotations

from typing import cast

from pagefault.fs.file_table import FileTable
from pagefault.machine.process import Process
from pagefault.syscalls.task import SIGCHLD, SIGKILL, SIGSEGV, SigInfo, UserTask


def made(pid: int = 5) -> UserTask:
    return UserTask(pid, "task", cast(Process, None), FileTable(), {}, tgid=5)


def test_a_signal_for_a_fault_in_the_kernels_words() -> None:
    assert SigInfo.of("SIGSEGV", "SEGV_ACCERR", 8) == SigInfo(SIGSEGV, 2, 8)


def test_what_is_pending_for_it_and_for_its_process() -> None:
    task = made()
    assert not task.signal_pending()
    task.pending.append(SigInfo(SIGCHLD, 0))
    task.signal.pending.append(SigInfo(SIGSEGV, 0))
    assert task.pending_set() == 1 << 16 | 1 << 10
    task.blocked = 1 << 16
    assert task.signal_pending()
    task.blocked = 1 << 16 | 1 << 10
    assert not task.signal_pending()
    assert not task.fatal_signal_pending()
    task.signal.pending.append(SigInfo(SIGKILL, 0))
    assert task.fatal_signal_pending()


def test_a_process_that_ends_or_has_one_thread_to_remain() -> None:
    task, other = made(), made(6)
    other.signal = task.signal
    assert (task.leader, other.leader) == (True, False)
    task.signal.exec_task = other
    assert (task.condemned, other.condemned) == (True, False)
    assert task.fatal_signal_pending()
    task.signal.exec_task, task.signal.exit_code = None, 0
    assert task.condemned
    assert other.condemned


def test_threads_share_what_is_the_processs() -> None:
    task, other = made(), made(6)
    other.signal = task.signal
    assert other.children is task.children
    assert other.rlimits is task.rlimits
    assert other.child_exited is task.child_exited
