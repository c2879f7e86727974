"""Two kernels' exception tables compared, to read: the counts, who gained and lost user access, and each change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..survey.described import DescribedEntry
from ..survey.difference import Difference, FunctionDifference
from .exception_table import count, instruction_of, length, shown, type_words
from .page import Line, Span

WIDEST_INSTRUCTION = 36
STYLES = {"-": "bad", "~": "code", "+": "good"}


def told(found: Difference, old: str, new: str) -> Iterator[Line]:
    """The whole comparison of two images, which are called `old` and `new`."""
    yield (Span(f"{shown(old)}: {count(found.before, 'entry', 'entries')}", "strong"),)
    yield (Span(f"{shown(new)}: {count(found.after, 'entry', 'entries')}", "strong"),)
    yield (in_numbers(found),)
    if not found.functions:
        return
    for title, functions, style in (
        ("functions that gained user access", gained(found), "good"),
        ("functions that lost user access", lost(found), "bad"),
    ):
        if functions:
            yield ()
            yield (Span(f"{title}: {len(functions)}", "title"),)
            for each in functions:
                entries = each.user_after or each.user_before
                yield "  ", Span(name_of(each), style), f"  {count(entries, 'entry', 'entries')}"
    yield ()
    yield (Span("what changed, function by function", "title"),)
    for each in found.functions:
        yield from one_function(each)


def in_numbers(found: Difference) -> str:
    """The comparison in a sentence."""
    if not found.functions:
        return "no difference"
    functions = count(len(found.functions), "function differs", "functions differ")
    return (
        f"{found.unchanged:,} unchanged, {len(found.added):,} added, {len(found.removed):,} removed, "
        f"{len(found.retyped):,} handled in another way; {functions}"
    )


def gained(found: Difference) -> list[FunctionDifference]:
    """Functions that have entries for user memory now and had none."""
    return [each for each in found.functions if each.gained_user_access]


def lost(found: Difference) -> list[FunctionDifference]:
    """Functions that had entries for user memory and have none now."""
    return [each for each in found.functions if each.lost_user_access]


def name_of(function: FunctionDifference) -> str:
    """A function, with its module and table if they are not the kernel's own __ex_table."""
    name = shown(function.function or "(no symbol)")
    module = f" [{shown(function.module)}]" if function.module else ""
    return name + module + ("" if function.table == "__ex_table" else f" {shown(function.table)}")


def one_function(function: FunctionDifference) -> Iterator[Line]:
    """A function's changes, a line each: `-` went, `+` came, `~` is handled in another way."""
    yield Span(name_of(function), "strong"), Span(f"  {function.before} → {function.after}", "quiet")
    for sign, entry, handler in changes(function):
        yield change(sign, STYLES[sign], entry, handler)


def changes(function: FunctionDifference) -> Sequence[tuple[str, DescribedEntry, str]]:
    """A function's changes as sign, entry and handler, in the order in which they are told."""
    return (
        *(("-", entry, type_words(entry.entry)) for entry in function.removed),
        *(("~", p.new, f"{type_words(p.old.entry)} → {type_words(p.new.entry)}") for p in function.retyped),
        *(("+", entry, type_words(entry.entry)) for entry in function.added),
    )


def change(sign: str, style: str, entry: DescribedEntry, handler: str) -> Line:
    """One line: sign, place, instruction, handler."""
    instruction = instruction_of(entry.insn)
    padding = " " * (WIDEST_INSTRUCTION - length(instruction))
    return "  ", Span(sign, style), f" {offset_of(entry):<8} ", *instruction, padding, "  ", Span(handler, "strong")


def offset_of(entry: DescribedEntry) -> str:
    """How far into its function an entry's instruction is; its address where there are no symbols."""
    symbol = entry.insn.symbol
    return f"{entry.insn.address:#x}" if symbol is None else f"+{symbol.offset:#x}"
