"""What the kernel itself prints when a call dies: the oops."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..evidence.oops import write

if TYPE_CHECKING:
    from ..machine.event import CallResult


def kernel_words(result: CallResult) -> list[str]:
    """The lines of the oops that the call ended in; none if it ended otherwise."""
    return [] if result.oops is None else write(result.oops).splitlines()
