"""Kernel code that expects to fault, and says so beforehand."""

from __future__ import annotations

from ..vocabulary.address import PAGE
from .stage import Stage, scene
from .user_pointers import TEXT

PREPARED = "a prepared access"


@scene("kernel-nofault", "copy_from_kernel_nofault() on a bad kernel address", PREPARED)
def kernel_nofault(stage: Stage) -> None:
    """
    Debuggers and tracers read kernel memory that may not be there. The faulting load has an entry in the table, so a
    bad kernel address is an error code. A user address is refused before any access (-ERANGE).
    """
    machine = stage.machine
    dst, good = machine.kmalloc(64), machine.kmalloc(64, TEXT)
    bad = machine.area.vmalloc_end - 2 * PAGE
    stage.call("8 bytes of a good kernel address", "copy_from_kernel_nofault", dst, good, 8)
    stage.call("8 bytes of an unmapped kernel address", "copy_from_kernel_nofault", dst, bad, 8)
    stage.call("8 bytes of a user address", "copy_from_kernel_nofault", dst, 0x10, 8)


@scene("faults-disabled", "A fault inside a pagefault_disable() section", PREPARED)
def faults_disabled(stage: Stage) -> None:
    """
    The pointer is good and its page could be brought in. But the code said that it cannot sleep, so the handler does
    not even look for a vma: the exception table makes it an error, and the caller tries again where it can sleep.
    """
    fresh, dst = stage.user.mmap(PAGE, name="[fresh]"), stage.machine.kmalloc(64)
    stage.call("copy_from_user_nofault() on a page not there yet", "copy_from_user_nofault", dst, fresh, 64)
    stage.call("the same copy with faults enabled", "_copy_from_user", dst, fresh, 64)
    stage.call("copy_from_user_nofault() now that the page is there", "copy_from_user_nofault", dst, fresh, 64)
