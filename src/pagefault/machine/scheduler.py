"""
Who runs. Each task's kernel stack is a greenlet: code that waits calls `block`, and goes on when it was woken.

One CPU, no preemption: a task runs until it waits or ends, and whoever was woken first runs next, like SCHED_FIFO. Time
passes with instructions; when everybody waits it jumps to the next timer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from greenlet import getcurrent, greenlet

from .cpu import Cpu

ERESTARTSYS = 512
"""What a system call says that a signal interrupted (Kernel: include/linux/errno.h, v6.1)."""


class Killed(BaseException):
    """Raised in a task that sleeps, when it is to end: its system call does not come back."""


@dataclass(eq=False)
class Thread:
    """
    A task as the scheduler knows it. `resume` puts its address space and itself in the CPU's way; `saved` is what the
    CPU held when it last ran. `signalled` and `killed` ask whether a signal waits for it, and whether one that ends it.
    """

    name: str
    resume: Callable[[], None]
    stack: greenlet = field(repr=False)
    saved: object = None
    ready: bool = False
    signalled: Callable[[], bool] = lambda: False
    killed: Callable[[], bool] = lambda: False


@dataclass(eq=False)
class WaitQueue:
    """Tasks that wait for something (Kernel: include/linux/wait.h struct wait_queue_head, v6.1)."""

    waiting: list[Thread] = field(default_factory=list)


class Scheduler:
    """Runs threads until none is left that can run."""

    def __init__(self, cpu: Cpu) -> None:
        self._cpu = cpu
        self._ready: deque[Thread] = deque()
        self._timers: list[tuple[int, int, Thread]] = []
        self._order = 0
        self._last: Thread | None = None
        self._main = getcurrent()
        self.current: Thread | None = None
        self.now = 0
        """Nanoseconds since boot: one an instruction."""

    def start(self, name: str, run: Callable[[], None], resume: Callable[[], None]) -> Thread:
        """A new task, which will begin at `run`."""
        thread = Thread(name, resume, greenlet(run, self._main))
        self.wake(thread)
        return thread

    def wake(self, thread: Thread) -> None:
        """Let a task run when its turn comes."""
        if not thread.ready:
            thread.ready = True
            self._ready.append(thread)

    def wake_up(self, queue: WaitQueue) -> None:
        """Wake everybody who waits there (Kernel: include/linux/wait.h wake_up_all(), v6.1)."""
        for thread in queue.waiting:
            self.wake(thread)
        queue.waiting.clear()

    def wait_event(self, queue: WaitQueue, condition: Callable[[], bool]) -> None:
        """
        Sleep until `condition` holds; it is looked at whenever the queue is woken.

        Kernel: include/linux/wait.h wait_event_killable(), v6.1: a task that is killed meanwhile does not come back.
        """
        while not condition():
            self._sleep_on(queue)

    def wait_event_interruptible(
        self, queue: WaitQueue, condition: Callable[[], bool], until: int | None = None
    ) -> bool:
        """
        The same, until a signal comes or that time: then False, and the caller says -ERESTARTSYS, -EINTR or -ETIMEDOUT.

        Kernel: include/linux/wait.h wait_event_interruptible_hrtimeout(), v6.1.
        """
        while not condition():
            assert self.current is not None
            if self.current.signalled() or (until is not None and self.now >= until):
                return False
            self._sleep_on(queue, until)
        return True

    def wait_event_on_any(self, queues: list[WaitQueue], condition: Callable[[], bool], until: int | None) -> bool:
        """
        The same, woken from any of these queues.

        Kernel: fs/select.c poll_schedule_timeout(), v6.1.
        """
        thread = self.current
        assert thread is not None
        while not condition():
            if thread.signalled() or (until is not None and self.now >= until):
                return False
            for queue in queues:
                queue.waiting.append(thread)
            try:
                self._sleep_on(WaitQueue(), until)
            finally:
                for queue in queues:
                    if thread in queue.waiting:
                        queue.waiting.remove(thread)
        return True

    def sleep_until(self, when: int) -> bool:
        """Sleep until that time, or until a signal comes; says whether the time has come."""
        return not self.wait_event_interruptible(WaitQueue(), lambda: False, when) and self.now >= when

    def _sleep_on(self, queue: WaitQueue, until: int | None = None) -> None:
        thread = self.current
        assert thread is not None
        queue.waiting.append(thread)
        self._order += 1
        timer = None if until is None else (until, self._order, thread)
        if timer is not None:
            heappush(self._timers, timer)
        try:
            self.block()
        finally:
            if thread in queue.waiting:
                queue.waiting.remove(thread)
            if timer in self._timers:
                self._timers.remove(timer)
                heapify(self._timers)

    def block(self) -> None:
        """Let others run until somebody wakes this task."""
        thread = self.current
        assert thread is not None
        thread.saved = self._cpu.save()
        self._main.switch()
        if thread.killed():
            raise Killed

    def yield_(self) -> None:
        """Let those run first who can (Kernel: kernel/sched/core.c do_sched_yield(), v6.1)."""
        if self._ready and self.current is not None:
            self.wake(self.current)
            self.block()

    def run(self) -> None:
        """Run everybody until nobody can run any more."""
        self._main = getcurrent()
        while self._ready or self._timers:
            while self._timers and (self._timers[0][0] <= self.now or not self._ready):
                when, _, sleeper = heappop(self._timers)
                self.now = max(self.now, when)
                self.wake(sleeper)
            thread = self._ready.popleft()
            thread.ready = False
            if thread.stack.dead:
                continue
            self.current = thread
            if thread is not self._last and thread.saved is not None:
                self._cpu.restore(thread.saved)
            thread.resume()
            self._last = thread
            thread.stack.switch()
        self.current = None
