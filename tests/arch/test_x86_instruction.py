"""What the fault handler wants to know of an instruction: its operand's address and what it does there."""

from __future__ import annotations

import pytest

from pagefault.arch.x86_instruction import addressed, decode, writes_what_it_reads

REGISTERS = {
    "rax": 0x1000,
    "rbx": 0x20,
    "rcx": 0x10,
    "rsi": 0x6000,
    "rdi": 0x7000,
    "r9": 0xFFFF_FFFF_FFFF_FFF0,
    "rip": 0xFFFF_FFFF_8100_0000,
    "gs_base": 0xFFFF_8880_0010_0000,
    "fs_base": 0x7000_0000,
}


@pytest.mark.parametrize(
    ("code", "text", "length"),
    [
        ("48 8b 07", "movq (%rdi), %rax", 3),
        ("f3 a4", "rep movsb (%rsi), (%rdi)", 2),
        ("65 48 8b 04 25 28 00 00 00", "movq %gs:0x28, %rax", 9),
        ("0f 0b", "ud2", 2),
        ("48 8b 07 90 90 90", "movq (%rdi), %rax", 3),
    ],
)
def test_decode(code: str, text: str, length: int) -> None:
    found = decode(bytes.fromhex(code))
    assert found is not None
    assert (found.text, found.length) == (text, length)


@pytest.mark.parametrize("code", ["", "48", "06", "ff ff"])
def test_what_is_no_instruction_decodes_to_none(code: str) -> None:
    assert decode(bytes.fromhex(code)) is None
    assert addressed(bytes.fromhex(code), REGISTERS) is None
    assert not writes_what_it_reads(bytes.fromhex(code), 0x7000, REGISTERS)


@pytest.mark.parametrize(
    ("code", "address", "size"),
    [
        ("48 8b 07", 0x7000, 8),  # mov (%rdi),%rax
        ("8a 47 ff", 0x6FFF, 4),  # mov -1(%rdi),%al
        ("8b 44 88 04", 0x1044, 4),  # mov 4(%rax,%rcx,4),%eax
        ("66 89 1c c5 00 00 00 80", 0xFFFF_FFFF_8000_8000, 2),  # mov %bx,0xffffffff80000000(,%rax,8)
        ("48 8b 05 10 00 00 00", 0xFFFF_FFFF_8100_0017, 8),  # mov 0x10(%rip),%rax: from the next instruction
        ("65 48 8b 04 25 28 00 00 00", 0xFFFF_8880_0010_0028, 8),  # mov %gs:0x28,%rax
        ("64 8b 03", 0x7000_0020, 4),  # mov %fs:(%rbx),%eax
        ("43 8a 44 09 20", 0x0, 4),  # mov 0x20(%r9,%r9),%al wraps
    ],
)
def test_memory_operand(code: str, address: int, size: int) -> None:
    assert addressed(bytes.fromhex(code), REGISTERS) == (address, size)


@pytest.mark.parametrize(
    ("code", "register", "size"),
    [
        ("48 89 c3", "rbx", 8),  # mov %rax, %rbx
        ("0f 01 d1", "rcx", 4),  # xsetbv
        ("4d 89 c3", "r11", 8),  # mov %r8, %r11
        ("8e d8", "rax", 4),  # mov %eax, %ds
        ("f3 a4", "rax", 4),  # rep movsb has no ModRM byte: the kernel takes it for (%rax)
        ("0f 30", "rax", 4),  # wrmsr, likewise
    ],
)
def test_what_the_kernel_takes_for_an_address_without_a_memory_operand(code: str, register: str, size: int) -> None:
    """A real 6.1 calls xsetbv with ecx = 0x5a a #GP "maybe for address 0x5a"."""
    assert addressed(bytes.fromhex(code), {register: 0x5A}) == (0x5A, size)


@pytest.mark.parametrize(
    "code",
    [
        "48 01 07",  # add %rax,(%rdi)
        "48 ff 07",  # incq (%rdi)
        "48 87 07",  # xchg %rax,(%rdi)
        "f0 48 0f b1 0f",  # lock cmpxchg %rcx,(%rdi)
        "f0 48 0f c1 07",  # lock xadd %rax,(%rdi)
        "f0 83 0f 01",  # lock orl $1,(%rdi)
        "f6 1f",  # negb (%rdi)
        "f7 17",  # notl (%rdi)
        "48 d1 27",  # shlq (%rdi)
        "48 d1 07",  # rolq (%rdi)
        "48 d3 3f",  # sarq %cl,(%rdi)
        "48 0f a5 07",  # shld %cl,%rax,(%rdi)
        "0f c7 0f",  # cmpxchg8b (%rdi)
        "48 19 07",  # sbb %rax,(%rdi)
        "f0 48 0f ab 07",  # lock bts %rax,(%rdi)
        "48 0f c7 0f",  # cmpxchg16b (%rdi)
    ],
)
def test_read_modify_write_is_known_for_a_write(code: str) -> None:
    """All bytes of the operand count, and none beside it."""
    found = decode(bytes.fromhex(code))
    assert found is not None
    size = found.memory[0].size
    for offset, expected in ((0, True), (size - 1, True), (size, False), (-1, False)):
        assert writes_what_it_reads(bytes.fromhex(code), 0x7000 + offset, REGISTERS) is expected


@pytest.mark.parametrize(
    "code",
    [
        "48 8b 07",  # mov (%rdi),%rax
        "48 89 07",  # mov %rax,(%rdi)
        "48 39 07",  # cmp %rax,(%rdi)
        "48 85 07",  # test %rax,(%rdi)
        "48 03 07",  # add (%rdi),%rax
        "f3 aa",  # rep stosb
        "f3 a4",  # rep movsb
        "ff 37",  # push (%rdi)
        "0f 94 07",  # sete (%rdi)
        "48 0f a3 07",  # bt %rax,(%rdi)
        "48 89 c3",  # mov %rax,%rbx
    ],
)
def test_what_only_reads_or_only_writes_is_not(code: str) -> None:
    assert not writes_what_it_reads(bytes.fromhex(code), 0x7000, REGISTERS)
