"""
Our own failures, and nothing else.

A guest's fault is a value (`vocabulary.outcome`, `vocabulary.walk`); an exception here means that *we* could not do
what we were asked.

    PagefaultError
    ├── BadInput      a file or an argument is not what it should be: where, offset, expected, got
    ├── Absent        the file is fine, but does not hold what was asked for
    ├── Unsupported   we do not model that: the feature, and why
    └── DidNotReturn  a called kernel function ended in something other than its return
"""

from __future__ import annotations

from typing import Any


class PagefaultError(Exception):
    """Base of everything this package raises on purpose."""


class BadInput(PagefaultError):
    """
    A file or an argument that is not what it should be.

    `where` names the file or argument, `offset` is a byte offset into it (None if the whole is meant), `expected`
    says what belongs there, `got` what was found. The text is always one line.
    """

    def __init__(self, where: str, *, expected: str, got: str, offset: int | None = None) -> None:
        self.where, self.offset, self.expected, self.got = where, offset, expected, got
        at = "" if offset is None else f" at offset {offset:#x}"
        super().__init__(one_line(f"{where}{at}: expected {expected}, got {got}"))


class Absent(PagefaultError):
    """The input is sound but does not hold `what`; `hint` says what to do next."""

    def __init__(self, what: str, *, where: str, hint: str = "") -> None:
        self.what, self.where, self.hint = what, where, hint
        super().__init__(one_line(f"{where}: no {what}" + (f"; {hint}" if hint else "")))


class Unsupported(PagefaultError):
    """Something real that we do not model: `feature`, and `why`."""

    def __init__(self, feature: str, *, why: str) -> None:
        self.feature, self.why = feature, why
        super().__init__(one_line(f"{feature} is not supported: {why}"))


class DidNotReturn(PagefaultError):
    """
    A kernel function was called for its value and did not return one: it oopsed, ran out of its budget, or reached
    something the machine does not provide. `result` is the whole story (`machine.run.CallResult`).
    """

    def __init__(self, function: str, why: str, *, result: Any) -> None:
        self.function, self.why, self.result = function, why, result
        super().__init__(one_line(f"{function} did not return: {why}"))


def one_line(text: str, limit: int = 400) -> str:
    """`text` with control characters made visible and its length bounded: file contents may end up in an error."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
