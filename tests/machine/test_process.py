"""mmap and its kin: what they promise, what they put into the tables, and what they give back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefault import PAGE, BadInput, Machine
from pagefault.arch.x86_eras import profile
from pagefault.vocabulary.mm_settings import MmSettings
from pagefault.vocabulary.walk import Mapped, NotPresent


@pytest.fixture
def machine() -> Machine:
    return Machine.boot(ram=64 << 20)


def test_mmap_places_from_the_top_down_and_fills_nothing(machine: Machine) -> None:
    first, second = machine.user.mmap(3 * PAGE), machine.user.mmap(PAGE)
    assert (first, second) == (0x7FFF_F7FF_F000 - 3 * PAGE, 0x7FFF_F7FF_F000 - 4 * PAGE)
    assert isinstance(machine.walk(first).end, NotPresent)


def test_a_hole_is_used_again(machine: Machine) -> None:
    first = machine.user.mmap(3 * PAGE)
    machine.user.mmap(PAGE)
    machine.user.munmap(first + PAGE, PAGE)
    assert machine.user.mmap(PAGE) == first + PAGE


def test_populate_maps_every_page_for_writing(machine: Machine) -> None:
    start = machine.user.mmap(3 * PAGE, populate=True)
    ends = [machine.walk(start + n * PAGE).end for n in range(3)]
    assert all(isinstance(end, Mapped) and end.user and end.writable and not end.executable for end in ends)
    assert len({end.physical for end in ends if isinstance(end, Mapped)}) == 3


def test_a_read_only_area_is_populated_with_the_zero_page(machine: Machine) -> None:
    start = machine.user.mmap(PAGE, protection="r", populate=True)
    end = machine.walk(start).end
    assert isinstance(end, Mapped)
    assert (end.physical, end.writable) == (machine.booted.zero_page, False)


def test_munmap_in_the_middle_splits_and_gives_frames_back(machine: Machine) -> None:
    start = machine.user.mmap(3 * PAGE, populate=True)
    free = machine.frames.free
    machine.user.munmap(start + PAGE, PAGE)
    assert machine.frames.free == free + 1
    assert [(vma.start, vma.end) for vma in machine.user.mm.vmas] == [
        (start, start + PAGE),
        (start + 2 * PAGE, start + 3 * PAGE),
    ]
    assert isinstance(machine.walk(start + PAGE).end, NotPresent)
    assert isinstance(machine.walk(start + 2 * PAGE).end, Mapped)


def test_both_parts_of_a_split_stack_still_grow(machine: Machine) -> None:
    start = machine.user.mmap(3 * PAGE, grows_down=True)
    machine.user.munmap(start + PAGE, PAGE)
    assert [vma.grows_down for vma in machine.user.mm.vmas] == [True, True]


def test_a_huge_lazy_area_costs_nothing_to_protect_and_unmap(machine: Machine) -> None:
    """It may not be writable: so much cannot be promised."""
    length = 100 << 30
    with pytest.raises(BadInput, match="length"):
        machine.user.mmap(length)
    start = machine.user.mmap(length, protection="r")
    machine.user.write(start + (77 << 30), b"x")
    machine.user.mprotect(start, length, "rx")
    assert getattr(machine.walk(start + (77 << 30)).end, "executable", False)
    machine.user.munmap(start, length)
    assert isinstance(machine.walk(start + (77 << 30)).end, NotPresent)


def test_user_space_ends_where_the_paging_mode_ends_it(machine: Machine) -> None:
    with pytest.raises(BadInput, match="user address"):
        machine.user.mmap(PAGE, address=1 << 47)
    high = Machine.boot(ram=64 << 20, features={"nx", "la57"}).user.mmap(PAGE, address=1 << 47, populate=True)
    assert high == 1 << 47


def test_the_zero_page_is_never_given_back_and_page_tables_are(machine: Machine) -> None:
    free = machine.frames.free
    start = machine.user.mmap(PAGE, protection="r", populate=True)
    assert machine.frames.free == free - 3
    machine.user.munmap(start, PAGE)
    assert machine.frames.free == free


@pytest.mark.parametrize(("version", "late"), [((5, 19), True), ((6, 1), False), ((6, 12), False)])
def test_mprotect_takes_the_right_to_write_at_once_and_until_60_gives_it_back_late(
    version: tuple[int, int], late: bool
) -> None:
    machine = Machine.boot(ram=64 << 20, kernel_profile=profile(version))
    start = machine.user.mmap(PAGE, populate=True)
    src = machine.kmalloc(8, b"12345678")
    machine.user.mprotect(start, PAGE, "r")
    assert machine.call("_copy_to_user", start, src, 8) == 8
    faults = len(machine.faults)
    machine.user.mprotect(start, PAGE, "rw")
    assert getattr(machine.walk(start).end, "writable", late) is not late
    assert machine.call("_copy_to_user", start, src, 8) == 0
    assert [getattr(fault, "how", "") for fault in machine.faults[faults:]] == (["page reused"] if late else [])


def test_prot_none_keeps_the_page_and_refuses_every_access(machine: Machine) -> None:
    start = machine.user.mmap(PAGE, content=b"kept")
    machine.user.mprotect(start, PAGE, "none")
    dst = machine.kmalloc(8)
    assert machine.call("_copy_from_user", dst, start, 4) == 4
    machine.user.mprotect(start, PAGE, "r")
    assert machine.call("_copy_from_user", dst, start, 4) == 0
    assert machine.read(dst, 4) == b"kept"


def test_mprotect_of_a_range_with_a_hole_changes_nothing(machine: Machine) -> None:
    start = machine.user.mmap(3 * PAGE)
    machine.user.munmap(start + PAGE, PAGE)
    with pytest.raises(BadInput, match="with holes"):
        machine.user.mprotect(start, 3 * PAGE, "r")
    assert all(vma.write for vma in machine.user.mm.vmas)


def test_writing_through_the_process_copies_the_zero_page_first(machine: Machine) -> None:
    start = machine.user.mmap(PAGE, protection="rw")
    assert machine.user.read(start, 4) == bytes(4)
    machine.user.write(start, b"mine")
    assert machine.user.read(start, 4) == b"mine"
    assert machine.ram.read(machine.booted.zero_page, PAGE) == bytes(PAGE)


@pytest.mark.parametrize("bad", ["q", "rw?", "RW"])
def test_an_unknown_protection_is_refused(machine: Machine, bad: str) -> None:
    with pytest.raises(BadInput, match="letters of rwx"):
        machine.user.mmap(PAGE, protection=bad)


@pytest.mark.parametrize(("length", "address"), [(0, None), (-1, None), (PAGE, 0x1001), (PAGE, -PAGE), (1 << 60, None)])
def test_impossible_ranges_are_refused(machine: Machine, length: int, address: int | None) -> None:
    with pytest.raises(BadInput):
        machine.user.mmap(length, address=address)
    assert len(machine.user.mm.vmas) == 0


@given(st.data())
def test_what_is_mapped_is_what_a_page_by_page_model_says(data: st.DataObject) -> None:
    """Random mmap, munmap and mprotect over 16 pages, against a list of what each page should be."""
    machine, base = Machine.boot(ram=64 << 20), 0x10_0000
    model: list[str | None] = [None] * 16
    for _ in range(data.draw(st.integers(1, 12))):
        first = data.draw(st.integers(0, 15))
        count = data.draw(st.integers(1, 16 - first))
        start, length = base + first * PAGE, count * PAGE
        match data.draw(st.sampled_from(["mmap", "munmap", "mprotect"])):
            case "mmap":
                rights = data.draw(st.sampled_from(["r", "rw", "rx"]))
                machine.user.mmap(length, address=start, protection=rights, populate=data.draw(st.booleans()))
                model[first : first + count] = [rights] * count
            case "munmap":
                machine.user.munmap(start, length)
                model[first : first + count] = [None] * count
            case "mprotect" if None not in model[first : first + count]:
                machine.user.mprotect(start, length, "r")
                model[first : first + count] = ["r"] * count
    for page, expected in enumerate(model):
        vma = machine.user.mm.vmas.vma_lookup(base + page * PAGE)
        assert (vma is None) == (expected is None)
        end = machine.walk(base + page * PAGE).end
        if vma is not None and expected is not None:
            assert (vma.write, vma.execute) == ("w" in expected, "x" in expected)
        if isinstance(end, Mapped):
            assert vma is not None, "an unmapped page is still in the tables"
            assert not end.writable or vma.write
            assert end.executable == vma.execute


def test_huge_pages_are_read_and_written_through() -> None:
    machine = Machine.boot(settings=MmSettings(thp="always"))
    process, start = machine.current, 0x4000_0000
    process.mmap(4 << 20, address=start)
    assert process.read(start + 5, 3) == bytes(3)
    assert machine.mm.huge_zero_page
    process.write(start + (2 << 20) - 2, b"over")
    assert process.read(start + (2 << 20) - 3, 6) == b"\0over\0"
    assert process.read(start, 1) == b"\0"
    process.munmap(start + 4096, 4096)
    assert process.read(start + (2 << 20) - 2, 4) == b"over"
