"""Memory that belongs to no file: zeros until written."""

from __future__ import annotations

from dataclasses import dataclass

from ..arch import x86
from ..vocabulary.effect import FlushPage, TakeFrame, WriteEntry, ZeroFrame
from ..vocabulary.outcome import Resolved
from ..vocabulary.vma import Vma
from .context import Context
from .decision import Answer

SPECIAL = 1 << 9
"""
A software bit: a page without a struct page of its own (the zero page).

Kernel: arch/x86/include/asm/pgtable_types.h _PAGE_SPECIAL, v6.1.
"""


@dataclass(frozen=True, slots=True)
class PteFault:
    """
    A fault that came down to one pte: struct vm_fault. `slot` is the pte's physical address and `value` what it holds,
    `frame` the frame to use if one is needed (else the page of zeros).
    """

    address: int
    slot: int
    value: int
    write: bool
    vma: Vma
    frame: int
    context: Context

    def set(self, value: int) -> WriteEntry:
        """The effect that writes this pte."""
        shape = self.context.form.geometry(self.context.cpu)
        return WriteEntry("pte", self.slot, value, self.address, shape.entry_size)


def page_protection(pte: PteFault) -> int:
    """
    The bits of a pte in the fault's vma, without the right to write: private pages get that when they are written.

    Kernel: arch/x86/mm/pgprot.c protection_map[], vm_get_page_prot(), v6.1.
    """
    vma, bits = pte.vma, x86.PRESENT | x86.USER | x86.ACCESSED
    bits |= vma.protection_key << x86.PROTECTION_KEY_SHIFT
    return bits | (0 if vma.execute else x86.EXECUTE_DISABLE & pte.context.form.supported_pte_mask(pte.context.cpu))


def own_page(pte: PteFault) -> int:
    """
    The pte of a page of one's own, just written. ptrace may write where the vma forbids it; the pte is read-only then.

    Kernel: include/linux/mm.h maybe_mkwrite(), v6.1.
    """
    return pte.frame | page_protection(pte) | write_bit(pte.vma) | x86.DIRTY | pte.context.form.soft_dirty


def write_bit(vma: Vma) -> int:
    """The right to write, if the vma gives it."""
    return x86.WRITABLE if vma.write else 0


def do_anonymous_page(pte: PteFault) -> Answer:
    """
    A first touch: a read gets the shared page of zeros, a write a zeroed page of its own.

    Kernel: mm/memory.c do_anonymous_page(), v6.1.
    """
    if not pte.write:
        value = pte.context.zero_page | page_protection(pte) | SPECIAL
        return Answer(
            Resolved("zero page mapped"),
            (pte.set(value),),
            because="anonymous memory, first read: the shared zero page",
        )
    return Answer(
        Resolved("zeroed page of its own"),
        (
            TakeFrame(pte.frame),
            ZeroFrame(pte.frame),
            pte.set(own_page(pte)),
            FlushPage(pte.address),
        ),
        because="anonymous memory, first write",
    )
