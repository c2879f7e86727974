"""
The address is good: get the page. Find the way down, make the tables that are missing, then do what the entry asks for.

Kernel: mm/memory.c __handle_mm_fault(), handle_pte_fault(), v6.1.
"""

from __future__ import annotations

from ..arch import x86
from ..tables.address_space import AddressSpace
from ..vocabulary.address import PAGE_MASK
from ..vocabulary.effect import Effect
from ..vocabulary.outcome import OutOfMemory
from ..vocabulary.vm_fault import FaultFlag, VmFault
from ..vocabulary.vma import Vma
from .anonymous import do_anonymous_page
from .context import Context
from .copy_on_write import access_flags, do_wp_page
from .decision import Answer, BadArea
from .file_mapped import do_fault
from .huge_memory import (
    do_huge_pmd_anonymous_page,
    do_huge_pmd_wp_page,
    has_huge_pages,
    huge_pmd_set_accessed,
    hugepage_vma_check,
)
from .swapped import do_swap_page
from .vmf import PAGE_NONE, Plan, Vmf


def handle_mm_fault(
    context: Context,
    mm: AddressSpace,
    vma: Vma,
    address: int,
    flags: FaultFlag,
    before: tuple[Effect, ...] = (),
) -> Answer:
    """
    Decide how the page at `address` is had; `before` are effects that come first (a stack's growth).

    Kernel: mm/memory.c handle_mm_fault(), v6.1. Out of memory in kernel mode ends like a bad area:
    arch/x86/mm/fault.c do_user_addr_fault().
    """
    plan = Plan(context, list(before))
    vmf = Vmf(context, mm, vma, address & PAGE_MASK, flags, plan)
    answer = __handle_mm_fault(vmf)
    if not plan.out_of_frames:
        return Answer(answer.outcome, tuple(plan.effects), answer.because, answer.result or VmFault(0))
    because = "VM_FAULT_OOM: no free frame is left"
    if flags & FaultFlag.USER:
        return Answer(OutOfMemory(plan.needed), because=because, result=VmFault.OOM)
    return Answer(BadArea("SEGV_MAPERR"), because=because, result=VmFault.OOM)


def __handle_mm_fault(vmf: Vmf) -> Answer:
    """
    Kernel: mm/memory.c __handle_mm_fault(), v6.1.
    """
    if has_huge_pages(vmf.context):
        vmf.down_to("pmd")
        if vmf.value & x86.PAGE_SIZE_BIT:
            refused = vmf.flags & (FaultFlag.WRITE | FaultFlag.UNSHARE) and not vmf.value & x86.WRITABLE
            answer = do_huge_pmd_wp_page(vmf) if refused else huge_pmd_set_accessed(vmf)
            return answer or handle_pte_fault(vmf)
        if not vmf.value and hugepage_vma_check(vmf.vma, vmf.context):
            answer = do_huge_pmd_anonymous_page(vmf)
            if answer is not None:
                return answer
    vmf.down_to("pte")
    return handle_pte_fault(vmf)


def handle_pte_fault(vmf: Vmf) -> Answer:
    """
    Kernel: mm/memory.c handle_pte_fault(), v6.1.
    """
    if not vmf.value:
        return do_anonymous_page(vmf) if vmf.vma.anonymous else do_fault(vmf)
    if not vmf.value & (x86.PRESENT | PAGE_NONE):
        swap = vmf.context.swap
        if swap is not None:
            return do_swap_page(vmf, swap)
        return Answer(BadArea("SEGV_MAPERR"), because="the entry is neither present nor empty")
    if vmf.flags & (FaultFlag.WRITE | FaultFlag.UNSHARE) and not vmf.value & x86.WRITABLE:
        return do_wp_page(vmf)
    return access_flags(vmf)
