"""mprotect(): other rights for a range, in its areas and in the entries of the pages that are there."""

from __future__ import annotations

from dataclasses import replace
from errno import EACCES, EINVAL, ENOMEM

from ..arch import x86
from ..handler.vmf import PAGE_NONE, SPECIAL, page_protection
from ..memory.pages import PageFlag
from ..tables.address_space import AddressSpace
from ..vocabulary.address import PAGE, PAGE_MASK
from ..vocabulary.vma import Vma, VmFlag
from .gup import populate_vma_page_range
from .huge_memory import change_huge_pmds
from .memory import Memory
from .mmap import PROT_EXEC, PROT_READ, PROT_WRITE, vm_enough_memory
from .munmap import entries
from .pkeys import execute_only_pkey, mm_pkey_is_allocated
from .vma_merge import isolate, may_split, remerge

PROT_SEM, PROT_GROWSDOWN, PROT_GROWSUP = 0x8, 0x0100_0000, 0x0200_0000
"""Kernel: include/uapi/asm-generic/mman-common.h, v6.1."""
CHANGED = x86.PRESENT | PAGE_NONE | x86.WRITABLE | x86.USER | x86.EXECUTE_DISABLE | 15 << x86.PROTECTION_KEY_SHIFT
"""The bits that pte_modify() takes from the area (Kernel: pgtable_types.h _PAGE_CHG_MASK, v6.1)."""
NOT_ACCOUNTED = VmFlag.ACCOUNT | VmFlag.NORESERVE


def do_mprotect_pkey(
    memory: Memory, mm: AddressSpace, start: int, length: int, protection: int, key: int | None = None
) -> int:
    """
    0, or -errno; what lies before a hole is changed all the same. Without a `key` each area keeps its own.

    Kernel: mm/mprotect.c do_mprotect_pkey(), v6.1.
    """
    grows = protection & (PROT_GROWSDOWN | PROT_GROWSUP)
    protection &= ~grows
    if grows == PROT_GROWSDOWN | PROT_GROWSUP or start % PAGE:
        return -EINVAL
    if not length:
        return 0
    length = length + PAGE - 1 & PAGE_MASK & (1 << memory.form.bits) - 1
    end = start + length
    if not length or end >> memory.form.bits:
        return -ENOMEM
    if protection & ~(PROT_READ | PROT_WRITE | PROT_EXEC | PROT_SEM):
        return -EINVAL
    if key is not None and not mm_pkey_is_allocated(mm, key):
        return -EINVAL
    first = mm.vmas.find_vma(start)
    if first is None or first.start >= (end if grows == PROT_GROWSDOWN else start + 1):
        return -ENOMEM
    if grows:
        if grows == PROT_GROWSUP or not first.grows_down:
            return -EINVAL
        start = first.start
    return change_areas(memory, mm, start, end, protection, key)


def change_areas(memory: Memory, mm: AddressSpace, start: int, end: int, protection: int, key: int | None) -> int:
    """Area by area, up to the first hole or error (Kernel: mm/mprotect.c do_mprotect_pkey(), v6.1)."""
    wants = ((PROT_READ, VmFlag.MAYREAD), (PROT_WRITE, VmFlag.MAYWRITE), (PROT_EXEC, VmFlag.MAYEXEC))
    while start < end:
        vma = mm.vmas.vma_lookup(start)
        if vma is None:
            return -ENOMEM
        new_key = arch_override_mprotect_pkey(memory, mm, vma, protection, key)
        if any(protection & bit and not vma.flags & flag for bit, flag in wants):
            return -EACCES
        stop = min(end, vma.end)
        error = mprotect_fixup(memory, mm, start, stop, protection, new_key)
        if error:
            return error
        start = stop
    return 0


def arch_override_mprotect_pkey(memory: Memory, mm: AddressSpace, vma: Vma, protection: int, key: int | None) -> int:
    """
    The key that the area is to have: what may only be executed has one that forbids to read it.

    Kernel: arch/x86/mm/pkeys.c __arch_override_mprotect_pkey(), v6.1.
    """
    if key is not None or not memory.context(mm).cpu.pke:
        return key or 0
    if protection == PROT_EXEC:
        only = execute_only_pkey(memory, mm)
        if only > 0:
            return only
    elif (vma.read, vma.write, vma.execute) == (False, False, True) and vma.protection_key == mm.execute_only_pkey:
        return 0
    return vma.protection_key


def mprotect_fixup(memory: Memory, mm: AddressSpace, start: int, end: int, protection: int, key: int) -> int:
    """
    Change the part start..end of one area: 0, or -errno.

    Kernel: mm/mprotect.c mprotect_fixup(), v6.1.
    """
    old = mm.vmas.vma_lookup(start)
    assert old is not None
    read, write, execute = (bool(protection & bit) for bit in (PROT_READ, PROT_WRITE, PROT_EXEC))
    if (old.read, old.write, old.execute, old.protection_key) == (read, write, execute, key):
        return 0
    flags = old.flags
    pages = (end - start) // PAGE
    becomes_data = replace(old, write=write).data and not old.data
    if becomes_data and not mm.may_expand_vm(pages, data=True) and mm.may_expand_vm(pages, data=False):
        return -ENOMEM
    if write and not old.write and not old.shared and not flags & NOT_ACCOUNTED:
        if not vm_enough_memory(memory, pages):
            return -ENOMEM
        flags |= VmFlag.ACCOUNT
    elif not write and old.anonymous and not old.anon_vma and memory.rules.unaccounts_untouched:
        flags &= ~VmFlag.ACCOUNT
    error = may_split(memory, mm, start, end)
    if error:
        return error
    (vma,) = isolate(memory, mm, start, end)
    changed = replace(vma, read=read, write=write, execute=execute, protection_key=key, flags=flags)
    mm.vmas.replace(vma, changed)
    whole = remerge(memory, mm, changed)
    change_protection(memory, mm, changed)
    if flags & VmFlag.LOCKED and write and not old.write and not old.shared:
        populate_vma_page_range(memory, mm, whole, start, end, may_wait=False)
    return 0


def change_protection(memory: Memory, mm: AddressSpace, vma: Vma) -> None:
    """
    Give the entries of an area the rights it has now.

    Kernel: mm/mprotect.c change_pte_range(); arch/x86/include/asm/pgtable.h pte_modify(), v6.1.
    """
    bits = page_protection(vma, memory.context(mm)) & CHANGED
    change_huge_pmds(memory, mm, vma, CHANGED)
    for slot, value, _ in entries(memory, mm, vma.start, vma.end):
        if value & (x86.PRESENT | PAGE_NONE):
            value = value & ~CHANGED | bits
            writable = x86.WRITABLE if can_change_pte_writable(memory, vma, value) else 0
            memory.tables.write(slot, value | writable)
    memory.flush()


def can_change_pte_writable(memory: Memory, vma: Vma, value: int) -> bool:
    """
    Would a write fault on this page only give the right to write? Where writes are being tracked by soft-dirty bits
    (no VM_SOFTDIRTY), only if this one was noted before.

    Kernel: mm/mprotect.c can_change_pte_writable(), v6.1; can_change_private_pte_writable(),
    can_change_shared_pte_writable(), v6.12; mm/internal.h vma_soft_dirty_enabled(), v6.1.
    """
    rules, dirty = memory.rules, bool(value & x86.DIRTY)
    if not (rules.mprotect_makes_writable and vma.write):
        return False
    tracked = memory.form.soft_dirty if not vma.flags & VmFlag.SOFTDIRTY else 0
    if tracked and not value & tracked:
        return False
    if vma.shared:
        return dirty
    owned = not value & SPECIAL and memory.pages.has(value & x86.PHYSICAL_MASK, PageFlag.EXCLUSIVE)
    return owned and (dirty or rules.mprotect_makes_clean_writable)
