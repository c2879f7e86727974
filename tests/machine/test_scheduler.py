"""Who runs: first come, first served; timers by time; and what the CPU holds is each thread's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from pagefault import Machine
from pagefault.machine.cpu import Cpu
from pagefault.machine.scheduler import Killed, Scheduler, Thread, WaitQueue


class FakeCpu:
    """Only what threads need of a CPU: a state that is saved and restored."""

    state = "nobody's"

    def save(self) -> object:
        return self.state

    def restore(self, saved: object) -> None:
        assert isinstance(saved, str)
        self.state = saved


class Stage:
    """A scheduler and a list of what happened, in order."""

    def __init__(self) -> None:
        self.cpu = FakeCpu()
        self.scheduler = Scheduler(self.cpu)  # type: ignore[arg-type]
        self.log: list[object] = []
        self.queue = WaitQueue()

    def start(self, name: str, run: Callable[[], object]) -> Thread:
        return self.scheduler.start(name, lambda: self.log.append((name, run())), lambda: self.log.append(name))

    def tell(self, change: Callable[[], None]) -> None:
        change()
        self.scheduler.wake_up(self.queue)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_first_come_first_served(stage: Stage) -> None:
    for name in "abc":
        stage.start(name, lambda: None)
    stage.scheduler.run()
    assert stage.log == ["a", ("a", None), "b", ("b", None), "c", ("c", None)]
    assert stage.scheduler.current is None


def test_a_thread_that_is_started_runs_when_its_parent_waits(stage: Stage) -> None:
    def parent() -> str:
        stage.start("child", lambda: stage.scheduler.wake_up(stage.queue))
        stage.log.append("goes on")
        stage.scheduler.yield_()
        return "ends"

    stage.start("parent", parent)
    stage.scheduler.run()
    assert stage.log == ["parent", "goes on", "child", ("child", None), "parent", ("parent", "ends")]


def test_a_wait_ends_when_its_condition_holds_and_not_before(stage: Stage) -> None:
    ready: list[int] = []

    def waker() -> None:
        for _ in range(3):
            stage.scheduler.wake_up(stage.queue)
            stage.scheduler.yield_()
            ready.append(1)

    stage.start("a", lambda: stage.scheduler.wait_event(stage.queue, lambda: len(ready) >= 2))
    stage.start("waker", waker)
    stage.scheduler.run()
    assert stage.log == ["a", "waker", "a", "waker", "a", "waker", "a", ("a", None), "waker", ("waker", None)]
    assert not stage.queue.waiting


def test_all_are_woken_the_first_one_first(stage: Stage) -> None:
    open_now: list[int] = []

    def waker() -> None:
        open_now.append(1)
        stage.scheduler.wake_up(stage.queue)

    for name in "abc":
        stage.start(name, lambda: stage.scheduler.wait_event(stage.queue, lambda: bool(open_now)))
    stage.start("w", waker)
    stage.scheduler.run()
    assert stage.log[4:] == [("w", None), "a", ("a", None), "b", ("b", None), "c", ("c", None)]


def test_who_waits_for_ever_is_left(stage: Stage) -> None:
    stage.start("a", lambda: stage.scheduler.wait_event(stage.queue, lambda: False))
    stage.start("b", lambda: None)
    stage.scheduler.run()
    assert stage.log == ["a", "b", ("b", None)]
    assert [thread.name for thread in stage.queue.waiting] == ["a"]


def test_time_jumps_to_the_next_timer(stage: Stage) -> None:
    def sleep(*until: int) -> Callable[[], list[tuple[bool, int]]]:
        return lambda: [(stage.scheduler.sleep_until(when), stage.scheduler.now) for when in until]

    stage.start("a", sleep(300, 310))
    stage.start("b", sleep(100, 305))
    stage.start("c", sleep(100))
    stage.scheduler.run()
    results = [entry for entry in stage.log if isinstance(entry, tuple)]
    assert results == [
        ("c", [(True, 100)]),
        ("b", [(True, 100), (True, 305)]),
        ("a", [(True, 300), (True, 310)]),
    ]


def test_a_timer_that_is_due_comes_before_who_is_ready(stage: Stage) -> None:
    def busy() -> None:
        for _ in range(3):
            stage.scheduler.now += 10
            stage.scheduler.yield_()

    stage.start("sleeper", lambda: stage.scheduler.sleep_until(15))
    stage.start("busy", busy)
    stage.start("other", busy)
    stage.scheduler.run()
    assert stage.log.index(("sleeper", True)) < stage.log.index(("busy", None))
    assert stage.scheduler.now == 60


def test_a_wait_that_is_over_leaves_no_timer(stage: Stage) -> None:
    there: list[int] = []
    stage.start("a", lambda: stage.scheduler.wait_event_interruptible(stage.queue, lambda: bool(there), 1000))
    stage.start("b", partial(stage.tell, lambda: there.append(1)))
    stage.scheduler.run()
    assert ("a", True) in stage.log
    assert stage.scheduler.now == 0
    late = stage.start("late", lambda: stage.scheduler.wait_event_interruptible(stage.queue, lambda: False, 1000))
    stage.scheduler.run()
    assert (stage.log[-1], stage.scheduler.now) == (("late", False), 1000)
    assert late not in stage.queue.waiting


def test_a_signal_ends_a_wait_and_a_killing_the_thread(stage: Stage) -> None:
    signals: set[str] = set()

    def waits() -> str:
        try:
            return str(stage.scheduler.wait_event_interruptible(stage.queue, lambda: False))
        except Killed:
            return "killed"

    for name in ("signalled", "killed"):
        thread = stage.start(name, waits)
        thread.signalled = thread.killed = lambda: False
        setattr(thread, name, partial(signals.__contains__, name))
    stage.start("sender", partial(stage.tell, lambda: signals.update(("signalled", "killed"))))
    stage.scheduler.run()
    assert stage.log[-4:] == ["signalled", ("signalled", "False"), "killed", ("killed", "killed")]
    assert not stage.queue.waiting


def test_a_thread_that_is_woken_twice_runs_once(stage: Stage) -> None:
    thread = stage.start("a", lambda: stage.scheduler.wait_event(stage.queue, lambda: False))
    stage.scheduler.wake(thread)
    stage.scheduler.run()
    assert stage.log == ["a"]
    stage.scheduler.wake(thread)
    stage.scheduler.wake(thread)
    stage.scheduler.run()
    assert stage.log == ["a", "a"]


def test_a_thread_that_has_ended_is_not_woken(stage: Stage) -> None:
    thread = stage.start("a", lambda: None)
    stage.scheduler.run()
    stage.scheduler.wake(thread)
    stage.scheduler.run()
    assert stage.log == ["a", ("a", None)]


def test_what_the_cpu_holds_is_the_threads_own(stage: Stage) -> None:
    def run(name: str) -> list[str]:
        stage.cpu.state = name
        seen = []
        for _ in range(2):
            stage.scheduler.yield_()
            seen.append(stage.cpu.state)
        return seen

    for name in ("a", "b"):
        stage.start(name, partial(run, name))
    stage.scheduler.run()
    assert ("a", ["a", "a"]) in stage.log
    assert ("b", ["b", "b"]) in stage.log


def test_registers_of_a_real_cpu() -> None:
    cpu: Cpu = Machine.boot().cpu
    scheduler, found = Scheduler(cpu), {}

    def run(value: int) -> None:
        cpu.write_many({"rbx": value, "r15": value + 1})
        scheduler.yield_()
        found[value] = (cpu.read("rbx"), cpu.read("r15"))

    for value in (1 << 60, 7):
        scheduler.start("thread", partial(run, value), lambda: None)
    scheduler.run()
    assert found == {1 << 60: (1 << 60, (1 << 60) + 1), 7: (7, 8)}
