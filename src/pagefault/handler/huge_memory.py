"""Transparent huge pages: 2 MiB of private memory, mapped by one entry of the level above the ptes."""

from __future__ import annotations

from ..arch import x86
from ..memory.pages import HUGE_FRAMES, PageFlag
from ..memory.ram import HUGE
from ..vocabulary.address import PAGE, PAGE_SHIFT
from ..vocabulary.effect import ChangePage, DepositTable, NewHugeAnonPage, NewHugeZeroPage, SplitHugePmd
from ..vocabulary.outcome import Resolved
from ..vocabulary.vm_fault import FaultFlag
from ..vocabulary.vma import Vma, VmFlag
from .anonymous import prepare_anon_vma
from .context import Context
from .copy_on_write import written
from .decision import Answer
from .vmf import SPECIAL, Vmf, dirty_bits, page_protection, write_bit

NEVER_HUGE = VmFlag.IO | VmFlag.DONTEXPAND | VmFlag.PFNMAP | VmFlag.MIXEDMAP
"""Kernel: include/linux/mm.h VM_NO_KHUGEPAGED, v6.1."""
UNFINISHED_STACK = VmFlag.SEQ_READ | VmFlag.RAND_READ
"""A stack that execve() is still making (Kernel: include/linux/mm.h VM_STACK_INCOMPLETE_SETUP, v6.1)."""


def has_huge_pages(context: Context) -> bool:
    """Has this form of paging a level of 2 MiB? (Kernel: arch/x86/Kconfig HAVE_ARCH_TRANSPARENT_HUGEPAGE, v6.1)"""
    return context.form.geometry(context.cpu).levels[-2].shift == HUGE.bit_length() - 1


def hugepage_vma_check(vma: Vma, context: Context, *, enforce_sysfs: bool = True) -> bool:
    """
    May a fault in this area get a huge page? Without `enforce_sysfs` (MADV_COLLAPSE) the setting is not asked.

    Kernel: mm/huge_memory.c hugepage_vma_check(), v6.1; __thp_vma_allowable_orders(), v6.12 (where sizes between 4 KiB
    and 2 MiB are off by default, and 2 MiB inherit the setting).
    Differs: only private anonymous memory; shmem_enabled is never.
    """
    if vma.flags & (VmFlag.NOHUGEPAGE | NEVER_HUGE) or (context.mm is not None and context.mm.thp_disabled):
        return False
    if enforce_sysfs and not (context.settings.thp == "always" or vma.flags & VmFlag.HUGEPAGE):
        return False
    if enforce_sysfs and context.settings.thp == "never":
        return False
    return vma.anonymous and not (vma.grows_down and vma.flags & UNFINISHED_STACK == UNFINISHED_STACK)


def transhuge_vma_suitable(vma: Vma, address: int) -> bool:
    """
    Do the 2 MiB around this address lie in the area?

    Kernel: include/linux/huge_mm.h transhuge_vma_suitable(), v6.1.
    """
    start = address & -HUGE
    return vma.start <= start and start + HUGE <= vma.end


def do_huge_pmd_anonymous_page(vmf: Vmf) -> Answer | None:
    """
    A first touch of 2 MiB: a read gets the huge zero page, if that is in use, a write a huge page of its own. None
    where there is no such page, or no room for it: small ones will do.

    Kernel: mm/huge_memory.c do_huge_pmd_anonymous_page(), __do_huge_pmd_anonymous_page(), v6.1.
    Differs: nothing is reclaimed to make room (transparent_hugepage/defrag); an area with a userfaultfd gets small
    pages. Both charges, of the huge page and of the table that is kept for its split, are asked for at once:
    HUGE_FRAMES + 1 is the sum of what the kernel charges one after the other.
    """
    context, plan = vmf.context, vmf.plan
    if not transhuge_vma_suitable(vmf.vma, vmf.address) or vmf.vma.flags & VmFlag.UFFD_MISSING:
        return None
    zero = not vmf.write and context.settings.use_zero_page
    if not plan.chargeable(HUGE_FRAMES + 1) or (
        context.frames.peek_huge() is None and not (zero and context.huge_zero_page)
    ):
        return None
    before = list(plan.effects), plan.needed
    prepare_anon_vma(vmf)
    table = plan.frame("pte table")
    frame = context.huge_zero_page if zero and context.huge_zero_page else plan.huge_frame()
    if frame is None:
        plan.effects, plan.needed = before
        return None
    plan.do(DepositTable(table))
    protection = page_protection(vmf.vma, context) | x86.PAGE_SIZE_BIT
    if zero:
        if not context.huge_zero_page:
            plan.do(NewHugeZeroPage(frame))
        vmf.set(frame | protection)
        return Answer(Resolved("huge zero page mapped"), because="anonymous memory, first read of 2 MiB")
    plan.do(NewHugeAnonPage(frame, vmf.vma.linear_page_index(vmf.address & -HUGE)))
    vmf.set(frame | protection | dirty_bits(context) | write_bit(vmf.vma))
    return Answer(Resolved("huge page of its own"), because="anonymous memory, first touch of 2 MiB")


def do_huge_pmd_wp_page(vmf: Vmf) -> Answer | None:
    """
    A write to a read-only huge page: take it over if nobody else has it. Else it is split, and None says that what
    comes next is a small page's concern.

    Kernel: mm/huge_memory.c do_huge_pmd_wp_page(), v6.1.
    """
    context, head = vmf.context, vmf.value & x86.PHYSICAL_MASK & -HUGE
    alone = context.pages.has(head, PageFlag.EXCLUSIVE) or context.pages.folio_refcount(head) == 1
    if head == context.huge_zero_page or not alone:
        split(vmf)
        return None
    if not vmf.flags & FaultFlag.UNSHARE:
        vmf.set(vmf.value | x86.ACCESSED | dirty_bits(context) | write_bit(vmf.vma))
    vmf.plan.do(ChangePage(head, set=PageFlag.EXCLUSIVE))
    vmf.flush()
    return Answer(Resolved("huge page reused"), because="nobody else maps this page", result=written(vmf))


def split(vmf: Vmf) -> None:
    """Have the huge page split, and go on to the pte that there will be."""
    context, shape = vmf.context, vmf.context.form.geometry(vmf.context.cpu)
    number = vmf.address % HUGE >> PAGE_SHIFT
    vmf.plan.do(SplitHugePmd(vmf.slot, vmf.address))
    vmf.table = vmf.mm.deposited[-1]
    vmf.slot, vmf.level, vmf.depth = vmf.table + number * shape.entry_size, "pte", len(shape.levels) - 1
    vmf.value = split_entry(vmf.vma, context, vmf.value, number)


def split_entry(vma: Vma, context: Context, value: int, number: int) -> int:
    """
    The pte for page `number` of a huge page that is mapped by the entry `value`.

    Kernel: mm/huge_memory.c __split_huge_pmd_locked(), __split_huge_zero_page_pmd(), v6.1.
    """
    head, protection = value & x86.PHYSICAL_MASK & -HUGE, page_protection(vma, context)
    if head == context.huge_zero_page:
        return context.zero_page | protection | SPECIAL
    kept = x86.WRITABLE | context.form.soft_dirty | (x86.DIRTY if context.rules.split_keeps_dirty else 0)
    young = value & x86.ACCESSED
    return head + number * PAGE | protection & ~(0 if young else x86.ACCESSED) | value & kept


def huge_pmd_set_accessed(vmf: Vmf) -> Answer:
    """
    The entry permits the access already.

    Kernel: mm/huge_memory.c huge_pmd_set_accessed(), v6.1.
    """
    vmf.set(vmf.value | x86.ACCESSED | (dirty_bits(vmf.context) if vmf.write else 0))
    vmf.flush()
    return Answer(Resolved("access flags updated"), because="the entry of the huge page already permits it")
