"""Which entries are wanted, in which order, and how many: the options that narrow what `pagefault extable` shows."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..survey.described import DescribedEntry

Names = tuple[str, ...]


def function(entry: DescribedEntry) -> str:
    """The symbol an entry's instruction lies in."""
    return entry.insn.symbol.name if entry.insn.symbol else ""


def plain_function(entry: DescribedEntry) -> str:
    """The same, without what a compiler puts behind a name."""
    from ..survey.difference import function_of

    return function_of(entry) or ""


NAMED: dict[str, tuple[Callable[[DescribedEntry], str], ...]] = {
    "function": (function, plain_function),
    "type": (lambda entry: entry.entry.type,),
    "section": (lambda entry: entry.insn.section or "",),
    "table": (lambda entry: entry.table,),
    "module": (lambda entry: entry.module or "",),
}
"""Option -> what of an entry it names; one of them must match."""

ORDERS: dict[str, Callable[[DescribedEntry], Any]] = {
    "table": lambda entry: (entry.module or "", entry.table, entry.entry.index),
    "address": lambda entry: (entry.module or "", entry.insn.address),
    "function": lambda entry: (function(entry), entry.module or "", entry.insn.address),
    "type": lambda entry: (entry.entry.type, entry.module or "", entry.insn.address),
    "section": lambda entry: (entry.insn.section or "", entry.module or "", entry.insn.address),
    "source": lambda entry: [(line.file, line.line) for line in reversed(entry.source)],
}


@dataclass(frozen=True, slots=True)
class Choice:
    """
    `names` are the patterns of each option in NAMED (a name, or one with *, ? and [] in it): an entry is wanted if each
    option that was given has one that matches it.
    """

    names: dict[str, Names]
    order: str | None = None
    limit: int | None = None

    @property
    def narrows(self) -> bool:
        """May an entry be left out because of its names?"""
        return any(self.names.values())

    def wanted(self, entry: DescribedEntry) -> bool:
        """Is this entry one of those?"""
        return all(
            any(fnmatchcase(read(entry), pattern) for read in NAMED[option] for pattern in patterns)
            for option, patterns in self.names.items()
            if patterns
        )

    def of(self, entries: Iterable[DescribedEntry]) -> list[DescribedEntry]:
        """The wanted entries in the wanted order; `limit` is not applied."""
        found = list(filter(self.wanted, entries)) if self.narrows else list(entries)
        return sorted(found, key=ORDERS[self.order]) if self.order else found

    def why_none(self, entries: Sequence[DescribedEntry]) -> str:
        """Which option no entry matches, and what it could have been."""
        for option, patterns in self.names.items():
            if patterns and not Choice({option: patterns}).of(entries):
                there = sorted({name for entry in entries for read in NAMED[option] if (name := read(entry))})
                sought = patterns[0].strip("*?_")
                near = [name for name in there if sought and sought in name][:3]
                near = near or difflib.get_close_matches(sought, there, 3, 0.6)
                named = " or ".join(patterns)
                if near:
                    return f"no entry has --{option} {named}; did you mean {' or '.join(near)}?"
                if len(there) <= 24:
                    return f"no entry has --{option} {named}; there are: {', '.join(there) or 'none'}"
                return f"no entry has --{option} {named}; --sort {option} lists them all in order"
        return "no entry has all of these at once"
