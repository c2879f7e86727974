"""Calling kernel functions: what comes back, what is remembered, and what stops a call that does not return."""

from __future__ import annotations

from typing import Any

import pytest

from pagefault import PAGE, BadInput, DidNotReturn, FixedUp, Machine, Oops
from pagefault.errors import Absent
from pagefault.kernels import faulty_module
from pagefault.machine.event import Died, Returned
from pagefault.machine.kernel_memory import KERNEL_ROX


@pytest.fixture
def machine() -> Machine:
    machine = Machine.boot()
    machine.load_module(faulty_module(), "faulty")
    return machine


def run_code(machine: Machine, code: bytes, **registers: Any) -> object:
    """Run bytes as a kernel function, in the middle of a page of their own."""
    at = machine.area.modules_start + 0x80000
    machine.memory.map_pages(at, bytes(16) + code + b"\xc3", PAGE, KERNEL_ROX)
    return machine.run(at + 16, budget=100_000, **registers).end


def test_the_example_of_the_readme(machine: Machine) -> None:
    src = machine.user.mmap(length=2 * PAGE, populate=True)
    machine.user.munmap(src + PAGE, PAGE)
    dst = machine.kmalloc(64)
    assert machine.call("_copy_from_user", dst, src + PAGE - 40, 64) == 24
    assert isinstance(machine.faults[-1], FixedUp)


def test_a_call_that_oopses_raises_and_carries_the_story(machine: Machine) -> None:
    with pytest.raises(DidNotReturn, match=r"rd did not return.*SMAP violation.*0x10.*rd\+0x") as caught:
        machine.call("rd", 0x10)
    assert isinstance(caught.value.result.end, Died)
    assert caught.value.result.events[-1].fault.address == 0x10


def test_the_machine_goes_on_after_an_oops(machine: Machine) -> None:
    assert isinstance(machine.run("rd", 0x10).end, Died)
    assert machine.call("rd", machine.kmalloc(8, (7).to_bytes(8, "little"))) == 7


def test_an_unknown_function_names_its_neighbours(machine: Machine) -> None:
    with pytest.raises(Absent, match="_copy_from_user"):
        machine.call("copy_from_usr")


def test_too_many_arguments_and_unknown_registers_are_refused(machine: Machine) -> None:
    with pytest.raises(BadInput, match="at most 6"):
        machine.call("rd", 1, 2, 3, 4, 5, 6, 7)
    with pytest.raises(BadInput, match="register"):
        machine.call("rd", rxx=1)


def test_registers_can_be_given_by_name_and_come_back(machine: Machine) -> None:
    result = machine.run("__get_user_4", rax=0x5000)
    assert isinstance(result.end, Returned)
    assert result.registers["rdx"] == 0
    assert result.arguments == {"rax": 0x5000}


def test_each_process_has_its_own_user_half(machine: Machine) -> None:
    first = machine.user
    page = first.mmap(PAGE, content=b"first")
    second = machine.spawn("second")
    machine.switch_to(second)
    dst = machine.kmalloc(8)
    assert machine.call("_copy_from_user", dst, page, 5) == 5
    machine.switch_to(first)
    assert machine.call("_copy_from_user", dst, page, 5) == 0
    assert machine.read(dst, 5) == b"first"


def test_the_latest_faults_are_remembered_and_no_more(machine: Machine) -> None:
    for _ in range(10):
        machine.call("__get_user_1", rax=0x5000)
    assert len(machine.faults) == 10
    assert machine.events.maxlen


def test_reading_and_writing_unmapped_kernel_memory_is_our_callers_mistake(machine: Machine) -> None:
    with pytest.raises(BadInput, match="kernel address"):
        machine.read(machine.area.vmalloc_end - PAGE, 8)
    with pytest.raises(BadInput, match="kernel address"):
        machine.write(machine.area.vmalloc_end - PAGE, b"x")


def test_an_oops_is_an_outcome_with_a_reason(machine: Machine) -> None:
    result = machine.run("wr", machine.symbols.find("_copy_from_user"))
    assert result.end == Died(Oops("unable to handle page fault"))
    assert "wr+0x" in machine.why(result)


@pytest.mark.parametrize(
    "code",
    [
        "0f01f8",  # swapgs
        "31c0 0f22d8",  # xor %eax, %eax; mov %rax, %cr3
        "0f20c0 480fbaf010 0f22c0",  # mov %cr0, %rax; btr $16, %rax (WP); mov %rax, %cr0
        "0f01cb",  # stac
    ],
)
def test_a_call_that_leaves_the_cpu_in_disorder_does_not_harm_the_next(machine: Machine, code: str) -> None:
    run_code(machine, bytes.fromhex(code))
    with pytest.raises(DidNotReturn, match="unable to handle page fault"):
        machine.call("wr", machine.symbols.find("_copy_from_user"))
    assert machine.call("copy_from_user_nofault", machine.kmalloc(8), machine.user.mmap(PAGE, populate=True), 8) == 0
    with pytest.raises(DidNotReturn, match="SMAP"):
        machine.call("rd", machine.user.mmap(PAGE, populate=True))


def test_code_that_is_written_over_runs_as_written(machine: Machine) -> None:
    at = machine.symbols.find("rd")
    assert machine.call("rd", machine.kmalloc(8)) == 0
    machine.write(at, bytes.fromhex("b802000000c3"))  # mov $2, %eax; ret
    assert machine.call("rd", 0) == 2
