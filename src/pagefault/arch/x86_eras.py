"""
What changed in x86's fault path from kernel to kernel, one field a difference, each with its commit.

A profile is chosen by the kernel's version. Distributions backport: a field may be overridden (`dataclasses.replace`)
where the image gives evidence of another behaviour.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import x86_64
from .architecture import Architecture, UserCopyRoutine, Version

NEWEST_READ: Version = (6, 12)
"""The newest source these rules were read in; later kernels get the same answers."""


@dataclass(frozen=True, slots=True)
class KernelProfile:
    """
    The rules of one kernel version.

    `vmalloc_faulting`, `vmalloc_preallocated`, `vmalloc_synced`: see `architecture.VmallocPolicy`; the forms have the
    releases.

    `smap_violation_oopses`: a supervisor touching user space outside an AC window never reaches the exception table.
    Since Linux kernel commit ca247283781d ("x86/fault: Don't run fixups for SMAP violations") (in v5.12).

    `kernel_fetch_oopses`: a supervisor fetching from user space never reaches the exception table. Since Linux kernel
    commit 66fcd9888381 ("x86/fault: Don't look for extable entries for SMEP violations") (in v5.12).

    `user_gp_is_quiet`: a #GP in a user access does not warn if its address is in the user half (or a page above):
    access_ok() lets non-canonical user addresses through. Since Linux kernel commit 6014bc27561f ("x86-64: make
    access_ok() independent of LAM") (in v6.4). 32-bit addresses are all canonical.

    `growth_needs_entry`: kernel code grows a stack only from an instruction that the exception table lists: growing
    takes the mmap lock for writing, and it is not waited for elsewhere. Since Linux kernel commits c2508ec5a58d ("mm:
    introduce new 'lock_mm_and_find_vma()' page fault helper") and 8d7071af8907 ("mm: always expand the stack with the
    mmap write lock held") (in v6.5). The fix was carried back: Debian's 6.1 has it, and so it counts from v6.1 on here.

    `user_copy_routines`: the routines that copy and clear user memory, and who opens their window; the forms have them.
    """

    version: Version
    vmalloc_faulting: bool
    vmalloc_preallocated: bool
    vmalloc_synced: bool
    smap_violation_oopses: bool
    kernel_fetch_oopses: bool
    user_gp_is_quiet: bool
    growth_needs_entry: bool
    user_copy_routines: tuple[UserCopyRoutine, ...]

    def __str__(self) -> str:
        return f"Linux {self.version[0]}.{self.version[1]}"


def profile(version: Version, form: Architecture = x86_64) -> KernelProfile:
    """The rules of this version, as (major, minor), on an architecture."""
    vmalloc = form.vmalloc_policy(version)
    return KernelProfile(
        version=version,
        vmalloc_faulting=vmalloc.faulting,
        vmalloc_preallocated=vmalloc.preallocated,
        vmalloc_synced=vmalloc.synced,
        smap_violation_oopses=version >= (5, 12),
        kernel_fetch_oopses=version >= (5, 12),
        user_gp_is_quiet=version >= (6, 4) and form.bits == 64,
        growth_needs_entry=version >= (6, 1),
        user_copy_routines=form.user_copy_routines(version),
    )
