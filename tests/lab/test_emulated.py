"""Our side of a comparison: what a run in the machine is written down as, and what the guest's files hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from lab.emulated import Bytes, Emulator, Ended, Recorder, content, ending, furnish, number
from lab.parity import RECORDINGS
from lab.record import data, words
from lab.recording import Enter, Exec, Exit, Fault, Fork, Leave, Populate, Signal, parse

from pagefault.syscalls.execution import add_file, boot_system, start_program
from pagefault.syscalls.system import System
from pagefault.syscalls.task import UserTask
from syscalls.programs import built


def run(folder: Path, body: str) -> tuple[Recorder, System, UserTask, Ended]:
    recorder = Recorder()
    system = boot_system(None, recorder, ram=64 << 20)
    recorder.symbols = system.machine.symbols
    furnish(system)
    inode = add_file(system.namespace, "/program", built(folder, body))
    task = start_program(system, "/program", ["program"], {}, inode)
    ended = Ended(system, task)
    system.on_end = ended.look
    system.scheduler.run()
    return recorder, system, task, ended


def test_events_in_their_order(tmp_path: Path) -> None:
    body = """
    byte *p = map(3 * PAGE, RW, ANONYMOUS, -1, 0);
    sys(pread64, sys(open, "/data", O_RDONLY), p, 1, 0);
    poke(p + PAGE, 1); sys(madvise, p + 2 * PAGE, PAGE, 23);
    if (!sys(fork)) sys(exit_group, 0);
    sys(wait4, -1, 0, 0, 0); asm volatile("mov %%eax, 16" : : : "memory");
    """
    recorder, system, task, _ = run(tmp_path, body)
    events = recorder.events
    assert ending(task, system) == "killed by signal 11"
    start = next(at for at, event in enumerate(events) if isinstance(event, Enter) and event.name == "mmap")
    mapped = events[start + 1]
    assert isinstance(mapped, Leave)
    at = mapped.result
    mine = [
        event for event in events[start:] if not (isinstance(event, Fault) and not at <= event.address < at + 12288)
    ]
    copied, own = [event for event in mine if isinstance(event, Fault) and event.process == 1][:2]
    assert (copied.kernel, copied.address, copied.error_code & 7, copied.symbol != "") == (True, at, 2, True)
    assert (own.kernel, own.address, own.error_code & 7, own.symbol) == (False, at + 4096, 6, "")
    (populated,) = [event for event in mine if isinstance(event, Populate)]
    assert (populated.process, populated.address) == (1, at + 8192)
    names = [type(event) for event in mine if not isinstance(event, Enter | Leave | Fault | Populate)]
    assert names == [Fork, Exit, Signal, Exit]
    assert Exec(1) in events
    assert [event for event in events if isinstance(event, Fork)] == [Fork(1, 2)]
    signal = next(event for event in events if isinstance(event, Signal))
    assert (signal.process, signal.number) == (1, 11)


def test_areas_and_pages_are_those_of_the_first_task_at_its_end(tmp_path: Path) -> None:
    body = """
    byte *p = map_at(CLEAR, 3 * PAGE, RW, ANONYMOUS); poke(p + PAGE, 1); peek(p);
    if (!sys(fork)) { sys(munmap, p, PAGE); sys(exit_group, 0); }
    """
    *_, ended = run(tmp_path, body)
    (line,) = [line for line in ended.vmas if line.startswith("10000000-10003000 ")]
    head, counts, flags = line.split(" | ")
    assert head == "10000000-10003000 rw-p 0"
    assert "Size:" not in counts or "Size:12" in counts
    assert "Rss:4" in counts or "Rss:8" in counts
    assert "rd" in flags.split()
    assert any(page.startswith("10001000 1 ") for page in ended.pages)
    assert any("[stack]" in line for line in ended.vmas)


def test_the_guests_files(tmp_path: Path) -> None:
    _, system, *_ = run(tmp_path, "")
    for path, expected in (("/data", data()), ("/disk/data", data()), ("/words", words().encode())):
        inode = system.namespace.lookup(path)
        assert inode is not None
        assert content(system, inode) == expected, path
        assert not system.namespace.is_read_only(path)
    assert system.namespace.is_directory("/cgroup/small")
    assert Bytes(b"abcdef").read(2, 3) == b"cde"


@pytest.mark.parametrize(
    ("body", "end"),
    [("sys(exit_group, 3);", "exit 3"), ("sys(kill, sys(getpid), 9);", "killed by signal 9")],
)
def test_how_it_ended(tmp_path: Path, body: str, end: str) -> None:
    _, system, task, _ = run(tmp_path, body)
    assert ending(task, system) == end
    system.stopped = "out of budget"
    task.status = None
    assert ending(task, system) == "nothing; out of budget"
    assert number(task) == 1


def test_what_cannot_be_compared(vmlinux_61: Path) -> None:
    theirs = parse((RECORDINGS / "6.1" / "fork.txt").read_text())
    emulator = Emulator(vmlinux_61)
    assert emulator.cannot_run(theirs) == ""
    other = replace(theirs, header={**theirs.header, "binary": "0" * 64})
    assert emulator.cannot_run(other) == "the fork here is another than the recorded one"
    assert not emulator.is_of(replace(theirs, header={**theirs.header, "kernel": "another"}))
