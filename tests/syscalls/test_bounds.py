"""Programs that mean harm, or are broken: each ends in bounded time and memory, with a word of why."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from pagefault.syscalls.execution import Execution, execute
from syscalls.programs import built

BUDGET = 3_000_000
FAULTS = 2_000
HANDLER = """
struct action { void *handler; unsigned long flags; void *restorer; unsigned long mask; };
static void restorer(void) { asm volatile("mov $15, %eax; syscall"); }
__attribute__((unused)) static void handler(int number) { (void)number; }
"""
CATCH = """
struct action action = {handler, 0x04000000, restorer, 0};
sys(rt_sigaction, 11, &action, 0, 8);
"""


def run(
    folder: Path,
    body: str,
    *,
    before: str = "",
    output: io.BytesIO | None = None,
    budget: int = BUDGET,
    fault_limit: int = FAULTS,
    ram: int = 64 << 20,
) -> Execution:
    """A program of the test's own, on the small kernel."""
    program = built(folder, body, before=before)
    return execute(program, thp="never", stdout=output, budget=budget, fault_limit=fault_limit, ram=ram)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("for (;;) ;", "out of budget: 3,000,000 instructions"),
        ("for (;;) sys(getpid);", "out of budget: 3,000,000 instructions"),
        ("for (;;) sys(sched_yield);", "out of budget: 3,000,000 instructions"),
        ("for (;;) sys(fork);", "out of budget: 3,000,000 instructions"),
        ("for (;;) { long one[2] = {1, 0}; sys(nanosleep, one, 0); }", "out of budget: 3,000,000 instructions"),
        ("for (;;) map(PAGE, PROT_NONE, ANONYMOUS | MAP_NORESERVE, -1, 0);", "out of budget: 3,000,000 instructions"),
        ("for (;;) sys(write, 1, 0x400000, 100);", "out of budget: 3,000,000 instructions"),
        ("for (;;) sys(mremap, map(PAGE, RW, ANONYMOUS, -1, 0), PAGE, 1l << 44, 1);", "out of budget"),
        (
            "byte *p = map(PAGE, RW, ANONYMOUS, -1, 0); for (;;) { poke(p, 1); sys(madvise, p, PAGE, 4); }",
            "out of budget",
        ),
        ("for (;;) if (!sys(vfork)) sys(exit, 0);", "out of budget"),
        ("for (;;) { int ends[2]; sys(pipe2, ends, 0); }", "out of budget"),
        ("for (;;) sys(memfd_create, 0x400000, 0);", "out of budget"),
    ],
)
def test_a_program_that_goes_on_for_ever_is_stopped(tmp_path: Path, body: str, said: str) -> None:
    ended = run(tmp_path, body)
    assert ended.stopped.startswith(said)
    assert ended.exit_status is None
    assert ended.signal is None


def test_all_the_time_is_not_one_tasks(tmp_path: Path) -> None:
    body = (
        "byte *p = map(PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0); if (sys(fork)) while (!peek(p)) ; else poke(p, 1);"
    )
    ended = run(tmp_path, body, budget=200_000_000)
    assert (ended.stopped, ended.exit_status) == ("", 0)


@pytest.mark.parametrize(
    "catch",
    [CATCH, CATCH.replace("{handler", "{(void *)0x1000"), CATCH.replace("0x04000000", "0x44000000")],
    ids=["returns to the fault", "faults at the handler", "nested"],
)
def test_a_program_that_faults_for_ever_is_stopped(tmp_path: Path, catch: str) -> None:
    ended = run(tmp_path, catch + "poke((byte *)0x2000, 1);", before=HANDLER)
    assert ended.stopped.startswith("out of budget") or ended.signal == "SIGSEGV"
    assert len(ended.log) <= FAULTS


def test_more_tasks_than_there_may_be_are_not_made(tmp_path: Path) -> None:
    output = io.BytesIO()
    body = """
    long made = 0, pid;
    while ((pid = sys(fork)) > 0)
        made++;
    if (!pid)
        sys(exit, 0);
    say("made", made);
    say("then", pid);
    """
    ended = run(tmp_path, body, output=output, budget=100_000_000, ram=256 << 20)
    assert output.getvalue().startswith(b"made = 1023\nthen = -11\n")
    assert ended.exit_status == 0


def test_memory_that_is_not_there_is_not_used(tmp_path: Path) -> None:
    body = (
        "byte *p = map(1l << 34, RW, ANONYMOUS | MAP_NORESERVE, -1, 0); for (long at = 0;; at += PAGE) poke(p + at, 1);"
    )
    ended = run(tmp_path, body, fault_limit=100_000, ram=64 << 20, budget=1_000_000_000)
    assert ended.signal == "SIGKILL"
    assert len(ended.log) < 1 << 14


def test_children_that_fill_ram_end_one_by_one_and_not_the_run(tmp_path: Path) -> None:
    body = """
    long rest[2]; rest[0] = 1, rest[1] = 0;
    long made = 0, killed = 0, status = 0;
    for (int i = 0; i < 30; i++) {
        long pid = sys(fork);
        if (!pid) {
            byte *p = map(4 << 20, RW, ANONYMOUS, -1, 0);
            for (long at = 0; at < 4 << 20; at += PAGE) poke(p + at, 1);
            sys(nanosleep, rest, 0); sys(exit_group, 0);
        }
        made += pid > 0;
    }
    while (sys(wait4, -1, &status, 0, 0) > 0) killed += (status & 127) == 9;
    say("", made); say("", killed > 0 && killed < 30);
    """
    output = io.BytesIO()
    ended = run(tmp_path, body, output=output, fault_limit=100_000, ram=64 << 20, budget=1_000_000_000)
    assert (ended.stopped, ended.exit_status) == ("", 0)
    assert [line.split()[-1] for line in output.getvalue().decode().splitlines()[:2]] == ["30", "1"]


def test_ram_full_of_a_file_ends_the_program_only(tmp_path: Path) -> None:
    body = """
    static byte room[PAGE]; long fd = sys(memfd_create, "", 0);
    while (sys(write, fd, room, PAGE) > 0) ;
    """
    ended = run(tmp_path, body, budget=1_000_000_000, ram=64 << 20, fault_limit=100_000)
    assert (ended.stopped, ended.signal) == ("", "SIGKILL")


@pytest.mark.parametrize(
    ("body", "call"),
    [
        ("int ends[2]; char c; sys(pipe2, ends, 0); sys(read, ends[0], &c, 1);", "program[1000] in read"),
        ("static int word; sys(futex, &word, 0, 0, 0);", "program[1000] in futex"),
        (
            "int e[2]; char c; sys(pipe2, e, 0); if (sys(fork)) sys(wait4, -1, 0, 0, 0); else sys(read, e[0], &c, 1);",
            "program[1000] in wait4, program[1001] in read",
        ),
    ],
)
def test_a_deadlock_is_told(tmp_path: Path, body: str, call: str) -> None:
    assert run(tmp_path, body).stopped == f"deadlock: nobody will wake {call}"


def test_a_program_that_executes_itself_for_ever_leaves_nothing_behind(tmp_path: Path) -> None:
    program = built(tmp_path, "long *arguments = stack + 1; sys(execve, arguments[0], arguments, 0);")
    ended = execute(program, budget=20_000_000, ram=64 << 20, thp="never")
    assert ended.stopped.startswith("out of budget")
    assert not ended.signal


def test_output_without_end(tmp_path: Path) -> None:
    output = io.BytesIO()
    body = "byte *p = map(1l << 31, PROT_READ, ANONYMOUS | MAP_NORESERVE, -1, 0); for (;;) sys(write, 1, p, 1l << 31);"
    ended = run(tmp_path, body, output=output, fault_limit=1 << 20)
    assert ended.stopped.startswith("out of budget")
    assert len(output.getvalue()) < BUDGET * 4


@pytest.mark.parametrize("length", ["(1l << 46)", "-PAGE", "(1l << 62)"])
def test_a_huge_length_is_not_gone_through_page_by_page(tmp_path: Path, length: str) -> None:
    body = f"""
    byte *p = map({length}, RW, ANONYMOUS | MAP_NORESERVE, -1, 0);
    int fd = sys(memfd_create, "x", 0);
    sys(ftruncate, fd, {length});
    byte *q = map({length}, RW, MAP_SHARED, fd, 0);
    sys(madvise, p, {length}, 4), sys(madvise, q, {length}, 4), sys(mprotect, p, {length}, 1), sys(mlock, p, {length});
    sys(madvise, p, {length}, 8), sys(madvise, p, {length}, 22), sys(msync, q, {length}, 4);
    sys(mremap, p, {length}, {length} - 2 * PAGE, 1);
    sys(fallocate, fd, 3, 0, {length}), sys(mincore, p, {length}, stack);
    sys(munmap, p, {length}), sys(munmap, q, {length}), sys(munmap, 0, 0x7ffffffff000), sys(ftruncate, fd, 0);
    """
    ended = run(tmp_path, body, ram=64 << 20, budget=100_000_000, fault_limit=20_000)
    assert ended.signal or ended.stopped or ended.exit_status == 0


PEEK = """
const char *name = "NAME";
int fd = sys(open, name, O_RDONLY);
char text[256];
long got = fd < 0 ? fd : sys(read, fd, text, 256);
say("got", got);
if (got > 0)
    sys(write, 1, text, got);
say("made", sys(open, name, O_RDWR | O_CREAT | O_TRUNC, 0666));
say("gone", sys(unlink, name));
"""


def test_no_name_leads_to_the_host(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the host's own")
    (tmp_path / "link").symlink_to("/etc/passwd")
    up, link = "../" * 40, f"{tmp_path}/link"
    system = ("/proc/self/mem", "/proc/self/root/etc/passwd", "/dev/mem", "/etc//passwd", "./etc/passwd")
    for name in (
        str(secret),
        f"{up}{secret}",
        f"{up}etc/passwd",
        link,
        "/proc/self/fd/1/../../../etc/hostname",
        *system,
    ):
        output = io.BytesIO()
        ended = run(tmp_path, PEEK.replace("NAME", name), output=output)
        assert output.getvalue().startswith(b"got = -2\n"), name
        assert ended.exit_status == 0
    assert secret.read_text() == "the host's own"
    assert (tmp_path / "link").is_symlink()


def test_what_is_copied_counts(tmp_path: Path) -> None:
    body = 'static char room[64 * PAGE]; int fd = sys(open, "/dev/zero", 0, 0); sys(read, fd, room, sizeof room);'
    assert run(tmp_path, body, budget=64 * 4096).stopped.startswith("out of budget")
    assert run(tmp_path, body, budget=3 * 64 * 4096).stopped == ""
