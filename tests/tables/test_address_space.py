"""What a new address space is."""

from __future__ import annotations

from pagefault.tables.address_space import AddressSpace
from pagefault.vocabulary.vma import Vma


def test_each_address_space_has_its_own_areas() -> None:
    one, other = AddressSpace(0x1000), AddressSpace(0x2000)
    one.vmas.insert(Vma(0x1000, 0x2000))
    assert len(other.vmas) == 0


def test_the_stack_s_limit_is_linux_s() -> None:
    assert AddressSpace(0).stack_rlimit == 8 << 20
