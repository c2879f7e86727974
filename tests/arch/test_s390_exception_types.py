"""s390's type numbers by era, as asm-extable.h has them."""

from __future__ import annotations

import pytest

from pagefault.arch.exception_format import Addressing
from pagefault.arch.s390_exception_types import LAYOUTS, S390_EXCEPTIONS, sensible


def test_numbers_by_era() -> None:
    layouts = {layout.name: dict(layout.numbers) for layout in LAYOUTS}
    assert layouts["data-5.18"] == {1: "fixup", 2: "bpf", 3: "uaccess"}
    later = {1: "fixup", 2: "bpf", 5: "ua_load_reg", 6: "ua_load_regpair", 7: "zeropad", 8: "fpc"}
    assert layouts["data-6.1"] == {**later, 3: "ua_store", 4: "ua_load_mem"}
    assert layouts["data-6.14"] == {**later, 3: "ua_fault", 9: "ua_mvcos_to", 10: "ua_mvcos_from"}


@pytest.mark.parametrize(
    ("version", "size"),
    [
        *(((3, 6), 16), ((3, 7), 8), ((4, 19), 8), ((5, 8), 8), ((5, 9), 16), ((5, 10), 16), ((5, 17), 16)),
        *(((5, 18), 12), ((6, 1), 12), ((6, 15), 12)),
    ],
)
def test_sizes_by_era(version: tuple[int, int], size: int) -> None:
    assert [layout.size for layout in LAYOUTS if layout.covers(version)] == [size]


def test_two_layouts_of_16_bytes() -> None:
    absolute, handler = (next(layout for layout in LAYOUTS if layout.covers(version)) for version in ((3, 6), (5, 10)))
    assert absolute.addresses is Addressing.ABSOLUTE
    assert (handler.addresses, handler.handler_bytes, handler.handler_optional) == (Addressing.OWN_FIELD, 8, True)


def test_fields() -> None:
    fields = {type_.name: type_.fields for type_ in S390_EXCEPTIONS.types}
    word = 0x025A << 16 | 4
    assert [(part.name, part.text(word)) for part in fields["ua_load_mem"]] == [
        ("err", "%r10"),
        ("addr", "%r5"),
        ("len", "2"),
    ]
    assert [(part.name, part.text(0x0021 << 16)) for part in fields["ua_load_reg"]] == [("err", "%r1"), ("zero", "%r2")]
    assert [part.text(0xFFFF << 16) for part in fields["bpf"]] == ["none"]
    assert [part.text(0x0034 << 16) for part in fields["uaccess"]] == ["52?"]


def test_a_store_names_its_register_twice() -> None:
    assert sensible("ua_store", 0x0022 << 16, None)
    assert not sensible("ua_store", 0x0002 << 16, None)
    assert not sensible("ua_fault", 0x0012 << 16, None)
    assert sensible("ua_load_reg", 0x0012 << 16, None)
