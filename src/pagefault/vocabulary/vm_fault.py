"""What handle_mm_fault() is asked with, and what it answers: two sets of bits."""

from __future__ import annotations

from enum import IntFlag


class VmFault(IntFlag):
    """
    The answer. None of the bits: the page is there now.

    NOPAGE: an entry was put in, or somebody else was first. LOCKED: the page came locked from its file. MAJOR: it had
    to be read. WRITE: a private page was made writable (gone in v6.2). COMPLETED: done, and the lock given back. RETRY:
    ask again.

    Kernel: include/linux/mm_types.h enum vm_fault_reason, v6.1.
    """

    OOM = 0x1
    SIGBUS = 0x2
    MAJOR = 0x4
    WRITE = 0x8
    SIGSEGV = 0x40
    NOPAGE = 0x100
    LOCKED = 0x200
    RETRY = 0x400
    FALLBACK = 0x800
    DONE_COW = 0x1000
    COMPLETED = 0x4000

    def words(self) -> str:
        """Their names, MAJOR|RETRY; "ok" for none of the bits."""
        return "|".join(flag.name or "" for flag in VmFault if flag & self) or "ok"


class FaultFlag(IntFlag):
    """
    The question. Kernel: include/linux/mm_types.h enum fault_flag, v6.1.
    """

    WRITE = 0x1
    MKWRITE = 0x2
    ALLOW_RETRY = 0x4
    RETRY_NOWAIT = 0x8
    KILLABLE = 0x10
    TRIED = 0x20
    USER = 0x40
    REMOTE = 0x80
    INSTRUCTION = 0x100
    INTERRUPTIBLE = 0x200
    UNSHARE = 0x400
    VMA_LOCK = 0x1000
