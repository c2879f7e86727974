"""The form of a rule, and of those that look at one entry at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps

from ..arch.disassembly import can_disassemble
from .context import AuditContext, TableEntry
from .finding import Finding, Severity

DOCS = "docs/findings"


@dataclass(frozen=True, slots=True)
class Hit:
    """
    Something that a rule found, at an address: a sentence with the facts. `severity` and `why` are the rule's unless
    they are given.
    """

    address: int
    message: str
    each: TableEntry | None = None
    severity: Severity | None = None
    why: str | None = None


Check = Callable[[AuditContext], Iterator[Hit]]
EntryCheck = Callable[[AuditContext, TableEntry], str | None]
"""What is wrong with an entry, as a sentence; None if nothing is."""


def of_each_entry(wrong: EntryCheck) -> Check:
    """The check that asks this of every entry. What it finds is at the entry's instruction."""

    @wraps(wrong)
    def check(context: AuditContext) -> Iterator[Hit]:
        for each in context.entries:
            message = wrong(context, each)
            if message is not None:
                yield Hit(each.entry.insn, message, each)

    return check


def by_decoding(what: str) -> Callable[[Check], Check]:
    """For a check that reads instructions: without a decoder it is skipped, and that `what` is not known is said."""

    def decorated(check: Check) -> Check:
        @wraps(check)
        def decoding(context: AuditContext) -> Iterator[Hit]:
            if can_disassemble(context.platform):
                yield from check(context)
            else:
                context.skip(what, f"no decoder for {context.platform.name}")

        return decoding

    return decorated


@dataclass(frozen=True, slots=True)
class Rule:
    """
    One thing that is looked for. `code` never changes its meaning. `title` names what is wrong, `why` says in a
    sentence what comes of it.
    """

    code: str
    title: str
    severity: Severity
    why: str
    check: Check

    @property
    def page(self) -> str:
        """Its page of the documentation, from the top of the repository."""
        return f"{DOCS}/{self.code}.md"

    def findings(self, context: AuditContext) -> Iterator[Finding]:
        """What it finds in an image."""
        for hit in self.check(context):
            yield Finding(
                self.code,
                hit.severity or self.severity,
                context.place(hit.address, hit.each),
                hit.message,
                hit.why or self.why,
            )
