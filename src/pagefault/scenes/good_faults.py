"""Faults that are nobody's error: the kernel's own accesses to memory that is promised, but not there yet."""

from __future__ import annotations

from ..vocabulary.address import PAGE
from .stage import Stage, scene

NOTHING_WRONG = "nothing is wrong"


@scene("demand-paging", "A user copy onto pages that are not there yet", NOTHING_WRONG)
def demand_paging(stage: Stage) -> None:
    """
    The pointer is good: a vma covers it. But nobody touched the pages before, so the kernel's own store brings them in,
    as a user's would, and is restarted. The exception table is never asked. Reading maps the shared page of zeros;
    writing after that copies it.
    """
    fresh = stage.user.mmap(3 * PAGE, name="[fresh]")
    src, dst = stage.machine.kmalloc(64, b"hello, page"), stage.machine.kmalloc(64)
    stage.call("64 bytes to user memory, across two fresh pages", "_copy_to_user", fresh + PAGE - 32, src, 64)
    stage.after(f"The user page now holds {stage.user.read(fresh + PAGE - 32, 11)!r}.")
    stage.call("64 bytes from a third fresh page", "_copy_from_user", dst, fresh + 2 * PAGE, 64)
    stage.call("and then to it", "_copy_to_user", fresh + 2 * PAGE, src, 64)


@scene("stack-growth", "A user copy below the stack", NOTHING_WRONG)
def stack_growth(stage: Stage) -> None:
    """
    The area ends above the address, but it is a stack and may grow down to it, up to its limit (RLIMIT_STACK, 8 MiB)
    and with a gap to its neighbour. Below the limit it is a bad pointer like any other.
    """
    stage.user.mmap(2 * PAGE, address=stage.user.stack_top - 2 * PAGE, grows_down=True, populate=True, name="[stack]")
    src = stage.machine.kmalloc(64, b"argv[0]")
    stage.call(
        "64 bytes, ten pages below the stack's start", "_copy_to_user", stage.user.stack_top - 12 * PAGE, src, 64
    )
    stack = stage.user.mm.vmas.vma_lookup(stage.user.stack_top - PAGE)
    stage.after(f"The stack's area now starts at {stack.start:#x}." if stack else "The stack is gone.")
    stage.call("64 bytes, 9 MiB below its top", "_copy_to_user", stage.user.stack_top - (9 << 20), src, 64)


@scene("spurious", "A permission was widened, and a TLB did not hear of it", NOTHING_WRONG)
def spurious(stage: Stage) -> None:
    """
    set_memory_rw() makes a kernel page writable without flushing every CPU. A CPU that still holds the read-only
    translation faults, finds that the tables permit the write, and tries again. Here the stale translation is put into
    the TLB by hand.
    """
    machine = stage.machine
    page = machine.vmalloc(PAGE)
    machine.memory.set_memory(page, writable=False)
    machine.cpu.flush()
    machine.mmu.hold(page, machine.cpu.state())
    machine.memory.set_memory(page, writable=True)
    stage.call("wr() on a page that has just become writable", "wr", page)
    stage.after(f"The page holds {int.from_bytes(machine.read(page, 8), 'little')}: the write went through.")
