"""What is remembered of one fault, and of one call."""

from __future__ import annotations

from dataclasses import dataclass

from ..arch.x86 import CpuState
from ..evidence.oops import OopsReport
from ..handler.decision import Decision
from ..vocabulary.access import Access
from ..vocabulary.fault import Fault
from ..vocabulary.outcome import Oops, Signal
from ..vocabulary.vm_fault import VmFault
from ..vocabulary.walk import Walk


@dataclass(frozen=True, slots=True)
class HandledFault:
    """
    One fault, decided and carried out: what a running system is told of each. `access` is None for a #GP that is about
    no memory; `results` are what handle_mm_fault() returned, once for each time it was asked.
    """

    access: Access | None
    fault: Fault
    state: CpuState
    decision: Decision
    results: tuple[VmFault, ...]


@dataclass(frozen=True, slots=True)
class FaultEvent:
    """
    One fault, from the access to the state after.

    `access` is None for a #GP that is about no memory (a bad selector). `before` and `after` are walks of the faulting
    address through the table in use, around the effects (without an access, empty ones); `code` is the
    instruction's bytes (fewer than 15 where the next page is not mapped), `registers_after` what execution goes on
    with. `task` is the running task, as name and pid. `stale`: the translation that faulted was one a TLB still
    held; the tables themselves may say otherwise. `results` are what handle_mm_fault() returned, once for each time it
    was asked.
    """

    access: Access | None
    fault: Fault
    state: CpuState
    code: bytes
    before: Walk
    decision: Decision
    after: Walk
    registers_after: dict[str, int]
    task: tuple[str, int]
    stale: bool = False
    results: tuple[VmFault, ...] = ()


@dataclass(frozen=True, slots=True)
class Returned:
    """The function returned; `value` is its return register (rax)."""

    value: int


@dataclass(frozen=True, slots=True)
class Died:
    """A fault ended the task."""

    outcome: Oops | Signal


@dataclass(frozen=True, slots=True)
class Stopped:
    """The machine could not or would not go on: `why`, and the instruction at which."""

    why: str
    at: int


CallEnd = Returned | Died | Stopped


@dataclass(frozen=True, slots=True)
class CallResult:
    """
    One call of one function: the registers that were set for it (its arguments, in order), how it ended, every fault on
    the way, the registers it left, how many instructions it executed, and what the kernel printed if it ended in an
    oops.
    """

    function: str
    arguments: dict[str, int]
    end: CallEnd
    events: tuple[FaultEvent, ...]
    registers: dict[str, int]
    executed: int
    oops: OopsReport | None = None
