"""Pages that the kernel wants without a fault: populate, mlock, ptrace, futexes."""

from __future__ import annotations

from errno import EFAULT, ENOMEM

from ..arch import x86
from ..handler.decision import Answer, BadArea
from ..handler.handle_mm_fault import handle_mm_fault
from ..tables.address_space import AddressSpace
from ..vocabulary.address import PAGE, PAGE_MASK
from ..vocabulary.effect import CpuEffect
from ..vocabulary.outcome import OutOfMemory, Retry
from ..vocabulary.vm_fault import FaultFlag, VmFault
from ..vocabulary.vma import Vma, VmFlag
from .apply import apply
from .memory import Memory


def handle_fault(memory: Memory, mm: AddressSpace, vma: Vma, address: int, flags: FaultFlag) -> Answer:
    """Ask for a page until there is an answer, and carry it out. `Memory.populated` is told."""
    results: list[VmFault] = []
    while True:
        answer = handle_mm_fault(memory.context(mm), mm, vma, address, flags)
        if answer.result == VmFault.OOM and memory.make_room(mm):
            continue
        results.append(answer.result or VmFault(0))
        for effect in answer.effects:
            assert not isinstance(effect, CpuEffect)  # no instruction was interrupted
            apply(memory, mm, effect)
        if not isinstance(answer.outcome, Retry):
            break
        if answer.outcome.userfault:
            memory.wait_for_userfault(address, bool(flags & FaultFlag.WRITE), answer.outcome.userfault)
        flags |= FaultFlag.TRIED
    memory.populated(mm, address, flags & ~FaultFlag.TRIED, tuple(results))
    return answer


def faultin_page(memory: Memory, mm: AddressSpace, vma: Vma, address: int, flags: FaultFlag) -> int:
    """
    Bring one page in; 0, or -errno.

    Kernel: mm/gup.c faultin_page(), v6.1.
    """
    answer = handle_fault(memory, mm, vma, address, flags)
    if isinstance(answer.outcome, BadArea | OutOfMemory):
        return -ENOMEM if answer.result == VmFault.OOM else -EFAULT
    return 0


def mm_populate(memory: Memory, mm: AddressSpace, start: int, length: int, *, ignore_errors: bool = True) -> int:
    """
    Bring in what is missing of a range: 0. Errors are not told, and cost the rest of their area only; or, without
    `ignore_errors`, the first one ends it: -errno.

    Kernel: mm/gup.c __mm_populate(), v6.1.
    """
    end = start + (length + PAGE - 1 & PAGE_MASK)
    for vma in mm.vmas.overlapping(start, end):
        at, stop = max(start, vma.start), min(end, vma.end)
        while at < stop and not vma.flags & (VmFlag.IO | VmFlag.PFNMAP):
            done = populate_vma_page_range(memory, mm, vma, at, stop)
            if done < 0:
                if not ignore_errors:
                    return done
                break
            at += done * PAGE
    return 0


def populate_vma_page_range(
    memory: Memory, mm: AddressSpace, vma: Vma, start: int, end: int, *, may_wait: bool = True
) -> int:
    """
    Bring in pages of one area: by writing, if it is private and writable, so that they are copied now. Returns how many
    there were before one could not be had, or -errno if that was the first. `may_wait`: the caller can let go of the
    mmap lock (`locked` is not NULL).

    Kernel: mm/gup.c populate_vma_page_range(), __get_user_pages(), v6.1.
    """
    if vma.flags & VmFlag.LOCKONFAULT:
        return (end - start) // PAGE
    if not vma.accessible:
        return -EFAULT
    write = vma.write and not vma.shared
    flags = FaultFlag.ALLOW_RETRY | FaultFlag.KILLABLE if may_wait else FaultFlag(0)
    flags |= FaultFlag.WRITE if write else FaultFlag(0)
    for address in range(start, end, PAGE):
        if follow_page(memory, mm, address, write=write) is None:
            error = faultin_page(memory, mm, vma, address, flags)
            if error:
                return (address - start) // PAGE or error
    return (end - start) // PAGE


def follow_page(memory: Memory, mm: AddressSpace, address: int, *, write: bool) -> int | None:
    """
    The physical address of a page that is there (and writable, if that is asked); None if it has to be brought in.

    Kernel: mm/gup.c follow_page_pte(), v6.1.
    """
    entry = memory.tables.entry(mm.root, address)
    if entry is None or not entry.value & x86.PRESENT or (write and not entry.value & x86.WRITABLE):
        return None
    level = next(level for level in memory.tables.levels if level.name == entry.level)
    return memory.form.page_frame(level, entry.value) + (address & (1 << level.shift) - 1)
