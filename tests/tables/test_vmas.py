"""The areas of an address space."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from pagefault.tables.vmas import Vmas
from pagefault.vocabulary.vma import Vma

LOW, MIDDLE, HIGH = (
    Vma(0x1000, 0x3000, name="low"),
    Vma(0x3000, 0x4000, name="middle"),
    Vma(0x8000, 0x9000, name="high"),
)


def three() -> Vmas:
    vmas = Vmas()
    for vma in (HIGH, LOW, MIDDLE):
        vmas.insert(vma)
    return vmas


def test_in_address_order_whatever_the_order_of_insertion() -> None:
    assert list(three()) == [LOW, MIDDLE, HIGH]
    assert len(three()) == 3


def test_find_vma_is_the_first_that_ends_above() -> None:
    vmas = three()
    expected = {
        0: LOW,
        0x1000: LOW,
        0x2FFF: LOW,
        0x3000: MIDDLE,
        0x3FFF: MIDDLE,
        0x4000: HIGH,
        0x8FFF: HIGH,
        0x9000: None,
    }
    assert {address: vmas.find_vma(address) for address in expected} == expected


def test_vma_lookup_holds_the_address() -> None:
    vmas = three()
    expected = {0xFFF: None, 0x1000: LOW, 0x3000: MIDDLE, 0x4000: None, 0x7FFF: None, 0x8000: HIGH, 0x9000: None}
    assert {address: vmas.vma_lookup(address) for address in expected} == expected


def test_previous() -> None:
    vmas = three()
    assert [vmas.previous(vma) for vma in (LOW, MIDDLE, HIGH)] == [None, LOW, MIDDLE]


def test_overlapping() -> None:
    vmas = three()
    assert vmas.overlapping(0x2FFF, 0x3001) == [LOW, MIDDLE]
    assert vmas.overlapping(0x4000, 0x8000) == []
    assert vmas.overlapping(0, 1 << 47) == [LOW, MIDDLE, HIGH]


def test_replace_splits_and_grows() -> None:
    vmas = three()
    vmas.replace(LOW, replace(LOW, end=0x1800), replace(LOW, start=0x2800))
    vmas.replace(HIGH, replace(HIGH, start=0x6000))
    assert [(vma.start, vma.end) for vma in vmas] == [
        *((0x1000, 0x1800), (0x2800, 0x3000), (0x3000, 0x4000), (0x6000, 0x9000))
    ]
    assert vmas.vma_lookup(0x6000) is not None
    assert vmas.vma_lookup(0x2000) is None


def test_remove() -> None:
    vmas = three()
    vmas.remove(MIDDLE)
    assert list(vmas) == [LOW, HIGH]
    assert vmas.find_vma(0x3000) == HIGH


@given(
    cuts=st.lists(st.integers(0, 60), min_size=2, max_size=16, unique=True),
    address=st.integers(0, 61),
    seed=st.integers(0, 99),
)
def test_every_question_against_a_plain_list(cuts: list[int], address: int, seed: int) -> None:
    cuts.sort()
    plain = [Vma(start, end) for start, end in zip(cuts[::2], cuts[1::2], strict=False)]
    shuffled = list(plain)
    Random(seed).shuffle(shuffled)
    vmas = Vmas()
    for vma in shuffled:
        vmas.insert(vma)
    assert list(vmas) == plain
    assert vmas.find_vma(address) == next((vma for vma in plain if vma.end > address), None)
    assert vmas.vma_lookup(address) == next((vma for vma in plain if vma.start <= address < vma.end), None)
    assert vmas.overlapping(address, address + 5) == [v for v in plain if v.start < address + 5 and address < v.end]


def test_below_walks_down() -> None:
    vmas = three()
    assert list(vmas.below(0x8001)) == [HIGH, MIDDLE, LOW]
    assert list(vmas.below(0x8000)) == [MIDDLE, LOW]
    assert list(vmas.below(0x1000)) == []
