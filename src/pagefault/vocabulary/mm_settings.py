"""What an administrator may set about memory: /sys/kernel/mm and /proc/sys/vm."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MmSettings:
    """
    `thp`: transparent_hugepage/enabled (always, madvise, never). `fault_around_bytes`: how much of a file a read fault
    maps at once. `use_zero_page`: transparent_hugepage/use_zero_page: a read maps the huge zero page.
    `stack_guard_gap`: pages that a stack keeps free below itself.

    Kernel: mm/huge_memory.c enabled_show(); mm/memory.c fault_around_bytes; mm/mmap.c stack_guard_gap, v6.1.
    """

    thp: str = "never"
    fault_around_bytes: int = 65536
    use_zero_page: bool = True
    stack_guard_gap: int = 256
