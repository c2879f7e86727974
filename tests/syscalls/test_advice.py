"""madvise() and mlock(): what they answer, as a program sees it."""

from __future__ import annotations

from errno import EINVAL, ENOMEM
from pathlib import Path

from syscalls.saying import said, say

MAP = "byte *p = map(8 * PAGE, RW, ANONYMOUS, -1, 0);"


def test_madvise(tmp_path: Path) -> None:
    calls = say(
        "p[0] = 1",
        "sys(madvise, p, PAGE, MADV_DONTNEED)",
        "p[0]",
        "sys(madvise, p, 1, MADV_RANDOM)",
        "sys(madvise, p + 1, PAGE, MADV_RANDOM)",
        "sys(madvise, p, PAGE, 0x100000000 | MADV_RANDOM)",
        "sys(madvise, p, PAGE, 99)",
        "sys(madvise, p, -1ul, MADV_RANDOM)",
        "sys(madvise, p, 64 * PAGE, MADV_RANDOM)",
        "sys(madvise, p, 0, MADV_DONTNEED)",
    )
    found = said(tmp_path, MAP + calls)
    assert found == [1, 0, 0, 0, -EINVAL, 0, -EINVAL, -EINVAL, -ENOMEM, 0]


def test_mlock(tmp_path: Path) -> None:
    calls = say(
        "sys(mlock, p + 1, PAGE)",
        "sys(madvise, p + PAGE, PAGE, MADV_DONTNEED)",
        "sys(madvise, p + 2 * PAGE, PAGE, MADV_DONTNEED)",
        "sys(mlock2, p, PAGE, 2)",
        "sys(mlock2, p + 4 * PAGE, PAGE, 1)",
        "sys(munlock, p + PAGE, PAGE)",
        "sys(madvise, p + PAGE, PAGE, MADV_DONTNEED)",
        "sys(mlock, p + 7 * PAGE, 64 * PAGE)",
        "sys(munlock, 4096, PAGE)",
        "sys(mlockall, 0)",
        "sys(mlockall, 4)",
        "sys(mlockall, 3)",
        "sys(munlockall)",
        "sys(madvise, p, PAGE, MADV_DONTNEED)",
    )
    found = said(tmp_path, MAP + calls)
    assert found[:9] == [0, -EINVAL, 0, -EINVAL, 0, 0, 0, -ENOMEM, -ENOMEM]
    assert found[9:] == [-EINVAL, -EINVAL, 0, 0, 0]
