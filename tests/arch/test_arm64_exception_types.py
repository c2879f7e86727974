"""arm64's type numbers by era, as asm-extable.h has them, and the instructions that tell them apart."""

from __future__ import annotations

from pagefault.arch.arm64_exception_types import ARM64_EXCEPTIONS, LAYOUTS, REGISTERS, sensible

LDR_X4_X1 = (0xF940_0024).to_bytes(4, "little")
CPYFP = (0x1902_0401).to_bytes(4, "little")
ZEROPAD = (4 | 1 << 5) << 16


def test_numbers_by_era() -> None:
    layouts = {layout.name: dict(layout.numbers) for layout in LAYOUTS}
    zeropad = "load_unaligned_zeropad"
    assert layouts["data-5.16"] == {1: "fixup", 2: "bpf", 3: "uaccess_err_zero", 4: zeropad}
    assert layouts["data-6.0"] == {1: "bpf", 2: "uaccess_err_zero", 3: "kaccess_err_zero", 4: zeropad}
    assert layouts["data-6.15"] == {
        1: "bpf",
        2: "uaccess_err_zero",
        3: "kaccess_err_zero",
        4: "uaccess_cpy",
        5: zeropad,
    }


def test_sizes_by_era() -> None:
    sizes = [next(layout.size for layout in LAYOUTS if layout.covers(v)) for v in [(4, 5), (4, 6), (5, 16), (6, 12)]]
    assert sizes == [16, 8, 12, 12]


def test_registers_and_fields() -> None:
    assert (REGISTERS[0], REGISTERS[30], REGISTERS[31], len(REGISTERS)) == ("x0", "x30", "wzr", 32)
    fields = {type_.name: type_.fields for type_ in ARM64_EXCEPTIONS.types}
    word = (31 << 5 | 2) << 16 | 2
    assert [(part.name, part.text(word)) for part in fields["uaccess_err_zero"]] == [("err", "x2"), ("zero", "wzr")]
    assert [(part.name, part.text(ZEROPAD)) for part in fields["load_unaligned_zeropad"]] == [
        ("data", "x4"),
        ("addr", "x1"),
    ]
    assert [part.text(1 << 16) for part in fields["uaccess_cpy"]] == ["write"]


def test_a_load_is_not_a_copy() -> None:
    assert sensible("load_unaligned_zeropad", ZEROPAD, LDR_X4_X1)
    assert not sensible("load_unaligned_zeropad", ZEROPAD + (1 << 16), LDR_X4_X1), "another register"
    assert not sensible("load_unaligned_zeropad", ZEROPAD, CPYFP)
    assert sensible("uaccess_cpy", 1 << 16, CPYFP)
    assert not sensible("uaccess_cpy", 1 << 16, LDR_X4_X1)


def test_without_the_instruction_there_is_nothing_against() -> None:
    assert sensible("load_unaligned_zeropad", ZEROPAD, None)
    assert sensible("uaccess_cpy", 0, b"\0")
    assert sensible("bpf", 0, LDR_X4_X1)
