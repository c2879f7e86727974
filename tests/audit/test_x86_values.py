"""Pointers followed through registers and the stack."""

from __future__ import annotations

import pytest

from pagefault.arch.disassembly import disassemble_all
from pagefault.arch.platform import X86_64
from pagefault.audit.x86_operands import step
from pagefault.audit.x86_values import Phis, State, Value, total


def after(code: str) -> State:
    """The state when these instructions have run from a function's start."""
    state = State.entry(())
    for found in disassemble_all(X86_64, bytes.fromhex(code), 0x1000):
        state.run(step(found), (found.address,), bits=64)
    return state


def argument(name: str) -> Value:
    return ("entry", (), name)


@pytest.mark.parametrize(
    ("code", "register", "roots"),
    [
        ("4889f8", "rax", {"rdi"}),  # mov %rdi,%rax
        ("488d4710", "rax", {"rdi"}),  # lea 16(%rdi),%rax
        ("4883c708", "rdi", {"rdi"}),  # add $8,%rdi
        ("488d0437", "rax", {"rdi", "rsi"}),  # lea (%rdi,%rsi),%rax
        ("4801f7", "rdi", {"rdi", "rsi"}),  # add %rsi,%rdi
        ("57 5a", "rdx", {"rdi"}),  # push %rdi; pop %rdx
        ("4883ec10 48897c2408 31ff 488b442408", "rax", {"rdi"}),  # spilled, cleared, loaded again
        ("4887fe", "rdi", {"rsi"}),  # xchg %rdi,%rsi
        ("31ff", "rdi", set()),
        ("bf10000000", "rdi", set()),
        ("4889f8 4829f0 4801f0", "rax", {"rdi"}),  # rdi - rsi + rsi
        ("4889f8 83e007 4829c7", "rdi", {"rdi"}),  # rdi - (rdi & 7)
        ("48c1e603 488d0437", "rax", {"rdi"}),  # rdi + (rsi << 3)
        ("4889f9 f3a4", "rcx", set()),  # mov %rdi,%rcx; rep movsb: it has counted down
        ("480f44fe", "rdi", {"rdi", "rsi"}),  # cmove %rsi,%rdi
    ],
)
def test_where_a_value_is_from(code: str, register: str, roots: set[str]) -> None:
    assert Phis().roots(after(code).registers[register]) == {argument(name) for name in roots}


@pytest.mark.parametrize("code", ["480fb6c7 0fa2", "e800000000", "48f7e7", "0f31", "0f94c0"])
def test_what_an_instruction_makes_is_no_argument(code: str) -> None:
    assert Phis().roots(after("4889f8" + code).registers["rax"]) != {argument("rdi")}


def test_two_loads_of_one_field_are_the_same_value() -> None:
    state = after("488b4708 488b5708 488b4f10")
    assert state.registers["rax"] == state.registers["rdx"] != state.registers["rcx"]


def test_a_join_is_either() -> None:
    phis, left, right = Phis(), after("4889f8"), after("4889f0")
    assert phis.join(left, right, ("here",)) is True
    assert phis.roots(left.registers["rax"]) == {argument("rdi"), argument("rsi")}
    assert phis.join(left, right, ("here",)) is False
    assert left.registers["rbx"] == argument("rbx")


def test_a_sum_of_too_many_parts_tells_nothing() -> None:
    assert total(*(("load", (number,), 0) for number in range(9))) == ("const",)


def test_a_slot_that_one_side_has_not_written_is_forgotten() -> None:
    phis, left, right = Phis(), after("57"), after("4883ec08")
    assert phis.join(left, right, ("here",)) is True
    assert left.slots == {}
    assert phis.join(left, right, ("here",)) is False


@pytest.mark.parametrize(("bits", "kept"), [(64, "rbx"), (32, "rbx rsi rdi")])
def test_a_call_changes_what_the_abi_lets_it(bits: int, kept: str) -> None:
    state = State.entry(())
    [call] = disassemble_all(X86_64, bytes.fromhex("e800000000"), 0x1000)
    state.run(step(call), (call.address,), bits=bits)
    same = {name for name in ("rax", "rbx", "rcx", "rdx", "rsi", "rdi") if state.registers[name] == argument(name)}
    assert same == set(kept.split())
