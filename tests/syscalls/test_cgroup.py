"""Programs in a group with a limit: joining it, being killed in it, swapping in it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from pagefault.syscalls.cgroup import make_cgroup
from pagefault.syscalls.execution import add_file, boot_system, start_program
from pagefault.syscalls.observer import Observer
from pagefault.vocabulary.address import PAGE
from syscalls.programs import built

JOIN = 'int fd = sys(open, "/small/cgroup.procs", O_WRONLY);\n'
FILL = "for (int i = 0; i < 200; i++) poke(memory + i * PAGE, i);\n"
CHILD = f"""
byte *memory = map(200 * PAGE, RW, ANONYMOUS, -1, 0);
long status = 0;
{JOIN}
if (!sys(fork)) {{
    sys(write, fd, "0", 1);
    {FILL}
    say("sum", peek(memory) + peek(memory + 7 * PAGE) + peek(memory + 199 * PAGE));
    sys(exit_group, 3);
}}
sys(wait4, -1, &status, 0, 0);
say("status", status);
"""


def run(folder: Path, body: str, *, limit: int | None = 64, swap: int = 0, swap_limit: int | None = None) -> str:
    """What the program printed."""
    system = boot_system(None, Observer(), ram=64 << 20, swap=swap)
    system.stdout = output = io.BytesIO()
    make_cgroup(system, "/small", limit, swap_limit)
    inode = add_file(system.namespace, "/program", built(folder, body))
    start_program(system, "/program", ["/program"], {}, inode)
    system.scheduler.run()
    assert not system.stopped
    return output.getvalue().decode()


@pytest.mark.parametrize("swap", [0, 512 * PAGE])
def test_who_needs_more_than_the_group_may_have_is_killed(tmp_path: Path, swap: int) -> None:
    assert "status = 9\n" in run(tmp_path, CHILD, swap=swap, swap_limit=0)


def test_with_swap_it_goes_on(tmp_path: Path) -> None:
    said = run(tmp_path, CHILD, swap=512 * PAGE)
    assert f"sum = {0 + 7 + 199}\n" in said
    assert f"status = {3 << 8}\n" in said


def test_without_a_limit_nothing_is_lost(tmp_path: Path) -> None:
    assert f"status = {3 << 8}\n" in run(tmp_path, CHILD, limit=None)


@pytest.mark.parametrize(
    ("text", "result"), [("0", 1), ("1000", 4), ("0x3e8\\n", 6), ("77", -3), ("-1", -22), ("x", -22), ("", -22)]
)
def test_what_joins(tmp_path: Path, text: str, result: int) -> None:
    length = len(text.replace("\\n", "\n"))
    said = run(tmp_path, f'{JOIN} say("joined", sys(write, fd, "{text}", {length or 1}));')
    assert f"joined = {result}\n" in said


def test_a_bad_pointer(tmp_path: Path) -> None:
    assert "joined = -14\n" in run(tmp_path, f'{JOIN} say("joined", sys(write, fd, 0, 1));')
