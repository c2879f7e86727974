"""What a program is told about itself and its system, and what it may set."""

from __future__ import annotations

import io
import struct
from errno import EFAULT, EINVAL, EPERM, ESRCH
from pathlib import Path

from pagefault.syscalls.execution import execute
from syscalls.programs import built
from syscalls.saying import said, say

EDGE = """
byte *edge = map_at(CLEAR, PAGE, RW, ANONYMOUS); fill(edge, 'x', PAGE);
long limit[2]; (void)limit;
"""


def printed(folder: Path, body: str, seed: int | None = None) -> bytes:
    """What a program writes before it ends."""
    output = io.BytesIO()
    execute(built(folder, body + "sys(exit_group, 0);"), thp="never", stdout=output, seed=seed)
    return output.getvalue()


def test_who_it_is(tmp_path: Path) -> None:
    calls = say(
        "sys(getpid) == sys(gettid)",
        "sys(set_tid_address, limit) == sys(getpid)",
        '(limit[0] = sys(getpid), sys(fork)) || (say("", sys(getppid) == limit[0]), sys(exit_group, 0))',
        "sys(wait4, -1, 0, 0, 0) == sys(getpid) + 1",
        "sys(getuid) | sys(geteuid) | sys(getgid) | sys(getegid)",
        "sys(setuid, 0) | sys(setgid, 0)",
    )
    assert said(tmp_path, EDGE + calls) == [1, 1, 1, 1, 1, 0, 0]
    assert said(tmp_path, say("sys(getppid)", "sys(setuid, 1)")) == [1, -EPERM]


def test_limits(tmp_path: Path) -> None:
    calls = say(
        "(limit[0] = 5, limit[1] = 9, sys(setrlimit, 4, limit))",
        "(limit[1] = 0, sys(getrlimit, 4, limit))",
        "limit[1]",
        "sys(getrlimit, 16, limit)",
        "sys(getrlimit, 4, edge + PAGE - 8)",
        "(limit[0] = 6, limit[1] = 5, sys(setrlimit, 4, limit))",
        "sys(setrlimit, 4, edge + PAGE - 8)",
        "(limit[0] = 4, limit[1] = 5, sys(prlimit64, 0, 4, limit, edge))",
        "((long *)edge)[0]",
        "sys(prlimit64, sys(getpid), 4, 0, edge)",
        "((long *)edge)[0]",
        "sys(prlimit64, 77777, 4, 0, edge)",
        "sys(prlimit64, 0, 16, 0, edge)",
        "sys(prlimit64, 0, 4, 16, edge)",
        "sys(prlimit64, 0, 4, 0, 16)",
        "(limit[0] = limit[1] = 1l << 40, sys(setrlimit, 7, limit))",
    )
    found = said(tmp_path, EDGE + calls)
    assert found[:7] == [0, 0, 9, -EINVAL, -EFAULT, -EINVAL, -EFAULT]
    assert found[7:] == [0, 5, 0, 4, -ESRCH, -EINVAL, -EFAULT, -EFAULT, -EPERM]


def test_limits_are_kept_by_a_child_and_are_its_own(tmp_path: Path) -> None:
    body = """
    limit[0] = 5, limit[1] = 9; sys(setrlimit, 4, limit);
    if (!sys(fork)) {
        sys(getrlimit, 4, limit); say("", limit[0]);
        limit[0] = 6; sys(setrlimit, 4, limit); sys(exit_group, 0);
    }
    sys(wait4, -1, 0, 0, 0); sys(getrlimit, 4, limit); say("", limit[0]);
    """
    assert said(tmp_path, EDGE + body) == [5, 5]


def test_random_bytes(tmp_path: Path) -> None:
    calls = say(
        "sys(getrandom, edge, 0, 0)",
        "sys(getrandom, edge, 32, 0)",
        "sys(getrandom, edge, PAGE, 1)",
        "sys(getrandom, edge, 1, 8)",
        "sys(getrandom, edge, 1, 6)",
        "sys(getrandom, 16, 1, 0)",
        "sys(getrandom, 16, 0, 0)",
        "sys(getrandom, edge + PAGE - 5, 100, 0)",
        "sys(getrandom, edge + PAGE - 5, 20, 0)",
        "sys(getrandom, edge + PAGE - 70, -1l, 0)",
        "sys(getrandom, 1ul << 63, 1, 0)",
    )
    found = said(tmp_path, EDGE + calls)
    assert found == [0, 32, 4096, -EINVAL, -EINVAL, -EFAULT, 0, 5, 5, 70, -EFAULT]


def test_a_seed_gives_the_same_random_bytes_again(tmp_path: Path) -> None:
    body = "static byte b[64]; sys(getrandom, b, 64, 0); sys(write, 1, b, 64);"
    first, again, other = (printed(tmp_path, body, seed) for seed in (1, 1, 2))
    assert first == again != other
    assert len(set(first)) > 32


def test_arch_prctl_and_prctl(tmp_path: Path) -> None:
    calls = say(
        "sys(arch_prctl, 0x1002, edge)",
        '({ long at; asm volatile("mov %%fs:0, %0" : "=r"(at)); at & 255; })',
        "sys(arch_prctl, 0x1003, limit)",
        "limit[0] == (long)edge",
        "sys(arch_prctl, 0x1002, 1ul << 47)",
        "sys(arch_prctl, 0x1001, limit)",
        "sys(arch_prctl, 0x1004, limit + 1)",
        "limit[1] == (long)limit",
        "sys(arch_prctl, 0x1003, edge + PAGE - 7)",
        "sys(arch_prctl, 0x1fff, 0)",
        'sys(prctl, 15, "a name of twenty cha")',
        "sys(prctl, 16, edge)",
        "edge[14] * 256 + edge[15]",
        "sys(prctl, 15, 16)",
        "sys(prctl, 16, edge + PAGE - 15)",
        "sys(prctl, 999, 0)",
    )
    found = said(tmp_path, EDGE + calls)
    assert found[:8] == [0, ord("x"), 0, 1, -EPERM, 0, 0, 1]
    assert found[8:] == [-EFAULT, -EINVAL, 0, 0, ord("t") * 256, -EFAULT, -EFAULT, -EINVAL]


def test_usage_counts_faults(tmp_path: Path) -> None:
    body = """
    long usage[18], before;
    sys(getrusage, 0, usage); before = usage[8];
    byte *p = map(9 * PAGE, RW, ANONYMOUS, -1, 0);
    for (int i = 0; i < 7; i++) poke(p + i * PAGE, 1);
    sys(getrusage, 0, usage); long self = usage[8] - before;
    sys(getrusage, 1, usage); say("", self); say("", usage[9]); say("", usage[8] - before);
    sys(getrusage, -1, usage); say("", usage[8]);
    if (!sys(fork)) { for (int i = 0; i < 5; i++) poke(p + i * PAGE, 1); sys(exit_group, 0); }
    sys(wait4, -1, 0, 0, 0); sys(getrusage, -1, usage); say("", usage[8] >= 5);
    say("", sys(getrusage, 2, usage)); say("", sys(getrusage, 0, 16));
    """
    assert said(tmp_path, EDGE + body) == [7, 0, 7, 0, 1, -EINVAL, -EFAULT]


def test_uname_and_sysinfo(tmp_path: Path) -> None:
    body = """
    static struct { char names[6][65]; } it; static long info[14];
    sys(uname, &it); sys(write, 1, &it, sizeof it); sys(sysinfo, info); sys(write, 1, info, sizeof info);
    """
    data = printed(tmp_path, body)
    names = [data[at : at + 65].rstrip(b"\0").decode() for at in range(0, 390, 65)]
    assert (names[0], names[4]) == ("Linux", "x86_64")
    assert names[2].split(".")[0].isdigit()
    uptime, _, _, _, total, free, *_ = struct.unpack("<10Q", data[390:470])
    processes, _, _, unit = struct.unpack("<HxxxxxxQQI", data[470:498])
    assert (total, processes, unit) == (512 << 20, 1, 1)
    assert 0 < free < total
    assert free % 4096 == uptime == 0
    assert said(tmp_path, EDGE + say("sys(uname, edge + PAGE - 389)", "sys(sysinfo, edge + PAGE - 111)")) == [
        -EFAULT,
        -EFAULT,
    ]


def test_rseq_and_the_robust_list(tmp_path: Path) -> None:
    body = "byte *area = edge + 64;" + say(
        "sys(rseq, area + 4, 32, 0, 1)",
        "sys(rseq, area, 31, 0, 1)",
        "sys(rseq, area, 32, 2, 1)",
        "(fill(area, 0, 32), poke(area, 9), sys(rseq, area, 32, 0, 1))",
        "area[0] + area[4]",
        "sys(rseq, area, 32, 0, 1)",
        "sys(rseq, area + 32, 32, 1, 1)",
        "sys(rseq, area, 32, 1, 1)",
        "sys(rseq, area, 32, 1, 1)",
        "sys(set_robust_list, area, 24)",
        "sys(set_robust_list, area, 23)",
    )
    found = said(tmp_path, EDGE + body)
    assert found[:4] == [-EINVAL, -EINVAL, -EINVAL, 0]
    assert found[4:] == [0, -16, -EINVAL, 0, -EINVAL, 0, -EINVAL]
