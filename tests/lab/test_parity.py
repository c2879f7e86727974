"""
The recorded programs in our machine, against what the real kernels did: every event, the output, the areas, the pages.

Each recording in one of its configurations; `make parity` takes them all.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from lab.emulated import Emulator
from lab.parity import RECORDINGS, Run, compare, runs
from lab.recording import Fault, parse

EMULATORS: dict[Path, Emulator] = {}


def check(run: Run, vmlinux: Path) -> None:
    if vmlinux not in EMULATORS:
        EMULATORS[vmlinux] = Emulator(vmlinux)
    emulator = EMULATORS[vmlinux]
    theirs = parse(run.file.read_text())
    if reason := emulator.cannot_run(theirs):
        pytest.skip(reason)
    result = compare(theirs, emulator.run(theirs, run.configuration), same_kernel=emulator.is_of(theirs))
    assert not result.differences, "\n" + "\n".join(map(str, result.differences))


@pytest.mark.parametrize("run", list(runs(["6.1"], [], quick=True)), ids=str)
def test_on_6_1(run: Run, vmlinux_61: Path) -> None:
    check(run, vmlinux_61)


@pytest.mark.parametrize("run", list(runs(["6.12"], [], quick=True)), ids=str)
def test_on_6_12(run: Run, vmlinux_612: Path) -> None:
    check(run, vmlinux_612)


def test_any_difference_is_seen() -> None:
    theirs = parse((RECORDINGS / "6.1" / "fork.txt").read_text())
    assert not compare(theirs, theirs).differences
    for what in ("events", "output", "vmas", "pages"):
        for changed in (getattr(theirs, what)[:-1], getattr(theirs, what)[1:]):
            (difference,) = compare(theirs, replace(theirs, **{what: changed})).differences
            assert difference.what == what
    (difference,) = compare(theirs, replace(theirs, header={**theirs.header, "end": "exit 1"})).differences
    assert difference.what == "end"


def test_a_score_counts_events_that_agree_after_a_difference() -> None:
    theirs = parse((RECORDINGS / "6.1" / "fork.txt").read_text())
    without = replace(theirs, events=theirs.events[:10] + theirs.events[11:])
    result = compare(theirs, without)
    assert (result.equal, result.events) == (len(theirs.events) - 1, len(theirs.events))
    assert result.differences[0].at == 10


def test_in_another_build_kernel_code_is_told_by_its_function() -> None:
    theirs = parse((RECORDINGS / "6.1" / "copy-fault.txt").read_text())
    moved = replace(
        theirs,
        events=tuple(
            replace(event, ip=event.ip + 64, symbol=event.symbol.replace("+0x", "+0x4"))
            if isinstance(event, Fault) and event.kernel
            else event
            for event in theirs.events
        ),
    )
    assert compare(theirs, moved).differences
    assert not compare(theirs, moved, same_kernel=False).differences
