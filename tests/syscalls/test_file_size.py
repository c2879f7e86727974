"""ftruncate(), truncate() and fallocate(): what they answer, and what is left of a file."""

from __future__ import annotations

from errno import EBADF, EFBIG, EINVAL, EISDIR, ENODEV, ENOENT, EOPNOTSUPP, EPERM, ESPIPE
from pathlib import Path

from pagefault.syscalls.execution import GivenFile
from syscalls.saying import said, say

OPEN = """
int fd = sys(open, "/tmp/a", O_RDWR | O_CREAT, 0600), ro = sys(open, "/tmp/a", O_RDONLY), ends[2];
sys(pipe2, ends, 0); (void)ro;
"""


def test_truncate(tmp_path: Path) -> None:
    calls = say(
        "sys(ftruncate, fd, 5000)",
        "sys(lseek, fd, 0, 2)",
        "sys(ftruncate, fd, -1l)",
        "sys(ftruncate, 77, 0)",
        "sys(ftruncate, ro, 0)",
        "sys(ftruncate, ends[1], 0)",
        'sys(truncate, "/tmp/a", 100)',
        "sys(lseek, fd, 0, 2)",
        'sys(truncate, "/tmp/a", -1l)',
        'sys(truncate, "/tmp/b", 0)',
        'sys(truncate, "/tmp", 0)',
        'sys(truncate, "/dev/null", 0)',
    )
    found = said(tmp_path, OPEN + calls)
    assert found[:8] == [0, 5000, -EINVAL, -EBADF, -EINVAL, -EINVAL, 0, 100]
    assert found[8:] == [-EINVAL, -ENOENT, -EISDIR, -EINVAL]


def test_a_file_given_to_be_read_is_not_truncated(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text")
    assert said(tmp_path, say('sys(truncate, "/text", 0)'), files=[GivenFile(tmp_path / "text", "/text")]) == [-EPERM]


def test_fallocate(tmp_path: Path) -> None:
    calls = say(
        "sys(fallocate, fd, 0, PAGE, 2 * PAGE)",
        "sys(lseek, fd, 0, 2)",
        "sys(fallocate, fd, 1, 0, 9 * PAGE)",
        "sys(lseek, fd, 0, 2)",
        "sys(fallocate, fd, 0, -1l, PAGE)",
        "sys(fallocate, fd, 0, 0, 0)",
        "sys(fallocate, fd, 2, 0, PAGE)",
        "sys(fallocate, fd, 0x10, 0, PAGE)",
        "sys(fallocate, fd, 0x80, 0, PAGE)",
        "sys(fallocate, fd, 0x9, 0, PAGE)",
        "sys(fallocate, ro, 0, 0, PAGE)",
        "sys(fallocate, 77, 0, 0, PAGE)",
        "sys(fallocate, ends[1], 0, 0, PAGE)",
        'sys(fallocate, sys(open, "/dev/null", O_RDWR), 0, 0, PAGE)',
        "sys(fallocate, fd, 0, 1l << 62, 1l << 62)",
    )
    found = said(tmp_path, OPEN + calls)
    assert found[:4] == [0, 12288, 0, 12288]
    assert found[4:10] == [-EINVAL, -EINVAL, -EOPNOTSUPP, -EOPNOTSUPP, -EOPNOTSUPP, -EOPNOTSUPP]
    assert found[10:] == [-EBADF, -EBADF, -ESPIPE, -ENODEV, -EFBIG]


def test_a_hole_reads_as_zeros(tmp_path: Path) -> None:
    body = """
    byte *p = map(3 * PAGE, RW, MAP_SHARED, fd, 0); sys(ftruncate, fd, 3 * PAGE);
    fill(p, 7, 3 * PAGE);
    say("", sys(fallocate, fd, 3, 100, 2 * PAGE));
    say("", peek(p + 99)); say("", peek(p + 100)); say("", peek(p + PAGE)); say("", peek(p + 2 * PAGE + 99));
    say("", peek(p + 2 * PAGE + 100));
    """
    assert said(tmp_path, OPEN + body) == [0, 7, 0, 0, 0, 7]
