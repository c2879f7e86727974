"""The recordings: each is of the format, belongs to a program, and adds up with what the kernel counted itself."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.build import programs
from lab.record import RECORDINGS, SERIES
from lab.recording import (
    Enter,
    Event,
    Exec,
    Exit,
    Fault,
    Fork,
    Leave,
    NotARecordingError,
    Populate,
    Recording,
    Signal,
    parse,
    results,
)

FILES = [path for series in SERIES for path in sorted((RECORDINGS / series).glob("*.txt"))]
UNFINISHED = ("RETRY", "OOM", "SIGBUS", "SIGSEGV")
"""Kernel: mm/memory.c mm_account_fault(), v6.1: these are not counted."""


def name(path: Path) -> str:
    return path.relative_to(RECORDINGS).as_posix()


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_recording_is_read_and_written_back(path: Path) -> None:
    text = path.read_text()
    found = parse(text)
    assert found.text() == text
    assert found.events[-1] == Exit(1)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_recording_is_of_the_program_that_is_there(path: Path) -> None:
    header = parse(path.read_text()).header
    program = programs()[header["program"]]
    assert path.name.split(".")[0] == program.name
    assert header["promise"] == program.promise
    assert header["arguments"] == " ".join(program.arguments)
    if program.binary:
        assert header["binary"] == f"sha256 {hashlib.sha256(program.binary.read_bytes()).hexdigest()}"


@pytest.mark.parametrize("series", SERIES)
def test_every_program_is_recorded_once_a_configuration(series: str) -> None:
    seen: dict[str, list[str]] = {}
    for path in (RECORDINGS / series).glob("*.txt"):
        header = parse(path.read_text()).header
        seen.setdefault(header["program"], []).extend(header["configurations"].split())
    assert seen.keys() == programs().keys()
    for where in seen.values():
        assert len(set(where)) == len(where)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_faults_are_as_many_as_the_kernel_counted(path: Path) -> None:
    found = parse(path.read_text())
    counted = [int(line.removeprefix("faults = ")) for line in found.output if line.startswith("faults = ")]
    if not counted:
        pytest.skip("the program does not say: it has a libc, or it is killed")
    events = found.events[max(index for index, event in enumerate(found.events) if event == Exec(1)) :]
    calls = [
        i
        for i, event in enumerate(events)
        if isinstance(event, Enter) and (event.process, event.name) == (1, "getrusage")
    ]
    handled = [word for event in events[calls[0] : calls[-1]] for word in asked(event)]
    assert sum(not any(bad in word for bad in UNFINISHED) for word in handled) == counted[-1]


def asked(event: Event) -> tuple[str, ...]:
    """The results of all calls of handle_mm_fault() by process 1."""
    match event:
        case Fault(process=1):
            return event.results
        case Populate(process=1):
            return (event.result,)
        case _:
            return ()


@pytest.mark.parametrize("path", FILES, ids=name)
def test_what_cannot_be_otherwise(path: Path) -> None:
    found = parse(path.read_text())
    for fault in found.faults:
        assert fault.kernel == bool(fault.symbol) == (fault.ip >> 63 == 1 and not fault.error_code & 4)
        assert fault.kernel != bool(fault.error_code & 4)
        if fault.error_code & 0x10:
            assert fault.address == fault.ip or fault.address % 4096 == 0  # an instruction across two pages
    for fault, after in pairwise(found.faults):
        # An instruction that reads and writes faults once, for writing.
        assert (fault.process, fault.ip, fault.address >> 12) != (after.process, after.ip, after.address >> 12) or (
            fault.error_code & 2 == after.error_code & 2
        )
    processes = {1} | {event.child for event in found.events if isinstance(event, Fork)}
    assert {event.process for event in found.events} == processes
    assert {event.process for event in found.events if isinstance(event, Exit)} == processes


numbers = st.integers(0, 2**64 - 1)
small = st.integers(1, 20)
words = st.from_regex(r"[a-z_0-9]{1,12}", fullmatch=True)
outcomes = st.integers(0, 0x7FFF).map(results)
errnos = st.one_of(numbers, st.integers(-4095, -1))
events = st.one_of(
    st.builds(
        Fault, small, st.just(False), numbers, numbers, numbers, st.just(""), st.lists(outcomes, max_size=3).map(tuple)
    ),
    st.builds(Fault, small, st.just(True), numbers, numbers, numbers, words, st.lists(outcomes, max_size=3).map(tuple)),
    st.builds(Populate, small, numbers, numbers, outcomes),
    st.builds(Enter, small, words, st.lists(numbers, max_size=6).map(tuple)),
    st.builds(Exec, small),
    st.builds(Fork, small, small),
    st.builds(Exit, small),
    st.builds(Signal, small, small, st.integers(-10, 200), numbers),
)
calls = st.builds(
    lambda process, name, arguments, result: [Enter(process, name, arguments), Leave(process, name, result)],
    small, words, st.lists(numbers, max_size=6).map(tuple), errnos,
)  # fmt: skip
lines = st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1), max_size=4).map(tuple)


@given(
    st.dictionaries(words, words, min_size=1),
    st.lists(st.one_of(events.map(lambda event: [event]), calls), max_size=8),
    lines, lines, lines,
)  # fmt: skip
def test_whatever_is_written_can_be_read(
    header: dict[str, str],
    groups: list[list[Event]],
    output: tuple[str, ...],
    vmas: tuple[str, ...],
    pages: tuple[str, ...],
) -> None:
    recording = Recording(header, tuple(event for group in groups for event in group), output, vmas, pages)
    assert parse(recording.text()) == recording


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# lab recording 2\nprogram: x\n\n[events]\n\n[output]\n\n[vmas]\n\n[pages]\n",
        "# lab recording 1\nprogram: x\n\n[events]\n\n[output]\n\n[vmas]\n",
        "# lab recording 1\nprogram\n\n[events]\n\n[output]\n\n[vmas]\n\n[pages]\n",
        "# lab recording 1\nprogram: x\n\n[events]\n1 user 5 error\n\n[output]\n\n[vmas]\n\n[pages]\n",
    ],
)
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(NotARecordingError):
        parse(text)
