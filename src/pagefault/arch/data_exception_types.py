"""
The types of entries that arm64, riscv and loongarch have alike. Their third word is a type and its data, 16 bits each,
and the data names two registers by five bits each. What differs is the numbers of the types and the registers' names.
"""

from __future__ import annotations

from .exception_format import DataField, ExceptionType, Layout, ThirdWord, newest_numbers


def register_fields(first: str, second: str, registers: tuple[str, ...]) -> tuple[DataField, DataField]:
    """The two registers, as one type calls them. Kernel: arch/*/include/asm/asm-extable.h EX_DATA_REG_ERR, v6.12."""
    return DataField(first, 16, 5, registers), DataField(second, 21, 5, registers)


def fixup(number: int | None, kernel: str) -> ExceptionType:
    """Nothing but the fixup."""
    return ExceptionType("fixup", number, (), "go on at the fixup", kernel)


def bpf(number: int, kernel: str) -> ExceptionType:
    """What a BPF JIT writes."""
    meaning = "a BPF program's load: skip it and clear its target (the fixup word holds both)"
    return ExceptionType("bpf", number, (), meaning, kernel)


def access_err_zero(name: str, number: int, access: str, extable: str, registers: tuple[str, ...]) -> ExceptionType:
    """An access that puts the error into one register and clears another; `extable` is the architecture's file."""
    fields = register_fields("err", "zero", registers)
    kernel = f"{extable} ex_handler_uaccess_err_zero(), v6.12"
    return ExceptionType(name, number, (), f"{access}: err := -EFAULT, zero := 0", kernel, fields)


def load_unaligned_zeropad(number: int, kernel: str, registers: tuple[str, ...]) -> ExceptionType:
    """A load of a word that may reach into the next page."""
    meaning = "a word load across a page's end: zeroes for what is not there"
    return ExceptionType(
        "load_unaligned_zeropad", number, (), meaning, kernel, register_fields("data", "addr", registers)
    )


def data_layout(
    architecture: str, types: tuple[ExceptionType, ...], since: tuple[int, int], kernel: str, name: str = "data"
) -> Layout:
    """The newest layout, with the numbers that `types` have."""
    numbers = newest_numbers(types)
    return Layout(name, 12, ThirdWord.TYPE_AND_DATA, since, None, kernel, architecture, numbers=numbers)
