"""
Two kernels' exception tables compared: which entries came, went, or are handled in another way.

    difference(list(describe(old)), list(describe(new)))

Where code was placed does not matter. An entry's function is named without the suffixes that compilers put behind a
name, and its instruction is compared without addresses, displacements, and the choice of registers. Inside a function
the two sequences of instructions are aligned; what then looks alike but stands elsewhere is the same entry moved.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from ..arch.disassembly import Disassembled
from .described import DescribedEntry

COMPILER_SUFFIX = re.compile(
    r"(?:\.(?:isra|constprop|part|cold|hot|unlikely|localalias|lto_priv|llvm|__uniq|warm)(?:\.\d+)*)+$"
)
"""What GCC and Clang put behind the name of a function they cloned, split or renamed."""
SEGMENT = re.compile(r"%?([c-gs]s)\b")
TOKEN = re.compile(r"%?[c-gs]s\b|w(?:\d+|zr)\b|[%$]?[a-z_][\w.]*|[$#]?-?(?:0x[0-9a-f]+|\d+)\b", re.IGNORECASE)
NEVER_USER_ACCESS = frozenset(
    "bpf rdmsr wrmsr rdmsr_safe wrmsr_safe rdmsr_in_mce wrmsr_in_mce clear_fs fpu_restore pop_reg fault_sgx eretu "
    "default_mce_safe fault_mce_safe zeropad load_unaligned_zeropad kaccess_err_zero fpc".split()
)
"""Handler types that are for something other than user memory, on any architecture."""
MOST_TO_ALIGN = 1 << 20
"""Pairs of instructions up to which two sequences are aligned; beyond, only counted. Real functions stay below."""

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Retyped:
    """One instruction that has an entry in both, but is handled in another way."""

    old: DescribedEntry
    new: DescribedEntry


@dataclass(frozen=True, slots=True)
class FunctionDifference:
    """
    What changed in one function. `module` is None for the kernel, `function` None where there are no symbols. `before`
    and `after` are how many entries it has, `user_before` and `user_after` how many of them may be for user memory.
    """

    table: str
    module: str | None
    function: str | None
    before: int
    after: int
    user_before: int
    user_after: int
    added: tuple[DescribedEntry, ...]
    removed: tuple[DescribedEntry, ...]
    retyped: tuple[Retyped, ...]

    @property
    def gained_user_access(self) -> bool:
        """Has it entries for user memory now, and had none?"""
        return self.user_before == 0 < self.user_after

    @property
    def lost_user_access(self) -> bool:
        """Had it entries for user memory, and has none now?"""
        return self.user_after == 0 < self.user_before


@dataclass(frozen=True, slots=True)
class Difference:
    """
    Two tables, or two sets of them, compared. `functions` are those in which something changed, by module, table and
    name, the kernel's first. `before` and `after` count all entries, `unchanged` those that are the same in both.
    """

    before: int
    after: int
    unchanged: int
    functions: tuple[FunctionDifference, ...]

    @property
    def added(self) -> tuple[DescribedEntry, ...]:
        """All entries that came."""
        return tuple(entry for each in self.functions for entry in each.added)

    @property
    def removed(self) -> tuple[DescribedEntry, ...]:
        """All entries that went."""
        return tuple(entry for each in self.functions for entry in each.removed)

    @property
    def retyped(self) -> tuple[Retyped, ...]:
        """All entries with another handler."""
        return tuple(pair for each in self.functions for pair in each.retyped)


def difference(old: Iterable[DescribedEntry], new: Iterable[DescribedEntry]) -> Difference:
    """What is to be done to `old` to get `new`."""
    before, after = by_function(old), by_function(new)
    functions: list[FunctionDifference] = []
    unchanged = 0
    for key in sorted(before.keys() | after.keys()):
        had, has = before.get(key, []), after.get(key, [])
        same, changed = compare(key, had, has)
        unchanged += same
        if changed is not None:
            functions.append(changed)
    return Difference(sum(map(len, before.values())), sum(map(len, after.values())), unchanged, tuple(functions))


def by_function(entries: Iterable[DescribedEntry]) -> dict[Key, list[DescribedEntry]]:
    """Entries by module, table and function, each list in the order of addresses."""
    found: dict[Key, list[DescribedEntry]] = defaultdict(list)
    for entry in entries:
        found[entry.module or "", entry.table, function_of(entry) or ""].append(entry)
    for group in found.values():
        group.sort(key=lambda entry: entry.insn.address)
    return found


def compare(
    key: Key, old: Sequence[DescribedEntry], new: Sequence[DescribedEntry]
) -> tuple[int, FunctionDifference | None]:
    """How many entries of one function are the same, and what is not, if anything."""
    same, old_rest, new_rest = matched(old, new, lambda entry: (shape(entry.insn.instruction), handling(entry)))
    pairs, removed, added = matched(old_rest, new_rest, lambda entry: shape(entry.insn.instruction))
    if not (pairs or removed or added):
        return len(same), None
    module, table, function = key
    return len(same), FunctionDifference(
        table=table,
        module=module or None,
        function=function or None,
        before=len(old),
        after=len(new),
        user_before=sum(map(may_be_user_access, old)),
        user_after=sum(map(may_be_user_access, new)),
        added=tuple(added),
        removed=tuple(removed),
        retyped=tuple(Retyped(one, other) for one, other in pairs),
    )


Pairs = list[tuple[DescribedEntry, DescribedEntry]]


def matched(
    old: Sequence[DescribedEntry], new: Sequence[DescribedEntry], feature: Callable[[DescribedEntry], Any]
) -> tuple[Pairs, list[DescribedEntry], list[DescribedEntry]]:
    """
    Pairs of entries that are alike in a feature, then what is left of the old and of the new ones. Those in the same
    order are paired first; of the rest, any that are alike.
    """
    had, has = [feature(entry) for entry in old], [feature(entry) for entry in new]
    couples: list[tuple[int, int]] = []
    if len(had) * len(has) <= MOST_TO_ALIGN:
        for block in SequenceMatcher(None, had, has, autojunk=False).get_matching_blocks():
            couples += ((block.a + step, block.b + step) for step in range(block.size))
    taken = {there for _, there in couples}
    waiting: dict[Any, list[int]] = defaultdict(list)
    for there in reversed(range(len(has))):
        if there not in taken:
            waiting[has[there]].append(there)
    taken = {here for here, _ in couples}
    for here, each in enumerate(had):
        if here not in taken and waiting[each]:
            couples.append((here, waiting[each].pop()))
    couples.sort()
    gone, come = {here for here, _ in couples}, {there for _, there in couples}
    return (
        [(old[here], new[there]) for here, there in couples],
        [entry for here, entry in enumerate(old) if here not in gone],
        [entry for there, entry in enumerate(new) if there not in come],
    )


def function_of(entry: DescribedEntry) -> str | None:
    """The name of the function an entry's instruction is in, without what the compiler put behind it."""
    symbol = entry.insn.symbol
    return None if symbol is None else COMPILER_SUFFIX.sub("", symbol.name)


def handling(entry: DescribedEntry) -> tuple[str, tuple[tuple[str, str], ...]]:
    """
    The handler's type, with those of its data fields that are numbers or say that there is no register: which register
    it is, is the compiler's choice.
    """
    fixed = (field for field in entry.entry.fields if field[1] == "none" or is_number(field[1]))
    return entry.entry.type, tuple(fixed)


def is_number(text: str) -> bool:
    """Is it a number in decimal or hexadecimal, with a sign or without?"""
    return re.fullmatch(r"-?(?:0x[0-9a-f]+|\d+)", text) is not None


def shape(instruction: Disassembled | None) -> str:
    """
    An instruction without what a compiler is free to choose: `movq %r10, 0x30(%rdi)` and `movq %rax, (%rdx)` are both
    `movq r, M`. What stays is the mnemonic, the kinds of its operands, segment registers, and the width of arm64's.
    """
    if instruction is None:
        return "?"
    operands = instruction.operands
    if instruction.memory is None:
        return f"{instruction.mnemonic} {TOKEN.sub(kind, operands)}".rstrip()
    start, end = instruction.memory
    segment = SEGMENT.match(operands, start, end)
    memory = f"{segment[1]}:M" if segment else "M"
    return f"{instruction.mnemonic} {TOKEN.sub(kind, operands[:start])}{memory}{TOKEN.sub(kind, operands[end:])}"


def kind(found: re.Match[str]) -> str:
    """What kind of operand a word is: a number, a segment register, one of arm64's halves, or another register."""
    word = found[0].lower()
    if is_number(word.lstrip("$#")):
        return "n"
    if segment := SEGMENT.fullmatch(word):
        return segment[1]
    return "w" if re.fullmatch(r"w(?:\d+|zr)", word) else "r"


def may_be_user_access(entry: DescribedEntry) -> bool:
    """
    May the entry be there because of user memory? Not by its type alone, which some architectures do not have: an
    instruction that does not touch memory at all is never one.
    """
    if entry.entry.type in NEVER_USER_ACCESS:
        return False
    instruction = entry.insn.instruction
    return instruction is None or instruction.reads or instruction.writes
