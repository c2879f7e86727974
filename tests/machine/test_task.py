"""`current`, as the kernel's own code sees it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagefault import Machine
from pagefault.machine.task import THREAD_SIZE


@pytest.fixture(scope="module", params=["small", "vmlinux_61", "vmlinux_612"])
def machine(request: pytest.FixtureRequest) -> Machine:
    path: Path | None = None if request.param == "small" else request.getfixturevalue(request.param)
    return Machine.boot(path)


def set_u32(machine: Machine, address: int, value: int) -> None:
    machine.write(address, value.to_bytes(4, "little"))


def test_pagefault_disabled_is_read_from_the_task(machine: Machine) -> None:
    task, tasks = machine.current.task, machine.tasks
    assert not tasks.faulthandler_disabled(task)
    set_u32(machine, tasks.field(task, "pagefault_disabled"), 1)
    assert tasks.faulthandler_disabled(task)
    tasks.make_current(task)
    assert not tasks.faulthandler_disabled(task)


def test_a_preempt_count_makes_the_section_atomic(machine: Machine) -> None:
    task, tasks = machine.current.task, machine.tasks
    count = machine.symbols.get("__preempt_count")
    if count is None:
        count = machine.symbols.find("pcpu_hot") + machine.booted.image.layout.offset("pcpu_hot", "preempt_count")
    at = machine.booted.percpu + count & (1 << 64) - 1
    set_u32(machine, at, 1 << 31 | 1)
    assert tasks.faulthandler_disabled(task)
    set_u32(machine, at, 1 << 31)
    assert not tasks.faulthandler_disabled(task)


def test_each_task_has_a_stack_with_a_guard_page_and_a_pid_of_its_own(machine: Machine) -> None:
    first, second = machine.spawn("first").task, machine.spawn("a name that is too long").task
    assert second.pid == first.pid + 1
    assert second.comm == "a name that is "
    for task in (first, second):
        low, high = task.stack
        assert high - low == THREAD_SIZE[64]
        assert len(machine.walk(low - 1).entries) == 4
        assert machine.walk(low - 1).entries[-1].value == 0
    assert first.stack[1] <= second.stack[0] or second.stack[1] <= first.stack[0]


def test_the_small_kernels_own_code_disables_faults() -> None:
    machine = Machine.boot()
    machine.call("pagefault_disable")
    assert machine.tasks.faulthandler_disabled(machine.current.task)


def test_a_task_that_ended_leaves_no_memory_behind(machine: Machine) -> None:
    root = machine.current.mm.root
    machine.tasks.free(machine.tasks.new(root, "first"))
    free = machine.frames.free
    for _ in range(20):
        machine.tasks.free(machine.tasks.new(root, "next"))
    assert machine.frames.free == free
    needed = machine.tasks.frames_needed()
    tasks = [machine.tasks.new(root, "kept") for _ in range(20)]
    assert free - machine.frames.free <= needed * len(tasks)
