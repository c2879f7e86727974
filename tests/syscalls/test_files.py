"""read(), write() and their kin, descriptors and pipes: what they answer, and where they leave a file's offset."""

from __future__ import annotations

from errno import EAGAIN, EBADF, EFAULT, EINVAL, EISDIR, EMFILE, ENOTTY, EPIPE, ESPIPE
from pathlib import Path

from pagefault.syscalls.execution import execute
from syscalls.programs import built
from syscalls.saying import said, say

OPEN = """
int fd = sys(open, "/tmp/a", O_RDWR | O_CREAT | O_TRUNC, 0600), ends[2]; char text[16] = "abcdefghij";
byte *edge = map(2 * PAGE, RW, ANONYMOUS, -1, 0); fill(edge, 'x', PAGE); sys(munmap, edge + PAGE, PAGE);
struct vector { void *base; long length; } vectors[3];
sys(pipe2, ends, 0); (void)text; (void)vectors; sys(write, fd, text, 10);
"""


def test_offsets(tmp_path: Path) -> None:
    calls = say(
        "sys(lseek, fd, 0, 1)",
        "sys(lseek, fd, 4, 0)",
        "sys(read, fd, text, 3)",
        "text[0]",
        "sys(pread64, fd, text, 16, 8)",
        "sys(lseek, fd, 0, 1)",
        "sys(lseek, fd, -1, 2)",
        "sys(read, fd, text, 16)",
        "sys(read, fd, text, 16)",
        "sys(lseek, fd, 5, 1)",
        "sys(pwrite64, fd, text, 1, 0)",
        "sys(lseek, fd, 0, 1)",
        "sys(write, fd, text, 1)",
        "sys(lseek, fd, 0, 2)",
    )
    found = said(tmp_path, OPEN + calls)
    assert found == [10, 4, 3, ord("e"), 2, 7, 9, 1, 0, 15, 1, 15, 1, 16]


def test_seeks_that_are_refused(tmp_path: Path) -> None:
    calls = say(
        "sys(lseek, fd, -11, 2)",
        "sys(lseek, fd, 0, 5)",
        "sys(lseek, fd, ~0ul >> 1, 0) == (long)(~0ul >> 1)",
        "sys(lseek, fd, 1, 1)",
        "sys(lseek, fd, ~0ul >> 1, 2)",
        "sys(lseek, ends[0], 0, 1)",
        "sys(lseek, ends[0], 0, 5)",
        "sys(lseek, 77, 0, 0)",
        'sys(lseek, sys(open, "/dev/null", O_RDWR), 100, 1)',
    )
    found = said(tmp_path, OPEN + calls)
    assert found == [-EINVAL, -EINVAL, 1, -EINVAL, -EINVAL, -ESPIPE, -EINVAL, -EBADF, 0]


def test_a_copied_descriptor_has_the_same_offset_and_a_second_open_file_its_own(tmp_path: Path) -> None:
    calls = say(
        "sys(lseek, fd, 2, 0)",
        "sys(dup, fd)",
        "sys(read, 6, text, 3)",
        "sys(lseek, fd, 0, 1)",
        'sys(open, "/tmp/a", O_RDONLY)',
        "sys(lseek, 7, 0, 1)",
        "sys(fork) ? sys(wait4, -1, 0, 0, 0) > 0 : (sys(lseek, fd, 9, 0), sys(exit_group, 0))",
        "sys(lseek, 6, 0, 1)",
    )
    assert said(tmp_path, OPEN + calls) == [2, 6, 3, 5, 7, 0, 1, 9]


def test_appending(tmp_path: Path) -> None:
    calls = say(
        'sys(open, "/tmp/a", O_RDWR | O_APPEND)',
        "sys(lseek, 6, 3, 0)",
        "sys(pwrite64, 6, text, 2, 0)",
        "sys(lseek, 6, 0, 1)",
        "sys(write, 6, edge + PAGE, 1)",
        "sys(lseek, 6, 0, 1)",
        "sys(write, 6, text, 4)",
        "sys(lseek, 6, 0, 1)",
        "sys(pread64, 6, text, 16, 10)",
        "text[0] == 'a' && text[1] == 'b' && text[2] == 'a'",
    )
    assert said(tmp_path, OPEN + calls) == [6, 3, 2, 3, -EFAULT, 3, 4, 16, 6, 1]


def test_a_copy_goes_as_far_as_memory_does(tmp_path: Path) -> None:
    calls = say(
        "sys(write, fd, edge + PAGE - 7, 100)",
        "sys(lseek, fd, 0, 1)",
        "sys(pread64, fd, edge + PAGE - 5, 17, 0)",
        "edge[PAGE - 1]",
        "sys(read, 6, edge + PAGE, 1)",
        "sys(write, fd, 16, 5)",
        "sys(read, fd, text, -1l)",
        "sys(read, fd, 1ul << 63, 1)",
        "sys(read, fd, 16, 0)",
    )
    found = said(tmp_path, OPEN + "sys(dup, fd);" + calls)
    assert found == [7, 17, 5, ord("e"), 0, -EFAULT, -EFAULT, -EFAULT, 0]


def test_several_buffers(tmp_path: Path) -> None:
    body = """
    vectors[0] = (struct vector){text, 3}, vectors[1] = (struct vector){(void *)edge + PAGE - 2, 5};
    vectors[2] = (struct vector){text + 3, 4};
    """
    calls = say(
        "sys(writev, fd, vectors, 3)",
        "sys(lseek, fd, 0, 2)",
        "sys(lseek, fd, 0, 0)",
        "sys(readv, fd, vectors, 3)",
        "edge[PAGE - 1]",
        "sys(readv, fd, vectors, 0)",
        "sys(readv, fd, vectors, 1025)",
        "sys(readv, fd, vectors, -1)",
        "sys(readv, fd, edge + PAGE, 1)",
        "sys(readv, 77, edge + PAGE, 1)",
        "(vectors[1].length = -1l, sys(readv, fd, vectors, 3))",
        "(vectors[1] = (struct vector){(void *)(1ul << 63), 1}, sys(readv, fd, vectors, 3))",
    )
    found = said(tmp_path, OPEN + body + calls)
    assert found == [5, 15, 0, 5, ord("e"), 0, -EINVAL, -EINVAL, -EFAULT, -EBADF, -EINVAL, -EFAULT]


def test_what_a_file_is_not_open_for(tmp_path: Path) -> None:
    calls = say(
        "sys(read, ends[1], text, 1)",
        "sys(write, ends[0], text, 1)",
        "sys(read, 77, text, 1)",
        "sys(pread64, ends[0], text, 1, 0)",
        "sys(pwrite64, ends[1], text, 1, 0)",
        "sys(pread64, fd, text, 1, -1l)",
        "sys(pread64, 77, text, 1, 0)",
        'sys(read, sys(open, "/tmp", O_RDONLY), text, 1)',
        "sys(ioctl, fd, 0x5401, text)",
        "sys(ioctl, 77, 0x5401, text)",
    )
    found = said(tmp_path, OPEN + calls)
    assert found == [-EBADF] * 3 + [-ESPIPE, -ESPIPE, -EINVAL, -EBADF, -EISDIR, -ENOTTY, -EBADF]


def test_descriptors(tmp_path: Path) -> None:
    calls = say(
        "sys(close, 1 + fd)",
        "sys(close, 1 + fd)",
        "sys(dup, fd)",
        "sys(dup, 77)",
        "sys(dup2, fd, 20)",
        "sys(dup2, fd, fd)",
        "sys(dup2, 77, 77)",
        "sys(dup2, 77, 5)",
        "sys(dup2, fd, -1)",
        "sys(dup2, fd, 1024)",
        "sys(dup3, fd, fd, 0)",
        "sys(dup3, fd, 21, 1)",
        "sys(dup3, fd, 21, O_CLOEXEC)",
        "sys(fcntl, 21, F_GETFD, 0)",
        "sys(fcntl, 20, F_GETFD, 0)",
        "sys(dup2, 20, 21)",
        "sys(fcntl, 21, F_GETFD, 0)",
        "sys(fcntl, fd, F_DUPFD, 20)",
        "sys(fcntl, fd, F_DUPFD_CLOEXEC, 20)",
        "sys(fcntl, 23, F_GETFD, 0)",
        "sys(fcntl, fd, F_DUPFD, 1024)",
        "sys(fcntl, fd, F_SETFD, 1)",
        "sys(fcntl, fd, F_GETFD, 0)",
        "sys(fcntl, fd, F_SETFD, 2)",
        "sys(fcntl, fd, F_GETFD, 0)",
    )
    found = said(tmp_path, OPEN + calls)
    assert found[:10] == [0, -EBADF, 4, -EBADF, 20, 3, -EBADF, -EBADF, -EBADF, -EBADF]
    assert found[10:] == [-EINVAL, -EINVAL, 21, 1, 0, 21, 0, 22, 23, 1, -EINVAL, 0, 1, 0, 0]


def test_flags_of_a_file(tmp_path: Path) -> None:
    calls = say(
        "sys(fcntl, fd, F_GETFL, 0) & ~0100000",
        "sys(fcntl, ends[1], F_GETFL, 0)",
        "sys(fcntl, fd, F_SETFL, O_APPEND | O_TRUNC | O_WRONLY)",
        "sys(fcntl, fd, F_GETFL, 0) & ~0100000",
        "sys(fcntl, ends[0], F_SETFL, O_NONBLOCK)",
        "sys(read, ends[0], text, 1)",
        "sys(fcntl, 77, F_GETFL, 0)",
        "sys(fcntl, fd, 999, 0)",
    )
    found = said(tmp_path, OPEN + calls)
    assert found == [2, 1, 0, 0o2002, 0, -EAGAIN, -EBADF, -EINVAL]


def test_no_more_descriptors_than_the_limit(tmp_path: Path) -> None:
    calls = say(
        "sys(dup, fd)",
        "sys(dup, fd)",
        "sys(dup, fd)",
        'sys(open, "/tmp/none", O_RDONLY)',
        'sys(memfd_create, "a", 0)',
        "sys(fcntl, fd, F_DUPFD, 0)",
        "sys(close, 0)",
        "sys(pipe2, ends, 0)",
        "sys(dup, fd)",
        "sys(dup2, fd, 7)",
    )
    found = said(tmp_path, OPEN + "long limit[2] = {8, 100}; sys(setrlimit, 7, limit);" + calls)
    assert found == [6, 7, -EMFILE, -EMFILE, -EMFILE, -EMFILE, 0, -EMFILE, 0, 7]


def test_closed_when_another_program_is_executed(tmp_path: Path) -> None:
    body = """
    char *again[] = {(char *)stack[1], "again", 0};
    if (stack[0] == 1) {
        sys(open, "/dev/null", O_CLOEXEC), sys(open, "/dev/null", 0), sys(pipe2, stack, O_CLOEXEC);
        sys(execve, stack[1], again, 0);
    }
    for (int i = 3; i < 8; i++) say("", sys(lseek, i, 0, 0));
    """
    assert said(tmp_path, body) == [-EBADF, 0, -EBADF, -EBADF, -EBADF]


def test_pipes_are_made_or_not(tmp_path: Path) -> None:
    calls = say(
        "sys(pipe2, ends, O_APPEND)",
        "sys(pipe2, edge + PAGE, 0)",
        "sys(pipe, edge + PAGE - 4)",
        "sys(dup, fd)",
        "(sys(pipe, edge), ((int *)edge)[1])",
    )
    assert said(tmp_path, OPEN + calls) == [-EINVAL, -EFAULT, -EFAULT, 6, 8]


def test_a_pipe_that_nobody_reads(tmp_path: Path) -> None:
    body = OPEN + "sys(close, ends[0]); sys(write, ends[1], text, 1); say(0, 1);"
    assert execute(built(tmp_path, body), thp="never", ram=64 << 20).signal == "SIGPIPE"
    ignoring = "long ignore[4] = {1, 0, 0, 0}; sys(rt_sigaction, 13, ignore, 0, 8);"
    calls = say("sys(close, ends[0])", "sys(write, ends[1], text, 1)", "sys(write, ends[1], text, 0)")
    assert said(tmp_path, OPEN + ignoring + calls) == [0, -EPIPE, 0]


def test_a_pipe_wakes_who_waits(tmp_path: Path) -> None:
    body = """
    long got, sum = 0;
    if (!sys(fork)) {
        byte *p = map(40 * PAGE, RW, ANONYMOUS, -1, 0);
        sys(close, ends[0]); fill(p, 1, 40 * PAGE);
        sys(exit_group, sys(write, ends[1], p, 40 * PAGE - 3) == 40 * PAGE - 3);
    }
    sys(close, ends[1]);
    byte *p = map(3 * PAGE, RW, ANONYMOUS, -1, 0);
    while ((got = sys(read, ends[0], p, 3 * PAGE - 1)) > 0)
        sum += got;
    int status = 0; sys(wait4, -1, &status, 0, 0);
    say("", got); say("", sum); say("", status);
    """
    assert said(tmp_path, OPEN + body) == [0, 40 * 4096 - 3, 256]


def test_a_signal_ends_the_wait_for_a_pipe(tmp_path: Path) -> None:
    handler = """
    static void restorer(void) { asm volatile("mov $15, %eax; syscall"); }
    static void handler(int number) { say("", number); }
    """
    body = """
    struct { void *handler; unsigned long flags; void *restorer; unsigned long mask; }
        action = {handler, 0x04000000, restorer, 0};
    sys(rt_sigaction, 10, &action, 0, 8);
    long self = sys(getpid);
    if (!sys(fork)) { sys(kill, self, 10); sys(exit_group, 0); }
    say("", sys(read, ends[0], text, 1));
    """
    assert said(tmp_path, OPEN + body, before=handler) == [10, -4]
