"""The rules, in the order in which they are applied and listed. A code that was given once keeps its meaning."""

from __future__ import annotations

from .families import fixup_elsewhere
from .finding import Severity
from .handler_types import cannot_fault, impossible_register, misfit, unknown_type
from .order import duplicate, not_sorted
from .places import (
    discarded_section,
    fixup_freed,
    fixup_is_insn,
    fixup_not_code,
    insn_not_code,
    not_a_boundary,
    stays_after_init,
)
from .reverse import no_entry
from .rule import Rule

RULES = (
    Rule(
        "PF001",
        "the table is not in order",
        Severity.ERROR,
        "The kernel searches the table by halving it, so it misses entries, and a bad user pointer becomes an oops.",
        not_sorted,
    ),
    Rule(
        "PF002",
        "two entries for one instruction",
        Severity.ERROR,
        "Which of the two the search finds depends on the table's size, and with it how the fault is handled.",
        duplicate,
    ),
    Rule(
        "PF003",
        "an entry's instruction is not code",
        Severity.ERROR,
        "No fault ever comes from there: the instruction that the entry was meant for has none.",
        insn_not_code,
    ),
    Rule(
        "PF004",
        "an entry's fixup is not code",
        Severity.ERROR,
        "When the instruction faults the CPU jumps to what is no code, and faults again.",
        fixup_not_code,
    ),
    Rule(
        "PF005",
        "a fixup in another function",
        Severity.ERROR,
        "The fixup finds another function's stack and registers, and returns into nowhere or with a wrong result.",
        fixup_elsewhere,
    ),
    Rule(
        "PF006",
        "an entry that points into an instruction",
        Severity.ERROR,
        "The CPU reports the address of an instruction's start, so the entry is never found; a fixup there is garbage.",
        not_a_boundary,
    ),
    Rule(
        "PF007",
        "an entry for an instruction that cannot fault",
        Severity.WARNING,
        "The annotation has slipped off the instruction that can, and a fault there is an oops.",
        cannot_fault,
    ),
    Rule(
        "PF008",
        "an unknown handler type",
        Severity.ERROR,
        "The kernel does not know what to do with such an entry, and stops (BUG, panic) when the instruction faults.",
        unknown_type,
    ),
    Rule(
        "PF009",
        "a handler type that does not fit the instruction",
        Severity.ERROR,
        "The handler changes registers as another instruction would need it, or refuses, and the fault is an oops.",
        misfit,
    ),
    Rule(
        "PF010",
        "an impossible register",
        Severity.ERROR,
        "The handler overwrites the stack pointer, or warns and writes nowhere; the code after it works on garbage.",
        impossible_register,
    ),
    Rule(
        "PF011",
        "a fixup that is freed before its instruction",
        Severity.ERROR,
        "After boot the fixup's memory is somebody else's: a fault then jumps into it.",
        fixup_freed,
    ),
    Rule(
        "PF012",
        "entries that outlive their code",
        Severity.NOTE,
        "The addresses of freed code stay in the table: whatever code would ever run there would find these entries.",
        stays_after_init,
    ),
    Rule(
        "PF013",
        "an entry for a section that is not loaded",
        Severity.ERROR,
        "When the module is loaded the entry gets an address counted from 0: it protects nothing, or leads to nowhere.",
        discarded_section,
    ),
    Rule(
        "PF014",
        "an access of user memory without an entry",
        Severity.ERROR,
        "A pointer that a program gets wrong, or a page that is not there, becomes an oops instead of -EFAULT.",
        no_entry,
    ),
    Rule(
        "PF015",
        "a fixup that is its own instruction",
        Severity.ERROR,
        "After the fault the instruction runs again, and faults again: the CPU never gets out of it.",
        fixup_is_insn,
    ),
)
