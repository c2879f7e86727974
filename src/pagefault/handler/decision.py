"""What a question answers, and what all the answers add up to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from ..vocabulary.effect import Effect
from ..vocabulary.fault import Fault
from ..vocabulary.outcome import Outcome
from ..vocabulary.vm_fault import VmFault
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
    """
    A question's yes: it decides the fault, or (`BadArea`) which questions come next. `because` says why; `result` is
    what handle_mm_fault() returned, where it was asked.
    """

    outcome: Outcome | BadArea
    effects: tuple[Effect, ...] = ()
    because: str = ""
    result: VmFault | None = None


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
    """
    How the fault ends, what must be done for it, and every question on the way; `result` is what handle_mm_fault()
    returned, if it came to that.
    """

    outcome: Outcome
    effects: tuple[Effect, ...]
    trail: tuple[Step, ...]
    result: VmFault | None = None


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
    return answered(question, "no" if answer is None else f"yes: {answer.because}" if answer.because else "yes")


@lru_cache(1 << 10)
def answered(question: Callable[..., Any], text: str) -> Step:
    """The step of a question that got this answer: most get the same again and again."""
    return Step(question_text(question), question.__name__, citation(question), text)
