"""Sleeping, and the clocks: a nanosecond an instruction, and a jump to the next timer when everybody waits."""

from __future__ import annotations

from errno import EFAULT, EINTR, EINVAL, EOPNOTSUPP
from pathlib import Path

from syscalls.saying import said, say

TIME = "long at[2] = {0, 0}, rest[2] = {0, 0}; byte *edge = map_at(CLEAR, PAGE, RW, ANONYMOUS); (void)rest, (void)edge;"
HANDLER = """
static void restorer(void) { asm volatile("mov $15, %eax; syscall"); }
static void handler(int number) { say("", number); }
"""
CATCH = """
struct { void *handler; unsigned long flags; void *restorer; unsigned long mask; }
    action = {handler, 0x04000000, restorer, 0};
sys(rt_sigaction, 10, &action, 0, 8);
long self = sys(getpid);
"""


def test_what_is_refused(tmp_path: Path) -> None:
    calls = say(
        "(at[0] = -1, sys(nanosleep, at, 0))",
        "(at[0] = 0, at[1] = -1, sys(nanosleep, at, 0))",
        "(at[1] = 1000000000, sys(nanosleep, at, 0))",
        "sys(nanosleep, edge + PAGE - 15, 0)",
        "(at[1] = 0, sys(nanosleep, at, 16))",
        "sys(clock_nanosleep, 3, 0, at, 0)",
        "sys(clock_nanosleep, 99, 0, at, 0)",
        "sys(clock_nanosleep, 1, 1, at, 0)",
        "sys(clock_gettime, 1, edge + PAGE - 15)",
        "sys(clock_gettime, 99, at)",
        "sys(gettimeofday, edge + PAGE - 15, 0)",
        "sys(gettimeofday, at, edge + PAGE - 7)",
        "sys(gettimeofday, at, edge + PAGE - 8)",
        "sys(time, edge + PAGE - 7)",
        "sys(time, edge) == *(long *)edge",
    )
    found = said(tmp_path, TIME + calls)
    assert found[:8] == [-EINVAL, -EINVAL, -EINVAL, -EFAULT, 0, -EOPNOTSUPP, -EINVAL, 0]
    assert found[8:] == [-EFAULT, -EINVAL, -EFAULT, -EFAULT, 0, -EFAULT, 1]


def test_who_sleeps_less_wakes_first(tmp_path: Path) -> None:
    body = """
    for (int i = 0; i < 4; i++)
        if (!sys(fork)) {
            at[1] = (3 - i) * 100000000; sys(nanosleep, at, 0); say("", i); sys(exit_group, 0);
        }
    while (sys(wait4, -1, 0, 0, 0) > 0) ;
    """
    assert said(tmp_path, TIME + body) == [3, 2, 1, 0]


def test_time_passes_while_everybody_sleeps(tmp_path: Path) -> None:
    body = """
    long before[2], after[2];
    sys(clock_gettime, 1, before); at[0] = 1, at[1] = 5000; sys(nanosleep, at, 0); sys(clock_gettime, 1, after);
    say("", after[0] - before[0] >= 1);
    at[0] = after[0] + 1, at[1] = after[1]; sys(clock_nanosleep, 1, 1, at, 0); sys(clock_gettime, 1, before);
    say("", before[0] - after[0] >= 1);
    """
    assert said(tmp_path, TIME + body) == [1, 1]


def test_longer_than_there_is_time(tmp_path: Path) -> None:
    body = """
    at[0] = ~0ul >> 1;
    say("", sys(nanosleep, at, 0)); say("", sys(nanosleep, at, 0)); say("", sys(clock_nanosleep, 1, 1, at, 0));
    sys(clock_gettime, 1, at); say("", at[0] - 9223372036 < 100);
    """
    assert said(tmp_path, TIME + body) == [0, 0, 0, 1]


def test_a_fault_after_the_longest_sleep(tmp_path: Path) -> None:
    body = "at[0] = ~0ul >> 1; sys(nanosleep, at, 0); byte *p = map(PAGE, RW, ANONYMOUS, -1, 0); poke(p, 7);"
    assert said(tmp_path, TIME + body + 'say("", *p);') == [7]


def test_a_signal_wakes_and_the_rest_is_told(tmp_path: Path) -> None:
    body = """
    if (!sys(fork)) { at[1] = 100000000; sys(nanosleep, at, 0); sys(kill, self, 10); sys(exit_group, 0); }
    at[0] = 7; say("", sys(nanosleep, at, rest)); say("", rest[0]); say("", rest[1] > 800000000);
    if (!sys(fork)) { at[0] = 0, at[1] = 100000000; sys(nanosleep, at, 0); sys(kill, self, 10); sys(exit_group, 0); }
    say("", sys(nanosleep, at, 16));
    """
    assert said(tmp_path, TIME + CATCH + body, before=HANDLER) == [10, -EINTR, 6, 1, 10, -EFAULT]


def test_yielding_lets_the_others_run_in_turn(tmp_path: Path) -> None:
    body = """
    (void)at; byte *shared = map(PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int i = 1; i < 4; i++)
        if (!sys(fork)) {
            for (int turn = 0; turn < 3; turn++) { say("", turn * 10 + i); sys(sched_yield); }
            poke(shared, *shared + 1); sys(exit_group, 0);
        }
    while (*shared < 3) sys(sched_yield);
    """
    assert said(tmp_path, TIME + body) == [1, 2, 3, 11, 12, 13, 21, 22, 23]
