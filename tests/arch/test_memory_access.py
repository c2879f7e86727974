"""What an instruction does with memory."""

from __future__ import annotations

import pytest

from arch.instruction_corpus import PLATFORM, Specimen, specimens
from pagefault.arch.disassembly import disassemble
from pagefault.arch.memory_access import memory_access


@pytest.mark.parametrize("specimen", specimens(), ids=str)
def test_the_instructions_of_debian_s_entries(specimen: Specimen) -> None:
    found = disassemble(PLATFORM[specimen.platform], specimen.code, specimen.address)
    assert found is not None
    assert (None if found.memory is None else found.operands[slice(*found.memory)]) == specimen.memory
    assert "r" * found.reads + "w" * found.writes == specimen.access


@pytest.mark.parametrize(
    ("machine", "text", "memory", "access"),
    [
        ("EM_X86_64", "pushq %rax", None, "w"),
        ("EM_X86_64", "pushq 8(%rax)", "8(%rax)", "rw"),
        ("EM_X86_64", "popq (%rax)", "(%rax)", "rw"),
        ("EM_X86_64", "popcntq (%rax), %rbx", "(%rax)", "r"),
        ("EM_X86_64", "leaq (%rdx, %rcx, 8), %rdx", None, ""),
        ("EM_X86_64", "nopl (%rax)", None, ""),
        ("EM_X86_64", "callq 0xffffffff81000000", None, "w"),
        ("EM_X86_64", "callq *0x10(%rax)", "0x10(%rax)", "rw"),
        ("EM_X86_64", "jmp 0xffffffff81000000", None, ""),
        ("EM_X86_64", "jmpq *%rax", None, ""),
        ("EM_X86_64", "retq", None, "r"),
        ("EM_X86_64", "movq %gs:0x1fbc0, %rax", "%gs:0x1fbc0", "r"),
        ("EM_X86_64", "movabsq %rax, 0x123456789", "0x123456789", "w"),
        ("EM_X86_64", "movq $0x10, %rax", None, ""),
        ("EM_X86_64", "cmpl %eax, (%rbx)", "(%rbx)", "r"),
        ("EM_X86_64", "addl %eax, (%rbx)", "(%rbx)", "rw"),
        ("EM_X86_64", "addl (%rbx), %eax", "(%rbx)", "r"),
        ("EM_X86_64", "incl (%rbx)", "(%rbx)", "rw"),
        ("EM_X86_64", "sete (%rbx)", "(%rbx)", "w"),
        ("EM_X86_64", "fldcw (%rbx)", "(%rbx)", "r"),
        ("EM_X86_64", "fnstcw (%rbx)", "(%rbx)", "w"),
        ("EM_386", "frstor 0x40(%eax)", "0x40(%eax)", "r"),
        ("EM_386", "fnsave (%edi)", "(%edi)", "w"),
        ("EM_X86_64", "divq (%rbx)", "(%rbx)", "r"),
        ("EM_X86_64", "rep cmpsb (%rdi), (%rsi)", "(%rdi), (%rsi)", "r"),
        ("EM_X86_64", "lodsq (%rsi), %rax", "(%rsi)", "r"),
        ("EM_X86_64", "lock cmpxchg16b (%rsi)", "(%rsi)", "rw"),
        ("EM_X86_64", "movdqu (%rsi), %xmm0", "(%rsi)", "r"),
        ("EM_X86_64", "movdqu %xmm0, (%rsi)", "(%rsi)", "w"),
        ("EM_AARCH64", "ldp x0, x1, [x2], #0x10", "[x2]", "r"),
        ("EM_AARCH64", "stp x0, x1, [sp, #-0x10]!", "[sp, #-0x10]!", "w"),
        ("EM_AARCH64", "ld1 {v0.16b}, [x1]", "[x1]", "r"),
        ("EM_AARCH64", "ld1 {v0.b}[3], [x1]", "[x1]", "r"),
        ("EM_AARCH64", "mla v0.4h, v0.4h, v0.h[0]", None, ""),
        ("EM_ARM", "vmov.32 r0, d0[0]", None, ""),
        ("EM_AARCH64", "casal x0, x1, [x2]", "[x2]", "rw"),
        ("EM_AARCH64", "ldaddal w0, w1, [x2]", "[x2]", "rw"),
        ("EM_AARCH64", "stset w0, [x2]", "[x2]", "rw"),
        ("EM_AARCH64", "prfm pldl1strm, [x0]", "[x0]", "r"),
        ("EM_AARCH64", "dc zva, x3", "x3", "w"),
        ("EM_AARCH64", "dc civac, x3", "x3", "r"),
        ("EM_AARCH64", "dc cisw, x3", None, ""),
        ("EM_AARCH64", "ic iallu", None, ""),
        ("EM_AARCH64", "sys #3, c7, c13, #1, x3", "x3", "r"),
        ("EM_AARCH64", "at s1e1r, x3", None, ""),
        ("EM_AARCH64", "cpyfprt [x0]!, [x1]!, x2!", "[x0]!, [x1]!", "rw"),
        ("EM_AARCH64", "add x0, x1, x2", None, ""),
        ("EM_ARM", "pop {r4, pc}", None, "r"),
        ("EM_ARM", "push {r4, lr}", None, "w"),
        ("EM_ARM", "swp r0, r1, [r2]", "[r2]", "rw"),
        ("EM_ARM", "vldmia r0!, {d0, d1}", "r0!", "r"),
        ("EM_ARM", "mcr p15, #0, r0, c8, c7, #0", None, ""),
        ("EM_MIPS", "swl $v0, 3($s1)", "3($s1)", "w"),
        ("EM_MIPS", "scd $v0, 3($s1)", "3($s1)", "w"),
        ("EM_MIPS", "lbue $v0, 3($s1)", "3($s1)", "r"),
        ("EM_MIPS", "sbe $v0, 3($s1)", "3($s1)", "w"),
        ("EM_MIPS", "pref 4, 3($s1)", "3($s1)", "r"),
        ("EM_MIPS", "li $v0, 3", None, ""),
        ("EM_PPC64", "lwzx r0, r7, r4", "r7, r4", "r"),
        ("EM_PPC64", "lis r9, 1", None, ""),
        ("EM_PPC64", "la r9, 1(r3)", None, ""),
        ("EM_PPC64", "dcbz 0, r3", "0, r3", "w"),
        ("EM_PPC64", "stxvd2x vs0, r4, r5", "r4, r5", "w"),
        ("EM_PPC", "lmw r29, 4(r1)", "4(r1)", "r"),
        ("EM_S390", "mvc 0(8, %r1), 0(%r2)", "0(8, %r1), 0(%r2)", "rw"),
        ("EM_S390", "mvi 5(%r1), 7", "5(%r1)", "w"),
        ("EM_S390", "cli 5(%r1), 7", "5(%r1)", "r"),
        ("EM_S390", "xc 0(8, %r1), 0(%r1)", "0(8, %r1), 0(%r1)", "rw"),
        ("EM_S390", "ex %r1, 0(%r2)", "0(%r2)", "r"),
        ("EM_S390", "sllg %r1, %r2, 0(%r3)", None, ""),
        ("EM_S390", "lay %r1, 8(%r2)", None, ""),
        ("EM_S390", "lg %r1, 0x340", "0x340", "r"),
        ("EM_S390", "stgrl %r1, 0x100000", "0x100000", "w"),
        ("EM_S390", "stmg %r6, %r15, 0x30(%r15)", "0x30(%r15)", "w"),
        ("EM_S390", "lgr %r1, %r2", None, ""),
        ("EM_S390", "mvcle %r2, %r4, 0", None, "rw"),
        ("EM_S390", "asi 0(%r1), 1", "0(%r1)", "rw"),
        ("EM_RISCV", "ld a0, 8(a1)", "8(a1)", "r"),
        ("EM_RISCV", "c.sdsp a0, 8(sp)", "8(sp)", "w"),
        ("EM_RISCV", "lr.w a0, (a1)", "(a1)", "r"),
        ("EM_RISCV", "sc.w a0, a2, (a1)", "(a1)", "w"),
        ("EM_RISCV", "amoadd.w a0, a2, (a1)", "(a1)", "rw"),
        ("EM_RISCV", "jalr 8(a1)", None, ""),
    ],
)
def test_what_is_memory(machine: str, text: str, memory: str | None, access: str) -> None:
    mnemonic, _, operands = text.partition(" ")
    if mnemonic in ("rep", "lock"):
        mnemonic, operands = f"{mnemonic} {operands.partition(' ')[0]}", operands.partition(" ")[2]
    where, reads, writes = memory_access(machine, mnemonic, operands)
    assert ((None if where is None else operands[slice(*where)]), "r" * reads + "w" * writes) == (memory, access)
