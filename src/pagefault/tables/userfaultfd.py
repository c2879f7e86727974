"""userfaultfd: who asked to answer the first touches of some memory, and whose touches wait for an answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from .address_space import AddressSpace

UFFD_FEATURE_MISSING_SHMEM, UFFD_FEATURE_SIGBUS = 1 << 5, 1 << 7
UFFD_FEATURE_THREAD_ID, UFFD_FEATURE_EXACT_ADDRESS = 1 << 8, 1 << 11
"""Kernel: include/uapi/linux/userfaultfd.h, v6.1."""


@dataclass(eq=False)
class Userfault:
    """
    A task that waits at `address`. `read`: its message has been taken. `woken`: it may try again.

    Kernel: fs/userfaultfd.c struct userfaultfd_wait_queue, v6.1.
    """

    address: int
    write: bool
    pid: int
    read: bool = False
    woken: bool = False


@dataclass(eq=False)
class UserfaultfdCtx:
    """
    One userfaultfd, of the address space in which it was made; `number` is what `Vma.userfault` says. `features` is
    None until UFFDIO_API was asked.

    Kernel: include/linux/userfaultfd_k.h struct userfaultfd_ctx, v6.12 (fs/userfaultfd.c in v6.1).
    """

    number: int
    mm: AddressSpace
    user_mode_only: bool = False
    features: int | None = None
    waiting: list[Userfault] = field(default_factory=list)
