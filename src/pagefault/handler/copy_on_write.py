"""A page that is there, and an access that its entry does not yet permit."""

from __future__ import annotations

from ..arch import x86
from ..vocabulary.effect import CopyFrame, FlushPage, TakeFrame
from ..vocabulary.outcome import Resolved
from .anonymous import PteFault, own_page, write_bit
from .decision import Answer


def do_wp_page(pte: PteFault) -> Answer:
    """
    A write to a read-only pte in a writable vma: copy the page, or take it over if nobody shares it.

    Kernel: mm/memory.c do_wp_page(), wp_page_copy(), wp_page_reuse(), v6.1.
    Differs: without fork, only the zero page is ever shared.
    """
    if pte.value & x86.PHYSICAL_MASK == pte.context.zero_page:
        return Answer(
            Resolved("zero page copied on write"),
            (
                TakeFrame(pte.frame),
                CopyFrame(pte.context.zero_page, pte.frame),
                pte.set(own_page(pte)),
                FlushPage(pte.address),
            ),
            because="the page is the shared zero page",
        )
    value = pte.value | write_bit(pte.vma) | x86.ACCESSED | x86.DIRTY | pte.context.form.soft_dirty
    return Answer(
        Resolved("page reused"),
        (pte.set(value), FlushPage(pte.address)),
        because="nobody else maps this page",
    )


def access_flags(pte: PteFault) -> Answer:
    """
    The entry permits the access already: note it in the accessed and dirty bits, and let it be tried again.

    Kernel: mm/memory.c handle_pte_fault() (ptep_set_access_flags(), flush_tlb_fix_spurious_fault()), v6.1.
    """
    value = pte.value | x86.ACCESSED | (x86.DIRTY | pte.context.form.soft_dirty if pte.write else 0)
    return Answer(
        Resolved("access flags updated"),
        (pte.set(value), FlushPage(pte.address)),
        because="the pte already permits it",
    )
