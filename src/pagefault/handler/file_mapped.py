"""Memory that is a file's: its pages are in the page cache, or have to be brought there."""

from __future__ import annotations

from ..memory.pages import PageFlag
from ..tables.inode import FileSystem, Inode
from ..vocabulary.effect import AddToPageCache, ChangePage, CopyFrame, GetPage, NewAnonPage
from ..vocabulary.outcome import Resolved, Retry
from ..vocabulary.vm_fault import FaultFlag, VmFault
from ..vocabulary.vma import VmFlag
from .anonymous import own_page, prepare_anon_vma
from .copy_on_write import fault_dirty_shared_page
from .decision import Answer, BadArea
from .filemap import beyond_the_end, do_fault_around, filemap_fault
from .swapped import shmem_swapin
from .userfault import handle_userfault, userfaultfd_missing
from .vmf import SPECIAL, Vmf, dirty_bits, page_protection, write_bit


def do_fault(vmf: Vmf) -> Answer:
    """
    A first touch of a mapped file: reads map the page and its neighbours, private writes copy it, shared ones map it
    writable.

    Kernel: mm/memory.c do_fault(), v6.1.
    """
    inode = vmf.context.inodes[vmf.vma.inode]
    if inode.kind is FileSystem.SPECIAL:
        return special_mapping_fault(vmf, inode)
    if not vmf.write:
        return do_read_fault(vmf, inode)
    if not vmf.vma.shared:
        return do_cow_fault(vmf, inode)
    return do_shared_fault(vmf, inode)


def special_mapping_fault(vmf: Vmf, inode: Inode) -> Answer:
    """
    Pages of the kernel's own that a process may look at: the vdso's are counted, the vvar's are not.

    Kernel: mm/mmap.c special_mapping_fault(); arch/x86/entry/vdso/vma.c vdso_fault(), vvar_fault(), v6.1.
    """
    if vmf.flags & FaultFlag.VMA_LOCK:
        return Answer(Retry("needs the whole address space's lock"), because="a special mapping", result=VmFault.RETRY)
    frame = inode.cache.get(vmf.index)
    if frame is None:
        return Answer(BadArea("BUS_ADRERR", "SIGBUS"), because="no such page", result=VmFault.SIGBUS)
    protection = page_protection(vmf.vma, vmf.context)
    if vmf.vma.flags & VmFlag.PFNMAP:
        vmf.set(frame | protection | SPECIAL)
        return Answer(Resolved("kernel page mapped"), because="a page of [vvar]", result=VmFault.NOPAGE)
    if vmf.write:
        prepare_anon_vma(vmf)
        copy = vmf.plan.frame()
        vmf.plan.do(CopyFrame(frame, copy), NewAnonPage(copy, vmf.index))
        vmf.set(own_page(vmf, copy))
        return Answer(Resolved("kernel page copied"), because="a private mapping, first write")
    vmf.plan.do(GetPage(frame))
    vmf.set(frame | protection)
    return Answer(Resolved("kernel page mapped"), because="a page of [vdso]")


def do_read_fault(vmf: Vmf, inode: Inode) -> Answer:
    """
    Kernel: mm/memory.c do_read_fault(), v6.1.
    """
    mapped = do_fault_around(vmf, inode)
    if mapped:
        how = Resolved(f"{mapped} pages of the page cache mapped")
        return Answer(how, because="the page is there", result=VmFault.NOPAGE)
    got = __do_fault(vmf, inode)
    if isinstance(got, Answer):
        return got
    frame, result = got
    vmf.plan.do(GetPage(frame))
    vmf.set(frame | page_protection(vmf.vma, vmf.context))
    return Answer(Resolved("page-cache page mapped"), because="a read, alone", result=result)


def do_cow_fault(vmf: Vmf, inode: Inode) -> Answer:
    """
    Kernel: mm/memory.c do_cow_fault(), v6.1.
    """
    prepare_anon_vma(vmf)
    got = __do_fault(vmf, inode)
    if isinstance(got, Answer):
        return got
    source, result = got
    frame = vmf.plan.frame()
    vmf.plan.do(CopyFrame(source, frame), NewAnonPage(frame, vmf.index))
    vmf.set(own_page(vmf, frame))
    vmf.flush()
    because = "a private mapping, first write"
    return Answer(Resolved("page-cache page copied"), because=because, result=result)


def do_shared_fault(vmf: Vmf, inode: Inode) -> Answer:
    """
    Kernel: mm/memory.c do_shared_fault(), finish_fault(), v6.1.
    """
    got = __do_fault(vmf, inode)
    if isinstance(got, Answer):
        return got
    frame, result = got
    vmf.plan.do(GetPage(frame))
    vmf.set(frame | page_protection(vmf.vma, vmf.context) | write_bit(vmf.vma) | dirty_bits(vmf.context))
    vmf.flush()
    result |= fault_dirty_shared_page(vmf, frame)
    because = "a shared mapping, first write"
    return Answer(Resolved("page-cache page mapped for writing"), because=because, result=result)


def __do_fault(vmf: Vmf, inode: Inode) -> tuple[int, VmFault] | Answer:
    """
    The frame of the page, and what is to be said of how it was had; or the answer, where it is not had yet.

    Kernel: mm/memory.c __do_fault(), v6.1.
    """
    return shmem_fault(vmf, inode) if inode.swap_backed else filemap_fault(vmf, inode)


def shmem_fault(vmf: Vmf, inode: Inode) -> tuple[int, VmFault] | Answer:
    """
    The same of a file that is memory alone: a page that is missing is made.

    Kernel: mm/shmem.c shmem_fault(), shmem_get_folio_gfp(), v6.1.
    """
    if vmf.index >= inode.pages:
        return beyond_the_end(vmf, inode)
    slot, swap = inode.swapped.get(vmf.index), vmf.context.swap
    if slot is not None and swap is not None:
        frame, result = shmem_swapin(vmf.plan, inode.number, vmf.index, slot, swap)
        return frame, result | VmFault.LOCKED
    cached = inode.cache.get(vmf.index)
    if cached is None and userfaultfd_missing(vmf.vma):
        return handle_userfault(vmf)
    if cached is None:
        cached = vmf.plan.frame()
        vmf.plan.do(AddToPageCache(inode.number, vmf.index, cached, read=False))
    elif vmf.context.pages.has(cached, PageFlag.FALLOCATED):
        vmf.plan.do(ChangePage(cached, clear=PageFlag.FALLOCATED))
    return cached, VmFault.LOCKED
