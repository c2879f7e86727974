"""How a fault ended and what was done for it, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from ..vocabulary.exception_entry import ExceptionEntry
from ..vocabulary.outcome import FixedUp, Oops, Outcome, OutOfMemory, Resolved, Retry, Signal, Spurious
from .effect import effect_words

if TYPE_CHECKING:
    from ..machine.event import FaultEvent
    from ..tables.symbols import SymbolTable

HANDLED_BY = {
    "handle_the_fault": "demand paging",
    "fixup_exception": "exception table",
    "vmalloc_fault": "vmalloc_fault()",
    "spurious_kernel_fault": "spurious_kernel_fault()",
}
"""The question that settled a fault -> what a person calls that part of the kernel."""


def headline(outcome: Outcome) -> tuple[str, str]:
    """The outcome in a few words, and the style it is shown in."""
    match outcome:
        case Resolved(how=how):
            return f"resolved: {how}", "good"
        case Spurious():
            return "spurious: the tables permit it", "good"
        case FixedUp(entry=entry):
            return f"fixed up: {entry_words(entry)}", "good"
        case Signal(name=name, code=code):
            return f"signal {name} ({code})", "bad"
        case Oops(reason=reason):
            return f"oops: {reason}", "bad"
        case Retry(why=why):
            return f"retry: {why}", "good"
        case OutOfMemory(needed=needed):
            return f"out of memory: {needed} frames needed", "bad"
    assert_never(outcome)


def entry_words(entry: ExceptionEntry) -> str:
    """An exception-table entry by its place and type, with the type's operands."""
    return f"entry {entry.index}, type {type_words(entry)}"


def type_words(entry: ExceptionEntry) -> str:
    """The handler type as the kernel's assembly would give it: `imm_reg(rcx, -14)`, `uaccess`."""
    operands = []
    if entry.register is not None:
        operands.append(f"reg={entry.register}")
    if entry.immediate or entry.type in ("imm_reg", "pop_reg", "ucopy_len"):
        operands.append(f"imm={entry.immediate}")
    operands += entry.flags
    return f"{entry.type}({', '.join(operands)})" if operands else entry.type


def consequences(event: FaultEvent, symbols: SymbolTable) -> list[str]:
    """What follows from the outcome: the handler's work step by step, and where execution goes on."""
    outcome = event.decision.outcome
    lines = [effect_words(effect, event.state) for effect in event.decision.effects]
    match outcome:
        case FixedUp(landing=landing):
            lines.append(f"execution goes on at {symbols.format(landing)}")
        case Resolved() | Spurious() | Retry():
            lines.append(f"the instruction at {symbols.format(event.fault.ip)} is restarted")
        case Oops():
            lines.append(f"{event.task[0]} (pid {event.task[1]}) is killed")
        case Signal() | OutOfMemory():
            pass
    return lines


def handled_by(event: FaultEvent) -> str:
    """Which part of the kernel saved the day, if any."""
    last = event.decision.trail[-1].function if event.decision.trail else ""
    match event.decision.outcome:
        case FixedUp(entry=entry):
            return f"{HANDLED_BY['fixup_exception']} ({entry.type})"
        case Oops() | Signal() | OutOfMemory():
            return "nobody"
        case _:
            return HANDLED_BY.get(last, f"{last}()")
