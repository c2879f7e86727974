"""What cgroup.procs makes of what is written to it; that programs join by it is tests/syscalls/test_cgroup.py."""

from __future__ import annotations

from errno import EINVAL, ESRCH

import pytest

from pagefault.fs.cgroup import CgroupProcs
from pagefault.fs.open_file import O_WRONLY
from pagefault.machine.machine import Machine
from pagefault.machine.user_access import UserAccess
from pagefault.machine.user_access_iter import IovIter


@pytest.mark.parametrize(
    ("text", "result", "asked"),
    [
        (b"0", 1, [0]),
        (b" 17\n", 4, [17]),
        (b"0x10", 4, [16]),
        (b"99", -ESRCH, [99]),
        (b"-1", -EINVAL, []),
        (b"2147483648", -EINVAL, []),
        (b"seven", -EINVAL, []),
        (b"\0", -EINVAL, []),
    ],
)
def test_a_number_joins(text: bytes, result: int, asked: list[int]) -> None:
    machine = Machine.boot()
    access = UserAccess(machine)
    heard: list[int] = []

    def attach(pid: int) -> int:
        heard.append(pid)
        return -ESRCH if pid == 99 else 0

    procs = CgroupProcs("/cgroup.procs", O_WRONLY, access=access, attach=attach)
    where = machine.current.mmap(4096, content=text)
    assert procs.write(IovIter(access, [(where, len(text))]), 0) == result
    assert heard == asked
