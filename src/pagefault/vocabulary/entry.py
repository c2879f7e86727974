"""One page-table entry, where it lies and what it holds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """
    `level` is the kernel's name (pgd p4d pud pmd pte), `physical` the address of the entry itself, `index` its place in
    its table, `value` its raw bits. What the bits mean is the architecture's to say (`Architecture.entry_flags`).
    """

    level: str
    physical: int
    index: int
    value: int
