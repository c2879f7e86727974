"""
The module's bugs on real kernels and in the machine: the same oops, line by line.

In the guest and here the same code runs at the same address, with the same values in the registers; what is not
compared is listed in lab/oops_lines.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from lab.faulty.build import LINKED_32, link_32
from lab.guest import NoGuestError
from lab.kernels import kernel
from lab.oops import CALLS, NOTHING, RECORDINGS, SETUPS, listen, parse, record
from lab.oops_lines import UNEQUAL, comparable

from faulty_machine import FaultyMachine, recorded, vmlinux
from pagefault.evidence.oops import read, write


@pytest.mark.parametrize("name", SETUPS)
def test_the_machine_prints_what_a_real_kernel_prints(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    recording, setup = recorded(RECORDINGS, name), SETUPS[name]
    machine = FaultyMachine(setup, recording, vmlinux(setup, recording, request), tmp_path)
    for bug, console in recording.said:
        real = None if console.startswith(NOTHING) else read(console)
        ours = machine.commit(bug)
        assert (ours is None) is (real is None), bug
        if real is not None and ours is not None:
            assert read(write(ours)) == ours
            assert comparable(ours, bug) == comparable(real, bug), bug


@pytest.mark.parametrize("name", SETUPS)
def test_every_bug_was_recorded(name: str) -> None:
    recording = recorded(RECORDINGS, name)
    assert tuple(bug for bug, _ in recording.said) == SETUPS[name].bugs
    assert tuple(call for call, _ in recorded(CALLS, name).said) == SETUPS[name].calls
    assert parse(recording.text()) == recording
    assert "linux version" in recording.header["kernel"].lower()
    oopses = [console for _, console in recording.said if not console.startswith(NOTHING)]
    assert [read(console).die.number for console in oopses] == list(range(1, len(oopses) + 1))
    assert len(oopses) >= 14


def test_what_a_guest_says_is_told_apart() -> None:
    serial = (
        "[    1.0] lab: banner Linux version 6.1\r\n[    1.1] lab: text 0xf0000000\r\n[    1.2] noise\r\n"
        "[    2.0] lab: asked r 10\r\n[    2.1] BUG: it\r\n[    2.2] lab: asked w 18\r\n[    2.3] lab: done\r\n"
        "[    3.0] lab: asked copy-to 10 8\r\n[    3.1] lab: fault 10 error 2 at it+0x1/0x2\r\n"
        "[    3.2] lab: result 8\r\n[    3.3] lab: done\r\n"
    )
    said = listen(serial)
    assert said.header == {"banner": "Linux version 6.1", "text": "0xf0000000"}
    assert said.said == (
        ("r 10", "BUG: it\n"),
        ("w 18", f"{NOTHING}\n"),
        ("copy-to 10 8", "fault 10 error 2 at it+0x1/0x2\nresult 8\n"),
    )


@pytest.mark.parametrize("name", ["6.1.max", "6.1-686-pae.max"])
def test_a_kernel_prints_the_same_again(name: str) -> None:
    """A real kernel boots, here and now, with a module that is built now."""
    try:
        again, calls = record(SETUPS[name], kernel(SETUPS[name].series))
    except NoGuestError as reason:
        pytest.skip(str(reason))
    committed = recorded(RECORDINGS, name)
    if again.header != committed.header:
        pytest.skip(f"this is {again.header['kernel']} on {again.header['machine']}")
    assert calls.said == recorded(CALLS, name).said
    for (bug, console), (same, now) in zip(committed.said, again.said, strict=True):
        assert bug == same
        assert comparable(read(now), bug) == comparable(read(console), bug), bug


def test_the_linked_module_is_built_from_its_source(tmp_path: Path) -> None:
    from lab.build import COMPILER, compiler

    try:
        here = compiler()
    except NoGuestError as reason:
        pytest.skip(str(reason))
    if here != COMPILER.read_text().strip():
        pytest.skip(f"this is {here}; the module is {COMPILER.read_text().strip()}'s")
    assert link_32(tmp_path).read_bytes() == LINKED_32.read_bytes()


def test_the_readme_lists_what_is_not_compared() -> None:
    readme = (RECORDINGS.parent.parent / "README.md").read_text()
    for each in UNEQUAL:
        assert f"| {each.what} | {each.why} |" in readme
