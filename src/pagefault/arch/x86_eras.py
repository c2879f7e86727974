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
    """

    version: Version
    vmalloc_faulting: bool
    vmalloc_preallocated: bool
    smap_violation_oopses: bool
    kernel_fetch_oopses: bool
    user_gp_is_quiet: bool

    def __str__(self) -> str:
        return f"Linux {self.version[0]}.{self.version[1]}"


def profile(version: Version) -> KernelProfile:
    """The rules of this version, as (major, minor)."""
    return KernelProfile(
        version=version,
        vmalloc_faulting=version < (5, 8),
        vmalloc_preallocated=version >= (5, 8),
        smap_violation_oopses=version >= (5, 12),
        kernel_fetch_oopses=version >= (5, 12),
        user_gp_is_quiet=version >= (6, 4),
    )
