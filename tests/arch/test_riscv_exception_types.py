"""RISC-V's and LoongArch's types: alike, and numbered apart; registers by the ABI's names."""

from __future__ import annotations

from pagefault.arch.loongarch_exception_types import LOONGARCH64_EXCEPTIONS
from pagefault.arch.loongarch_exception_types import REGISTERS as LOONGARCH_REGISTERS
from pagefault.arch.riscv_exception_types import REGISTERS, RISCV32_EXCEPTIONS, RISCV64_EXCEPTIONS


def test_numbers() -> None:
    names = {1: "fixup", 2: "bpf", 3: "uaccess_err_zero", 4: "load_unaligned_zeropad"}
    assert dict(RISCV64_EXCEPTIONS.layouts[0].numbers) == names
    assert dict(LOONGARCH64_EXCEPTIONS.layouts[0].numbers) == {1: "fixup", 2: "uaccess_err_zero", 3: "bpf"}


def test_sizes_by_era() -> None:
    assert [layout.size for layout in RISCV64_EXCEPTIONS.layouts] == [12, 16]
    assert [layout.size for layout in RISCV32_EXCEPTIONS.layouts] == [12, 8]
    assert [layout.size for layout in LOONGARCH64_EXCEPTIONS.layouts] == [12, 16]
    assert LOONGARCH64_EXCEPTIONS.layouts[1].covers((6, 1))
    assert not LOONGARCH64_EXCEPTIONS.layouts[0].covers((6, 1))


def test_a_bpf_store_clears_no_register() -> None:
    for form in (RISCV64_EXCEPTIONS, RISCV32_EXCEPTIONS):
        assert form.bpf is not None
        assert form.bpf.registers == {0: None} | dict(enumerate(REGISTERS[1:], 1))


def test_registers() -> None:
    assert len(REGISTERS) == len(LOONGARCH_REGISTERS) == 32
    assert [REGISTERS[n] for n in (0, 1, 8, 10, 17, 18, 27, 28, 31)] == "zero ra s0 a0 a7 s2 s11 t3 t6".split()
    assert [LOONGARCH_REGISTERS[n] for n in (1, 2, 3, 4, 11, 12, 20, 22, 23, 31)] == (
        "$ra $tp $sp $a0 $a7 $t0 $t8 $fp $s0 $s8".split()
    )
