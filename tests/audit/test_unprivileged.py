"""Instructions with the user's rights, told from all others by their bits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from audit.specimen import Specimen, piece
from pagefault.arch.platform import ARM, ARM64, MIPS, S390, X86_64, Platform
from pagefault.audit.context import AuditContext
from pagefault.audit.unprivileged import unprivileged

BASE = {"arm64": 0xFFFF_8000_0800_0000, "arm": 0xC010_0000, "mips": 0x8010_0000, "s390": 0x10_0000}


def image(platform: Platform, code: bytes, *names: tuple[int, str]) -> Specimen:
    base = BASE.get(platform.name, 0xFFFF_FFFF_8100_0000)
    symbols = [(base + at, name) for at, name in (*names, (0, "touch"), (len(code), "end"))]
    return Specimen((piece(".text", base, code),), tuple(symbols), platform=platform)


def found(platform: Platform, code: bytes, *names: tuple[int, str]) -> list[int]:
    context = AuditContext(image(platform, code, *names))
    return [address - context.image.executable[0][0] for address in unprivileged(context)]


def words(*each: int, order: str = "little") -> bytes:
    return b"".join(word.to_bytes(4, "little" if order == "little" else "big") for word in each)


@pytest.mark.parametrize("word", [0x38400801, 0x38001801, 0x78400801, 0xB8400801, 0xB8000801, 0xF8400801, 0xF8000801])
def test_arm64(word: int) -> None:
    # the word; ldr x1, [x0]; ldur x1, [x0]; ldr x1, [x0], #8
    assert found(ARM64, words(word, 0xF9400001, 0xF8400001, 0xF8408401)) == [0]


def test_arm() -> None:
    # $a; ldrt r0, [r1], #0; strbt r0, [r1], #1; ldr r0, [r1]; ldr r0, [r1], #4
    code = words(0xE4B10000, 0xE4E10001, 0xE5910000, 0xE4910004)
    assert found(ARM, code, (0, "$a")) == [0, 4]


def test_arm_constants_between_functions_are_no_instructions() -> None:
    # ldr r0, [pc, #0]; mov pc, lr; .word 0xe4b10000
    code = words(0xE59F0000, 0xE1A0F00E, 0xE4B10000)
    assert found(ARM, code, (0, "$a")) == []
    assert found(ARM, words(0xE1A00000, 0xE1A0F00E, 0xE4B10000), (0, "$a")) == [8]
    assert found(ARM, words(0xE1A00000, 0xE1A0F00E, 0xE4B10000), (0, "$a"), (8, "$d")) == []


def test_arm_without_mapping_symbols_says_what_it_leaves_out() -> None:
    context = AuditContext(image(ARM, words(0xE4B10000)))
    assert list(unprivileged(context)) == []
    assert [what for what, _ in context.skipped] == ["unprivileged accesses in functions without any entry"]


def test_mips() -> None:
    # lwe $v0, 0($a0); lw $v0, 0($a0); sbe $v0, 0($a0); rdhwr $v1, $29
    assert found(MIPS, words(0x7C82002F, 0x8C820000, 0x7C82001C, 0x7C03E83B)) == [0, 8]


def test_s390() -> None:
    # mvcos 0(%r2),0(%r3),%r4; larl with c8 in its distance; br %r14
    code = bytes.fromhex("c840 2000 3000 c020 0000 c800 07fe")
    assert found(S390, code) == [0]


def test_elsewhere_there_are_none() -> None:
    assert found(replace(X86_64), bytes(64)) == []
