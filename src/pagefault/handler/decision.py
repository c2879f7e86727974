"""What a question answers, and what all the answers add up to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..vocabulary.effect import Effect
from ..vocabulary.fault import Fault
from ..vocabulary.outcome import Outcome
from .context import Context


@dataclass(frozen=True, slots=True)
class BadArea:
    """
    Not an outcome yet: this access has no right to succeed, and the kernel goes on in __bad_area_nosemaphore().
    `signal` and `code` are what user code would get.
    """

    code: str
    signal: str = "SIGSEGV"


@dataclass(frozen=True, slots=True)
class Answer:
    """A question's yes: it decides the fault, or (`BadArea`) which questions come next. `because` says why."""

    outcome: Outcome | BadArea
    effects: tuple[Effect, ...] = ()
    because: str = ""


Question = Callable[[Fault, Context], Answer | None]
"""A function whose docstring's first line is the question. It answers None for no."""


@dataclass(frozen=True, slots=True)
class Step:
    """One question that was asked: its text, the function here, where the kernel asks it, and the answer."""

    question: str
    function: str
    citation: str
    answer: str


@dataclass(frozen=True, slots=True)
class Decision:
    """How the fault ends, what must be done for it, and every question on the way."""

    outcome: Outcome
    effects: tuple[Effect, ...]
    trail: tuple[Step, ...]


@cache
def question_text(question: Callable[..., Any]) -> str:
    """The question itself: the docstring's first line."""
    return (question.__doc__ or question.__name__).strip().splitlines()[0]


@cache
def citation(question: Callable[..., Any]) -> str:
    """The `Kernel:` line of the docstring, continued lines joined."""
    lines = [line.strip() for line in (question.__doc__ or "").splitlines()]
    for index, line in enumerate(lines):
        if line.startswith("Kernel:"):
            cited = [line.removeprefix("Kernel:").strip()]
            for more in lines[index + 1 :]:
                if not more or more.startswith(("Manual:", "Differs:")):
                    break
                cited.append(more)
            return " ".join(cited).rstrip(".")
    return ""


def step(question: Question, answer: Answer | None) -> Step:
    """Record that `question` was asked."""
    text = "no" if answer is None else f"yes: {answer.because}" if answer.because else "yes"
    return Step(question_text(question), question.__name__, citation(question), text)
