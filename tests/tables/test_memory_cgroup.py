"""What a group may still have."""

from __future__ import annotations

from pagefault.tables.memory_cgroup import MemoryCgroup
from pagefault.vocabulary.address import PAGE


def test_room_is_what_the_limit_leaves() -> None:
    assert MemoryCgroup(1).room is None
    assert MemoryCgroup(1, limit=10, usage=3).room == 7


def test_swap_has_a_limit_of_its_own() -> None:
    assert MemoryCgroup(1).may_swap
    assert MemoryCgroup(1, swap_limit=2, swap=1).may_swap
    assert not MemoryCgroup(1, swap_limit=2, swap=2).may_swap
    assert not MemoryCgroup(1, swap_limit=0).may_swap


def test_objects_fill_pages() -> None:
    group = MemoryCgroup(1)
    group.charge_bytes(PAGE // 2)
    group.charge_bytes(PAGE // 2)
    assert (group.usage, group.spare) == (1, 0)
    group.charge_bytes(1)
    assert (group.usage, group.spare) == (2, PAGE - 1)
