"""What a scene plays on, and what is kept of the play."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..arch import x86_32, x86_64
from ..arch.x86_eras import KernelProfile
from ..images.vmlinux import Vmlinux
from ..kernels import faulty_module
from ..machine.boot import DEFAULT_FEATURES
from ..machine.event import CallResult, Returned
from ..machine.machine import Machine
from ..machine.process import Process
from ..vocabulary.vma import Vma

WITH_MODULE = frozenset({x86_64.NAME})
"""The architectures for which the module of bugs is built."""


@dataclass(frozen=True, slots=True)
class Act:
    """One call in a scene: what is being tried, the whole result, and the state that it left, in sentences."""

    text: str
    result: CallResult
    after: tuple[str, ...]
    vmas: tuple[Vma, ...]


@dataclass(frozen=True, slots=True)
class Scene:
    """
    A story to be played. `title` is a headline, `cause` which of the three causes it shows (a bug, a bad user pointer,
    vmalloc) or that nothing is wrong, `about` a few sentences of what to watch for.
    """

    name: str
    title: str
    cause: str
    about: str
    play: Callable[[Stage], None]


@dataclass(frozen=True, slots=True)
class Played:
    """A scene that was played: on which machine, and its acts."""

    scene: Scene
    machine: Machine
    acts: tuple[Act, ...]
    remarks: tuple[str, ...]


class Theatre:
    """
    Machines for scenes, booted once each: most scenes share one, with a process of their own; some ask for other rules
    or another CPU.
    """

    def __init__(self, kernel: str | Path | None = None, features: Iterable[str] = DEFAULT_FEATURES) -> None:
        self._kernel: str | Path | Vmlinux | None = kernel
        self._features = frozenset(features)
        self._machines: dict[tuple[frozenset[str], KernelProfile | None], Machine] = {}

    def machine(
        self, without: Iterable[str] = (), rules: KernelProfile | None = None, *, also: Iterable[str] = ()
    ) -> Machine:
        """A machine on a CPU without some features and with others, under the image's own rules or others."""
        key = ((self._features - frozenset(without)) | frozenset(also), rules)
        if key not in self._machines:
            machine = Machine.boot(self._kernel, features=key[0], kernel_profile=rules)
            if machine.form.name in WITH_MODULE:
                machine.load_module(faulty_module(), "faulty")
            self._kernel = machine.booted.image
            self._machines[key] = machine
        return self._machines[key]

    def play(self, scene: Scene) -> Played:
        """Play one scene from the start."""
        stage = Stage(self, scene)
        scene.play(stage)
        return Played(scene, stage.machine, tuple(stage.acts), tuple(stage.remarks))


@dataclass(slots=True)
class Stage:
    """A machine with a fresh process, and the acts so far."""

    theatre: Theatre
    scene: Scene
    acts: list[Act] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    machine: Machine = field(init=False)

    def __post_init__(self) -> None:
        self.set_on()

    def set_on(
        self, *, without: Iterable[str] = (), also: Iterable[str] = (), rules: KernelProfile | None = None
    ) -> None:
        """Move the scene to another machine: a CPU with fewer or more features, another kernel version's rules."""
        self.machine = self.theatre.machine(without, rules, also=also)
        self.machine.switch_to(self.machine.spawn(self.scene.name[:15]))

    @property
    def user(self) -> Process:
        return self.machine.user

    def has(self, function: str) -> bool:
        """Does this kernel have such a function?"""
        return self.machine.symbols.get(function) is not None

    def call(self, text: str, function: str, *arguments: int, **registers: Any) -> CallResult:
        """Play one call; `text` says in a sentence what is being tried."""
        result = self.machine.run(function, *arguments, **registers)
        self.acts.append(Act(text, result, (), tuple(self.user.mm.vmas)))
        return result

    def after(self, *sentences: str) -> None:
        """Say what the last call left behind."""
        last = self.acts[-1]
        self.acts[-1] = Act(last.text, last.result, (*last.after, *sentences), last.vmas)

    def remark(self, text: str) -> None:
        """Say something about the whole scene."""
        self.remarks.append(text)

    def lets_it_pass(self, result: CallResult, feature: str) -> None:
        """Where a call that should die returned instead: the CPU that this is played on lacks `feature`."""
        if isinstance(result.end, Returned):
            self.remark(f"This CPU has no {feature}: the bug does what it likes, and nobody notices.")


SCENES: dict[str, Scene] = {}
SCENES_32: dict[str, Scene] = {}
BOOKS = {x86_64.NAME: SCENES, x86_32.NAME: SCENES_32}
"""The scenes for a kernel of each architecture, by its form's name."""


def scene(
    name: str, title: str, cause: str, *, book: dict[str, Scene] = SCENES
) -> Callable[[Callable[[Stage], None]], Callable[[Stage], None]]:
    """Register a scene; its docstring says what to watch for."""

    def register(play: Callable[[Stage], None]) -> Callable[[Stage], None]:
        about = " ".join((play.__doc__ or "").split())
        book[name] = Scene(name, title, cause, about, play)
        return play

    return register
