"""The loop: exact faults, and what ends a call that does not return."""

from __future__ import annotations

from typing import Any

import pytest

from pagefault import PAGE, FixedUp, Machine, Oops
from pagefault.evidence.oops import write
from pagefault.kernels import faulty_module
from pagefault.machine.event import Died, Returned, Stopped
from pagefault.machine.kernel_memory import KERNEL_ROX

INT3, UD2, HLT, SPIN = b"\xcc", b"\x0f\x0b", b"\xf4", b"\xeb\xfe"


@pytest.fixture
def machine() -> Machine:
    machine = Machine.boot()
    machine.load_module(faulty_module(), "faulty")
    return machine


def code_at(machine: Machine, code: bytes) -> int:
    """Bytes as a kernel function, in the middle of a page of their own."""
    at = machine.area.modules_start + 0x80000
    machine.memory.map_pages(at, bytes(64) + code + b"\xc3" + bytes(64), PAGE, KERNEL_ROX)
    return at + 64


def run_code(machine: Machine, code: bytes, **registers: Any) -> object:
    """Run bytes as a kernel function."""
    return machine.run(code_at(machine, code), budget=100_000, **registers).end


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


def test_a_stale_translation_faults_once_and_is_dropped(machine: Machine) -> None:
    page = machine.vmalloc(PAGE)
    machine.memory.set_memory(page, writable=False)
    machine.cpu.flush()
    machine.mmu.hold(page, machine.cpu.state())
    machine.memory.set_memory(page, writable=True)
    first, second = machine.run("wr", page), machine.run("wr", page)
    assert [event.stale for event in first.events] == [True]
    assert not machine.mmu.holds(page)
    assert not second.events


def test_an_interrupt_from_the_keyboard_is_not_taken_for_a_fault(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    machine.cpu.flush()
    monkeypatch.setattr(machine.mmu, "translate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        machine.run("rd", machine.kmalloc(8))


def test_protection_keys_of_supervisor_pages() -> None:
    """CR4.PKS with IA32_PKRS: access-disable and write-disable of key 1, on a kernel page."""
    machine = Machine.boot(features={"nx", "smep", "smap", "pks"})
    machine.load_module(faulty_module(), "faulty")
    page = machine.vmalloc(PAGE)
    entry = machine.memory.entry(page)
    machine.ram.write_u64(entry.physical, entry.value | 1 << 59)
    for pkrs, reads, writes in (
        (0b0000, True, True),
        (0b1000, True, False),
        (0b0100, False, False),
        (0b11_00_00, True, True),
    ):
        machine.cpu.write("pkrs", pkrs)
        assert isinstance(machine.run("rd", page).end, Returned) is reads, bin(pkrs)
        assert isinstance(machine.run("wr", page).end, Returned) is writes, bin(pkrs)
    machine.cpu.write("pkrs", 0b0100)
    machine.run("wr", page)
    assert machine.events[-1].fault.error_code == 0x23
    assert "protection keys violation" in write(machine.run("rd", page).oops or pytest.fail("no oops"))


def test_a_general_protection_fault_over_a_selector_has_its_error_code(machine: Machine) -> None:
    for selector in (0x1230, 0x2344, 0x0FFC):
        result = machine.run(code_at(machine, bytes.fromhex("8ed8")), rax=selector)  # mov %eax, %ds
        assert result.end == Died(Oops("segment-related general protection fault"))
        fault = result.events[-1].fault
        assert (fault.trap, fault.error_code, fault.address) == ("#GP", selector & 0xFFFC, None)
        assert result.oops is not None
        assert write(result.oops).startswith(f"segment-related general protection fault: {selector & 0xFFFC:04x} [#")


@pytest.mark.parametrize("kernel", ["vmlinux_61", "vmlinux_612"])
def test_a_bad_selector_goes_through_the_kernel_s_own_table(kernel: str, request: pytest.FixtureRequest) -> None:
    """native_load_gs_index() is prepared for it: the selector becomes 0, and the call returns."""
    machine = Machine.boot(request.getfixturevalue(kernel))
    for selector in (0x99, 0xA3):
        result = machine.run("native_load_gs_index", selector)
        assert isinstance(result.end, Returned)
        (event,) = result.events
        assert (event.fault.trap, event.fault.error_code, event.access) == ("#GP", selector & ~3, None)
        assert isinstance(event.decision.outcome, FixedUp)
        assert result.registers["gs"] == 0
