"""Rules about the table as a whole: its order, and instructions that it names twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..errors import Absent
from .context import AuditContext, TableEntry
from .finding import Severity
from .rule import Hit
from .tables import MAIN

SORT_NEEDED = "main_extable_sort_needed"
"""The variable that the build's sort clears. Kernel: kernel/extable.c sort_main_extable(), v6.1."""


def not_sorted(context: AuditContext) -> Iterator[Hit]:
    """
    A table that the build sorts is not in order.

    Kernel: scripts/sorttable.c, kernel/extable.c sort_main_extable(), lib/extable.c search_extable(), v6.1. A module's
    table is sorted when it is loaded (kernel/module/main.c post_relocation()), the extra tables at boot.
    """
    if context.image.module is not None:
        context.skip("the order of the table", "the kernel sorts a module's table when it loads the module")
        return
    try:
        version = context.image.version
    except Absent:
        version = None
    if not context.platform.exceptions.sorted_at_build(version):
        context.skip("the order of the table", f"a {context.platform.name} kernel sorts its table at boot")
        return
    for found in context.tables:
        if found.name != MAIN:
            continue
        insn = found.table.reading.insn
        falls = np.flatnonzero(insn[1:] < insn[:-1])
        if not len(falls):
            continue
        index = int(falls[0]) + 1
        each = TableEntry(found, found.table[index])
        sorts = sort_needed(context)
        boot = {
            True: f"{SORT_NEEDED} is set, so the boot sorts it",
            False: f"{SORT_NEEDED} is clear, so the boot does not sort it either",
            None: f"whether the boot sorts it, {SORT_NEEDED}, cannot be read",
        }[sorts]
        yield Hit(
            int(insn[index]),
            f"{len(falls)} of {len(insn)} entries stand behind one with a higher address, entry {index} first; {boot}",
            each,
            Severity.WARNING if sorts else None,
            "The table was not sorted when the kernel was built: it costs time at every boot." if sorts else None,
        )


def sort_needed(context: AuditContext) -> bool | None:
    """Will the boot sort the table? None if the image does not tell."""
    variable = context.image.symbols.get(SORT_NEEDED)
    if variable is None:
        return None
    try:
        return any(context.image.read(variable, 4))
    except Absent:
        return None


def duplicate(context: AuditContext) -> Iterator[Hit]:
    """Two entries of one table name the same instruction; the search finds one of them, whichever it meets first."""
    first: dict[tuple[int, int], TableEntry] = {}
    for each in context.entries:
        entry = each.entry
        before = first.setdefault((id(each.table), entry.insn), each)
        if before is each:
            continue
        old = before.entry
        same = replace(old, index=0, address=0) == replace(entry, index=0, address=0)
        what = "say the same" if same else "differ"
        yield Hit(
            entry.insn,
            f"entries {old.index} and {entry.index} both name {context.name(entry.insn)}, and {what}",
            each,
            Severity.WARNING if same else None,
            "One of them is needless; the annotation stands twice in the source." if same else None,
        )
