"""The front door: what a run gives back, what it does to the files it was given, and what it takes of its host."""

from __future__ import annotations

import ctypes
import io
from pathlib import Path

import pytest
from lab.build import BINARIES

from pagefault.errors import BadInput
from pagefault.syscalls.execution import GivenFile, add_file, boot_system, execute, signal_name, start_program
from pagefault.syscalls.fault_recorder import FaultRecorder
from pagefault.syscalls.task import UserTask
from pagefault.vocabulary.fault_record import FaultRecord
from syscalls.programs import built

BUDGET = 100_000_000
BYTES_A_PAGE = 64
"""What the machine may take of its host for each page that is touched, beside guest RAM."""


def test_a_run_in_full() -> None:
    output, told = io.BytesIO(), list[FaultRecord]()
    ended = execute(BINARIES / "anonymous", stdout=output, on_fault=told.append, thp="never")
    assert (ended.exit_status, ended.signal, ended.stopped, ended.notes) == (0, None, "", ())
    assert 100 < ended.instructions < 10_000
    assert list(ended.log) == told
    assert output.getvalue().splitlines()[-1].startswith(b"faults = ")


@pytest.mark.parametrize(
    ("body", "status", "signal"),
    [
        ("sys(exit, 259);", 3, None),
        ("poke((byte *)stack[0], 1);", None, "SIGSEGV"),
        ('asm volatile("ud2");', None, "SIGILL"),
        ("sys(kill, sys(getpid), 9);", None, "SIGKILL"),
        ("sys(kill, sys(getpid), 35);", None, "SIG35"),
    ],
)
def test_how_it_ended(tmp_path: Path, body: str, status: int | None, signal: str | None) -> None:
    ended = execute(built(tmp_path, body), budget=BUDGET)
    assert (ended.exit_status, ended.signal, ended.stopped) == (status, signal, "")


def test_names_of_signals() -> None:
    assert [signal_name(number) for number in (7, 11, 63)] == ["SIGBUS", "SIGSEGV", "SIG63"]


def test_an_unknown_system_call_is_noted_once(tmp_path: Path) -> None:
    body = 'for (int i = 0; i < 3; i++) say("it", syscall6(999, 0, 0, 0, 0, 0, 0));'
    output = io.BytesIO()
    ended = execute(built(tmp_path, body), stdout=output, budget=BUDGET)
    assert ended.notes == ("system call 999 is unknown here: -ENOSYS",)
    assert output.getvalue().startswith(b"it = -38\n" * 3)


def test_what_the_program_is_told(tmp_path: Path) -> None:
    body = """
    long count = stack[0];
    for (long at = 1; at <= count; at++)
        say((char *)stack[at], at);
    say((char *)stack[count + 2], 0);
    """
    output, program = io.BytesIO(), built(tmp_path, body)
    execute(program, ("one", "two"), environment={"A": "b"}, stdout=output, budget=BUDGET)
    lines = output.getvalue().decode().splitlines()
    assert lines[1:4] == ["one = 2", "two = 3", "A=b = 0"]
    assert lines[0].startswith(str(program)[:64])


def test_the_address_space_is_moved_by_a_seed_only(tmp_path: Path) -> None:
    program, places = built(tmp_path, 'say("at", (long)stack);'), []
    for seed in (None, None, 1, 1, 2):
        output = io.BytesIO()
        execute(program, seed=seed, stdout=output, budget=BUDGET)
        places.append(output.getvalue().splitlines()[0])
    assert places[0] == places[1]
    assert places[2] == places[3]
    assert len(set(places)) == 3


@pytest.mark.parametrize("writable", [False, True])
def test_a_given_file_is_read_only_unless_it_is_said(tmp_path: Path, writable: bool) -> None:
    given = tmp_path / "given"
    body = """
    int fd = sys(open, "/given", O_RDWR);
    say("opened", fd < 0 ? fd : 0);
    if (fd < 0)
        fd = sys(open, "/given", O_RDONLY);
    byte *shared = map(PAGE, RW, MAP_SHARED, fd, 0);
    if ((long)shared > 0)
        poke(shared, 'A');
    sys(write, fd, "BC", 2), sys(ftruncate, fd, 3), sys(truncate, "/given", 3), sys(unlink, "/other");
    """
    program = built(tmp_path, body)
    given.write_text("abcdef")
    output = io.BytesIO()
    files = [GivenFile(given, "/given", writable=writable), GivenFile(given, "/other")]
    ended = execute(program, files=files, stdout=output, budget=BUDGET, thp="never")
    assert ended.exit_status == 0
    assert output.getvalue().splitlines()[0] == (b"opened = 0" if writable else b"opened = -13")
    assert given.read_text() == ("BCc" if writable else "abcdef")


def test_a_file_that_nobody_changed_is_not_written(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.write_bytes(bytes(range(256)) * 40)
    before = given.stat()
    ended = execute(built(tmp_path, ""), files=[GivenFile(given, "/given", writable=True)], budget=BUDGET)
    assert ended.exit_status == 0
    assert given.stat().st_mtime_ns == before.st_mtime_ns


def test_what_grew_and_what_was_unlinked(tmp_path: Path) -> None:
    for name in ("grown", "gone"):
        (tmp_path / name).write_text(name)
    body = """
    int fd = sys(open, "/grown", O_RDWR);
    sys(ftruncate, fd, 2 * PAGE + 1);
    sys(pwrite64, fd, "end", 3, PAGE + 10);
    sys(unlink, "/gone");
    """
    files = [GivenFile(tmp_path / name, f"/{name}", writable=True) for name in ("grown", "gone")]
    assert execute(built(tmp_path, body), files=files, budget=BUDGET).exit_status == 0
    assert (tmp_path / "grown").read_bytes() == b"grown".ljust(4096 + 10, b"\0") + b"end" + bytes(4096 - 13 + 1)
    assert (tmp_path / "gone").read_text() == "gone"


def test_a_file_that_grew_beyond_what_a_file_may_is_told(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.write_text("abc")
    body = 'sys(truncate, "/given", 0x7ffffffffffff000);'
    with pytest.raises(BadInput, match="expected a file that can be written"):
        execute(built(tmp_path, body), files=[GivenFile(given, "/given", writable=True)], budget=BUDGET)


class Weighing(FaultRecorder):
    """Weighs this process, without guest RAM, at each getppid() of the program's."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[int] = []

    def enter(self, task: UserTask, name: str, arguments: tuple[int, ...]) -> None:
        if name == "getppid":
            self.weights.append(resident(None) - resident(self.system.machine.ram.host_address))


def resident(address: int | None) -> int:
    """Bytes of anonymous memory of this process that are in use: of the mapping at `address`, or of all."""
    total, counts = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first, _, rest = line.partition(" ")
        if "-" in first:
            start, end = (int(number, 16) for number in first.split("-"))
            counts = address is None or start <= address < end
        elif first == "Anonymous:" and counts:
            total += int(rest.split()[0]) << 10
    return total


def weighed(folder: Path, pages: int, ram: int) -> float:
    """
    Bytes of the host's for each of that many pages that a program touches, of 16 GiB, in every fourth page; with the
    log of its faults.
    """
    body = f"""
    byte *memory = map(16l << 30, RW, ANONYMOUS | MAP_NORESERVE, -1, 0);
    long step = 4 * PAGE, warm = {pages} / 4;
    for (long page = 0; page < {pages}; page++) {{
        if (page == 1 || page == warm)
            sys(getppid);
        poke(memory + page * step, 1);
    }}
    sys(getppid);
    """
    weighing, program = Weighing(), built(folder, body)
    system = weighing.system = boot_system(None, weighing, ram=ram)
    start_program(system, "/program", ["/program"], {}, add_file(system.namespace, "/program", program))
    system.scheduler.run()
    _, before, after = weighing.weights  # the first weighing takes memory itself
    assert len(weighing.log) > pages
    assert not system.stopped
    return (after - before) / (pages - pages // 4)


def test_a_touched_page_costs_little_beside_itself(tmp_path: Path) -> None:
    ctypes.CDLL(None).malloc_trim(0)
    assert weighed(tmp_path, 30_000, 512 << 20) < BYTES_A_PAGE
