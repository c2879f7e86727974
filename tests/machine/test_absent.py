"""What the machine lacks stops a call with its reason, instead of oopsing in structures that nobody set up."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagefault import Machine
from pagefault.machine.absent import GATES, gates
from pagefault.machine.event import Returned, Stopped


@pytest.fixture(scope="module", params=["vmlinux_61", "vmlinux_612"])
def machine(request: pytest.FixtureRequest) -> Machine:
    path: Path = request.getfixturevalue(request.param)
    return Machine.boot(path)


@pytest.mark.parametrize(
    ("functions", "arguments", "what"),
    [
        (["msleep"], (10,), "scheduler"),
        (["schedule"], (), "scheduler"),
        (["__kmalloc", "__kmalloc_noprof"], (64, 0xCC0), "slab allocator"),
        (["vmalloc", "vmalloc_noprof"], (4096,), "vmalloc"),
        (["ktime_get"], (), "timekeeping"),
        (["synchronize_rcu"], (), "RCU"),
    ],
)
def test_a_call_stops_at_the_gate(
    machine: Machine, functions: list[str], arguments: tuple[int, ...], what: str
) -> None:
    name = next(name for name in functions if machine.symbols.get(name) is not None)
    for _ in range(2):
        result = machine.run(name, *arguments)
        assert isinstance(result.end, Stopped)
        assert f"this machine has no {what}" in result.end.why
        assert result.end.at in machine.gates
        assert not result.events
    assert isinstance(machine.run("strnlen_user", 0x1000, 4).end, Returned), "and the machine goes on"


def test_most_gates_exist_in_each_kernel(machine: Machine) -> None:
    assert set(machine.gates.values()) == set(GATES)
    assert gates(machine.symbols) == machine.gates
