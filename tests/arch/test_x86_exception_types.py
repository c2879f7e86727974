"""The eras and types as data: complete, unambiguous, and numbered as the kernel's headers have them."""

from __future__ import annotations

import pytest

from pagefault.arch.x86_exception_types import (
    DATA,
    IMM,
    LAYOUTS,
    PT_REGS,
    REG,
    REGISTERS,
    TYPE,
    TYPES,
    X86_32_EXCEPTIONS,
    X86_64_EXCEPTIONS,
)


def test_numbers_since_5_17() -> None:
    names = "default fault uaccess copy clear_fs fpu_restore bpf wrmsr rdmsr wrmsr_safe rdmsr_safe wrmsr_in_mce"
    names += " rdmsr_in_mce default_mce_safe fault_mce_safe pop_reg imm_reg fault_sgx ucopy_len zeropad eretu"
    assert dict(DATA.numbers) == dict(enumerate(names.split(), start=1))


def test_numbers_of_5_16() -> None:
    names = "default fault uaccess copy clear_fs fpu_restore wrmsr rdmsr bpf wrmsr_in_mce rdmsr_in_mce"
    names += " default_mce_safe fault_mce_safe"
    assert dict(TYPE.numbers) == dict(enumerate(names.split(), start=1))


def test_handlers_of_4_6_to_5_15() -> None:
    names = {handler: t.name for t in TYPES for handler in t.handlers}
    assert names["ex_handler_fprestore"] == "fpu_restore"
    assert names["ex_handler_rdmsr_unsafe"] == "rdmsr"
    assert names["ex_handler_wrmsr_unsafe"] == "wrmsr"
    assert names["ex_handler_rdmsr_fault"] == "rdmsr_in_mce"
    for same in ("default", "fault", "ext", "uaccess", "copy", "clear_fs", "bpf", "refcount"):
        assert names[f"ex_handler_{same}"] == same


def test_no_name_number_or_handler_twice() -> None:
    for names in (
        [t.name for t in TYPES],
        [handler for t in TYPES for handler in t.handlers],
        [t.number for t in TYPES if t.number is not None],
    ):
        assert len(set(names)) == len(names)


def test_32_bits_differ_in_registers_and_pointers() -> None:
    named = {t.name: [part.names for part in t.fields] for t in X86_32_EXCEPTIONS.types}
    assert named["imm_reg"][0] == ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "ds", "es", "fs", "gs")
    assert named["imm_reg"][1] == ()
    assert [t.number for t in X86_32_EXCEPTIONS.types] == [t.number for t in X86_64_EXCEPTIONS.types]
    assert [layout.size for layout in X86_32_EXCEPTIONS.layouts] == [12, 12, 12, 8, 8]
    assert [layout.size for layout in X86_64_EXCEPTIONS.layouts] == [12, 12, 12, 8, 16]


@pytest.mark.parametrize("version", [(2, 6), (3, 4), (3, 5), (4, 5), (4, 6), (5, 15), (5, 16), (5, 17), (6, 12)])
def test_one_layout_for_each_version(version: tuple[int, int]) -> None:
    layout = next(layout for layout in LAYOUTS if layout.covers(version))
    assert [other.name for other in LAYOUTS if other.covers(version)] == [layout.name]
    size = 16 if version < (3, 5) else 8 if version < (4, 6) else 12
    assert layout.size == size


def test_registers_are_numbered_as_instructions_number_them() -> None:
    assert REGISTERS[1] == "rcx"
    assert REGISTERS[3:5] == ("rbx", "rsp")
    assert REGISTERS[8:12] == ("r8", "r9", "r10", "r11")
    assert set(PT_REGS.values()) == set(REGISTERS) - {"rsp"}
    assert (PT_REGS[0], PT_REGS[0x50], PT_REGS[0x70]) == ("r15", "rax", "rdi")


def test_the_data_word() -> None:
    assert (REG.text(0xFFF2_1111), IMM.value(0xFFF2_1111)) == ("rcx", -14)
    assert (REG.text(0x0008_0F13), IMM.value(0x0008_0F13)) == ("r15", 8)
    assert DATA.type_mask | REG.mask | 0b11 << 12 | 0b11 << 14 | IMM.mask == 0xFFFF_FFFF
    for form in (X86_64_EXCEPTIONS, X86_32_EXCEPTIONS):
        assert form.immediate == IMM
        assert form.flags == ("clear_ax", "clear_dx")
