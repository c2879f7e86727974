"""What arm64's, RISC-V's and LoongArch's entries say alike, each with its own registers."""

from __future__ import annotations

import pytest

from pagefault.arch import arm64_exception_types, loongarch_exception_types, riscv_exception_types
from pagefault.arch.arm64_exception_types import ARM64_EXCEPTIONS
from pagefault.arch.exception_format import ExceptionFormat
from pagefault.arch.loongarch_exception_types import LOONGARCH64_EXCEPTIONS
from pagefault.arch.riscv_exception_types import RISCV32_EXCEPTIONS, RISCV64_EXCEPTIONS

NAMED = {
    "arm64": arm64_exception_types.REGISTERS,
    "riscv": riscv_exception_types.REGISTERS,
    "loongarch": loongarch_exception_types.REGISTERS,
}
FORMATS = [ARM64_EXCEPTIONS, RISCV64_EXCEPTIONS, RISCV32_EXCEPTIONS, LOONGARCH64_EXCEPTIONS]


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.architecture)
@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("uaccess_err_zero", ("err", "zero")),
        ("kaccess_err_zero", ("err", "zero")),
        ("load_unaligned_zeropad", ("data", "addr")),
        ("bpf", ()),
        ("fixup", ()),
    ],
)
def test_the_registers_an_entry_names(form: ExceptionFormat, name: str, fields: tuple[str, ...]) -> None:
    type_ = form.type_named(name)
    if type_ is None:
        assert name in ("kaccess_err_zero", "load_unaligned_zeropad"), "the others are everybody's"
        assert form is not ARM64_EXCEPTIONS
        return
    registers = NAMED[form.architecture]
    assert tuple(field.name for field in type_.fields) == fields
    for first, second in ((0, 31), (31, 0), (5, 18)):
        word = (type_.number or 0) | first << 16 | second << 21
        texts = [field.text(word) for field in type_.fields]
        assert texts == [registers[first], registers[second]][: len(fields)]


def test_the_newest_layout_has_the_types_numbers() -> None:
    for form in FORMATS:
        newest = form.layouts[0]
        assert (newest.size, newest.until) == (12, None)
        assert dict(newest.numbers) == {each.number: each.name for each in form.types if each.number is not None}
