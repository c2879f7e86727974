"""
A page-table walk, whole: every entry read, and how it ended.

A walk says what the tables *map*; whether an access is then *permitted* is a second question, with the CPU's state in
it (`Architecture.violation`).
"""

from __future__ import annotations

from dataclasses import dataclass

from .entry import Entry


@dataclass(frozen=True, slots=True)
class Mapped:
    """
    The tables lead to memory. `physical` is the address itself, not its page; `page_size` is what the leaf covers.
    `user`, `writable` and `executable` are the rights after every level has had its say.
    """

    physical: int
    page_size: int
    user: bool
    writable: bool
    executable: bool
    protection_key: int
    dirty: bool


@dataclass(frozen=True, slots=True)
class NotPresent:
    """The entry at `level` has its present bit clear."""

    level: str


@dataclass(frozen=True, slots=True)
class Reserved:
    """The entry at `level` is present and has reserved `bits` set."""

    level: str
    bits: int


@dataclass(frozen=True, slots=True)
class NonCanonical:
    """The address is not a sign-extended one: no table is read, and the CPU raises #GP (or #SS) instead of #PF."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The table entry at `physical` cannot be read: outside RAM, or not in the dump."""

    level: str
    physical: int


WalkEnd = Mapped | NotPresent | Reserved | NonCanonical | Unreadable


@dataclass(frozen=True, slots=True)
class Walk:
    """The walk for `address` from the top table at `root`, `entries` top first."""

    address: int
    root: int
    entries: tuple[Entry, ...]
    end: WalkEnd
