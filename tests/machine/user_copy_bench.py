"""What a kernel's user-copy routines are tried on: one user page with a hole behind it, and a kernel buffer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pagefault import PAGE, Machine
from pagefault.machine.event import Returned
from pagefault.vocabulary.outcome import FixedUp

LONGEST = 256
USER = bytes(range(1, 252)) * 17
KERNEL = bytes(range(251, 0, -1)) * 3
"""What is copied: no byte of them is zero."""
AC = 1 << 18


class Bench:
    """A booted kernel, one user page with a hole behind it, and a kernel buffer."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        start = machine.user.mmap(2 * PAGE, content=USER[:PAGE])
        machine.user.munmap(start + PAGE, PAGE)
        self.end = start + PAGE
        self.buffer = machine.kmalloc(1024)
        mapped = machine.walk(start).end
        self.user_page = machine.ram.view(mapped.physical, PAGE)  # type: ignore[union-attr]
        self.kernel_buffer = machine.ram.view(self.buffer - machine.area.page_offset, 1024)

    def call(self, function: str, *arguments: int, **registers: Any) -> dict[str, int]:
        """Call, and hold every fault to have been fixed up and the AC window to be closed again."""
        result = self.machine.run(function, *arguments, **registers)
        assert isinstance(result.end, Returned), (function, arguments, self.machine.why(result))
        assert all(isinstance(event.decision.outcome, FixedUp) for event in result.events)
        assert not result.registers["eflags"] & AC, "the routine left its user-access window open"
        return result.registers


def cases(step: int = 1) -> Iterator[tuple[int, int]]:
    """(length, distance from the end of the page): every one of them, or one in `step` of both."""
    for distance in range(0, LONGEST + 1, step):
        for length in range(0, LONGEST + 1, step):
            yield length, distance
