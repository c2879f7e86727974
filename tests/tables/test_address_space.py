"""What a new address space is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pagefault.tables.address_space import RLIM_INFINITY, AddressSpace
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.vma import Vma


def test_each_address_space_has_its_own_areas() -> None:
    one, other = AddressSpace(0x1000), AddressSpace(0x2000)
    one.vmas.insert(Vma(0x1000, 0x2000))
    assert len(other.vmas) == 0


def test_the_stack_s_limit_is_linux_s() -> None:
    assert AddressSpace(0).stack_rlimit == 8 << 20


@pytest.mark.parametrize(
    ("limit_as", "limit_data", "data", "pages", "may"),
    [
        (RLIM_INFINITY, RLIM_INFINITY, True, 1 << 40, True),
        (6 * PAGE, RLIM_INFINITY, True, 1, True),
        (6 * PAGE, RLIM_INFINITY, False, 2, False),
        (RLIM_INFINITY, 3 * PAGE, True, 1, True),
        (RLIM_INFINITY, 3 * PAGE, True, 2, False),
        (RLIM_INFINITY, 3 * PAGE, False, 2, True),
        (6 * PAGE - 1, RLIM_INFINITY, False, 1, False),
    ],
)
def test_how_much_may_be_mapped(limit_as: int, limit_data: int, data: bool, pages: int, may: bool) -> None:
    mm = AddressSpace(0, rlimit_as=limit_as, rlimit_data=limit_data)
    for number, vma in enumerate(
        (Vma(0, 2 * PAGE), Vma(0, PAGE, write=False), Vma(0, PAGE, shared=True), Vma(0, PAGE, grows_down=True))
    ):
        start = 0x10_0000 * (number + 1)
        mm.vmas.insert(replace(vma, start=start, end=start + vma.end))
    assert mm.may_expand_vm(pages, data=data) is may
