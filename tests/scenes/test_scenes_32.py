"""Every scene of x86-32 ends as Linux ends it, on Debian's kernels with two levels and with PAE."""

from __future__ import annotations

import os
from functools import cache

import pytest

from machine.kernel_32 import VARIABLES
from pagefault.machine.event import CallResult, Died, Returned
from pagefault.report import as_json
from pagefault.report.explain import scene_story
from pagefault.scenes import BOOKS, SCENES, SCENES_32, Theatre

ANYTHING, EFAULT = "anything", (1 << 32) - 14
ENDS: dict[str, list[int | str]] = {
    "null-read": ["SMAP violation"],
    "copy-from-user": [24, 24, 64, 64],
    "get-user": [0, EFAULT, EFAULT],
    "vmalloc-pmd": [ANYTHING, ANYTHING],
    "vmalloc-synced": [ANYTHING],
    "vmalloc-race": [ANYTHING, "unable to handle page fault"],
    "vmalloc-guard": ["unable to handle page fault"],
}
OUTCOMES: dict[str, list[list[str]]] = {
    "null-read": [["Oops"]],
    "copy-from-user": [["FixedUp"], ["FixedUp"], ["FixedUp"], []],
    "get-user": [[], ["FixedUp"], []],
    "vmalloc-pmd": [["Resolved"], []],
    "vmalloc-synced": [[]],
    "vmalloc-race": [["Resolved"], ["Oops"]],
    "vmalloc-guard": [["Oops"]],
}


@cache
def theatre(mode: str) -> Theatre:
    path = os.environ.get(VARIABLES[mode])
    if path is None:
        pytest.skip(f"${VARIABLES[mode]} names no vmlinux")
    return Theatre(path)


def ended(result: CallResult) -> int | str:
    if isinstance(result.end, Died):
        return getattr(result.end.outcome, "reason", str(result.end.outcome))
    assert isinstance(result.end, Returned), result.end
    return result.end.value


def test_every_scene_has_its_expectation() -> None:
    assert ENDS.keys() == OUTCOMES.keys() == SCENES_32.keys()
    assert BOOKS == {"x86-64": SCENES, "x86-32": SCENES_32}


@pytest.mark.parametrize("mode", VARIABLES)
@pytest.mark.parametrize("name", SCENES_32)
def test_a_scene_ends_as_linux_ends_it(name: str, mode: str) -> None:
    played = theatre(mode).play(SCENES_32[name])
    got = [ended(act.result) for act in played.acts]
    assert len(got) == len(ENDS[name])
    assert [g for g, e in zip(got, ENDS[name], strict=True) if e != ANYTHING] == [
        e for e in ENDS[name] if e != ANYTHING
    ]
    outcomes = [[type(event.decision.outcome).__name__ for event in act.result.events] for act in played.acts]
    assert outcomes == OUTCOMES[name]
    assert not played.machine.log, "nothing here warns"


@pytest.mark.parametrize("mode", VARIABLES)
def test_every_scene_can_be_told(mode: str) -> None:
    for scene in SCENES_32.values():
        played = theatre(mode).play(scene)
        text = str(list(scene_story(played)))
        assert "4-level" not in text
        assert ("2-level" if mode == "two levels" else "3-level") in text
        assert as_json.play(played)["scene"] == scene.name


@pytest.mark.parametrize("mode", VARIABLES)
def test_a_scene_can_be_played_again(mode: str) -> None:
    for scene in (*SCENES_32.values(), *SCENES_32.values()):
        played = theatre(mode).play(scene)
        outcomes = [[type(event.decision.outcome).__name__ for event in act.result.events] for act in played.acts]
        assert outcomes == OUTCOMES[scene.name], scene.name


def test_an_entry_is_written_where_the_walk_found_it() -> None:
    played = theatre("two levels").play(SCENES_32["vmalloc-pmd"])
    text = str(list(scene_story(played)))
    slot = played.acts[0].result.events[0].before.entries[0]
    assert f"write pgd[{slot.index}] at {slot.physical:#x}" in text
