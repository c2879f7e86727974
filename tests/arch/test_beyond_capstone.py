"""Instructions that capstone does not know."""

from __future__ import annotations

import pytest

from pagefault.arch.beyond_capstone import decode_beyond
from pagefault.arch.disassembly import disassemble
from pagefault.arch.platform import POWERPC64, S390, X86_64, Platform


@pytest.mark.parametrize(
    ("platform", "code", "text", "memory", "access"),
    [
        # What GNU objdump 2.40 prints of the same bytes, but for numbers' bases.
        (POWERPC64, "0000c3e0", "lq r6, 0(r3)", "0(r3)", "r"),
        (POWERPC64, "f0ffc3e0", "lq r6, -16(r3)", "-16(r3)", "r"),
        (POWERPC64, "020083f8", "stq r4, 0(r3)", "0(r3)", "w"),
        (POWERPC64, "281ac07c", "lqarx r6, 0, r3", "0, r3", "r"),
        (POWERPC64, "281ac27c", "lqarx r6, r2, r3", "r2, r3", "r"),
        (POWERPC64, "6d19807c", "stqcx. r4, 0, r3", "0, r3", "w"),
        (POWERPC64, "e403e07c", "slbia 7", None, ""),
        (X86_64, "f20f00f7", "lkgs %di", None, ""),
        # The kernel's own names.
        (S390, "eb13b00000d4", "pcistbi %r1, %r3, 0(%r11)", "0(%r11)", "r"),
        (S390, "eb13bffcffd0", "pcistb %r1, %r3, -4(%r11)", "-4(%r11)", "r"),
        (S390, "b9d6006a", "pcilgi %r6, %r10", None, ""),
        (S390, "b220009a", "servc %r9, %r10", None, ""),
    ],
)
def test_what_capstone_does_not_know(platform: Platform, code: str, text: str, memory: str | None, access: str) -> None:
    found = disassemble(platform, bytes.fromhex(code), 0)
    assert found is not None
    assert found.text == text
    assert found.code == bytes.fromhex(code)
    assert (None if found.memory is None else found.operands[slice(*found.memory)]) == memory
    assert "r" * found.reads + "w" * found.writes == access


@pytest.mark.parametrize(
    ("machine", "order", "code"),
    [
        ("EM_PPC64", "little", "0100c3e0"),  # lq with a bit set that it does not have
        ("EM_PPC64", "little", "0000c3"),
        ("EM_X86_64", "little", "f20f00ef"),
        ("EM_X86_64", "little", "f20f0037"),  # LKGS of memory
        ("EM_S390", "big", "eb13b00000d5"),
        ("EM_S390", "big", "eb13b000"),
        ("EM_MIPS", "little", "00000000"),
    ],
)
def test_what_is_none_of_them(machine: str, order: str, code: str) -> None:
    assert decode_beyond(machine, order, bytes.fromhex(code)) is None
