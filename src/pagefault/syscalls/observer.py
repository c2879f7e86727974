"""Who is told what happens while programs run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..machine.event import HandledFault
from ..vocabulary.vm_fault import FaultFlag, VmFault

if TYPE_CHECKING:
    from .task import UserTask


class Observer:
    """Told of everything, and does nothing with it: what is of interest is overridden."""

    def fault(self, task: UserTask, event: HandledFault) -> None:
        """An exception was handled."""

    def waits(self, task: UserTask) -> None:
        """
        A fault, or a page that the kernel wants, waits for an answer; `fault` or `populate` is told once it is done.
        """

    def populate(self, task: UserTask, address: int, flags: FaultFlag, results: tuple[VmFault, ...]) -> None:
        """handle_mm_fault() was asked for a page without a fault."""

    def enter(self, task: UserTask, name: str, arguments: tuple[int, ...]) -> None:
        """A system call begins."""

    def leave(self, task: UserTask, name: str, result: int) -> None:
        """It returns: a value or -errno."""

    def exec(self, task: UserTask) -> None:
        """From here on the task has the new program's memory."""

    def fork(self, task: UserTask, child: UserTask) -> None:
        """A task was made."""

    def signal(self, task: UserTask, number: int, code: int, handler: int) -> None:
        """A signal is delivered (handler 0: what it does by default)."""

    def exit(self, task: UserTask) -> None:
        """A task ends; its memory is still there."""
