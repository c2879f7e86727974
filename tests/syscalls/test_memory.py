"""mmap(), munmap(), mremap(), brk(), mprotect() and protection keys: what they answer, as a program sees it."""

from __future__ import annotations

from errno import EACCES, EBADF, EEXIST, EFAULT, EINVAL, ENODEV, ENOMEM, ENOSPC, EOPNOTSUPP, EOVERFLOW
from pathlib import Path

from syscalls.saying import said, say

OPEN = 'int fd = sys(open, "/tmp/a", O_RDWR | O_CREAT, 0600); sys(ftruncate, fd, 8 * PAGE);'
MAP = "byte *p = map(8 * PAGE, RW, ANONYMOUS, -1, 0);"
WRPKRU = 'static void wrpkru(unsigned value) { asm volatile("wrpkru" : : "a"(value), "c"(0), "d"(0) : "memory"); }'


def test_mmap_refuses(tmp_path: Path) -> None:
    calls = say(
        "sys(mmap, 0, 0, RW, ANONYMOUS, -1, 0)",
        "sys(mmap, 0, PAGE, RW, ANONYMOUS, -1, 1)",
        "sys(mmap, 0, PAGE, RW, MAP_PRIVATE, 77, 0)",
        "sys(mmap, 0, PAGE, RW, MAP_PRIVATE, ends[0], 0)",
        "sys(mmap, 0, 0, RW, MAP_PRIVATE, ends[0], 0)",
        "sys(mmap, 0, PAGE, RW, MAP_ANONYMOUS, -1, 0)",
        "sys(mmap, 0, PAGE, RW, MAP_ANONYMOUS | 3, -1, 0)",
        'sys(mmap, 0, PAGE, RW, MAP_SHARED, sys(open, "/tmp/a", O_RDONLY), 0)',
        'sys(mmap, 0, PAGE, PROT_READ, MAP_PRIVATE, sys(open, "/tmp/a", O_WRONLY), 0)',
        "sys(mmap, 0, PAGE, RW, 3 | 0x200000, fd, 0)",
        "sys(mmap, 0, PAGE, RW, MAP_PRIVATE | MAP_GROWSDOWN, fd, 0)",
        "sys(mmap, 0, 2 * PAGE, RW, MAP_SHARED, fd, 0x7ffffffffffff000)",
        "sys(mmap, 0, 1ul << 48, RW, ANONYMOUS, -1, 0)",
        "sys(mmap, 0, -1ul, RW, ANONYMOUS, -1, 0)",
        "sys(mmap, p, PAGE, RW, ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0)",
        "sys(mmap, p + 1, PAGE, RW, ANONYMOUS | MAP_FIXED, -1, 0)",
    )
    found = said(tmp_path, f"int ends[2]; sys(pipe2, ends, 0); {OPEN} {MAP} {calls}")
    expected = [-EINVAL, -EINVAL, -EBADF, -ENODEV, -EINVAL, -EINVAL, -EINVAL, -EACCES, -EACCES]
    assert found == [
        *expected,
        *(-EOPNOTSUPP, -EINVAL, -EOVERFLOW, -ENOMEM, -ENOMEM, -EEXIST, -EINVAL),
    ]


def test_more_than_there_is_is_not_promised_at_once(tmp_path: Path) -> None:
    calls = say(
        "sys(mmap, 0, 1ul << 40, RW, ANONYMOUS, -1, 0)",
        "sys(mmap, 0, 1ul << 40, RW, ANONYMOUS | MAP_NORESERVE, -1, 0) > 0",
        "(long)(p = map(1ul << 40, PROT_READ, ANONYMOUS, -1, 0)) > 0",
        "sys(mprotect, p, 1ul << 40, RW)",
        "sys(mprotect, p, PAGE, RW)",
        "sys(mremap, p, PAGE, 1ul << 41, 1)",
        "sys(brk, 1ul << 45) == sys(brk, 0)",
    )
    assert said(tmp_path, MAP + calls) == [-ENOMEM, 1, 1, -ENOMEM, 0, -ENOMEM, 1]


def test_munmap(tmp_path: Path) -> None:
    calls = say(
        "sys(munmap, p + 1, PAGE)",
        "sys(munmap, p, 0)",
        "sys(munmap, p, -1ul)",
        "sys(munmap, 1ul << 47, PAGE)",
        "sys(munmap, p + PAGE, 1)",
        "sys(access, p + PAGE, 0)",
        "sys(access, p + 2 * PAGE, 0)",
        "sys(munmap, p, 8 * PAGE)",
        "sys(munmap, p, 8 * PAGE)",
    )
    found = said(tmp_path, MAP + calls)
    assert found == [-EINVAL, -EINVAL, -EINVAL, -EINVAL, 0, -EFAULT, -2, 0, 0]


def test_mprotect_refuses(tmp_path: Path) -> None:
    calls = say(
        "sys(mprotect, p + 1, PAGE, RW)",
        "sys(mprotect, p, 0, RW)",
        "sys(mprotect, p, PAGE, 16)",
        "sys(mprotect, p, PAGE, RW | 8)",
        "sys(mprotect, p, PAGE, RW | 0x01000000)",
        "sys(mprotect, p, PAGE, RW | 0x02000000)",
        "sys(mprotect, p, PAGE, RW | 0x03000000)",
        "sys(mprotect, p, -PAGE, RW)",
        "sys(mprotect, (byte *)stack, 0, RW)",
        "sys(mprotect, (unsigned long)stack & -PAGE, PAGE, RW | 0x01000000)",
        "sys(mprotect, f, PAGE, RW)",
    )
    setup = OPEN + 'byte *f = map(PAGE, PROT_READ, MAP_SHARED, sys(open, "/tmp/a", O_RDONLY), 0);'
    found = said(tmp_path, setup + MAP + calls)
    assert found == [-EINVAL, 0, -EINVAL, 0, -EINVAL, -EINVAL, -EINVAL, -ENOMEM, -EINVAL, 0, -EACCES]


def test_mremap_of_a_file_shows_more_of_it(tmp_path: Path) -> None:
    calls = say(
        'sys(pwrite64, fd, "x", 1, 3 * PAGE)',
        "(long)(f = (byte *)sys(mremap, f, 2 * PAGE, 4 * PAGE, 1)) > 0",
        "f[3 * PAGE]",
        "(long)(p = (byte *)sys(mremap, f, 0, 4 * PAGE, 1)) > 0",
        "p[3 * PAGE] = 5",
        "f[3 * PAGE]",
        "sys(mremap, f, 4 * PAGE, 4 * PAGE, 3, f + PAGE)",
        "sys(mremap, f + 1, PAGE, PAGE, 0)",
        "sys(mremap, 4096, PAGE, PAGE, 0)",
        "sys(mremap, f, 16 * PAGE, 17 * PAGE, 1)",
    )
    found = said(tmp_path, OPEN + "byte *f = map(2 * PAGE, RW, MAP_SHARED, fd, 0), *p;" + calls)
    assert found == [1, 1, ord("x"), 1, 5, 5, -EINVAL, -EINVAL, -EFAULT, -EFAULT]


def test_keys(tmp_path: Path) -> None:
    calls = say(
        "sys(pkey_alloc, 1, 0)",
        "sys(pkey_alloc, 0, 4)",
        "sys(pkey_alloc, 0, 2)",
        "sys(pkey_mprotect, p, PAGE, RW, 1)",
        "sys(pkey_mprotect, p, PAGE, RW, 2)",
        "sys(pkey_mprotect, p, PAGE, RW, -1)",
        "sys(pkey_mprotect, p, PAGE, RW, 16)",
        "p[0]",
        "sys(uname, p)",
        "(wrpkru(0), sys(uname, p))",
        "sys(pkey_free, 1)",
        "sys(pkey_free, 1)",
        "sys(pkey_free, 0)",
        "sys(pkey_free, 0)",
        "sys(pkey_alloc, 0, 0)",
    )
    last = "int last = 0; for (int i = 0; i < 16; i++) last = sys(pkey_alloc, 0, 0);" + say("last")
    found = said(tmp_path, MAP + calls + last, before=WRPKRU)
    assert found[:7] == [-EINVAL, -EINVAL, 1, 0, -EINVAL, 0, -EINVAL]
    assert found[7:] == [0, -EFAULT, 0, 0, -EINVAL, 0, -EINVAL, 0, -ENOSPC]


def test_a_new_program_may_use_key_0_only(tmp_path: Path) -> None:
    rdpkru = 'static unsigned rdpkru(void) { unsigned a; asm volatile("rdpkru" : "=a"(a) : "c"(0) : "edx"); return a; }'
    assert said(tmp_path, say("rdpkru() == 0x55555554"), before=rdpkru) == [1]


def test_limits(tmp_path: Path) -> None:
    calls = say(
        "(limit[0] = 300 * PAGE, sys(setrlimit, 9, limit))",
        "sys(mmap, 0, 300 * PAGE, RW, ANONYMOUS, -1, 0)",
        "sys(mmap, p, 8 * PAGE, RW, ANONYMOUS | MAP_FIXED, -1, 0) > 0",
        "sys(mremap, p, 8 * PAGE, 300 * PAGE, 1)",
        "sys(brk, (char *)heap + 300 * PAGE) == heap",
        "sys(uname, ((unsigned long)stack & -PAGE) - 290 * PAGE)",
        "(limit[0] = ~0ul, sys(setrlimit, 9, limit))",
        "(limit[0] = 40 * PAGE, sys(setrlimit, 2, limit))",
        "sys(mmap, 0, 40 * PAGE, RW, ANONYMOUS, -1, 0)",
        "(long)(p = map(40 * PAGE, PROT_READ, ANONYMOUS, -1, 0)) > 0",
        "sys(mprotect, p, 40 * PAGE, RW)",
        "sys(mprotect, p, 4 * PAGE, RW)",
        "sys(uname, ((unsigned long)stack & -PAGE) - 290 * PAGE)",
    )
    setup = "unsigned long limit[2] = {0, ~0ul}; long heap = sys(brk, 0);"
    found = said(tmp_path, setup + MAP + calls)
    assert found[:6] == [0, -ENOMEM, 1, -ENOMEM, 1, -EFAULT]
    assert found[6:] == [0, 0, -ENOMEM, 1, -ENOMEM, 0, 0]
