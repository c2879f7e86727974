"""What the kernel itself prints when a call dies: the oops."""

from __future__ import annotations

from ..evidence.oops import write
from ..machine.event import CallResult, Died
from ..machine.machine import Machine
from ..machine.oops import oops_of
from ..vocabulary.outcome import Oops


def kernel_words(machine: Machine, result: CallResult) -> list[str]:
    """
    The lines of the oops that the call ended in; none if it ended otherwise, or in a panic. To be asked for before the
    machine does anything else: the stack and the tables are read as they are now.
    """
    match result.end:
        case Died(outcome=Oops(reason=reason)) if not reason.startswith("Kernel panic"):
            return write(oops_of(machine, result.events[-1])).splitlines()
        case _:
            return []
