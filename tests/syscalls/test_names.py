"""Files by name: open(), stat(), access(), readlink(), getcwd(), chdir() and unlink(), and what a struct stat holds."""

from __future__ import annotations

import io
import stat
from errno import EACCES, EBADF, EEXIST, EFAULT, EINVAL, EISDIR, ENAMETOOLONG, ENOENT, ENOTDIR, ERANGE
from pathlib import Path

from pagefault.syscalls.execution import GivenFile, execute
from pagefault.syscalls.names import STAT
from syscalls.programs import built
from syscalls.saying import said, say

OPEN = """
int fd = sys(open, "/tmp/a", O_RDWR | O_CREAT | O_TRUNC, 0600); (void)fd;
sys(unlink, "/tmp/b"); sys(unlink, "/tmp/none");
static char name[5000]; (void)name; for (int i = 0; i < 4999; i++) name[i] = i % 200 ? 'a' : '/';
byte *edge = map(2 * PAGE, RW, ANONYMOUS, -1, 0); fill(edge, 'x', PAGE); sys(munmap, edge + PAGE, PAGE);
"""


def test_open(tmp_path: Path) -> None:
    calls = say(
        'sys(open, "/tmp/none", O_RDONLY)',
        'sys(open, "", O_RDONLY)',
        "sys(open, 16, O_RDONLY)",
        "sys(open, edge + PAGE - 3, O_RDONLY)",
        "sys(open, name, O_RDONLY)",
        "(name[4095] = 0, sys(open, name, O_RDONLY))",
        "(name[1] = 'b', name[300] = 'a', name[200] = 'a', sys(open, name, O_RDONLY))",
        'sys(open, "/tmp/a", O_RDWR | O_CREAT | O_EXCL, 0600)',
        'sys(open, "/tmp", O_RDWR)',
        'sys(open, "/tmp", O_RDONLY | O_CREAT, 0600)',
        'sys(open, "/tmp", O_RDONLY | O_CREAT | O_EXCL, 0600)',
        'sys(open, "/tmp/a", O_RDONLY | O_DIRECTORY)',
        'sys(open, "/tmp" "/a/b", O_RDONLY)',
        'sys(open, "/tmp" "/a/../a", O_RDONLY)',
        'sys(open, "/tmp" "/none/../a", O_RDONLY)',
        'sys(open, "/tmp" "/none/b", O_RDWR | O_CREAT, 0600)',
    )
    found = said(tmp_path, OPEN + calls)
    assert found[:7] == [-ENOENT, -ENOENT, -EFAULT, -EFAULT, -ENAMETOOLONG, -ENOENT, -ENAMETOOLONG]
    assert found[7:] == [-EEXIST, -EISDIR, -EISDIR, -EEXIST] + 3 * [-ENOTDIR] + 2 * [-ENOENT]


def test_from_a_directory(tmp_path: Path) -> None:
    calls = say(
        'sys(open, "/tmp", O_RDONLY | O_DIRECTORY)',
        'sys(openat, 4, "a", O_RDONLY)',
        'sys(openat, fd, "a", O_RDONLY)',
        'sys(openat, 77, "a", O_RDONLY)',
        'sys(openat, 77, "/tmp/a", O_RDONLY)',
        'sys(openat, AT_FDCWD, "tmp/a", O_RDONLY)',
        'sys(chdir, "/tmp/a")',
        'sys(chdir, "/tmp/none")',
        'sys(chdir, "tmp")',
        'sys(open, "a", O_RDONLY)',
        'sys(open, "./../tmp//a", O_RDONLY)',
        "sys(getcwd, edge + PAGE - 5, 100)",
        "edge[PAGE - 2]",
        "sys(getcwd, edge, 4)",
        "sys(getcwd, edge, 5)",
        "sys(getcwd, edge + PAGE - 4, 100)",
    )
    found = said(tmp_path, OPEN + calls)
    assert found == [4, 5, -ENOTDIR, -EBADF, 6, 7, -ENOTDIR, -ENOENT, 0, 8, 9, 5, ord("p"), -ERANGE, 5, -EFAULT]


def test_access_and_unlink(tmp_path: Path) -> None:
    calls = say(
        'sys(access, "/tmp/a", 6)',
        'sys(access, "/tmp/a", 1)',
        'sys(access, "/tmp", 7)',
        'sys(access, "/tmp/none", 0)',
        'sys(access, "/tmp/a", 8)',
        'sys(faccessat2, AT_FDCWD, "/tmp/a", 4, 1)',
        'sys(faccessat2, AT_FDCWD, "/tmp/a", 4, 0x200)',
        'sys(unlink, "/tmp/none")',
        'sys(unlink, "/tmp")',
        'sys(unlink, "/tmp/a")',
        'sys(open, "/tmp/a", O_RDONLY)',
        'sys(write, fd, "text", 4)',
        "sys(lseek, fd, 0, 2)",
    )
    found = said(tmp_path, OPEN + calls)
    assert found == [0, -EACCES, 0, -ENOENT, -EINVAL, -EINVAL, 0, -ENOENT, -EISDIR, 0, -ENOENT, 4, 4]


def test_readlink(tmp_path: Path) -> None:
    calls = say(
        'sys(readlink, "/proc/self/exe", edge, PAGE)',
        "edge[0]",
        'sys(readlink, "/proc/self/exe", edge, 3)',
        'sys(readlinkat, AT_FDCWD, "/proc/self/exe", edge + PAGE - 2, 2)',
        'sys(readlink, "/proc/self/exe", edge + PAGE - 2, 3)',
        'sys(readlink, "/proc/self/exe", edge, 0)',
        'sys(readlink, "/tmp/a", edge, 9)',
        'sys(readlink, "/tmp/none", edge, 9)',
    )
    length = len(str(tmp_path / "program"))
    assert said(tmp_path, OPEN + calls) == [length, ord("/"), 3, 2, -EFAULT, -EINVAL, -EINVAL, -ENOENT]


def test_stat_is_refused(tmp_path: Path) -> None:
    calls = say(
        'sys(stat, "/tmp/none", edge)',
        'sys(stat, "/tmp/a", edge + PAGE - 143)',
        'sys(stat, "/tmp/a", edge + PAGE - 144)',
        "sys(fstat, 77, edge)",
        "sys(fstat, fd, 16)",
        'sys(newfstatat, fd, "", edge, 0)',
        'sys(newfstatat, fd, "", edge, 0x1000)',
        'sys(newfstatat, fd, "a", edge, 0)',
        'sys(newfstatat, AT_FDCWD, "", edge, 0x1000)',
        'sys(newfstatat, fd, "/tmp/a", edge, 1)',
        'sys(lstat, "/tmp" "/a/", edge)',
    )
    found = said(tmp_path, OPEN + calls)
    assert found == [-ENOENT, -EFAULT, 0, -EBADF, -EFAULT, -ENOENT, 0, -ENOTDIR, 0, -EINVAL, -ENOTDIR]


STATS = """
struct stat64 { char bytes[144]; } one;
sys(fstat, sys(open, "/given", O_RDONLY), &one), sys(write, 1, &one, 144);
sys(stat, "/tmp", &one), sys(write, 1, &one, 144);
sys(fstat, sys(open, "/tmp", O_RDONLY), &one), sys(write, 1, &one, 144);
sys(stat, "/dev/null", &one), sys(write, 1, &one, 144);
int ends[2]; sys(pipe2, ends, 0), sys(fstat, ends[1], &one), sys(write, 1, &one, 144);
int fd = sys(open, "/tmp/a", O_CREAT | O_WRONLY, 0660);
sys(write, fd, "text", 4), sys(unlink, "/tmp/a"), sys(fstat, fd, &one), sys(write, 1, &one, 144);
sys(exit_group, 0);
"""
FIELDS = "st_dev st_ino st_nlink st_mode st_uid st_gid pad st_rdev st_size st_blksize st_blocks".split()


def test_what_stat_tells_lies_where_the_hosts_lies(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"x" * 5000)
    output = io.BytesIO()
    execute(built(tmp_path, STATS), files=[GivenFile(tmp_path / "text", "/given")], stdout=output, thp="never")
    assert STAT.size * 6 == len(output.getvalue())
    found = [dict(zip(FIELDS, values, strict=False)) for values in STAT.iter_unpack(output.getvalue())]
    host = (tmp_path / "text").stat()
    for field in ("st_nlink", "st_mode", "st_size", "st_blksize"):
        assert found[0][field] == getattr(host, field), field
    assert (found[0]["st_blocks"], found[0]["st_uid"]) == (16, 0)
    kinds = [stat.S_IFMT(one["st_mode"]) for one in found]
    assert kinds == [stat.S_IFREG, stat.S_IFDIR, stat.S_IFDIR, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFREG]
    assert found[1] == found[2]
    last = found[5]
    assert (last["st_nlink"], last["st_size"], last["st_mode"] & 0o777) == (0, 4, 0o640)
    assert last["st_ino"] != found[0]["st_ino"]


def test_the_struct_is_the_hosts_own(tmp_path: Path) -> None:
    """The same call by the host's own Linux, into the same struct."""
    import ctypes

    path = tmp_path / "text"
    path.write_bytes(b"x" * 5000)
    buffer = ctypes.create_string_buffer(STAT.size)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.syscall(4, str(path).encode(), buffer) == 0
    theirs, host = dict(zip(FIELDS, STAT.unpack(buffer.raw), strict=False)), path.stat()
    assert {name: theirs[name] for name in FIELDS if name != "pad"} == {
        name: getattr(host, name) for name in FIELDS if name != "pad"
    }
