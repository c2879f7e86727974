"""A page that is in the swap space: read it back, or take it from the swap cache."""

from __future__ import annotations

from ..memory.pages import PageFlag
from ..tables.swap_space import SWP_EXCLUSIVE, SWP_SOFT_DIRTY, SwapSpace, slot_of
from ..vocabulary.address import PAGE_SHIFT
from ..vocabulary.effect import (
    AddToSwapCache,
    ChangePage,
    CopyFrame,
    DeleteFromSwapCache,
    FreeSwap,
    GetPage,
    NewAnonPage,
    PutPage,
    ReadSwap,
    SwapInShmem,
)
from ..vocabulary.outcome import Resolved
from ..vocabulary.vm_fault import VmFault
from ..vocabulary.vma import VmFlag
from .anonymous import own_page
from .context import Context
from .copy_on_write import written
from .decision import Answer
from .vmf import Plan, Vmf, dirty_bits, page_protection, write_bit


def do_swap_page(vmf: Vmf, swap: SwapSpace) -> Answer:
    """
    A page whose slot nobody else has is read into a page of its own. Else it goes through the swap cache, where the
    others will find it; a write then copies it, unless nobody else has it any more.

    Kernel: mm/memory.c do_swap_page(), v6.1 and v6.12.
    """
    slot = slot_of(vmf.value)
    frame, alone = swap.cache.get(slot), int(swap.count[slot]) == 1
    if frame is None:
        frame, result = vmf.plan.frame(), VmFault.MAJOR
        vmf.plan.do(ReadSwap(slot, frame))
        if alone:
            vmf.plan.do(NewAnonPage(frame, vmf.index), FreeSwap(slot))
            return map_swapped_in(vmf, frame, result, "read from swap")
        vmf.plan.do(AddToSwapCache(slot, frame, vmf.index))
        references, how = 1, "read from swap into the swap cache"
    else:
        references, result, how = int(vmf.context.pages.refcount[frame >> PAGE_SHIFT]), VmFault(0), "in the swap cache"
    vmf.plan.do(GetPage(frame), FreeSwap(slot))
    if alone and should_try_to_free_swap(vmf, swap, references):
        vmf.plan.do(DeleteFromSwapCache(frame))
        references -= 1
    if vmf.value & SWP_EXCLUSIVE or not references:
        vmf.plan.do(ChangePage(frame, set=PageFlag.EXCLUSIVE))
        return map_swapped_in(vmf, frame, result, how)
    if not vmf.write:
        vmf.set(swapped_in(vmf, frame))
        return Answer(Resolved(f"page {how} mapped"), because="others may have it too: only to read", result=result)
    copy = vmf.plan.frame()
    vmf.plan.do(CopyFrame(frame, copy), NewAnonPage(copy, vmf.index))
    vmf.set(own_page(vmf, copy))
    vmf.plan.do(PutPage(frame))
    because = "somebody else has this page too"
    return Answer(Resolved(f"page {how} copied on write"), because=because, result=result | written(vmf))


def map_swapped_in(vmf: Vmf, frame: int, result: VmFault, how: str) -> Answer:
    """
    Map a page that this process has alone.

    Kernel: mm/memory.c do_swap_page(), v6.1 and v6.12.
    """
    value = swapped_in(vmf, frame)
    if vmf.write:
        value |= write_bit(vmf.vma) | dirty_bits(vmf.context)
        result |= written(vmf)
    elif vmf.context.rules.swapin_makes_writable:
        value |= write_bit(vmf.vma)
    vmf.set(value)
    return Answer(Resolved(f"page {how} mapped"), because="it is in the swap space", result=result)


def swapped_in(vmf: Vmf, frame: int) -> int:
    """The pte of a page that is back."""
    soft_dirty = vmf.context.form.soft_dirty if vmf.value & SWP_SOFT_DIRTY else 0
    return frame | page_protection(vmf.vma, vmf.context) | soft_dirty


def should_try_to_free_swap(vmf: Vmf, swap: SwapSpace, references: int) -> bool:
    """
    Is the slot better given up now, where nobody else has it? `references` are those of others, the swap cache among
    them.

    Kernel: mm/memory.c should_try_to_free_swap(), v6.1.
    """
    return (
        mem_cgroup_swap_full(vmf.context, swap)
        or bool(vmf.vma.flags & VmFlag.LOCKED)
        or (vmf.write and references == 1)
    )


def mem_cgroup_swap_full(context: Context, swap: SwapSpace) -> bool:
    """
    Is more than half in use, of all or of what the group may have?

    Kernel: mm/memcontrol.c mem_cgroup_swap_full(), v6.1.
    """
    group = context.cgroups.get(context.mm.cgroup) if context.mm is not None else None
    limit = group.swap_limit if group is not None else None
    return swap.full or (group is not None and limit is not None and group.swap * 2 >= limit)


def shmem_swapin(plan: Plan, inode: int, index: int, slot: int, swap: SwapSpace) -> tuple[int, VmFault]:
    """
    A page of a file that is memory alone comes back into its page cache: its frame, and MAJOR if it had to be read.

    Kernel: mm/shmem.c shmem_swapin_folio(), v6.1.
    """
    frame, result = swap.cache.get(slot), VmFault(0)
    if frame is None:
        frame, result = plan.frame(), VmFault.MAJOR
        plan.do(ReadSwap(slot, frame), AddToSwapCache(slot, frame, index))
    plan.do(SwapInShmem(inode, index, frame))
    return frame, result
