"""
Every scene ends as Linux ends it: on the small kernel and on Debian's, each with its own routines and its own table.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pagefault.kernels import small_kernel
from pagefault.machine.event import CallResult, Died, Returned
from pagefault.scenes import SCENES, Theatre

EFAULT, ERANGE = "-EFAULT", "-ERANGE"
ANYTHING = "anything"

# What each act returns (put_user's error is in rcx), or the reason of its oops.
ENDS: dict[str, list[int | str]] = {
    "null-read": ["SMAP violation"],
    "wild-write": ["unable to handle page fault"],
    "text-write": ["unable to handle page fault"],
    "exec-user": ["kernel executed user memory"],
    "exec-data": ["unable to handle page fault"],
    "user-touch": ["SMAP violation", 0],
    "non-canonical": ["general protection fault, probably for non-canonical address 0xdead000000000100"],
    "no-entry": [0, "unable to handle page fault", EFAULT],
    "copy-from-user": [24, 64, 64],
    "copy-to-user": [24, 64, 64, 64],
    "get-user": [0, EFAULT, EFAULT, EFAULT],
    "put-user": [EFAULT, EFAULT, EFAULT],
    "clear-user": [24, 64, 64, 64],
    "strncpy-from-user": [5, EFAULT, EFAULT, EFAULT],
    "strnlen-user": [6, 0, 0, 0],
    "demand-paging": [0, 0, 0],
    "stack-growth": [0, 64],
    "spurious": [ANYTHING],
    "vmalloc-other": [ANYTHING, ANYTHING],
    "vmalloc-shared": [ANYTHING],
    "vmalloc-freed": [ANYTHING, "unable to handle page fault"],
    "vmalloc-guard": [0, "unable to handle page fault"],
    "kernel-nofault": [0, EFAULT, ERANGE],
    "faults-disabled": [EFAULT, 0, 0],
}
# How each fault of each act is settled, on the small kernel.
OUTCOMES: dict[str, list[list[str]]] = {
    "null-read": [["Oops"]],
    "user-touch": [["Oops"], ["Resolved"]],
    "no-entry": [["Resolved"], ["Oops"], ["FixedUp"]],
    "copy-from-user": [["FixedUp"], ["FixedUp"], []],
    "get-user": [[], ["FixedUp"], ["FixedUp"], []],
    "demand-paging": [["Resolved", "Resolved"], ["Resolved"], ["Resolved"]],
    "stack-growth": [["Resolved"], ["FixedUp"]],
    "spurious": [["Spurious"]],
    "vmalloc-other": [["Resolved"], []],
    "vmalloc-shared": [[]],
    "kernel-nofault": [[], ["FixedUp"], []],
    "faults-disabled": [["FixedUp"], ["Resolved"], []],
}
SMALL = ["small"]
KERNELS = [*SMALL, "vmlinux_61", "vmlinux_612"]
theatres: dict[str, Theatre] = {}


@pytest.fixture
def theatre(request: pytest.FixtureRequest) -> Theatre:
    name = request.param
    if name not in theatres:
        path: Path = small_kernel() if name == "small" else request.getfixturevalue(name)
        theatres[name] = Theatre(path)
    return theatres[name]


def ended(result: CallResult) -> int | str:
    """What the call returned, an error by its name; or why it died."""
    if isinstance(result.end, Died):
        return getattr(result.end.outcome, "reason", str(result.end.outcome))
    assert isinstance(result.end, Returned), result.end
    value = result.registers["rcx"] if result.function.startswith("__put_user") else result.end.value
    if result.function == "read_zero":  # says what it did clear, of 64 bytes
        return 64 if value >> 63 else 64 - value
    low = value & 0xFFFF_FFFF
    return {(1 << 32) - 14: EFAULT, (1 << 32) - 34: ERANGE}.get(low, value)


def test_every_scene_has_its_expectation() -> None:
    assert ENDS.keys() == SCENES.keys()


@pytest.mark.parametrize("theatre", KERNELS, indirect=True)
@pytest.mark.parametrize("name", SCENES)
def test_a_scene_ends_as_linux_ends_it(name: str, theatre: Theatre) -> None:
    played = theatre.play(SCENES[name])
    expected = ENDS[name]
    got = [ended(act.result) for act in played.acts]
    assert len(got) == len(expected)
    assert [g for g, e in zip(got, expected, strict=True) if e != ANYTHING] == [e for e in expected if e != ANYTHING]
    assert not played.machine.log, "nothing here warns"


@pytest.mark.parametrize("theatre", SMALL, indirect=True)
@pytest.mark.parametrize("name", OUTCOMES)
def test_each_fault_is_settled_as_told(name: str, theatre: Theatre) -> None:
    played = theatre.play(SCENES[name])
    got = [[type(event.decision.outcome).__name__ for event in act.result.events] for act in played.acts]
    assert got == OUTCOMES[name]


@pytest.mark.parametrize("theatre", SMALL, indirect=True)
def test_a_scene_can_be_played_again(theatre: Theatre) -> None:
    for _ in range(2):
        for scene in SCENES.values():
            first, second = theatre.play(scene), theatre.play(scene)
            assert [ended(act.result) for act in first.acts] == [ended(act.result) for act in second.acts]


def test_on_a_cpu_without_smap_the_null_pointer_is_named() -> None:
    played = Theatre(features={"nx", "smep"}).play(SCENES["null-read"])
    assert ended(played.acts[0].result) == "kernel NULL pointer dereference"


def test_with_five_levels_the_scenes_end_the_same() -> None:
    theatre = Theatre(features={"nx", "smep", "smap", "la57", "erms", "fsrm"})
    for name, expected in ENDS.items():
        got = [ended(act.result) for act in theatre.play(SCENES[name]).acts]
        assert [g for g, e in zip(got, expected, strict=True) if e != ANYTHING] == [
            e for e in expected if e != ANYTHING
        ], name
