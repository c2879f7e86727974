"""How a fault ended. One of these, never a sentinel."""

from __future__ import annotations

from dataclasses import dataclass

from .exception_entry import ExceptionEntry


@dataclass(frozen=True, slots=True)
class Resolved:
    """What was missing is there now; the instruction is restarted. `how` says what was done."""

    how: str


@dataclass(frozen=True, slots=True)
class Spurious:
    """The tables already permit the access: a stale translation faulted. The instruction is restarted."""


@dataclass(frozen=True, slots=True)
class FixedUp:
    """The instruction has an entry in the exception table: execution goes on at `landing`."""

    entry: ExceptionEntry
    landing: int


@dataclass(frozen=True, slots=True)
class Signal:
    """User code did it: the task gets this signal (`name` SIGSEGV, `code` SEGV_MAPERR, …)."""

    name: str
    code: str
    address: int


@dataclass(frozen=True, slots=True)
class Oops:
    """Nothing repairs this: the kernel prints `reason` and kills the task."""

    reason: str


@dataclass(frozen=True, slots=True)
class Retry:
    """
    handle_mm_fault() gave the lock back and wants to be asked again once its effects are carried out: a page was read,
    or somebody has to answer first. `userfault` is the userfaultfd whose reader that is.
    """

    why: str
    userfault: int = 0


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """No free frame was left for what the fault needs."""

    needed: int


Outcome = Resolved | Spurious | FixedUp | Signal | Oops | Retry | OutOfMemory
