"""The form of a rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

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
    check: Callable[[AuditContext], Iterator[Hit]]

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
