"""A virtual memory area: what a process was promised, whatever its tables hold yet."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Vma:
    """
    Addresses `start` <= a < `end`, page-aligned. `read`, `write`, `execute` and `grows_down` are VM_READ, VM_WRITE,
    VM_EXEC and VM_GROWSDOWN; `name` is what /proc/PID/maps shows in its last column.
    """

    start: int
    end: int
    read: bool = True
    write: bool = True
    execute: bool = False
    grows_down: bool = False
    protection_key: int = 0
    name: str = ""
