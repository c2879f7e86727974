"""Small pages become a huge one, where the program asks for it (MADV_COLLAPSE)."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from errno import EAGAIN, EBUSY, EINVAL, ENOMEM

from ..arch import x86
from ..handler.huge_memory import hugepage_vma_check, transhuge_vma_suitable
from ..handler.swapped import do_swap_page
from ..handler.vmf import SPECIAL, Plan, Vmf, dirty_bits, page_protection, write_bit
from ..memory.pages import HUGE_FRAMES, PageFlag
from ..memory.ram import HUGE
from ..tables.address_space import AddressSpace
from ..tables.swap_space import is_swap_entry
from ..vocabulary.address import PAGE, PAGE_SHIFT
from ..vocabulary.effect import CpuEffect
from ..vocabulary.vm_fault import FaultFlag
from ..vocabulary.vma import Vma
from .apply import apply
from .memory import Memory


class ScanResult(Enum):
    """What was found where a huge page is wanted (Kernel: mm/khugepaged.c enum scan_result, v6.1)."""

    SUCCEED = "collapsed"
    FAIL = "a page cannot be read back"
    PMD_NULL = "no page table"
    PAGE_RO = "nothing is writable"
    PAGE_NULL = "a page that is not counted"
    PAGE_COUNT = "a page is in use"
    PAGE_ANON = "a file's page"
    ALLOC_HUGE_PAGE_FAIL = "no free 2 MiB"
    CGROUP_CHARGE_FAIL = "no room in the group"


ERRNO = {
    ScanResult.SUCCEED: 0,
    ScanResult.PAGE_COUNT: EAGAIN,
    ScanResult.ALLOC_HUGE_PAGE_FAIL: ENOMEM,
    ScanResult.CGROUP_CHARGE_FAIL: EBUSY,
}
"""What each is told as; others are EINVAL (Kernel: mm/khugepaged.c madvise_collapse_errno(), v6.1)."""
ENDS = {ScanResult.FAIL, ScanResult.PAGE_ANON, ScanResult.ALLOC_HUGE_PAGE_FAIL, ScanResult.CGROUP_CHARGE_FAIL}
"""After these the rest of the range is not tried (Kernel: mm/khugepaged.c madvise_collapse(), v6.1)."""


def madvise_collapse(memory: Memory, mm: AddressSpace, vma: Vma, start: int, end: int) -> int:
    """
    Make each whole 2 MiB of a range one page, whatever transparent_hugepage/enabled says: 0, or -errno of the last that
    could not be.

    Kernel: mm/khugepaged.c madvise_collapse(), v6.1.
    Differs: private anonymous memory only, where Linux collapses shared memory as well.
    """
    context = memory.context(mm)
    suitable = vma.anon_vma and transhuge_vma_suitable(vma, vma.end - HUGE)
    if not suitable or not hugepage_vma_check(vma, context, enforce_sysfs=False):
        return -EINVAL
    failed = ScanResult.SUCCEED
    for address in range(start + HUGE - 1 & -HUGE, end & -HUGE, HUGE):
        result = collapse(memory, mm, vma, address)
        failed = failed if result is ScanResult.SUCCEED else result
        if result in ENDS:
            break
    return -ERRNO.get(failed, EINVAL)


def collapse(memory: Memory, mm: AddressSpace, vma: Vma, address: int) -> ScanResult:
    """
    Kernel: mm/khugepaged.c hpage_collapse_scan_pmd(), collapse_huge_page(), v6.1.
    """
    slot, _ = memory.tables.slot_or_reach(mm.root, address, "pmd")
    value = memory.ram.read_entry(slot, memory.tables.entry_size) if slot is not None else None
    if slot is None or not value:
        return ScanResult.PMD_NULL
    if value & x86.PAGE_SIZE_BIT:
        return ScanResult.SUCCEED
    table = value & x86.PHYSICAL_MASK
    result = hpage_collapse_scan_pmd(memory, table)
    if result is not ScanResult.SUCCEED:
        return result
    if memory.frames.peek_huge() is None:
        return ScanResult.ALLOC_HUGE_PAGE_FAIL
    room = memory.cgroups[mm.cgroup].room if mm.cgroup else None
    if room is not None and room < HUGE_FRAMES:
        return ScanResult.CGROUP_CHARGE_FAIL
    if not swap_in(memory, mm, vma, table, address):
        return ScanResult.FAIL
    huge = memory.frames.peek_huge()
    if huge is None:
        return ScanResult.ALLOC_HUGE_PAGE_FAIL
    memory.frames.take_huge(huge)
    copy_pages(memory, table, huge)
    memory.pages.new_huge(huge, vma.linear_page_index(address))
    memory.charge(mm, huge, HUGE_FRAMES)
    mm.deposited.append(table)
    context = memory.context(mm)
    bits = page_protection(vma, context) | dirty_bits(context) | write_bit(vma) | x86.PAGE_SIZE_BIT
    memory.tables.write(slot, huge | bits)
    memory.flush()
    return ScanResult.SUCCEED


def ptes(memory: Memory, table: int) -> Iterator[tuple[int, int]]:
    """(slot, value) of each pte of a table that is not empty."""
    words = memory.words(table, HUGE_FRAMES)
    for place in words.nonzero()[0].tolist():
        yield table + place * memory.tables.entry_size, int(words[place])


def hpage_collapse_scan_pmd(memory: Memory, table: int) -> ScanResult:
    """
    May the pages of a table become one?

    Kernel: mm/khugepaged.c hpage_collapse_scan_pmd(), is_refcount_suitable(), v6.1.
    """
    pages, writable = memory.pages, False
    for _, value in ptes(memory, table):
        frame = value & x86.PHYSICAL_MASK
        if is_swap_entry(value) or frame == memory.zero_page:
            continue
        writable |= bool(value & x86.WRITABLE)
        if value & SPECIAL:
            return ScanResult.PAGE_NULL
        if not pages.has(frame, PageFlag.ANON):
            return ScanResult.PAGE_ANON
        if pages.folio_refcount(frame) != pages.folio_mapcount(frame) + pages.has(frame, PageFlag.SWAPCACHE):
            return ScanResult.PAGE_COUNT
    return ScanResult.SUCCEED if writable else ScanResult.PAGE_RO


def swap_in(memory: Memory, mm: AddressSpace, vma: Vma, table: int, address: int) -> bool:
    """
    Bring back what is in the swap space; False if there is no frame for it.

    Kernel: mm/khugepaged.c __collapse_huge_page_swapin(), v6.1.
    """
    for slot, value in list(ptes(memory, table)):
        if is_swap_entry(value) and memory.swap is not None:
            context = memory.context(mm)
            at = address + (slot - table) // memory.tables.entry_size * PAGE
            vmf = Vmf(context, mm, vma, at, FaultFlag.ALLOW_RETRY, Plan(context))
            vmf.down_to("pte")
            do_swap_page(vmf, memory.swap)
            if vmf.plan.out_of_frames:
                return False
            for effect in vmf.plan.effects:
                assert not isinstance(effect, CpuEffect)  # no instruction was interrupted
                apply(memory, mm, effect)
    return True


def copy_pages(memory: Memory, table: int, huge: int) -> None:
    """
    The pages' content goes to the huge page, and they are given up.

    Kernel: mm/khugepaged.c __collapse_huge_page_copy(), v6.1.
    """
    memory.ram.fill(huge, HUGE)
    for slot, value in list(ptes(memory, table)):
        frame, number = value & x86.PHYSICAL_MASK, (slot - table) // memory.tables.entry_size
        memory.tables.write(slot, 0)
        if frame != memory.zero_page:
            memory.ram.write(huge + (number << PAGE_SHIFT), memory.ram.read(frame, PAGE) or b"")
            memory.remove_rmap(frame)
