"""A play as the reports need it: `scenes.Played`, said from here, because the two rooms do not know each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..machine.event import CallResult
    from ..machine.machine import Machine
    from ..vocabulary.vma import Vma


class SceneToTell(Protocol):
    """Headline and subject of a play."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def cause(self) -> str: ...
    @property
    def about(self) -> str: ...


class ActToTell(Protocol):
    """One call: what was tried, its result, sentences about what it left, and the process's areas then."""

    @property
    def text(self) -> str: ...
    @property
    def result(self) -> CallResult: ...
    @property
    def after(self) -> Sequence[str]: ...
    @property
    def vmas(self) -> Sequence[Vma]: ...


class PlayToTell(Protocol):
    """A scene that was played."""

    @property
    def scene(self) -> SceneToTell: ...
    @property
    def machine(self) -> Machine: ...
    @property
    def acts(self) -> Sequence[ActToTell]: ...
    @property
    def remarks(self) -> Sequence[str]: ...
