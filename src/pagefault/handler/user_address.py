"""A fault on a user address, from user code or the kernel's: the questions of do_user_addr_fault(), in its order."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from ..tables.address_space import MMAP_MIN_ADDR, STACK_GUARD_GAP, AddressSpace
from ..vocabulary.address import PAGE_MASK, PAGE_SHIFT
from ..vocabulary.effect import Effect, GrowStack, PrepareAnonVma
from ..vocabulary.fault import Fault
from ..vocabulary.outcome import Oops
from ..vocabulary.vm_fault import FaultFlag, VmFault
from ..vocabulary.vma import Vma
from .context import Context
from .decision import Answer, BadArea, Question
from .handle_mm_fault import handle_mm_fault


def kernel_fetch_from_user(fault: Fault, context: Context) -> Answer | None:
    """
    Is this kernel code executing user memory?

    Neither a vma nor the exception table is consulted: nothing in the kernel does this on purpose. Since Linux kernel
    commit 66fcd9888381 ("x86/fault: Don't look for extable entries for SMEP violations") (in v5.12); before, the fault
    ended as a bad area.

    Kernel: arch/x86/mm/fault.c do_user_addr_fault(), v6.1.
    Differs: AMD erratum 93, which makes a kernel address look like this, is not modelled.
    """
    if fault.from_user or not fault.fetch or not context.profile.kernel_fetch_oopses:
        return None
    return Answer(Oops("kernel executed user memory"), because="a supervisor's fetch from a user address")


def reserved_bits(fault: Fault, context: Context) -> Answer | None:
    """
    Is a reserved bit set in the page tables?

    Kernel: arch/x86/mm/fault.c do_user_addr_fault(), pgtable_bad(), v6.1.
    """
    return Answer(Oops("Bad pagetable"), because="the error code's RSVD bit") if fault.reserved else None


def smap_violation(fault: Fault, context: Context) -> Answer | None:
    """
    Did the kernel touch a user address outside a user-access window?

    Present or not, no vma is consulted and, since Linux kernel commit ca247283781d ("x86/fault: Don't run
    fixups for SMAP violations") (in v5.12), no fixup either: a kernel that forgot STAC has a bug.

    Kernel: arch/x86/mm/fault.c do_user_addr_fault(), v6.1.
    Manual: Intel SDM vol. 3A, 4.6.1 (CR4.SMAP, EFLAGS.AC).
    """
    if not context.cpu.smap or fault.from_user or context.cpu.ac:
        return None
    outcome = Oops("SMAP violation") if context.profile.smap_violation_oopses else BadArea("SEGV_MAPERR")
    return Answer(outcome, because="CR4.SMAP is set and EFLAGS.AC is clear")


def cannot_take_the_fault(fault: Fault, context: Context) -> Answer | None:
    """
    Are page faults disabled here, or is there no user address space at all?

    Kernel: arch/x86/mm/fault.c do_user_addr_fault(); include/linux/uaccess.h faulthandler_disabled(), v6.1.
    """
    if context.faulthandler_disabled:
        return Answer(BadArea("SEGV_MAPERR"), because="inside pagefault_disable(), or in an atomic section")
    if context.mm is None:
        return Answer(BadArea("SEGV_MAPERR"), because="current->mm is NULL: a kernel thread")
    return None


def no_vma(fault: Fault, context: Context) -> Answer | None:
    """
    Is the address outside every vma, and out of reach of a stack that may grow?

    Kernel: mm/memory.c lock_mm_and_find_vma(); mm/mmap.c expand_downwards(), v6.1.192.
    Differs: nobody else holds mmap_lock here. When somebody does, the kernel looks for an exception-table entry
    *before* it waits for the lock. The vsyscall page is not emulated.
    """
    if find_vma_or_grow(fault, context) is not None:
        return None
    return Answer(BadArea("SEGV_MAPERR"), because=why_no_vma(fault, context))


def access_error(fault: Fault, context: Context) -> Answer | None:
    """
    Does the vma forbid this access?

    Kernel: arch/x86/mm/fault.c access_error(), bad_area_access_error(), v6.1.
    """
    vma, _ = find_vma_or_grow(fault, context) or (None, ())
    if vma is None:
        return None
    if fault.protection_key or key_forbids(vma, fault, context):
        return Answer(BadArea("SEGV_PKUERR"), because=f"protection key {vma.protection_key}")
    if fault.write:
        return None if vma.write else Answer(BadArea("SEGV_ACCERR"), because=f"{describe(vma)} lacks VM_WRITE")
    if fault.protection:
        return Answer(BadArea("SEGV_ACCERR"), because="a read or fetch of a present page was refused")
    if not vma.accessible:
        return Answer(BadArea("SEGV_ACCERR"), because=f"{describe(vma)} is PROT_NONE")
    return None


def handle_the_fault(fault: Fault, context: Context) -> Answer | None:
    """
    It is a good area: can the page be had?

    Kernel: mm/memory.c handle_mm_fault(), v6.1.
    """
    vma, growth = find_vma_or_grow(fault, context) or (None, ())
    if vma is None or context.mm is None:
        return None
    return handle_mm_fault(context, context.mm, vma, fault.address or 0, fault_flags(fault, context), growth)


def fault_flags(fault: Fault, context: Context) -> FaultFlag:
    """
    With per-vma locks, a fault of user code is first tried under its vma's own.

    Kernel: arch/x86/mm/fault.c do_user_addr_fault(), v6.1 and v6.12; include/linux/mm.h FAULT_FLAG_DEFAULT, v6.1.
    """
    locked = context.rules.per_vma_lock and fault.user_mode
    return flags_of(fault.write, fault.fetch, fault.user_mode, locked, context.tried)


@lru_cache(1 << 10)
def flags_of(write: bool, fetch: bool, user_mode: bool, locked: bool, tried: tuple[VmFault, ...]) -> FaultFlag:
    """The same few for fault after fault."""
    again = len(tried) > locked or any(VmFault.MAJOR & result for result in tried)
    flags = FaultFlag.ALLOW_RETRY | FaultFlag.KILLABLE | FaultFlag.INTERRUPTIBLE
    flags |= FaultFlag.WRITE if write else FaultFlag(0)
    flags |= FaultFlag.TRIED if again else FaultFlag(0)
    flags |= FaultFlag.VMA_LOCK if locked and not tried else FaultFlag(0)
    flags |= FaultFlag.INSTRUCTION if fetch else FaultFlag(0)
    return flags | (FaultFlag.USER if user_mode else FaultFlag(0))


def key_forbids(vma: Vma, fault: Fault, context: Context) -> bool:
    """
    Would the page's protection key, once it is mapped, refuse the access?

    Kernel: arch/x86/include/asm/mmu_context.h arch_vma_access_permitted(), v6.1.
    """
    if not context.cpu.pke or fault.fetch:
        return False
    rights = context.cpu.pkru >> 2 * vma.protection_key & 3
    return bool(rights & 1) or (fault.write and bool(rights & 2))


def find_vma_or_grow(fault: Fault, context: Context) -> tuple[Vma, tuple[Effect, ...]] | None:
    """
    The vma for the fault, and the effect that grows it if it is a stack that must first grow down to here.

    Kernel: mm/memory.c lock_mm_and_find_vma(), upgrade_mmap_lock_carefully(), v6.1.192.
    """
    if context.mm is None:
        return None
    address = fault.address or 0
    vma = context.mm.vmas.find_vma(address)
    if vma is None or vma.start <= address:
        return (vma, ()) if vma else None
    if not vma.grows_down or why_not_grow(context.mm, vma, address) or unlisted(fault, context):
        return None
    start = address & PAGE_MASK
    pgoff = vma.pgoff - (vma.start - start >> PAGE_SHIFT)
    growth = (PrepareAnonVma(vma.start), GrowStack(vma.start, start))
    return replace(vma, start=start, pgoff=pgoff), growth if not vma.anon_vma else growth[1:]


def unlisted(fault: Fault, context: Context) -> bool:
    """Is this kernel code that may not even wait for the lock that growing a stack takes?"""
    if not context.profile.growth_needs_entry or fault.user_mode:
        return False
    return context.extables.search(fault.ip) is None


def why_not_grow(mm: AddressSpace, vma: Vma, address: int) -> str:
    """
    Why this stack may not grow down to `address`; empty if it may.

    Kernel: mm/mmap.c expand_downwards(), acct_stack_growth(), v6.1.
    """
    start = address & PAGE_MASK
    if start < MMAP_MIN_ADDR:
        return f"below mmap_min_addr {MMAP_MIN_ADDR:#x}"
    below = mm.vmas.previous(vma)
    if below and below.accessible and not below.grows_down and start - below.end < STACK_GUARD_GAP:
        return f"within the stack guard gap above {describe(below)}"
    if vma.start - start >> PAGE_SHIFT > vma.pgoff:
        return "before the first page that it maps"
    if not mm.may_expand_vm(vma.start - start >> PAGE_SHIFT, data=False):
        return f"RLIMIT_AS is {mm.rlimit_as}"
    if vma.end - start > mm.stack_rlimit:
        return f"the stack would be {vma.end - start} bytes, RLIMIT_STACK is {mm.stack_rlimit}"
    return ""


def why_no_vma(fault: Fault, context: Context) -> str:
    """For the trail: what is at the address instead of a usable vma."""
    address = fault.address or 0
    vma = context.mm.vmas.find_vma(address) if context.mm else None
    if vma is None:
        return "nothing is mapped at or above it"
    if vma.grows_down and context.mm:
        why = why_not_grow(context.mm, vma, address) or "kernel code that the exception table does not list"
        return f"{describe(vma)} may not grow: {why}"
    return f"the next area up is {describe(vma)}"


def describe(vma: Vma) -> str:
    """A vma as /proc/PID/maps shows it."""
    rights = "".join(c if on else "-" for c, on in (("r", vma.read), ("w", vma.write), ("x", vma.execute)))
    rights += "s" if vma.shared else "p"
    return f"{vma.start:x}-{vma.end:x} {rights}" + (f" {vma.name}" if vma.name else "")


DO_USER_ADDR_FAULT: tuple[Question, ...] = (
    kernel_fetch_from_user,
    reserved_bits,
    smap_violation,
    cannot_take_the_fault,
    no_vma,
    access_error,
    handle_the_fault,
)
"""Kernel: arch/x86/mm/fault.c do_user_addr_fault(), v6.1."""
