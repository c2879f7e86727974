"""Walking, and building what is walked. The oracle's tests compare the walk with a CPU's."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pagefault.arch import x86, x86_64
from pagefault.arch.x86 import CpuState
from pagefault.memory.ram import FrameAllocator, Ram
from pagefault.tables.pagetable import PageTables, read_linear, walk
from pagefault.vocabulary.access import Access, AccessKind
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.walk import Mapped, NonCanonical, NotPresent, Reserved, Unreadable

MIB = 1 << 20
BASE = CpuState(maxphyaddr=40)
LA57 = replace(BASE, cr4=BASE.cr4 | x86.CR4_LA57)
P, RW, US, A, D, PS, NX = (
    *(x86.PRESENT, x86.WRITABLE, x86.USER, x86.ACCESSED, x86.DIRTY, x86.PAGE_SIZE_BIT),
    x86.EXECUTE_DISABLE,
)
ROOT, PUD, PMD, PTE, FRAME = 0x1000, 0x2000, 0x3000, 0x4000, 0x9000
ADDRESS = 0x0000_7E80_C0A0_3123
INDEX = {"pgd": 253, "pud": 3, "pmd": 5, "pte": 3}


def tables(pgd: int = PUD | 7, pud: int = PMD | 7, pmd: int = PTE | 7, pte: int = FRAME | 7) -> Ram:
    """One path down, for ADDRESS."""
    ram = Ram(16 * PAGE)
    for table, name, value in ((ROOT, "pgd", pgd), (PUD, "pud", pud), (PMD, "pmd", pmd), (PTE, "pte", pte)):
        ram.write_u64(table + 8 * INDEX[name], value)
    return ram


def test_the_whole_walk_is_returned() -> None:
    way = walk(tables(), ROOT, ADDRESS, BASE)
    assert [(e.level, e.physical, e.index, e.value) for e in way.entries] == [
        ("pgd", ROOT + 253 * 8, 253, PUD | 7),
        ("pud", PUD + 3 * 8, 3, PMD | 7),
        ("pmd", PMD + 5 * 8, 5, PTE | 7),
        ("pte", PTE + 3 * 8, 3, FRAME | 7),
    ]
    assert way.end == Mapped(
        FRAME + 0x123, PAGE, user=True, writable=True, executable=True, protection_key=0, dirty=False
    )
    assert (way.address, way.root) == (ADDRESS, ROOT)


@pytest.mark.parametrize("level", ["pgd", "pud", "pmd", "pte"])
def test_every_level_has_its_say(level: str) -> None:
    """User and writable need all four, execution nobody's veto."""
    lower = {"pgd": PUD, "pud": PMD, "pmd": PTE, "pte": FRAME}[level]

    def end(flags: int, state: CpuState = BASE) -> Mapped:
        found = walk(tables(**{level: lower | flags}), ROOT, ADDRESS, state).end
        assert isinstance(found, Mapped)
        return found

    assert not end(P | RW).user
    assert not end(P | US).writable
    assert not end(P | RW | US | NX).executable
    assert end(P | RW | US).executable


@pytest.mark.parametrize("depth", range(4))
def test_an_absent_entry_ends_the_walk(depth: int) -> None:
    name = list(INDEX)[depth]
    way = walk(tables(**{name: 0xFFFF_FFFF_FFFF_FFFE}), ROOT, ADDRESS, BASE)
    assert way.end == NotPresent(name)
    assert len(way.entries) == depth + 1


@pytest.mark.parametrize("depth", range(4))
def test_a_reserved_bit_ends_the_walk(depth: int) -> None:
    name = list(INDEX)[depth]
    way = walk(tables(**{name: PTE | P | 1 << 45}), ROOT, ADDRESS, BASE)
    assert way.end == Reserved(name, 1 << 45)
    assert len(way.entries) == depth + 1


def test_what_cannot_be_read_is_said() -> None:
    way = walk(tables(pud=(1 << 39) | P), ROOT, ADDRESS, BASE)
    assert way.end == Unreadable("pmd", (1 << 39) + 5 * 8)
    assert [entry.level for entry in way.entries] == ["pgd", "pud"]
    assert walk(tables(), 1 << 39, ADDRESS, BASE).end == Unreadable("pgd", (1 << 39) + 253 * 8)


def test_a_non_canonical_address_reads_no_table() -> None:
    way = walk(tables(), ROOT, 1 << 47, BASE)
    assert way.end == NonCanonical()
    assert way.entries == ()


@pytest.mark.parametrize(("level", "size"), [("pud", 1 << 30), ("pmd", 2 << 20)])
def test_large_pages(level: str, size: int) -> None:
    way = walk(tables(**{level: size | P | PS | D | x86.LARGE_PAT | 9 << 59}), ROOT, ADDRESS, BASE)
    assert way.end == Mapped(
        size + ADDRESS % size, size, user=False, writable=False, executable=True, protection_key=9, dirty=True
    )


def test_five_levels_read_one_more_table() -> None:
    ram = tables()
    ram.write_u64(0x5000 + 8 * (ADDRESS >> 48), ROOT | 7)
    way = walk(ram, 0x5000, ADDRESS, LA57)
    assert [entry.level for entry in way.entries] == ["pgd", "p4d", "pud", "pmd", "pte"]
    assert isinstance(way.end, Mapped)
    assert way.end.physical == FRAME + 0x123


def test_execute_disable_means_nothing_but_reserved_without_nxe() -> None:
    state = replace(BASE, efer=BASE.efer & ~x86.EFER_NXE)
    assert walk(tables(pmd=PTE | 7 | NX), ROOT, ADDRESS, state).end == Reserved("pmd", NX)


@given(seed=st.integers(0, 1 << 32))
def test_a_walk_changes_nothing_and_always_ends(seed: int) -> None:
    """Over tables full of anything, self-references included."""
    random = Random(seed)
    ram = Ram(8 * PAGE)
    ram.write(0, random.randbytes(8 * PAGE))
    for _ in range(64):
        ram.write_u64(random.randrange(8 * PAGE // 8) * 8, random.randrange(8) * PAGE | random.getrandbits(12) | P)
    before = ram.read(0, ram.size)
    for state in (BASE, LA57):
        way = walk(ram, random.randrange(8) * PAGE, random.getrandbits(64), state)
        assert len(way.entries) <= len(x86_64.geometry(state).levels)
        assert all(ram.read_u64(entry.physical) == entry.value for entry in way.entries)
    assert ram.read(0, ram.size) == before


def mapping(state: CpuState) -> tuple[Ram, FrameAllocator, PageTables, int]:
    ram = Ram(4 * MIB)
    frames = FrameAllocator(0, ram.size)
    root = frames.take()
    return ram, frames, PageTables(ram, state, frames.take), root


@given(
    state=st.sampled_from([BASE, LA57]),
    page=st.integers(0, 1 << 34) | st.sampled_from([0, 511, 512, (1 << 18) - 1, (1 << 27) - 3]),
    frame=st.integers(0, 1 << 20),
    aligned=st.booleans(),
    count=st.integers(1, 1100),
    high=st.booleans(),
)
@example(state=BASE, page=511, frame=511, aligned=True, count=514, high=False)
@example(state=LA57, page=(1 << 27) - 513, frame=0, aligned=True, count=1100, high=True)
def test_what_is_mapped_is_found(state: CpuState, page: int, frame: int, aligned: bool, count: int, high: bool) -> None:
    """At both ends, in the middle, at every 2 MiB boundary; and nothing beside it is mapped."""
    ram, _, tables_, root = mapping(state)
    address, physical = page * PAGE, frame * PAGE
    if aligned:  # so that 2 MiB pages are used
        physical += address % (2 * MIB) - physical % (2 * MIB)
        physical %= 1 << 39
    if high:
        address += 0xFFFF_8000_0000_0000
    tables_.map_range(root, address, physical, count * PAGE, P | RW | NX)
    places = {
        0,
        count - 1,
        count // 2,
        *range(-page % 512, count, 512),
        *(n - 1 for n in range(-page % 512, count, 512) if n),
    }
    sizes = set()
    for place in places:
        end = walk(ram, root, address + place * PAGE + 0x18, state).end
        assert isinstance(end, Mapped), (place, end)
        assert end.physical == physical + place * PAGE + 0x18
        assert (end.writable, end.executable, end.user) == (True, False, False)
        sizes.add(end.page_size)
    if aligned and -page % 512 + 512 <= count:
        assert 2 * MIB in sizes
    for beside in (address - 1, address + count * PAGE):
        assert not isinstance(walk(ram, root, beside & x86_64.U64, state).end, Mapped)


@given(
    state=st.sampled_from([BASE, LA57]),
    pages=st.lists(st.integers(0, (1 << 35) - 1), min_size=1, max_size=12, unique=True),
    user=st.booleans(),
    kind=st.sampled_from(AccessKind),
)
def test_a_page_that_permits_the_access_does_not_fault(
    state: CpuState, pages: list[int], user: bool, kind: AccessKind
) -> None:
    ram, _, tables_, root = mapping(state)
    for number, page in enumerate(pages):
        tables_.map(root, page * PAGE, number * PAGE, P | RW | (US if user else 0))
    for number, page in enumerate(pages):
        access = Access(page * PAGE + 5, kind, user)
        way = walk(ram, root, access.address, state)
        assert x86_64.fault(way, access, state, {"rip": 0, "cs": 0}) is None
        assert isinstance(way.end, Mapped)
        assert way.end.physical == number * PAGE + 5


def test_tables_are_shared_not_made_twice() -> None:
    _, frames, tables_, root = mapping(BASE)
    before = frames.free
    tables_.map(root, 0x1000, 0, P)
    assert before - frames.free == 3
    tables_.map(root, 0x2000, 0, P)
    assert before - frames.free == 3
    tables_.map(root, 0x1000 + (2 << 20), 0, P)
    assert before - frames.free == 4


def test_a_new_table_is_zeroed() -> None:
    ram, frames, tables_, root = mapping(BASE)
    for frame in frames.peek(3):
        ram.fill(frame, PAGE, 0xFF)
    tables_.map(root, 0x1000, 0, P)
    assert walk(ram, root, 0x2000, BASE).end == NotPresent("pte")


def test_the_leaf_entry_of_an_address() -> None:
    _, _, tables_, root = mapping(BASE)
    assert tables_.entry(root, 0x5000) is None
    tables_.map(root, 0x5000, 0x9000, P | US)
    tables_.map_range(root, 4 * MIB, 2 * MIB, 2 * MIB, P)
    found = tables_.entry(root, 0x5000)
    assert found is not None
    assert (found.level, found.value) == ("pte", 0x9000 | P | US)
    absent = tables_.entry(root, 0x6000)
    assert absent is not None
    assert (absent.level, absent.value) == ("pte", 0)
    large = tables_.entry(root, 4 * MIB + 0x1234)
    assert large is not None
    assert large.level == "pmd"
    assert tables_.entry(root, 1 << 40) is None


def test_read_linear_crosses_pages_and_stops_at_the_first_that_is_not_there() -> None:
    ram, _, tables_, root = mapping(BASE)
    tables_.map(root, 0x5000, 0x30_0000, P)
    tables_.map(root, 0x6000, 0x20_0000, P)
    ram.write(0x30_0FFC, b"abcd")
    ram.write(0x20_0000, b"efgh")
    assert read_linear(ram, root, 0x5FFC, 8, BASE) == b"abcdefgh"
    assert len(read_linear(ram, root, 0x6FF0, 100, BASE)) == 16
    assert read_linear(ram, root, 0x7000, 1, BASE) == b""


def test_read_linear_stops_where_ram_ends() -> None:
    ram, _, tables_, root = mapping(BASE)
    tables_.map(root, 0x5000, ram.size, P)
    assert read_linear(ram, root, 0x5000, 4, BASE) == b""
