"""Calling kernel functions: what comes back, what is remembered, and what stops a call that does not return."""

from __future__ import annotations

import pytest

from pagefault import PAGE, BadInput, DidNotReturn, FixedUp, Machine, Oops
from pagefault.errors import Absent
from pagefault.kernels import faulty_module
from pagefault.machine.event import Died, Returned, Stopped
from pagefault.machine.kernel_memory import KERNEL_ROX

INT3, UD2, HLT, SPIN = b"\xcc", b"\x0f\x0b", b"\xf4", b"\xeb\xfe"


@pytest.fixture
def machine() -> Machine:
    machine = Machine.boot()
    machine.load_module(faulty_module(), "faulty")
    return machine


def run_code(machine: Machine, code: bytes, **registers: int) -> object:
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


def test_a_function_that_never_returns_runs_out_of_budget(machine: Machine) -> None:
    end = run_code(machine, SPIN)
    assert isinstance(end, Stopped)
    assert "out of budget: 100000 instructions" in end.why


@pytest.mark.parametrize(("code", "why"), [(INT3, "int3"), (UD2, "invalid opcode"), (HLT, "HLT")])
def test_what_the_machine_does_not_provide_stops_the_call_and_says_where(
    machine: Machine, code: bytes, why: str
) -> None:
    end = run_code(machine, code)
    assert isinstance(end, Stopped)
    assert why in end.why
    assert end.at & ~0xFFF == machine.area.modules_start + 0x80000


def test_memory_that_is_mapped_to_no_ram_stops_the_call(machine: Machine) -> None:
    at = machine.area.modules_start + 0x90000
    machine.tables.map(machine.booted.init_mm_root, at, machine.ram.size + PAGE, 0x163)
    end = machine.run("rd", at).end
    assert isinstance(end, Stopped)
    assert "there is no RAM" in end.why


def test_a_fault_that_comes_back_for_ever_is_noticed(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the handler's effects lost, the same instruction would fault again and again."""
    monkeypatch.setattr("pagefault.machine.run.apply", lambda *_: None)
    monkeypatch.setattr("pagefault.handler.fixup.FixedUp", lambda entry, _landing: FixedUp(entry, entry.insn))
    end = machine.run("rd_user_guarded", 0x5000).end
    assert isinstance(end, Stopped)
    assert "no progress" in end.why


def test_registers_can_be_given_by_name_and_come_back(machine: Machine) -> None:
    result = machine.run("__get_user_4", rax=0x5000)
    assert isinstance(result.end, Returned)
    assert result.registers["rdx"] == 0
    assert result.arguments == {"rax": 0x5000}


def test_a_read_modify_write_instruction_faults_as_a_write(machine: Machine) -> None:
    """`add %rax, (%rdi)`: the CPU checks for a write from the start, so W is set though it reads first."""
    end = run_code(machine, bytes.fromhex("480107"), rdi=machine.area.vmalloc_end - 64 * PAGE)
    assert isinstance(end, Died)
    assert machine.events[-1].fault.error_code == 0x2


def test_cr2_is_the_exact_address_and_the_boundary_for_an_access_that_crosses(machine: Machine) -> None:
    area = machine.vmalloc(PAGE)
    machine.run("rd", area + PAGE + 0x123)
    assert machine.events[-1].fault.address == area + PAGE + 0x123
    assert machine.cpu.read("cr2") == area + PAGE + 0x123
    machine.run("rd", area + PAGE - 4)
    assert machine.events[-1].fault.address == area + PAGE


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
