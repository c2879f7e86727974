"""A fault on the kernel's half of the address space: the questions of do_kern_addr_fault(), in its order."""

from __future__ import annotations

from ..arch.x86 import EXECUTE_DISABLE, PRESENT, WRITABLE
from ..tables.pagetable import walk
from ..vocabulary.effect import WriteEntry
from ..vocabulary.fault import Fault
from ..vocabulary.outcome import Resolved, Spurious
from ..vocabulary.walk import Mapped
from .context import Context
from .decision import Answer, BadArea, Question


def vmalloc_fault(fault: Fault, context: Context) -> Answer | None:
    """
    Does the master table map this vmalloc address where ours lacks an entry?

    Only a supervisor's access to something not present qualifies. The entry is copied from init_mm, and the rest of the
    way is then shared: x86-64 copies the top-level entry, x86-32 the pmd's, which with two levels is the top one too.

    Until Linux kernel commit 7f0a002b5a21 ("x86/mm: remove vmalloc faulting") (in v5.8); on x86-32 again since
    4819e15f740e ("x86/mm/32: Bring back vmalloc faulting on x86_32") (in v5.9).

    Kernel: arch/x86/mm/fault.c vmalloc_fault(), v5.7; on x86-32 vmalloc_fault(), vmalloc_sync_one(), v6.1.
    Differs: the kernel keeps a copied entry even if a lower level turns out to be empty; we copy only what helps. Where
    our entry is already there and the rest is mapped too, the kernel lets the access be tried again; we ask on. Nor is
    an entry of ours emptied because init_mm's is empty, as x86-32 does.
    """
    if not context.profile.vmalloc_faulting or fault.reserved or fault.from_user or fault.protection:
        return None
    address, area = fault.address or 0, context.area
    if not area.vmalloc_start <= address < area.vmalloc_end:
        return None
    master, ours = context.init_mm_walk(address), context.walk(address)
    level, shape = context.form.vmalloc_level(context.cpu), context.form.geometry(context.cpu)
    slot = next((entry for entry in ours.entries if entry.level == level), None)
    if not isinstance(master.end, Mapped) or slot is None or slot.value & PRESENT:
        return None
    value = next(entry.value for entry in master.entries if entry.level == level)
    return Answer(
        Resolved("vmalloc entry copied from init_mm"),
        (WriteEntry(slot.level, slot.physical, value, address, shape.entry_size),),
        because=f"init_mm's {slot.level} entry {slot.index} is {value:#x}, ours is empty",
    )


def spurious_kernel_fault(fault: Fault, context: Context) -> Answer | None:
    """
    Do the tables already permit it: was it a stale translation?

    Permissions of kernel pages are widened without a flush on other CPUs, so a write or a fetch (no other access) may
    fault on a translation that is out of date.

    Only the leaf's bits are asked, and the pmd's above a pte; what higher levels forbid is not looked at. Nothing is
    flushed: the fault itself made the CPU drop its translation.

    Kernel: arch/x86/mm/fault.c spurious_kernel_fault(), v6.1.
    Manual: Intel SDM vol. 3A, 4.10.4.3 (optional invalidation).
    Differs: no WARN where the pmd forbids what its pte permits.
    """
    wanted = {(True, False), (False, True)}
    if fault.from_user or fault.reserved or fault.protection_key or not fault.protection:
        return None
    if (fault.write, fault.fetch) not in wanted:
        return None
    master = walk(context.memory, context.init_mm_root, fault.address or 0, context.cpu)
    if not isinstance(master.end, Mapped):
        return None
    leaf = master.entries[-1]
    asked = master.entries[-2:] if leaf.level == "pte" else (leaf,)
    if any(entry.value & EXECUTE_DISABLE if fault.fetch else not entry.value & WRITABLE for entry in asked):
        return None
    return Answer(
        Spurious(),
        because=f"init_mm's {leaf.level} is {leaf.value:#x} and permits it",
    )


def bad_kernel_address(fault: Fault, context: Context) -> Answer | None:
    """
    Nothing makes a kernel address good after that: is it a bad area?

    Not necessarily a bug: the instruction may be prepared for it, as get_kernel_nofault() is.

    Kernel: arch/x86/mm/fault.c do_kern_addr_fault(), v6.1.
    Differs: kprobes and the F00F erratum are not asked about.
    """
    return Answer(BadArea("SEGV_MAPERR"), because="it lies above user space: no vma is looked for")


DO_KERN_ADDR_FAULT: tuple[Question, ...] = (vmalloc_fault, spurious_kernel_fault, bad_kernel_address)
"""
Kernel: arch/x86/mm/fault.c do_kern_addr_fault(), v6.1. vmalloc_fault() comes first on x86-32, and on x86-64 up to v5.7:
a profile without it does not ask.
"""
