"""memfd_create(), and the seals of what it makes."""

from __future__ import annotations

import io
from errno import EBUSY, EFAULT, EINVAL, ENOSYS, ENXIO, EPERM
from pathlib import Path

from pagefault.syscalls.execution import execute
from syscalls.programs import built
from syscalls.saying import said, say

SEAL = 1033


def test_what_is_refused(tmp_path: Path) -> None:
    body = """
    static char name[300]; for (int i = 0; i < 299; i++) name[i] = 'a';
    say("", sys(memfd_create, name, 0)); name[249] = 0;
    say("", sys(memfd_create, name, 0) > 0);
    say("", sys(memfd_create, 16, 0));
    say("", sys(memfd_create, "a", 0x20)); say("", sys(memfd_create, "a", 0x18));
    """
    assert said(tmp_path, body) == [-EINVAL, 1, -EFAULT, -EINVAL, -EINVAL]


def test_a_memfd_is_a_file(tmp_path: Path) -> None:
    body = """
    int fd = sys(memfd_create, "a", 1); char buffer[4] = "xyz";
    byte *p = map(PAGE, RW, MAP_SHARED, fd, 0);
    """ + say(
        "sys(pwrite64, fd, buffer, 3, 10)", "peek(p + 11)", "sys(lseek, fd, 0, 2)", "sys(close, fd)", "peek(p + 12)"
    )
    assert said(tmp_path, body) == [3, ord("y"), 13, 0, ord("z")]


def test_seals(tmp_path: Path) -> None:
    body = """
    int fd = sys(memfd_create, "a", 2), other = sys(memfd_create, "b", 0); char buffer[4] = "xyz";
    sys(ftruncate, fd, PAGE); byte *p = map(PAGE, RW, MAP_SHARED, fd, 0);
    """ + say(
        f"sys(fcntl, other, {SEAL}, 2)",
        f"sys(fcntl, fd, {SEAL}, 8)",
        f"sys(fcntl, fd, {SEAL}, 6)",
        "sys(ftruncate, fd, 10)",
        "sys(ftruncate, fd, 2 * PAGE)",
        "sys(munmap, p, PAGE)",
        f"sys(fcntl, fd, {SEAL}, 9)",
        "sys(pwrite64, fd, buffer, 3, 0)",
        "(long)map(PAGE, RW, MAP_SHARED, fd, 0)",
        f"sys(fcntl, fd, {SEAL + 1}, 0)",
        f"sys(fcntl, fd, {SEAL}, 1)",
    )
    assert said(tmp_path, body) == [-EPERM, -EBUSY, 0, -EPERM, -EPERM, 0, 0, -EPERM, -EPERM, 15, -EPERM]


def test_huge_pages_that_are_not_there(tmp_path: Path) -> None:
    output = io.BytesIO()
    ended = execute(built(tmp_path, 'say("", sys(memfd_create, "a", 4));'), thp="never", stdout=output, ram=64 << 20)
    assert output.getvalue().startswith(f" = {-ENOSYS}\n".encode())
    assert (ended.exit_status, len(ended.notes)) == (0, 1)


def test_data_and_holes(tmp_path: Path) -> None:
    body = """
    int fd = sys(memfd_create, "a", 0); char buffer[4] = "xyz";
    sys(ftruncate, fd, 8 * PAGE + 5); sys(pwrite64, fd, buffer, 3, 2 * PAGE + 7); sys(fallocate, fd, 0, 4 * PAGE, PAGE);
    """ + say(
        "sys(lseek, fd, 0, 3)",
        "sys(lseek, fd, 8200, 3)",
        "sys(lseek, fd, 3 * PAGE, 3)",
        "sys(lseek, fd, 10, 4)",
        "sys(lseek, fd, 8200, 4)",
        "sys(lseek, fd, 0, 1)",
        "sys(pwrite64, fd, buffer, 3, 8 * PAGE)",
        "sys(lseek, fd, 3 * PAGE, 3)",
        "sys(lseek, fd, 8 * PAGE + 1, 4)",
        "sys(lseek, fd, 8 * PAGE + 5, 3)",
        "sys(lseek, fd, -1, 4)",
    )
    page, end = 4096, 8 * 4096
    found = [2 * page, 8200, -ENXIO, 10, 3 * page, 3 * page, 3, end, end + 5, -ENXIO, -ENXIO]
    assert said(tmp_path, body) == found
