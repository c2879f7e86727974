"""process_vm_readv() and process_vm_writev(): copies from and to another process's memory."""

from __future__ import annotations

from errno import EFAULT, EINVAL, ESRCH
from typing import TYPE_CHECKING

from ..machine.user_access import UIO_MAXIOV
from ..machine.user_access_iter import IovIter
from ..mm.memory import Memory
from ..mm.pin import get_user_page
from ..tables.address_space import AddressSpace
from ..vocabulary.address import PAGE, PAGE_MASK, PAGE_SHIFT
from ..vocabulary.vm_fault import FaultFlag
from .files import import_iovec
from .table import signed, system_call
from .task import UserTask

if TYPE_CHECKING:
    from .system import System

PAGES_AT_ONCE = 1024
"""Kernel: mm/process_vm_access.c PVM_MAX_KMALLOC_PAGES, in pointers, v6.1."""
REMOTE = FaultFlag.ALLOW_RETRY | FaultFlag.KILLABLE | FaultFlag.REMOTE
"""How the other's pages are brought in (Kernel: mm/gup.c faultin_page(), v6.1)."""


@system_call(310, "process_vm_readv")
def process_vm_readv(
    system: System, task: UserTask, pid: int, local: int, local_count: int, remote: int, remote_count: int, flags: int
) -> int:
    """
    Kernel: mm/process_vm_access.c SYSCALL_DEFINE6(process_vm_readv), v6.1.
    """
    return process_vm_rw(system, pid, (local, local_count), (remote, remote_count), flags, write=False)


@system_call(311, "process_vm_writev")
def process_vm_writev(
    system: System, task: UserTask, pid: int, local: int, local_count: int, remote: int, remote_count: int, flags: int
) -> int:
    """
    Kernel: mm/process_vm_access.c SYSCALL_DEFINE6(process_vm_writev), v6.1.
    """
    return process_vm_rw(system, pid, (local, local_count), (remote, remote_count), flags, write=True)


def process_vm_rw(
    system: System, pid: int, local: tuple[int, int], remote: tuple[int, int], flags: int, *, write: bool
) -> int:
    """
    Bytes copied, or -errno if there were none. `local` and `remote` are arrays of struct iovec: where, how many.

    Kernel: mm/process_vm_access.c process_vm_rw(), process_vm_rw_core(), v6.1.
    """
    if flags:
        return -EINVAL
    iterator = import_iovec(system, *local)
    if isinstance(iterator, int):
        return iterator
    if not iterator.count:
        return 0
    if remote[1] > UIO_MAXIOV:
        return -EINVAL
    segments = system.access.copy_iovec_from_user(*remote) if remote[1] else []
    if isinstance(segments, int):
        return segments
    if not any(length for _, length in segments):
        return 0
    other = system.tasks.get(signed(pid, 32))
    if other is None or other.status is not None:
        return -ESRCH
    total, error = iterator.count, 0
    for base, length in segments:
        if error or not iterator.count:
            break
        error = single_vec(system, other.process.mm, base, length, iterator, write=write)
    return total - iterator.count or error


def single_vec(system: System, mm: AddressSpace, base: int, length: int, iterator: IovIter, *, write: bool) -> int:
    """
    One stretch of the other's memory: 0 or -EFAULT. Its pages are held, some at a time, and then copied page by page.

    Kernel: mm/process_vm_access.c process_vm_rw_single_vec(), v6.1.
    """
    memory = system.machine.mm
    at, end = base, base + length
    if end > system.machine.area.task_size_max:
        return -EFAULT
    while at < end and iterator.count:
        frames = hold_pages(memory, mm, at, end, write=write)
        try:
            stop = min(end, (at & PAGE_MASK) + len(frames) * PAGE)
            error = rw_pages(system, frames, at % PAGE, stop - at, iterator, write=write) if frames else -EFAULT
        finally:
            for frame in frames:
                memory.put_page(frame)
        if error:
            return error
        at = stop
    return 0


def hold_pages(memory: Memory, mm: AddressSpace, start: int, end: int, *, write: bool) -> list[int]:
    """
    The frames of the next pages, until one cannot be had: as many as are held at a time. Whoever copies puts them back.

    Kernel: mm/gup.c pin_user_pages_remote(), v6.1.
    """
    frames: list[int] = []
    for page in range(start & PAGE_MASK, min(end, (start & PAGE_MASK) + PAGES_AT_ONCE * PAGE), PAGE):
        frame = get_user_page(memory, mm, page, REMOTE, write=write, pin=True)
        if frame < 0:
            break
        memory.pages.refcount[frame >> PAGE_SHIFT] += 1
        frames.append(frame)
    return frames


def rw_pages(system: System, frames: list[int], offset: int, length: int, iterator: IovIter, *, write: bool) -> int:
    """
    Kernel: mm/process_vm_access.c process_vm_rw_pages(), v6.1.
    """
    for frame in frames:
        if not length or not iterator.count:
            break
        size = min(PAGE - offset, length)
        address = system.machine.area.page_offset + frame + offset
        copied = iterator.copy_page_from(address, size) if write else iterator.copy_page_to(address, size)
        length -= copied
        if copied < size and iterator.count:
            return -EFAULT
        offset = 0
    return 0
