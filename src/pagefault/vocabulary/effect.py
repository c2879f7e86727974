"""
What a decision does to the machine, as data: the handler returns effects, `machine.run` applies them in order.

Everything is concrete: a new page's frame number was looked up (not taken) when the decision was made.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TakeFrame:
    """Take this free frame: for a page, or for a page table (`use` says which)."""

    frame: int
    use: str = "page"


@dataclass(frozen=True, slots=True)
class ZeroFrame:
    """Fill this frame with zeros."""

    frame: int


@dataclass(frozen=True, slots=True)
class CopyFrame:
    """Copy one whole frame to another."""

    source: int
    frame: int


@dataclass(frozen=True, slots=True)
class WriteEntry:
    """Set the page-table entry of `size` bytes at `physical` (called `level`) to `value`; it mapped `address`."""

    level: str
    physical: int
    value: int
    address: int
    size: int = 8


@dataclass(frozen=True, slots=True)
class FlushPage:
    """Forget any cached translation of the page at `address`."""

    address: int


@dataclass(frozen=True, slots=True)
class GrowStack:
    """Move the start of the vma that starts at `old_start` down to `new_start`."""

    old_start: int
    new_start: int


@dataclass(frozen=True, slots=True)
class SetRegister:
    """Set a register, by its small name, in the interrupted context."""

    name: str
    value: int


@dataclass(frozen=True, slots=True)
class ResetFpu:
    """Put the FPU's registers into their initial state."""


@dataclass(frozen=True, slots=True)
class Warn:
    """Print a warning (WARN_ONCE and its kin) and go on."""

    text: str


Effect = TakeFrame | ZeroFrame | CopyFrame | WriteEntry | FlushPage | GrowStack | SetRegister | ResetFpu | Warn
