"""A page that is missing in memory whose first touches somebody else answers."""

from __future__ import annotations

from ..tables.userfaultfd import UFFD_FEATURE_SIGBUS
from ..vocabulary.outcome import Retry
from ..vocabulary.vm_fault import FaultFlag, VmFault
from ..vocabulary.vma import Vma, VmFlag
from .decision import Answer, BadArea
from .vmf import Vmf


def userfaultfd_missing(vma: Vma) -> bool:
    """Kernel: include/linux/userfaultfd_k.h userfaultfd_missing(), v6.1."""
    return bool(vma.flags & VmFlag.UFFD_MISSING)


def handle_userfault(vmf: Vmf) -> Answer:
    """
    The task waits until it is woken, and asks again; or gets SIGBUS, if it cannot wait or nobody wants it to.

    Kernel: fs/userfaultfd.c handle_userfault(), v6.1.
    """
    ctx = vmf.context.userfaults.get(vmf.vma.userfault)
    if ctx is None or (ctx.features or 0) & UFFD_FEATURE_SIGBUS:
        return refused("the userfaultfd wants no waiting (UFFD_FEATURE_SIGBUS)")
    if ctx.user_mode_only and not vmf.flags & FaultFlag.USER:
        return refused("the userfaultfd is for faults of user code only")
    if not vmf.flags & FaultFlag.ALLOW_RETRY:
        return refused("this access cannot wait")
    because = f"userfaultfd {ctx.number} answers for this page"
    return Answer(Retry("somebody has to fill the page in", ctx.number), because=because, result=VmFault.RETRY)


def refused(because: str) -> Answer:
    """SIGBUS."""
    return Answer(BadArea("BUS_ADRERR", "SIGBUS"), because=because, result=VmFault.SIGBUS)
