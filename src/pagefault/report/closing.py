"""The closing table: every scene, act by act, in a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from ..machine.event import CallResult, Died, Returned, Stopped
from .explain import returned_briefly
from .outcome import handled_by, headline
from .page import Table
from .play import PlayToTell, SceneToTell

Row = tuple[str, str, str, str]


def closing_table(rows: Sequence[Row]) -> Table:
    """Scene, cause, what handled it, outcome: one row an act."""
    return Table(("scene", "cause", "handled by", "outcome"), rows)


def play_rows(play: PlayToTell) -> Iterator[Row]:
    """One row an act; the scene's name and cause stand in its first row only."""
    name, cause = play.scene.name, play.scene.cause.removeprefix("a ")
    for act in play.acts:
        yield name, cause, handlers(act.result), outcome(act.result)
        name = cause = ""


def not_played_row(scene: SceneToTell, why: str) -> Row:
    """The row of a scene that this kernel cannot play."""
    return scene.name, scene.cause.removeprefix("a "), "", f"not played: {why}"


def handlers(result: CallResult) -> str:
    """Who handled the faults of a call, in order; who did so again and again is counted."""
    groups = [(who, len(list(same))) for who, same in groupby(map(handled_by, result.events))]
    return ", ".join(who if count == 1 else f"{who} x{count}" for who, count in groups) or "no fault"


def outcome(result: CallResult) -> str:
    """How the call ended, in a few words."""
    match result.end:
        case Returned():
            return returned_briefly(result)
        case Died(outcome=died):
            return headline(died)[0]
        case Stopped(why=why):
            return f"stopped: {why}"
