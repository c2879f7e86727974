"""
A stand-in for the machine that runs programs: it "runs" one of the lab's recordings, with its faults and its output.
What the command line makes of a run is tested with it; that programs run is tested where they do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from pagefault.machine.fault_log import FaultLog
from report.recorded_faults import recorded_log, recording


@dataclass(frozen=True)
class GivenFile:
    host: Path
    guest: str
    writable: bool


@dataclass
class Execution:
    log: FaultLog
    exit_status: int | None = 0
    signal: str | None = None
    notes: list[str] = field(default_factory=list)
    instructions: int = 1234
    stopped: str = ""


@dataclass
class StandIn:
    """`asked` is what `execute` was called with; `ends` is how it is to end, `also` what it does on the way."""

    asked: dict[str, Any] = field(default_factory=dict)
    ends: dict[str, Any] = field(default_factory=dict)
    also: Callable[[dict[str, Any]], None] = lambda asked: None

    def execute(self, program: Path, arguments: tuple[str, ...], **rest: Any) -> Execution:
        self.asked = {"program": program, "arguments": arguments, **rest}
        log = recorded_log(program.name)
        for number, record in enumerate(log):
            if number == 2:
                rest["stdout"].write("\n".join(recording(program.name).output).encode() + b"\n")
            if rest["on_fault"]:
                rest["on_fault"](record)
        self.also(self.asked)
        return Execution(log, **self.ends)


def module(stand_in: StandIn) -> ModuleType:
    """What stands in for pagefault.syscalls.execution."""
    made = ModuleType("pagefault.syscalls.execution")
    vars(made).update(execute=stand_in.execute, GivenFile=GivenFile)
    return made
