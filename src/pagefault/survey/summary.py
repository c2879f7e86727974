"""
How many entries there are of each kind: by type, by section, by function, and by the part of the kernel they are in.

    summary = summarize(list(describe(image, source=True)))
    summary.subsystems[0]            # the largest: its name, its entries, its functions
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .described import DescribedEntry
from .difference import may_be_user_access

LEVELS = {"arch": 3}
"""How many folders of a file's path make a subsystem, by the first one; two where it is not said."""


@dataclass(frozen=True, slots=True)
class Count:
    """`entries` of which `user` may be for user memory."""

    name: str
    entries: int
    user: int


@dataclass(frozen=True, slots=True)
class Subsystem:
    """A part of the kernel and its functions, the one with the most entries first."""

    name: str
    functions: tuple[Count, ...]

    @property
    def entries(self) -> int:
        return sum(each.entries for each in self.functions)

    @property
    def user(self) -> int:
        return sum(each.user for each in self.functions)


@dataclass(frozen=True, slots=True)
class Summary:
    """
    Each list is largest first, equals by name. `grouped_by` says what the subsystems are: folders of the source
    ("source"), where any entry has a source line; the modules ("module"), where there are some; or else the sections
    ("section"), because nothing better is known.
    """

    total: Count
    tables: tuple[Count, ...]
    types: tuple[Count, ...]
    sections: tuple[Count, ...]
    functions: tuple[Count, ...]
    subsystems: tuple[Subsystem, ...]
    grouped_by: str


def summarize(entries: Sequence[DescribedEntry]) -> Summary:
    """Count the entries."""
    if any(each.source for each in entries):
        grouped_by, group = "source", source_folder
    elif any(each.module for each in entries):
        grouped_by, group = "module", module_name
    else:
        grouped_by, group = "section", section_name
    groups: defaultdict[str, list[DescribedEntry]] = defaultdict(list)
    for each in entries:
        groups[group(each)].append(each)
    subsystems = [
        Subsystem(name, counts((function_name(each), each) for each in some)) for name, some in groups.items()
    ]
    return Summary(
        total=Count("all", len(entries), sum(map(may_be_user_access, entries))),
        tables=counts((each.table, each) for each in entries),
        types=counts((each.entry.type, each) for each in entries),
        sections=counts((section_name(each), each) for each in entries),
        functions=counts((function_name(each), each) for each in entries),
        subsystems=tuple(sorted(subsystems, key=lambda each: (-each.entries, each.name))),
        grouped_by=grouped_by,
    )


def counts(named: Iterable[tuple[str, DescribedEntry]]) -> tuple[Count, ...]:
    """How many there are of each name, the most first."""
    total: Counter[str] = Counter()
    user: Counter[str] = Counter()
    for name, entry in named:
        total[name] += 1
        user[name] += may_be_user_access(entry)
    return tuple(Count(name, total[name], user[name]) for name in sorted(total, key=lambda name: (-total[name], name)))


def function_name(described: DescribedEntry) -> str:
    """The symbol that the instruction lies in."""
    return described.insn.symbol.name if described.insn.symbol else "(no symbol)"


def section_name(described: DescribedEntry) -> str:
    return described.insn.section or "(no section)"


def module_name(described: DescribedEntry) -> str:
    return described.module or "(the kernel)"


def source_folder(described: DescribedEntry) -> str:
    """
    The folder of the source that the function was written in: of the chain of inlined functions the outermost, so that
    what a header's inline function does counts where it is used. `arch/x86/kvm`, `drivers/gpu`, `fs/ext4`, `mm`.
    """
    if not described.source:
        return "(no source line)"
    *folders, _ = described.source[-1].file.split("/")
    if not folders or not folders[0]:
        return "(outside the source)"
    return "/".join(folders[: LEVELS.get(folders[0], 2)])
