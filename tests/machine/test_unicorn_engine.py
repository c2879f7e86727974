"""What is read out of Unicorn's own memory is what it should be."""

from __future__ import annotations

import pytest
import unicorn
from unicorn import x86_const as uc_x86

from pagefault import PAGE, Machine, Unsupported
from pagefault.arch import x86
from pagefault.kernels import faulty_module
from pagefault.machine.event import Returned, Stopped
from pagefault.machine.kernel_memory import KERNEL_ROX
from pagefault.machine.unicorn_engine import EngineNotes, offset_of, own_memory, pkru_in, pkru_of


@pytest.fixture(scope="module")
def machine() -> Machine:
    machine = Machine.boot()
    machine.load_module(faulty_module(), "faulty")
    return machine


@pytest.mark.parametrize("address", [0x1000, 0x7FFF_1234_5677, 0xFFFF_8000_0000_0ABC])
def test_the_refused_address_is_exact(address: int) -> None:
    uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    uc.ctl_set_tlb_mode(unicorn.UC_TLB_VIRTUAL)
    uc.mem_map(0, PAGE)
    uc.mem_write(0, bytes.fromhex("488b07"))
    uc.reg_write(uc_x86.UC_X86_REG_RDI, address)
    uc.hook_add(unicorn.UC_HOOK_TLB_FILL, lambda _uc, at, _kind, result, _data: fill(at, result))
    with pytest.raises(unicorn.UcError):
        uc.emu_start(0, 3)
    assert EngineNotes(uc).refused_address == address


def fill(address: int, result: object) -> bool:
    result.paddr, result.perms = 0, unicorn.UC_PROT_ALL  # type: ignore[attr-defined]
    return address == 0


WRPKRU = bytes.fromhex("0f01ef 31c0")
"""And an instruction after it, which ends what is translated together."""


def test_pkru_lies_where_the_engine_keeps_it() -> None:
    uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    uc.ctl_set_cpu_model(uc_x86.UC_CPU_X86_ICELAKE_SERVER)
    uc.mem_map(0, PAGE)
    uc.mem_write(0, WRPKRU)
    uc.reg_write(uc_x86.UC_X86_REG_CR4, x86.CR4_PKE)
    live = pkru_of(uc)
    assert live is not None
    assert live.value == 0, "trying it leaves it as it was"
    for value in (0x5555_5554, 0x1234_5678):
        uc.reg_write(uc_x86.UC_X86_REG_EAX, value)
        uc.emu_start(0, len(WRPKRU))
        assert live.value == value
    live.value = 0x00C0_FFEE
    saved = uc.context_save()
    assert pkru_in(saved).value == 0x00C0_FFEE


def test_memory_that_is_not_mapped_is_no_crash() -> None:
    assert own_memory(8, 8) == b""
    assert own_memory((1 << 64) - 8, 8) == b""


def test_a_place_that_cannot_be_found_is_said_so() -> None:
    with pytest.raises(Unsupported, match="a thing"):
        offset_of("a thing", lambda _uc, _value: None, (0x1234_5678_9ABC, 0x7EDC_BA98_7655))


@pytest.mark.parametrize(("nops", "rounds"), [(0, 0), (1, 0), (5, 0), (300, 0), (3, 100)])
def test_instructions_are_counted_exactly(machine: Machine, nops: int, rounds: int) -> None:
    at = machine.area.modules_start + 0x80000 + nops * 0x2000 + rounds * 0x100000
    code = b"\x90" * nops + (b"\xf3\xa4" if rounds else b"") + b"\xc3"
    machine.memory.map_pages(at, bytes(16) + code, PAGE, KERNEL_ROX)
    buffer = machine.kmalloc(256)
    expected = nops + rounds + (1 if rounds else 0) + 1
    result = machine.run(at + 16, buffer, buffer + 128, 0, rounds)
    assert isinstance(result.end, Returned)
    assert result.executed == expected
    for budget in (1, 2, 3, expected - 1, expected):
        if budget < 1:
            continue
        ended = machine.run(at + 16, buffer, buffer + 128, 0, rounds, budget=budget).end
        assert isinstance(ended, Returned if budget >= expected else Stopped), budget
        if isinstance(ended, Stopped):
            assert f"out of budget: {budget} instructions" in ended.why


def test_the_budget_is_the_whole_call_s_not_each_stretch_s(machine: Machine) -> None:
    """A copy over 4 pages faults 4 times; its instructions are counted through."""
    source = machine.kmalloc(4 * PAGE)
    whole = machine.run("_copy_to_user", machine.user.mmap(4 * PAGE), source, 4 * PAGE)
    assert isinstance(whole.end, Returned)
    assert len(whole.events) == 4
    cut = machine.run("_copy_to_user", machine.user.mmap(4 * PAGE), source, 4 * PAGE, budget=whole.executed - 1)
    assert isinstance(cut.end, Stopped)
    assert len(cut.events) == 4


def test_a_byte_that_looks_like_hlt_before_the_stop_is_no_hlt(machine: Machine) -> None:
    at = machine.area.modules_start + 0x70000
    machine.memory.map_pages(at, bytes(16) + bytes.fromhex("b8000000f4ebf9"), PAGE, KERNEL_ROX)  # mov $0xf4…; jmp back
    for budget in (999, 1000):
        end = machine.run(at + 16, budget=budget).end
        assert isinstance(end, Stopped)
        assert "out of budget" in end.why
