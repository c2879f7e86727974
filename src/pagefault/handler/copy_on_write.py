"""A page that is there, and an access that its entry does not yet permit."""

from __future__ import annotations

from ..arch import x86
from ..memory.pages import PageFlag
from ..vocabulary.address import PAGE_SHIFT
from ..vocabulary.effect import ChangePage, CopyFrame, DeleteFromSwapCache, NewAnonPage, PutPage, SwapInShmem
from ..vocabulary.outcome import Resolved
from ..vocabulary.vm_fault import FaultFlag, VmFault
from .anonymous import own_page, prepare_anon_vma
from .decision import Answer
from .vmf import Vmf, dirty_bits, page_protection, wants_writenotify, write_bit


def do_wp_page(vmf: Vmf) -> Answer:
    """
    A write to a read-only pte: copy the page, or take it over if nobody else has it.

    Kernel: mm/memory.c do_wp_page(), v6.1.
    """
    if vmf.vma.shared:
        return wp_page_shared(vmf)
    if can_reuse(vmf):
        return wp_page_reuse(vmf)
    return wp_page_copy(vmf)


def can_reuse(vmf: Vmf) -> bool:
    """
    Is this a private page that only this process has? A reference from the swap cache does not count if that can be
    given up: nobody else has the page's slot.

    Kernel: mm/memory.c do_wp_page(), v6.1; wp_can_reuse_anon_folio(), v6.12.
    """
    context, pages, frame = vmf.context, vmf.context.pages, vmf.frame
    if frame == context.zero_page or not pages.has(frame, PageFlag.ANON):
        return False
    if pages.has(frame, PageFlag.EXCLUSIVE):
        return True
    if pages.is_huge(frame) and not context.rules.reuses_part_of_huge:
        return False
    cached = pages.has(frame, PageFlag.SWAPCACHE)
    if pages.folio_refcount(frame) > 1 + cached:
        return False
    if cached and context.swap is not None and not context.swap.count[int(pages.swap[frame >> PAGE_SHIFT]) - 1]:
        vmf.plan.do(DeleteFromSwapCache(frame))
        return True
    return not cached


def wp_page_reuse(vmf: Vmf) -> Answer:
    """
    Kernel: mm/memory.c wp_page_reuse(), v6.1.
    """
    if not vmf.flags & FaultFlag.UNSHARE:
        vmf.set(vmf.value | write_bit(vmf.vma) | x86.ACCESSED | dirty_bits(vmf.context))
    vmf.plan.do(ChangePage(vmf.frame, set=PageFlag.EXCLUSIVE))
    vmf.flush()
    return Answer(Resolved("page reused"), because="nobody else maps this page", result=written(vmf))


def wp_page_copy(vmf: Vmf) -> Answer:
    """
    A copy of one's own: of the zero page, of a file's, or of a page that another process has too. One that is only
    unshared stays read-only.

    Kernel: mm/memory.c wp_page_copy(), v6.1.
    """
    zero = vmf.frame == vmf.context.zero_page
    prepare_anon_vma(vmf)
    frame = vmf.plan.frame()
    vmf.plan.do(CopyFrame(vmf.frame, frame), NewAnonPage(frame, vmf.index))
    unshared = frame | page_protection(vmf.vma, vmf.context) | vmf.value & vmf.context.form.soft_dirty
    vmf.set(unshared if vmf.flags & FaultFlag.UNSHARE else own_page(vmf, frame))
    vmf.flush()
    if not zero:
        vmf.plan.do(PutPage(vmf.frame))
    how = "zero page copied on write" if zero else "page copied on write"
    because = "the page is the shared zero page" if zero else "somebody else has this page too"
    return Answer(Resolved(how), because=because, result=written(vmf))


def wp_page_shared(vmf: Vmf) -> Answer:
    """
    The first write to a shared page whose file system wanted to know.

    Kernel: mm/memory.c wp_page_shared(), wp_pfn_shared(), v6.1.
    """
    vmf.set(vmf.value | write_bit(vmf.vma) | x86.ACCESSED | dirty_bits(vmf.context))
    vmf.flush()
    result = written(vmf) | fault_dirty_shared_page(vmf, vmf.frame)
    return Answer(Resolved("shared page made writable"), because="first write", result=result)


def fault_dirty_shared_page(vmf: Vmf, frame: int) -> VmFault:
    """
    Mark a page of a file dirty. Where that is news, or the file system wanted to know, the lock is given back while
    dirty pages are balanced: on the first attempt of those who allow it.

    Kernel: mm/memory.c fault_dirty_shared_page(); mm/internal.h maybe_unlock_mmap_for_io(), v6.1.
    """
    context = vmf.context
    back = any(isinstance(effect, SwapInShmem) for effect in vmf.plan.effects)  # and dirty, as it is nowhere else
    news = not (back or context.pages.has(frame, PageFlag.DIRTY)) or wants_writenotify(vmf.vma, context)
    vmf.plan.do(ChangePage(frame, set=PageFlag.DIRTY))
    first = vmf.flags & (FaultFlag.ALLOW_RETRY | FaultFlag.TRIED) == FaultFlag.ALLOW_RETRY
    return VmFault.COMPLETED if news and first and not vmf.flags & FaultFlag.RETRY_NOWAIT else VmFault(0)


def written(vmf: Vmf) -> VmFault:
    """What the answer is where a page was made writable."""
    said = vmf.context.rules.reports_write and not vmf.flags & FaultFlag.UNSHARE
    return VmFault.WRITE if said else VmFault(0)


def access_flags(vmf: Vmf) -> Answer:
    """
    The entry permits the access already: note it in the accessed and dirty bits, and let it be tried again.

    Kernel: mm/memory.c handle_pte_fault() (ptep_set_access_flags(), flush_tlb_fix_spurious_fault()), v6.1.
    """
    vmf.set(vmf.value | x86.ACCESSED | (dirty_bits(vmf.context) if vmf.write else 0))
    vmf.flush()
    return Answer(Resolved("access flags updated"), because="the pte already permits it")
