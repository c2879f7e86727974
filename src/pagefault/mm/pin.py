"""One page of a process, got for the kernel's own use: get_user_pages() and its kin."""

from __future__ import annotations

from errno import EFAULT

from ..handler.vmf import SPECIAL
from ..memory.pages import PageFlag
from ..tables.address_space import AddressSpace
from ..vocabulary.address import PAGE_MASK
from ..vocabulary.vm_fault import FaultFlag
from ..vocabulary.vma import Vma, VmFlag
from .gup import faultin_page, follow_page
from .memory import Memory

SLOW = FaultFlag.ALLOW_RETRY | FaultFlag.KILLABLE
"""How get_user_pages_fast() brings in what is not there (Kernel: mm/gup.c internal_get_user_pages_fast(), v6.1)."""


def get_user_page(
    memory: Memory, mm: AddressSpace, address: int, flags: FaultFlag, *, write: bool, pin: bool = False
) -> int:
    """
    The frame of the page at `address`, brought in with `flags` if it is missing, or -errno. `pin` asks for one that a
    later write by its owner will not copy away: a page shared after fork() is unshared first.

    Kernel: mm/gup.c __get_user_pages(), follow_page_pte(), v6.1; gup_must_unshare(): include/linux/mm.h, v6.1;
    mm/internal.h, v6.12.
    """
    page = address & PAGE_MASK
    flags |= FaultFlag.WRITE if write else FaultFlag(0)
    while True:
        vma = mm.vmas.vma_lookup(page)
        if vma is None or not allowed(vma, write=write):
            return -EFAULT
        frame = follow_page(memory, mm, page, write=write)
        unshare = frame is not None and pin and not write and must_unshare(memory, mm, page, frame)
        if frame is not None and not unshare:
            return frame
        error = faultin_page(memory, mm, vma, page, flags | (FaultFlag.UNSHARE if unshare else FaultFlag(0)))
        if error:
            return error


def allowed(vma: Vma, *, write: bool) -> bool:
    """Kernel: mm/gup.c check_vma_flags(), v6.1, without FOLL_FORCE."""
    if vma.flags & (VmFlag.IO | VmFlag.PFNMAP):
        return False
    return vma.write if write else vma.read


def must_unshare(memory: Memory, mm: AddressSpace, page: int, frame: int) -> bool:
    """
    Is it a private page that is not for sure this process's own?

    Kernel: include/linux/mm.h gup_must_unshare(), v6.1.
    """
    entry = memory.tables.entry(mm.root, page)
    if entry is None or entry.value & SPECIAL or not memory.pages.has(frame, PageFlag.ANON):
        return False
    return not memory.pages.has(frame, PageFlag.EXCLUSIVE)
