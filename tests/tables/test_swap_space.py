"""Slots and the entries that name them."""

from __future__ import annotations

import pytest

from pagefault.arch import x86
from pagefault.errors import BadInput
from pagefault.tables.swap_space import SWP_EXCLUSIVE, SWP_SOFT_DIRTY, SwapSpace, is_swap_entry, slot_of, swap_entry
from pagefault.vocabulary.address import PAGE


@pytest.mark.parametrize("slot", [1, 2, 8191, 1 << 30])
def test_an_entry_names_its_slot_and_nothing_maps(slot: int) -> None:
    for bits in (0, SWP_EXCLUSIVE, SWP_SOFT_DIRTY):
        value = swap_entry(slot) | bits
        assert slot_of(value) == slot
        assert is_swap_entry(value)
        assert not value & (x86.PRESENT | x86.PAGE_SIZE_BIT)
        assert value < 1 << 64


def test_inverted_as_linux_writes_it() -> None:
    """A speculative access finds no RAM where a slot's number is small (L1TF)."""
    assert swap_entry(1) == (~1 & (1 << 50) - 1) << 9
    assert swap_entry(1) >> 46 == 0x1FFF


def test_what_is_no_swap_entry() -> None:
    assert not any(is_swap_entry(value) for value in (0, 0x1000 | x86.PRESENT, 0x1000 | 1 << 8))


def test_slots_begin_behind_the_header_and_come_back() -> None:
    swap = SwapSpace(4 * PAGE)
    assert [swap.allocate() for _ in range(4)] == [1, 2, 3, None]
    assert (swap.total, swap.free, swap.full) == (3, 0, True)
    swap.write(2, b"x" * PAGE)
    assert swap.read(2) == b"x" * PAGE
    swap.release(2)
    assert (swap.free, swap.allocate()) == (1, 2)


@pytest.mark.parametrize("size", [0, PAGE, 3 * PAGE + 1, 1 << 50])
def test_what_is_no_size(size: int) -> None:
    with pytest.raises(BadInput, match="swap space"):
        SwapSpace(size)
