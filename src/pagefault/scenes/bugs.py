"""Kernel bugs: nothing repairs them."""

from __future__ import annotations

from ..vocabulary.address import PAGE
from .stage import Stage, scene

BUG = "a bug"


@scene("null-read", "A NULL pointer is dereferenced", BUG)
def null_read(stage: Stage) -> None:
    """
    Kernel code reads a field at offset 0x10 of a structure that is not there. The address is a user one and the access
    is a supervisor's: with SMAP that alone ends it, without SMAP it ends because no vma covers the first page and the
    instruction has no entry in the exception table.
    """
    stage.call("pw() calls commit(), which calls rd() on NULL + 0x10", "pw", ord("r"), 0x10)


@scene("wild-write", "A wild pointer is written through", BUG)
def wild_write(stage: Stage) -> None:
    """The address is canonical and in the kernel's half, but no table maps it, and no rule makes up for that."""
    stage.call("wr() on an address far above the direct map's end", "wr", stage.machine.area.page_offset + (1 << 44))


@scene("text-write", "Kernel text is written to", BUG)
def text_write(stage: Stage) -> None:
    """
    The page is present and executable, but read-only: with CR0.WP a supervisor is bound by that too. The handler first
    asks whether the translation was stale; init_mm says read-only as well, so it was not.
    """
    stage.call("wr() on the first bytes of _copy_from_user", "wr", stage.machine.symbols.find("_copy_from_user") & ~7)


@scene("exec-user", "The kernel jumps to user memory", BUG)
def exec_user(stage: Stage) -> None:
    """
    The page is mapped, executable and the user's. With SMEP the CPU refuses the fetch; the handler consults neither vma
    nor table, because no kernel code does this on purpose.
    """
    page = stage.user.mmap(PAGE, protection="rwx", content=b"\xc3", name="[user code]")
    result = stage.call("call() through a function pointer into user memory", "call", page)
    stage.lets_it_pass(result, "SMEP")


@scene("exec-data", "The kernel jumps to data", BUG)
def exec_data(stage: Stage) -> None:
    """
    With NX, kernel data may not be executed: the fetch faults at its target, and the jump's origin is on the stack.
    """
    data = stage.machine.kmalloc(64, b"\xc3")
    stage.lets_it_pass(stage.call("call() through a function pointer to kmalloc'ed memory", "call", data), "NX")


@scene("user-touch", "The kernel touches user memory directly", BUG)
def user_touch(stage: Stage) -> None:
    """
    The page is there and readable, but the kernel forgot STAC. With SMAP that is an oops, present or not. A CPU without
    SMAP lets it pass: the bug stays hidden until the day the page is not there.
    """
    page = stage.user.mmap(PAGE, content=b"user data", name="[buffer]")
    stage.call("rd() on a present user page", "rd", page)
    stage.set_on(without={"smap"})
    page = stage.user.mmap(PAGE, name="[buffer]")
    stage.call("the same on a CPU without SMAP, page not there yet", "rd", page)
    stage.after("The kernel read user memory without asking, and nobody noticed.")


@scene("non-canonical", "A non-canonical address is dereferenced", BUG)
def non_canonical(stage: Stage) -> None:
    """
    Bits 63 to 47 (56 with 5-level paging) differ: no table is walked, and the CPU raises #GP, which reports no address.
    The kernel decodes the instruction to find one. This is what poisoned list pointers do.
    """
    stage.call("rd() on LIST_POISON1 (0xdead000000000100)", "rd", 0xDEAD_0000_0000_0100)


@scene("no-entry", "A user access without an exception-table entry", BUG)
def no_entry(stage: Stage) -> None:
    """
    The code opens its AC window as it should, but nobody listed the load in the exception table. On a good pointer it
    works, even when the page must first be brought in: the bug waits for a bad one. Then an error that should have been
    -EFAULT is an oops. The same load with an entry is fixed up.
    """
    good = stage.user.mmap(PAGE, name="[buffer]")
    stage.call("the load without an entry, on a good pointer", "rd_user_unguarded", good)
    stage.user.munmap(good, PAGE)
    stage.call("the load without an entry, on a bad pointer", "rd_user_unguarded", good)
    stage.call("the load with an entry, on the same bad pointer", "rd_user_guarded", good)
