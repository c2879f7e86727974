"""What an audit says: findings, each at a place, and what was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ..tables.symbols import Symbol


class Severity(Enum):
    """How bad: a fault here goes wrong; it may; it is worth knowing."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Place:
    """
    Where a finding is: `file` is the image, `address` the instruction (or the fixup, or the entry) that it is about,
    with its section and symbol where they are known, `table` and `entry` the table's name and the index in it.
    """

    file: str
    module: str | None = None
    address: int | None = None
    section: str | None = None
    symbol: Symbol | None = None
    table: str | None = None
    entry: int | None = None

    def __str__(self) -> str:
        """symbol+offset, or the address, or the table."""
        if self.symbol is not None:
            return f"{self.symbol.name}+{self.symbol.offset:#x}"
        if self.address is not None:
            return f"{self.address:#x}"
        return self.table or self.file


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One thing that is wrong. `message` is a sentence with the facts, `why` one that says what comes of it. `explained`
    is the reason why this one is known and not wrong; it does not count then.
    """

    code: str
    severity: Severity
    place: Place
    message: str
    why: str
    explained: str | None = None


@dataclass(frozen=True, slots=True)
class Audit:
    """
    One image's audit. `checked` are the titles of the rules that were applied, `not_checked` what was not, and why:
    (what, why).
    """

    file: str
    module: str | None
    findings: tuple[Finding, ...]
    checked: tuple[str, ...]
    not_checked: tuple[tuple[str, str], ...]

    @property
    def unexplained(self) -> tuple[Finding, ...]:
        """The findings that count."""
        return tuple(finding for finding in self.findings if finding.explained is None)

    @property
    def clean(self) -> bool:
        """Is there nothing that counts?"""
        return not self.unexplained
