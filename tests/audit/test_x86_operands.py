"""AT&T text taken apart."""

from __future__ import annotations

import pytest

from pagefault.arch.disassembly import disassemble
from pagefault.arch.platform import X86_32, X86_64
from pagefault.audit.x86_operands import Memory, Step, step


def of(code: str, platform: object = X86_64) -> Step:
    found = disassemble(X86_32 if platform is X86_32 else X86_64, bytes.fromhex(code), 0x1000)
    assert found is not None
    return step(found)


@pytest.mark.parametrize(
    ("code", "accesses"),
    [
        ("8b47 08", (Memory(None, "rdi", None, 8),)),
        ("65488b042500000000", (Memory("gs", None, None, 0),)),
        ("488b0500010000", (Memory(None, "rip", None, 0x100),)),
        ("89548ef8", (Memory(None, "rsi", "rcx", -8),)),
        ("f3a4", (Memory(None, "rsi", None, 0), Memory(None, "rdi", None, 0))),
        ("f3aa", (Memory(None, "rdi", None, 0),)),
        ("488d4708", ()),
        ("0f1f4000", ()),
        ("0f1807", ()),
        ("0fb607", (Memory(None, "rdi", None, 0),)),
        ("f0480fc10f", (Memory(None, "rdi", None, 0),)),
        ("480fae2f", (Memory(None, "rdi", None, 0),)),
        ("4889c8", ()),
    ],
)
def test_the_memory_of_an_instruction(code: str, accesses: tuple[Memory, ...]) -> None:
    assert of(code).accesses == accesses


def test_32_bit_registers_have_the_same_names() -> None:
    assert of("8b4620", X86_32).accesses == (Memory(None, "rsi", None, 0x20),)
    assert of("f3a5", X86_32).accesses == of("f3a5").accesses


@pytest.mark.parametrize(
    ("code", "target", "calls", "jumps", "conditional", "returns"),
    [
        ("e8fb000000", 0x1100, True, False, False, False),
        ("e9fb000000", 0x1100, False, True, False, False),
        ("ebfe", 0x1000, False, True, False, False),
        ("7502", 0x1004, False, False, True, False),
        ("e302", 0x1004, False, False, True, False),
        ("ffe0", None, False, True, False, False),
        ("ff d0", None, True, False, False, False),
        ("c3", None, False, False, False, True),
    ],
)
def test_branches(code: str, target: int | None, calls: bool, jumps: bool, conditional: bool, returns: bool) -> None:
    found = of(code)
    assert (found.target, found.calls, found.jumps) == (target, calls, jumps)
    assert (found.conditional, found.returns) == (conditional, returns)
