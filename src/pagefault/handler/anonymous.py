"""Memory that belongs to no file: zeros until written."""

from __future__ import annotations

from ..vocabulary.effect import NewAnonPage, PrepareAnonVma, ZeroFrame
from ..vocabulary.outcome import Resolved
from .decision import Answer
from .userfault import handle_userfault, userfaultfd_missing
from .vmf import SPECIAL, Vmf, dirty_bits, page_protection, write_bit


def do_anonymous_page(vmf: Vmf) -> Answer:
    """
    A first touch: a read gets the shared page of zeros, a write a zeroed page of its own.

    Kernel: mm/memory.c do_anonymous_page(), v6.1.
    """
    context = vmf.context
    if not vmf.write and userfaultfd_missing(vmf.vma):
        return handle_userfault(vmf)
    if not vmf.write:
        vmf.set(context.zero_page | page_protection(vmf.vma, context) | SPECIAL)
        return Answer(Resolved("zero page mapped"), because="anonymous memory, first read: the shared zero page")
    prepare_anon_vma(vmf)
    if userfaultfd_missing(vmf.vma):
        return handle_userfault(vmf)
    frame = vmf.plan.frame()
    vmf.plan.do(ZeroFrame(frame), NewAnonPage(frame, vmf.index))
    # What ptrace writes where the vma forbids it is not marked dirty.
    vmf.set(own_page(vmf, frame) if vmf.vma.write else frame | page_protection(vmf.vma, context))
    return Answer(Resolved("zeroed page of its own"), because="anonymous memory, first write")


def prepare_anon_vma(vmf: Vmf) -> None:
    """The first private page of a vma (Kernel: mm/rmap.c anon_vma_prepare(), v6.1)."""
    if not vmf.vma.anon_vma:
        vmf.plan.do(PrepareAnonVma(vmf.address))


def own_page(vmf: Vmf, frame: int) -> int:
    """
    The pte of a page of one's own, just written. ptrace may write where the vma forbids it; the pte is read-only then.

    Kernel: include/linux/mm.h maybe_mkwrite(), v6.1.
    """
    return frame | page_protection(vmf.vma, vmf.context) | write_bit(vmf.vma) | dirty_bits(vmf.context)
