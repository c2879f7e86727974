"""futex(): sleeping until a word in user memory changes, and waking those who sleep."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from errno import EAGAIN, EFAULT, EINVAL, ENOSYS, ETIMEDOUT
from typing import TYPE_CHECKING

from ..machine.scheduler import ERESTARTSYS, WaitQueue
from ..memory.pages import PageFlag
from ..mm.gup import faultin_page
from ..mm.pin import SLOW, get_user_page
from ..vocabulary.address import PAGE, PAGE_SHIFT
from ..vocabulary.vm_fault import FaultFlag
from .signal_sending import ERESTART_RESTARTBLOCK
from .table import signed, system_call
from .task import UserTask

if TYPE_CHECKING:
    from .system import System

FUTEX_WAIT, FUTEX_CMP_REQUEUE = 0, 4
FUTEX_WAIT_BITSET = 9
FUTEX_PRIVATE_FLAG, FUTEX_CLOCK_REALTIME = 128, 256
FUTEX_BITSET_MATCH_ANY = 0xFFFFFFFF
WITH_TIMEOUT = (FUTEX_WAIT, FUTEX_WAIT_BITSET)
SECOND = 1_000_000_000
FUTEX_WAITERS, FUTEX_OWNER_DIED, FUTEX_TID_MASK = 0x80000000, 0x40000000, 0x3FFFFFFF
ROBUST_LIST_LIMIT = 2048
"""Kernel: include/uapi/linux/futex.h, v6.1."""

Key = tuple[str, int, int]


@dataclass(eq=False)
class FutexQ:
    """One who waits (Kernel: kernel/futex/futex.h struct futex_q, v6.1)."""

    key: Key
    bitset: int
    queue: WaitQueue = field(default_factory=WaitQueue)
    woken: bool = False


@system_call(202, "futex")
def futex(
    system: System, task: UserTask, uaddr: int, op: int, value: int, timeout: int, uaddr2: int, value3: int
) -> int:
    """
    Kernel: kernel/futex/syscalls.c SYSCALL_DEFINE6(futex), do_futex(), v6.1.
    Differs: no priority inheritance: -ENOSYS.
    """
    op &= 0xFFFFFFFF
    command, shared = op & ~(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME), not op & FUTEX_PRIVATE_FLAG
    value, value2 = value & 0xFFFFFFFF, timeout & 0xFFFFFFFF
    until: int | None = None
    if timeout and command in WITH_TIMEOUT:
        data, left = system.access.copy_from_user(timeout, 16)
        if left:
            return -EFAULT
        seconds, nanoseconds = struct.unpack("<qq", data)
        if seconds < 0 or not 0 <= nanoseconds < SECOND:
            return -EINVAL
        until = seconds * SECOND + nanoseconds + (system.scheduler.now if command == FUTEX_WAIT else 0)
    if op & FUTEX_CLOCK_REALTIME and command != FUTEX_WAIT_BITSET:
        return -ENOSYS
    match command:
        case 0:
            return futex_wait(system, task, uaddr, shared, value, until, FUTEX_BITSET_MATCH_ANY)
        case 9:
            return futex_wait(system, task, uaddr, shared, value, until, value3 & 0xFFFFFFFF)
        case 1:
            return futex_wake(system, task, uaddr, shared, signed(value, 32), FUTEX_BITSET_MATCH_ANY)
        case 10:
            return futex_wake(system, task, uaddr, shared, signed(value, 32), value3 & 0xFFFFFFFF)
        case 3 | 4:
            expected = value3 & 0xFFFFFFFF if command == FUTEX_CMP_REQUEUE else None
            counts = signed(value, 32), signed(value2, 32)
            return futex_requeue(system, task, uaddr, shared, uaddr2, counts, expected)
        case 5:
            counts = signed(value, 32), signed(value2, 32)
            return futex_wake_op(system, task, uaddr, shared, uaddr2, counts, value3 & 0xFFFFFFFF)
        case _:
            return -ENOSYS


def get_futex_key(system: System, task: UserTask, uaddr: int, shared: bool, *, write: bool = False) -> Key | int:
    """
    What all who mean the same word agree on: its place in this address space, or in a file; or -errno.

    Kernel: kernel/futex/core.c get_futex_key(), v6.1.
    """
    if uaddr % 4:
        return -EINVAL
    memory, mm = system.machine.mm, task.process.mm
    if uaddr > system.machine.area.task_size_max - 4:
        return -EFAULT
    if not shared:
        return ("private", mm.root, uaddr)
    frame, read_only = get_user_page(memory, mm, uaddr, SLOW, write=True), False
    if frame == -EFAULT and not write:
        frame, read_only = get_user_page(memory, mm, uaddr, SLOW, write=False), True
    if frame < 0:
        return frame
    inode = int(memory.pages.inode[frame >> PAGE_SHIFT])
    if not memory.pages.has(frame, PageFlag.ANON) and inode:
        return ("file", inode, int(memory.pages.index[frame >> PAGE_SHIFT]) * PAGE + uaddr % PAGE)
    return -EFAULT if read_only else ("anonymous", mm.root, uaddr)


def futex_wait(
    system: System, task: UserTask, uaddr: int, shared: bool, value: int, until: int | None, bitset: int
) -> int:
    """
    Sleep if the word is still `value`. The word is read under the bucket's lock, so with page faults disabled; if that
    fails it is read once more with faults enabled, and all begins again.

    Kernel: kernel/futex/waitwake.c futex_wait(), futex_wait_setup(), v6.1.
    """
    if not bitset:
        return -EINVAL
    while True:
        key = get_futex_key(system, task, uaddr, shared)
        if isinstance(key, int):
            return key
        found = system.futexes.get_value(uaddr)
        if found is not None:
            break
        if system.access.get_user(uaddr, 4) is None:
            return -EFAULT
    if found != value:
        return -EAGAIN
    waiter = FutexQ(key, bitset)
    system.futex_queue.append(waiter)
    try:
        if system.scheduler.wait_event_interruptible(waiter.queue, lambda: waiter.woken, until):
            return 0
    finally:
        if waiter in system.futex_queue:
            system.futex_queue.remove(waiter)
    if until is None:
        return -ERESTARTSYS
    if system.scheduler.now >= until:
        return -ETIMEDOUT
    task.restart = lambda: futex_wait(system, task, uaddr, shared, value, until, bitset)
    return -ERESTART_RESTARTBLOCK


def futex_wake(system: System, task: UserTask, uaddr: int, shared: bool, count: int, bitset: int) -> int:
    """
    Wake those who wait for this word; returns how many.

    Kernel: kernel/futex/waitwake.c futex_wake(), v6.1.
    """
    if not bitset:
        return -EINVAL
    key = get_futex_key(system, task, uaddr, shared)
    return key if isinstance(key, int) else wake_key(system, key, count, bitset)


def wake_key(system: System, key: Key, count: int, bitset: int = FUTEX_BITSET_MATCH_ANY) -> int:
    """At least one is woken, if one waits: the kernel counts after it has."""
    woken = 0
    for waiter in [one for one in system.futex_queue if one.key == key and one.bitset & bitset]:
        waiter.woken = True
        system.futex_queue.remove(waiter)
        system.scheduler.wake_up(waiter.queue)
        woken += 1
        if woken >= count:
            break
    return woken


def futex_wake_op(
    system: System, task: UserTask, uaddr: int, shared: bool, uaddr2: int, counts: tuple[int, int], op: int
) -> int:
    """
    Change the second word, wake those who wait for the first, and for the second too if it was as asked.

    Kernel: kernel/futex/waitwake.c futex_wake_op(); kernel/futex/core.c fault_in_user_writeable(), v6.1.
    """
    while True:
        key = get_futex_key(system, task, uaddr, shared)
        if isinstance(key, int):
            return key
        key2 = get_futex_key(system, task, uaddr2, shared, write=True)
        if isinstance(key2, int):
            return key2
        compared = system.futexes.atomic_op(op, uaddr2)
        if compared != -EFAULT:
            break
        if not fault_in_user_writeable(system, task, uaddr2):
            return -EFAULT
    if compared < 0:
        return compared
    woken = wake_key(system, key, counts[0])
    return woken + wake_key(system, key2, counts[1]) if compared else woken


def fault_in_user_writeable(system: System, task: UserTask, uaddr: int) -> bool:
    """
    Kernel: kernel/futex/core.c fault_in_user_writeable(); mm/gup.c fixup_user_fault(), v6.1.
    """
    mm = task.process.mm
    vma = mm.vmas.vma_lookup(uaddr)
    if vma is None or not vma.write:
        return False
    return faultin_page(system.machine.mm, mm, vma, uaddr, FaultFlag.WRITE) == 0


def futex_requeue(
    system: System,
    task: UserTask,
    uaddr: int,
    shared: bool,
    uaddr2: int,
    counts: tuple[int, int],
    expected: int | None,
) -> int:
    """
    Wake some who wait for the first word and let others wait for the second one instead; returns how many were either.

    Kernel: kernel/futex/requeue.c futex_requeue(), v6.1.
    """
    if counts[0] < 0 or counts[1] < 0:
        return -EINVAL
    while True:
        key = get_futex_key(system, task, uaddr, shared)
        if isinstance(key, int):
            return key
        key2 = get_futex_key(system, task, uaddr2, shared)
        if isinstance(key2, int):
            return key2
        if expected is None:
            break
        found = system.futexes.get_value(uaddr)
        if found is not None:
            if found != expected:
                return -EAGAIN
            break
        if system.access.get_user(uaddr, 4) is None:
            return -EFAULT
    moved = 0
    for waiter in [one for one in system.futex_queue if one.key == key]:
        if moved >= counts[0] + counts[1]:
            break
        moved += 1
        if moved <= counts[0]:
            waiter.woken = True
            system.futex_queue.remove(waiter)
            system.scheduler.wake_up(waiter.queue)
        elif key != key2:
            waiter.key = key2
            system.futex_queue.remove(waiter)
            system.futex_queue.append(waiter)
    return moved


def wake_cleared_tid(system: System, task: UserTask) -> None:
    """
    CLONE_CHILD_CLEARTID: the word becomes 0 and one who waits for it is woken.

    Kernel: kernel/fork.c mm_release(), v6.1.
    """
    system.access.put_user(task.clear_child_tid, 0, 4)
    futex_wake(system, task, task.clear_child_tid, True, 1, FUTEX_BITSET_MATCH_ANY)


def exit_robust_list(system: System, task: UserTask) -> None:
    """
    The locks that a task holds when it ends are marked, and one who waits for each is woken. What cannot be read
    ends it.

    Kernel: kernel/futex/core.c exit_robust_list(), fetch_robust_entry(), handle_futex_death(), v6.1.
    """
    access, head = system.access, task.robust_list
    words = []
    for pointer in (head, head + 8, head + 16):
        word = access.get_user(pointer, 8)
        if word is None:
            return
        words.append(word)
    entry, offset, pending = words
    for _ in range(ROBUST_LIST_LIMIT):
        lock = entry & ~1
        if lock == head:
            break
        following = access.get_user(lock, 8)
        if lock != pending & ~1 and not handle_futex_death(system, task, lock + offset & (1 << 64) - 1, entry & 1):
            return
        if following is None:
            return
        entry = following
    if pending:
        handle_futex_death(system, task, (pending & ~1) + offset & (1 << 64) - 1, pending & 1)


def handle_futex_death(system: System, task: UserTask, uaddr: int, inherits: int) -> bool:
    """
    Kernel: kernel/futex/core.c handle_futex_death(), v6.1.
    Differs: the word is written with put_user(), where the kernel exchanges it with page faults disabled.
    """
    value = None if uaddr % 4 else system.access.get_user(uaddr, 4)
    if value is None:
        return False
    if value & FUTEX_TID_MASK != task.pid:
        return True
    system.access.put_user(uaddr, value & FUTEX_WAITERS | FUTEX_OWNER_DIED, 4)
    if not inherits and value & FUTEX_WAITERS:
        futex_wake(system, task, uaddr, True, 1, FUTEX_BITSET_MATCH_ANY)
    return True
