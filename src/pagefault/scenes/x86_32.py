"""
Scenes of x86-32, for a kernel of that architecture: `pagefault run --kernel vmlinux-686`. They call the kernel's own
functions; no module of bugs is loaded.
"""

from __future__ import annotations

from ..arch import x86_32
from ..arch.x86_eras import profile
from ..vocabulary.address import PAGE
from .bugs import BUG
from .stage import SCENES_32, Stage, scene
from .user_pointers import BAD_POINTER, NOWHERE, TEXT, kernel_address, two_pages
from .vmalloc import LAST_WITH_FAULTING, VMALLOC, far_area

UNSHARED = ("pti",)
"""With page-table isolation each process has its own pmd table under PAE; two levels have nothing to share."""
WINDOW = (6, 1)


def touch(stage: Stage, text: str, area: int) -> None:
    """Let memcpy() write to an area."""
    stage.call(text, "memcpy", area, stage.machine.kmalloc(64, TEXT), 16)


@scene("null-read", "A NULL pointer is dereferenced", BUG, book=SCENES_32)
def null_read(stage: Stage) -> None:
    """
    The kernel's memcpy() reads from address 0x10. It is a user address and no entry of the exception table lists the
    instruction: with SMAP the access alone is the bug, without it the missing entry is.
    """
    stage.call("memcpy() from NULL + 0x10", "memcpy", stage.machine.kmalloc(64), 0x10, 16)


@scene("copy-from-user", "copy_from_user() from a bad pointer", BAD_POINTER, book=SCENES_32)
def copy_from_user(stage: Stage) -> None:
    """
    The 32-bit copy goes by words of four bytes, so it may stop up to three bytes short of the hole: the return value is
    the number of bytes *not* copied, and never too small. A kernel address is refused before any access.
    """
    end, dst = two_pages(stage), stage.machine.kmalloc(64, b"\xff" * 64)
    stage.call("64 bytes that begin 40 bytes before a hole", "_copy_from_user", dst, end - 40, 64)
    stage.call(
        "64 bytes that begin 42 bytes before it: two bytes fewer than there are", "_copy_from_user", dst, end - 42, 64
    )
    stage.call("64 bytes from an address with nothing mapped", "_copy_from_user", dst, NOWHERE, 64)
    stage.call("64 bytes from a kernel address", "_copy_from_user", dst, kernel_address(stage), 64)


@scene("get-user", "get_user() from a bad pointer", BAD_POINTER, book=SCENES_32)
def get_user(stage: Stage) -> None:
    """
    __get_user_4() has a calling convention of its own: the pointer comes in eax, the error leaves in eax and the value
    in edx.
    """
    end = two_pages(stage)
    stage.call("the last four bytes before a hole", "__get_user_4", eax=end - 4)
    stage.call("four bytes across it", "__get_user_4", eax=end - 2)
    stage.call("a kernel address", "__get_user_4", eax=kernel_address(stage))


@scene("vmalloc-pmd", "vmalloc memory touched from another process, up to Linux 5.7", VMALLOC, book=SCENES_32)
def vmalloc_pmd(stage: Stage) -> None:
    """
    vmalloc() wrote the master table (init_mm) only. The first touch through this process's table faults, and the
    handler copies the pmd's entry: with two levels that is an entry of the top table, with PAE one of the second table,
    which each process has for itself under page-table isolation. Played under the rules of 5.7.
    """
    stage.set_on(also=UNSHARED, rules=profile(LAST_WITH_FAULTING, x86_32))
    area = far_area(stage)
    touch(stage, "memcpy() to an area mapped after this process was made", area)
    touch(stage, "the same again: the entry is there now", area)


@scene("vmalloc-synced", "The same since 5.8: every table has it at once", VMALLOC, book=SCENES_32)
def vmalloc_synced(stage: Stage) -> None:
    """vmalloc() itself writes the entry into every process's table (arch_sync_kernel_mappings()): nothing faults."""
    stage.set_on(also=UNSHARED, rules=profile(WINDOW, x86_32))
    touch(stage, "memcpy() to an area mapped after this process was made", far_area(stage))


@scene("vmalloc-race", "vmalloc memory used before every table has it, since 5.9", VMALLOC, book=SCENES_32)
def vmalloc_race(stage: Stage) -> None:
    """
    Another CPU has written the master table and not yet the others. In 5.8 this was an oops; since 5.9 the handler
    copies the entry again.
    """
    stage.set_on(also=UNSHARED, rules=profile(WINDOW, x86_32))
    touch(stage, "memcpy() under the rules of 6.1", far_area(stage, sync=False))
    stage.set_on(also=UNSHARED, rules=profile((5, 8), x86_32))
    touch(stage, "memcpy() under the rules of 5.8", far_area(stage, sync=False))


@scene("vmalloc-guard", "One past the end of a vmalloc area", BUG, book=SCENES_32)
def vmalloc_guard(stage: Stage) -> None:
    """Each area is followed by a page that is never mapped, in the master table either: nothing can be copied."""
    area = stage.machine.vmalloc(PAGE)
    touch(stage, "memcpy() that begins 8 bytes before the area's end", area + PAGE - 8)
