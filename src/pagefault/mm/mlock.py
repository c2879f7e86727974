"""mlock() and its kin: pages that have to be there, and stay."""

from __future__ import annotations

from dataclasses import replace
from errno import EAGAIN, EFAULT, EINVAL, ENOMEM

from ..tables.address_space import AddressSpace
from ..vocabulary.address import PAGE, PAGE_MASK
from ..vocabulary.vma import Vma, VmFlag
from .gup import mm_populate
from .memory import Memory
from .vma_merge import VM_SPECIAL, isolate, may_split, remerge

MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4
"""Kernel: include/uapi/asm-generic/mman.h, v6.1."""
LOCKED_MASK = VmFlag.LOCKED | VmFlag.LOCKONFAULT
WORD = (1 << 64) - 1


def do_mlock(memory: Memory, mm: AddressSpace, start: int, length: int, flags: VmFlag) -> int:
    """
    Lock a range and bring its pages in: 0, or -errno. `flags` are LOCKED, and LOCKONFAULT for those pages only that
    are there or will be touched.

    Kernel: mm/mlock.c do_mlock(), __mlock_posix_error_return(), v6.1.
    Differs: everybody is root, whom RLIMIT_MEMLOCK does not bind (CAP_IPC_LOCK).
    """
    start, length = whole_pages(start, length)
    error = apply_vma_lock_flags(memory, mm, start, length, flags)
    if error:
        return error
    error = mm_populate(memory, mm, start, length, ignore_errors=False)
    return {-EFAULT: -ENOMEM, -ENOMEM: -EAGAIN}.get(error, error)


def do_munlock(memory: Memory, mm: AddressSpace, start: int, length: int) -> int:
    """
    Kernel: mm/mlock.c SYSCALL_DEFINE2(munlock), v6.1.
    """
    return apply_vma_lock_flags(memory, mm, *whole_pages(start, length), VmFlag(0))


def whole_pages(start: int, length: int) -> tuple[int, int]:
    """The pages that a range has a part in: first address and length, modulo 2^64 as in the kernel."""
    return start & PAGE_MASK & WORD, (length + start % PAGE + PAGE - 1) & PAGE_MASK & WORD


def apply_vma_lock_flags(memory: Memory, mm: AddressSpace, start: int, length: int, flags: VmFlag) -> int:
    """
    Give the areas of a range these of the lock flags, up to the first hole: 0, or -errno.

    Kernel: mm/mlock.c apply_vma_lock_flags(), v6.1.
    """
    end = start + length
    if end > WORD:
        return -EINVAL
    while start < end:
        vma = mm.vmas.vma_lookup(start)
        if vma is None:
            return -ENOMEM
        stop = min(end, vma.end)
        error = mlock_fixup(memory, mm, vma, start, stop, flags)
        if error:
            return error
        start = stop
    return 0


def mlock_fixup(memory: Memory, mm: AddressSpace, vma: Vma, start: int, end: int, flags: VmFlag) -> int:
    """
    The lock flags of a part of one area; what is the kernel's own or a device's is left as it is.

    Kernel: mm/mlock.c mlock_fixup(), v6.1.
    """
    changed = vma.flags & ~LOCKED_MASK | flags
    if changed == vma.flags or vma.flags & VM_SPECIAL:
        return 0
    error = may_split(memory, mm, start, end)
    if error:
        return error
    (part,) = isolate(memory, mm, start, end)
    whole = replace(part, flags=changed)
    mm.vmas.replace(part, whole)
    remerge(memory, mm, whole)
    return 0


def do_mlockall(memory: Memory, mm: AddressSpace, flags: int) -> int:
    """
    Lock all there is now, or all that will be mapped, or both: 0, or -errno.

    Kernel: mm/mlock.c SYSCALL_DEFINE1(mlockall), v6.1.
    """
    if not flags or flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) or flags == MCL_ONFAULT:
        return -EINVAL
    apply_mlockall_flags(memory, mm, flags)
    if flags & MCL_CURRENT:
        mm_populate(memory, mm, 0, memory.task_size_max)
    return 0


def apply_mlockall_flags(memory: Memory, mm: AddressSpace, flags: int) -> None:
    """
    Flags are MCL_*; 0 unlocks everything, now and in future.

    Kernel: mm/mlock.c apply_mlockall_flags(), v6.1.
    """
    wanted = VmFlag.LOCKED | (VmFlag.LOCKONFAULT if flags & MCL_ONFAULT else VmFlag(0))
    mm.def_flags = mm.def_flags & ~LOCKED_MASK | (wanted if flags & MCL_FUTURE else VmFlag(0))
    if flags & MCL_FUTURE and not flags & MCL_CURRENT:
        return
    current = wanted if flags & MCL_CURRENT else VmFlag(0)
    at = 0
    while (vma := mm.vmas.find_vma(at)) is not None:
        mlock_fixup(memory, mm, vma, vma.start, vma.end, current)
        at = vma.end
