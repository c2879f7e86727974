"""kmalloc and vmalloc."""

from __future__ import annotations

import pytest

from pagefault import PAGE, BadInput, Machine, Unsupported
from pagefault.vocabulary.walk import Mapped, NotPresent


@pytest.fixture
def machine() -> Machine:
    return Machine.boot(ram=64 << 20)


def test_kmalloc_is_zeroed_aligned_in_the_direct_map_and_disjoint(machine: Machine) -> None:
    taken: list[tuple[int, int]] = []
    for size in (1, 8, 9, 64, 100, 4096, 5000, 3, 65536):
        at = machine.kmalloc(size)
        assert at >= machine.area.page_offset
        assert at % min(4096, 1 << (size - 1).bit_length()) == 0
        assert machine.read(at, size) == bytes(size)
        assert all(at + size <= start or end <= at for start, end in taken)
        taken.append((at, at + size))
        machine.write(at, b"\xff" * size)


def test_what_kfree_gets_is_handed_out_again(machine: Machine) -> None:
    first = machine.kmalloc(3000, b"\xff" * 3000)
    machine.memory.kfree(first)
    assert machine.kmalloc(100) != first
    assert machine.kmalloc(4000) == first
    assert machine.read(first, 4000) == bytes(4000)
    machine.memory.kfree(first)
    with pytest.raises(BadInput, match="kfree"):
        machine.memory.kfree(first)


def test_vmalloc_maps_the_master_table_and_leaves_guard_pages(machine: Machine) -> None:
    first, second = machine.vmalloc(2 * PAGE), machine.vmalloc(1)
    assert second >= first + 3 * PAGE
    for at in (first, first + PAGE, second):
        end = machine.context(machine.cpu.state()).init_mm_walk(at).end
        assert isinstance(end, Mapped)
        assert (end.user, end.writable, end.executable) == (False, True, False)
    for guard in (first + 2 * PAGE, second + PAGE):
        assert isinstance(machine.walk(guard).end, NotPresent)


def test_vfree_unmaps_and_gives_the_frames_and_the_addresses_back(machine: Machine) -> None:
    free = machine.frames.free
    area = machine.vmalloc(3 * PAGE)
    machine.vfree(area)
    assert machine.frames.free >= free - 3  # the tables stay
    assert machine.walk(area).entries[-1].value == 0
    assert machine.vmalloc(3 * PAGE) == area


def test_vfree_of_something_else_is_refused(machine: Machine) -> None:
    area = machine.vmalloc(PAGE)
    with pytest.raises(BadInput, match="vfree"):
        machine.vfree(area + 8)


@pytest.mark.parametrize("size", [0, -1, 5 << 20])
def test_kmalloc_of_an_impossible_size_is_refused(machine: Machine, size: int) -> None:
    with pytest.raises(BadInput, match="kmalloc"):
        machine.memory.kmalloc(size)


def test_ram_that_runs_out_says_so(machine: Machine) -> None:
    with pytest.raises(Unsupported, match="boot it with more"):
        machine.vmalloc(80 << 20)


def test_set_memory_changes_one_page_and_flushes_nothing(machine: Machine) -> None:
    page = machine.vmalloc(2 * PAGE)
    machine.memory.set_memory(page, writable=False)
    assert not getattr(machine.walk(page).end, "writable", True)
    assert getattr(machine.walk(page + PAGE).end, "writable", False)


def test_an_area_placed_below_another_keeps_its_guard_page(machine: Machine) -> None:
    low = machine.vmalloc(PAGE)
    hole = machine.vmalloc(2 * PAGE)
    high = machine.vmalloc(PAGE)
    machine.vfree(hole)
    again = machine.vmalloc(3 * PAGE)
    assert not low <= again < high, "three pages and a guard do not fit into two and a guard"
    assert machine.vmalloc(2 * PAGE) == hole
