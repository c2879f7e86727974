"""
What changed in x86's fault path from kernel to kernel, one field a difference, each with its commit.

A profile is chosen by the kernel's version. Distributions backport: a field may be overridden (`dataclasses.replace`)
where the image gives evidence of another behaviour.
"""

from __future__ import annotations

from dataclasses import dataclass

Version = tuple[int, int]
NEWEST_READ: Version = (6, 12)
"""The newest source these rules were read in; later kernels get the same answers."""


@dataclass(frozen=True, slots=True)
class UserCopyRoutine:
    """
    An assembly routine that touches user memory: which registers take destination, source (None: it writes zeros) and
    count, which one leaves the number of bytes not done, and does it open its own user-access window (STAC .. CLAC) or
    expect its caller to have done so?
    """

    name: str
    destination: str
    source: str | None
    count: str
    left: str
    opens_window: bool


COPY_ROUTINES_UP_TO_63 = tuple(
    UserCopyRoutine(name, "rdi", "rsi", "rdx", "rax", opens_window=True)
    for name in ("copy_user_generic_unrolled", "copy_user_generic_string", "copy_user_enhanced_fast_string")
)
CLEAR_ROUTINES_61_TO_63 = tuple(
    UserCopyRoutine(name, "rdi", None, "rcx", "rcx", opens_window=False)
    for name in ("clear_user_original", "clear_user_rep_good", "clear_user_erms")
)
ROUTINES_SINCE_64 = (
    UserCopyRoutine("rep_movs_alternative", "rdi", "rsi", "rcx", "rcx", opens_window=False),
    UserCopyRoutine("rep_stos_alternative", "rdi", None, "rcx", "rcx", opens_window=False),
)


@dataclass(frozen=True, slots=True)
class KernelProfile:
    """
    The rules of one kernel version.

    `vmalloc_faulting`: a kernel access to vmalloc space that misses in this process's table copies the top-level entry
    from init_mm. Until Linux kernel commit 7f0a002b5a21 ("x86/mm: remove vmalloc faulting") (in v5.8).

    `vmalloc_preallocated`: every top-level entry of vmalloc space exists from boot on, so that all tables share it.
    Since Linux kernel commit 6eb82f994026 ("x86/mm: Pre-allocate P4D/PUD pages for vmalloc area") (in v5.9). In v5.8
    alone, arch_sync_kernel_mappings() wrote a new entry into every table at once, which looks the same from here.

    `smap_violation_oopses`: a supervisor touching user space outside an AC window never reaches the exception table.
    Since Linux kernel commit ca247283781d ("x86/fault: Don't run fixups for SMAP violations") (in v5.12).

    `kernel_fetch_oopses`: a supervisor fetching from user space never reaches the exception table. Since Linux kernel
    commit 66fcd9888381 ("x86/fault: Don't look for extable entries for SMEP violations") (in v5.12).

    `user_gp_is_quiet`: a #GP in a user access does not warn if its address is in the user half (or a page above):
    access_ok() lets non-canonical user addresses through. Since Linux kernel commit 6014bc27561f ("x86-64: make
    access_ok() independent of LAM") (in v6.4).

    `growth_needs_entry`: kernel code grows a stack only from an instruction that the exception table lists: growing
    takes the mmap lock for writing, and it is not waited for elsewhere. Since Linux kernel commits c2508ec5a58d ("mm:
    introduce new 'lock_mm_and_find_vma()' page fault helper") and 8d7071af8907 ("mm: always expand the stack with the
    mmap write lock held") (in v6.5). The fix was carried back: Debian's 6.1 has it, and so it counts from v6.1 on here.

    `user_copy_routines`: the routines that copy and clear user memory, and who opens their window. clear_user_*() came
    with Linux kernel commit 0db7058e8e23 (in v6.1). Since Linux kernel commits 3639a535587d ("x86: move stac/clac from
    user copy routines into callers"), 427fda2c8a49 ("x86: improve on the non-rep 'copy_user' function") and
    d2c95f9d6802 ("x86: don't use REP_GOOD or ERMS for user memory clearing") (in v6.4), there is one of each, and the
    caller opens it.
    """

    version: Version
    vmalloc_faulting: bool
    vmalloc_preallocated: bool
    smap_violation_oopses: bool
    kernel_fetch_oopses: bool
    user_gp_is_quiet: bool
    growth_needs_entry: bool
    user_copy_routines: tuple[UserCopyRoutine, ...]

    def __str__(self) -> str:
        return f"Linux {self.version[0]}.{self.version[1]}"


def user_copy_routines(version: Version) -> tuple[UserCopyRoutine, ...]:
    """See `KernelProfile`."""
    if version >= (6, 4):
        return ROUTINES_SINCE_64
    return COPY_ROUTINES_UP_TO_63 + (CLEAR_ROUTINES_61_TO_63 if version >= (6, 1) else ())


def profile(version: Version) -> KernelProfile:
    """The rules of this version, as (major, minor)."""
    return KernelProfile(
        version=version,
        vmalloc_faulting=version < (5, 8),
        vmalloc_preallocated=version >= (5, 8),
        smap_violation_oopses=version >= (5, 12),
        kernel_fetch_oopses=version >= (5, 12),
        user_gp_is_quiet=version >= (6, 4),
        growth_needs_entry=version >= (6, 1),
        user_copy_routines=user_copy_routines(version),
    )
