"""The form itself: fields of a data word, layouts in words, which kernels sort."""

from __future__ import annotations

import pytest

from pagefault.arch.exception_format import DataField, ExceptionFormat, Layout, ThirdWord, newest_numbers
from pagefault.arch.platform import ARM64, PARISC, PLATFORMS, RISCV64, X86_64

FORMATS = {platform.exceptions for platform in PLATFORMS} | {
    extra.format for platform in PLATFORMS for extra in platform.extra_tables if extra.format is not None
}


def test_a_field_of_a_data_word() -> None:
    registers = DataField("reg", 4, 4, ("r0", "r1", "r2"), none=15)
    assert [registers.text(value << 4 | 0xF00F) for value in (0, 2, 3, 15)] == ["r0", "r2", "3?", "none"]
    assert registers.mask == 0xF0
    signed = DataField("imm", 16, 16, signed=True)
    assert [signed.value(value << 16 | 0xFFFF) for value in (0, 0x7FFF, 0x8000, 0xFFF2)] == [0, 0x7FFF, -0x8000, -14]
    assert signed.text(0xFFF2_0000) == "-14"


@pytest.mark.parametrize(
    ("since", "until", "words"),
    [
        ((0, 0), (3, 5), "old (8 bytes an entry, x86 before 3.5)"),
        ((3, 5), (4, 6), "old (8 bytes an entry, x86 from 3.5 on, before 4.6)"),
        ((3, 5), None, "old (8 bytes an entry, x86 from 3.5 on)"),
        ((0, 0), None, "old (8 bytes an entry, x86)"),
    ],
)
def test_a_layout_in_words(since: tuple[int, int], until: tuple[int, int] | None, words: str) -> None:
    assert str(Layout("old", 8, ThirdWord.NONE, since, until, "")) == words


@pytest.mark.parametrize(
    "form", sorted(FORMATS, key=str), ids=lambda form: f"{form.architecture}-{form.layouts[-1].name}"
)
def test_a_format_is_whole(form: ExceptionFormat) -> None:
    """Every number has a type, every version at most one layout, and the newest layout the numbers of the types."""
    names = [type_.name for type_ in form.types]
    assert len(set(names)) == len(names)
    for layout in form.layouts:
        assert set(layout.numbers.values()) <= set(names)
        assert bool(layout.numbers) == (layout.type_mask != 0)
        assert layout.type_mask or layout.default in names
        assert layout.architecture == form.architecture
        assert layout.size in (8, 12, 16)
    for newer, older in zip(form.layouts, form.layouts[1:], strict=False):
        assert older.until == newer.since
        assert older.since < newer.since
    assert form.layouts[0].until is None
    assert form.layouts[0].numbers == newest_numbers(form.types)
    for type_ in form.types:
        bits = [bit for part in type_.fields for bit in range(part.shift, part.shift + part.bits)]
        assert len(set(bits)) == len(bits), f"fields of {type_.name} overlap"
        assert form.type_named(type_.name) is type_
    assert form.type_named("unknown") is None


def test_who_sorts_at_build() -> None:
    assert X86_64.exceptions.sorted_at_build(None)
    assert X86_64.exceptions.sorted_at_build((6, 1))
    assert not X86_64.exceptions.sorted_at_build((3, 2))
    assert RISCV64.exceptions.sorted_at_build((6, 1))
    assert not RISCV64.exceptions.sorted_at_build((5, 10))
    assert not PARISC.exceptions.sorted_at_build(None)
    unsorted = {platform.name for platform in PLATFORMS if not platform.exceptions.sorted_at_build((6, 12))}
    assert unsorted == {"parisc", "parisc64", "alpha", "sparc", "sparc64"}
    kvm = ARM64.extra_tables[0].format
    assert kvm is not None
    assert not kvm.sorted_at_build((6, 12))
