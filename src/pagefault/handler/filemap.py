"""
A page of a file, out of the page cache: it is there, or it is read from the device, and others with it.

What a fault may do is its vma's advice, what has been read before (`vocabulary.readahead`), and whether it may give the
lock back while it waits: then it says RETRY, and finds the page the next time.
"""

from __future__ import annotations

from dataclasses import replace

from ..memory.pages import PageFlag
from ..tables.inode import Inode
from ..vocabulary.address import PAGE
from ..vocabulary.effect import AddToPageCache, ChangePage, GetPage, SetReadahead, WriteEntry
from ..vocabulary.outcome import Retry
from ..vocabulary.readahead import Readahead, ReadRequest
from ..vocabulary.vm_fault import FaultFlag, VmFault
from ..vocabulary.vma import VmFlag
from .decision import Answer, BadArea
from .readahead import page_cache_async_ra, sync_mmap_readahead
from .vmf import Vmf, page_protection


def filemap_fault(vmf: Vmf, inode: Inode) -> tuple[int, VmFault] | Answer:
    """
    The frame of the page, and what is to be said of how it was had; or the answer, where it is not had yet.

    Kernel: mm/filemap.c filemap_fault(), v6.1 and v6.12.
    """
    if vmf.index >= inode.pages:
        return beyond_the_end(vmf, inode)
    rules, frame = vmf.context.rules, inode.cache.get(vmf.index)
    unlocked = False
    if frame is not None:
        if not vmf.flags & FaultFlag.TRIED:
            unlocked = do_async_mmap_readahead(vmf, inode, frame)
        if unlocked:
            return Answer(Retry("what comes next is read"), because="the page has the mark", result=VmFault.RETRY)
        return frame, VmFault.LOCKED
    brought: dict[int, int] = {}
    request = sync_mmap_readahead(inode, readahead_of(vmf, inode), vmf.vma, vmf.index, rules)
    if request is not None:
        brought = carry_out(vmf, inode, request)
    frame = brought.get(vmf.index)
    if frame is None:
        frame = vmf.plan.frame()
        vmf.plan.do(AddToPageCache(inode.number, vmf.index, frame, read=True))
    if may_unlock(vmf):
        result = VmFault.MAJOR | VmFault.RETRY
        return Answer(Retry("the page was read"), because="it is not in the page cache", result=result)
    return frame, VmFault.MAJOR | VmFault.LOCKED


def beyond_the_end(vmf: Vmf, inode: Inode) -> Answer:
    """The file has no such page."""
    because = f"page {vmf.index} is beyond the end of {inode.name}"
    return Answer(BadArea("BUS_ADRERR", "SIGBUS"), because=because, result=VmFault.SIGBUS)


def may_unlock(vmf: Vmf) -> bool:
    """
    Is this the first attempt of somebody who may be asked to come again?

    Kernel: mm/internal.h maybe_unlock_mmap_for_io(); include/linux/mm.h fault_flag_allow_retry_first(), v6.1.
    """
    first = vmf.flags & (FaultFlag.ALLOW_RETRY | FaultFlag.TRIED) == FaultFlag.ALLOW_RETRY
    return first and not vmf.flags & FaultFlag.RETRY_NOWAIT


def readahead_of(vmf: Vmf, inode: Inode) -> Readahead:
    """What is remembered of reading ahead, with what this fault has changed already."""
    changes = [effect.state for effect in vmf.plan.effects if isinstance(effect, SetReadahead)]
    return changes[-1] if changes else inode.readahead


def do_async_mmap_readahead(vmf: Vmf, inode: Inode, frame: int) -> bool:
    """
    If the page has the mark, read what comes after it. Says whether the lock was given back for that.

    Kernel: mm/filemap.c do_async_mmap_readahead(), v6.1.
    """
    state = readahead_of(vmf, inode)
    if vmf.vma.flags & VmFlag.RAND_READ or not state.pages:
        return False
    miss = max(0, state.mmap_miss - 1)
    if not vmf.context.pages.has(frame, PageFlag.READAHEAD):
        if miss != state.mmap_miss:
            vmf.plan.do(SetReadahead(inode.number, replace(state, mmap_miss=miss)))
        return False
    vmf.plan.do(ChangePage(frame, clear=PageFlag.READAHEAD))
    state = replace(state, mmap_miss=miss)
    carry_out(vmf, inode, page_cache_async_ra(inode, state, vmf.index, state.pages, vmf.context.rules))
    return may_unlock(vmf)


def carry_out(vmf: Vmf, inode: Inode, request: ReadRequest) -> dict[int, int]:
    """
    Read what is missing, as far as there are frames for it: index -> frame.

    Kernel: mm/readahead.c page_cache_ra_unbounded(), v6.1.
    """
    vmf.plan.do(SetReadahead(inode.number, request.state))
    brought = {}
    for index in range(request.first, request.first + request.count):
        if inode.cache.get(index) is not None:
            continue
        frame = vmf.plan.spare_frame()
        if frame is None:
            break
        brought[index] = frame
        vmf.plan.do(AddToPageCache(inode.number, index, frame, read=True))
        if index == request.mark:
            vmf.plan.do(ChangePage(frame, set=PageFlag.READAHEAD))
    return brought


def do_fault_around(vmf: Vmf, inode: Inode) -> int:
    """
    Map what the page cache has around the fault: fault_around_bytes, from an address aligned to that or where the vma
    begins, inside the vma and one page table. Says how many were mapped if the page itself was among them, else 0 (then
    the neighbours are mapped all the same).

    Kernel: mm/memory.c do_fault_around(), should_fault_around(), v6.1.
    """
    context, vma = vmf.context, vmf.vma
    window = context.settings.fault_around_bytes
    if window <= PAGE:
        return 0
    levels = context.form.geometry(context.cpu).levels
    start = max(vmf.address & -window, vma.start)
    end = min(start + window, vma.end, (vmf.address | PAGE * levels[-1].entries - 1) + 1)
    return filemap_map_pages(vmf, inode, start, end)


def filemap_map_pages(vmf: Vmf, inode: Inode, start: int, end: int) -> int:
    """
    Map the pages of the cache that belong at start..end. Entries that hold something stay. A page with the mark is left
    to a fault of its own, as is one that has no content yet.

    Kernel: mm/filemap.c filemap_map_pages(), next_uptodate_page(), v6.1.
    """
    context, size = vmf.context, vmf.context.form.geometry(vmf.context.cpu).entry_size
    first = vmf.vma.linear_page_index(start)
    end = min(end, start + (inode.pages - first) * PAGE)
    slot = vmf.slot - (vmf.address - start) // PAGE * size
    protection, seen, mapped, itself = page_protection(vmf.vma, context), 0, 0, False
    for address in range(start, end, PAGE):
        frame = inode.cache.get(first)
        if frame is not None and not context.pages.has(frame, PageFlag.READAHEAD | PageFlag.FALLOCATED):
            seen += 1
            if not context.memory.read_entry(slot, size):
                vmf.plan.do(GetPage(frame), WriteEntry("pte", slot, frame | protection, address, size))
                mapped, itself = mapped + 1, itself or address == vmf.address
        first, slot = first + 1, slot + size
    state = inode.readahead
    if seen and state.mmap_miss:
        vmf.plan.do(SetReadahead(inode.number, replace(state, mmap_miss=max(0, state.mmap_miss - seen))))
    return mapped if itself else 0
