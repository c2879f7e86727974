"""Which instructions can raise an exception at all."""

from __future__ import annotations

import pytest

from arch.instruction_corpus import PLATFORM, Specimen, specimens
from pagefault.arch.disassembly import disassemble
from pagefault.arch.faulting import Cause, can_fault, causes
from pagefault.arch.platform import ARM64, MIPS, POWERPC64, S390, X86_64, Platform

NEVER = {"ffffffff81c8acfa": "jmp, the other half of an alternative", "ffffffff81c8afff": "prefetcht0"}
"""Debian's entries on instructions that cannot fault. s390's all follow one that can, and i386's move registers."""


@pytest.mark.parametrize("specimen", specimens(), ids=str)
def test_the_instructions_of_debian_s_entries(specimen: Specimen) -> None:
    found = disassemble(PLATFORM[specimen.platform], specimen.code, specimen.address)
    assert found is not None
    assert tuple(each.name for each in causes(PLATFORM[specimen.platform], found)) == specimen.causes
    if specimen.platform not in ("s390", "x86_32"):
        assert bool(specimen.causes) == (f"{specimen.address:x}" not in NEVER)


@pytest.mark.parametrize(
    ("platform", "code", "found"),
    [
        (X86_64, "4889d8", ()),  # mov %rbx,%rax
        (X86_64, "48ffc0", ()),  # inc %rax
        (X86_64, "90", ()),
        (X86_64, "488d0424", ()),  # lea
        (X86_64, "0fae3f", (Cause.MEMORY,)),  # clflush (%rdi)
        (X86_64, "0f0138", (Cause.PRIVILEGED,)),  # invlpg (%rax)
        (X86_64, "48f7f1", (Cause.DIVISION,)),
        (X86_64, "0f0b", (Cause.TRAP,)),
        (X86_64, "cc", (Cause.MEMORY, Cause.TRAP)),
        (X86_64, "48cf", (Cause.MEMORY, Cause.TRANSFER)),
        (X86_64, "0f22d8", (Cause.PRIVILEGED,)),  # mov %rax,%cr3
        (X86_64, "ee", (Cause.PRIVILEGED,)),  # out
        (X86_64, "0f58c1", (Cause.FPU,)),
        (ARM64, "200080d2", ()),  # mov x0,#1
        (ARM64, "000020d4", (Cause.TRAP,)),  # brk
        (ARM64, "800080f9", ()),  # prfm
        (MIPS, "34000000", (Cause.TRAP,)),  # teq
        (MIPS, "21104000", ()),  # move
        (POWERPC64, "781b7b7c", ()),
        (POWERPC64, "a603607c", (Cause.PRIVILEGED,)),
    ],
)
def test_causes(platform: Platform, code: str, found: tuple[Cause, ...]) -> None:
    instruction = disassemble(platform, bytes.fromhex(code), 0)
    assert instruction is not None
    assert causes(platform, instruction) == found
    assert can_fault(platform, instruction) == bool(found)


def test_on_s390_what_follows_an_access_stands_for_it() -> None:
    xr, mvcos, lr = (bytes.fromhex(each) for each in ("17aa", "c82050004000", "1842"))
    instruction = disassemble(S390, xr, 0x1006)
    assert instruction is not None
    assert causes(S390, instruction, before=mvcos) == (Cause.LATE,)
    assert not can_fault(S390, instruction, before=lr * 3)
    assert not can_fault(S390, instruction, before=bytes.fromhex("58200000") + lr)  # the load ends before the lr
    assert not can_fault(S390, instruction)
    same = disassemble(X86_64, bytes.fromhex("4889d8"), 0x1000)
    assert same is not None
    assert not can_fault(X86_64, same, before=bytes.fromhex("8a03"))
