"""poll(): who is ready, who is waited for, and what is refused."""

from __future__ import annotations

from errno import EFAULT, EINVAL
from pathlib import Path

from syscalls.saying import said, say

BEFORE = "struct pollfd { int fd; short events, revents; };"


def test_what_is_ready(tmp_path: Path) -> None:
    body = (
        """
    int ends[2], file = sys(memfd_create, "a", 0); sys(pipe2, ends, 0);
    struct pollfd all[5] = {{ends[0], 1, 9}, {ends[1], 4, 9}, {file, 5, 9}, {99, 1, 9}, {-1, 1, 9}};
    """
        + say(
            "sys(poll, all, 5, 0)",
            *(f"all[{index}].revents" for index in range(5)),
            "sys(poll, all, 1, 20)",
            "sys(poll, 16, 1, 0)",
            "sys(poll, 16, 0, 0)",
            "sys(poll, all, 1 << 30, 0)",
        )
        + "sys(close, ends[1]);"
        + say("sys(poll, all, 1, -1)", "all[0].revents")
    )
    assert said(tmp_path, body, before=BEFORE) == [3, 0, 4, 5, 0x20, 0, 0, -EFAULT, 0, -EINVAL, 1, 0x10]


def test_a_writer_wakes_who_waits(tmp_path: Path) -> None:
    body = """
    int one[2], two[2]; sys(pipe2, one, 0); sys(pipe2, two, 0);
    struct pollfd both[2] = {{one[0], 1, 0}, {two[0], 1, 0}};
    if (!sys(fork)) { sys(sched_yield); sys(write, two[1], "x", 1); sys(exit, 0); }
    """ + say("sys(poll, both, 2, -1)", "both[0].revents", "both[1].revents")
    assert said(tmp_path, body, before=BEFORE) == [1, 0, 1]
