"""What the CPU is told of a translation. `oracle/test_mmu_agrees.py` compares whole accesses with an emulator's MMU."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefault.arch import x86, x86_64
from pagefault.arch.x86 import CpuState
from pagefault.machine.mmu import Mmu, Translation
from pagefault.memory.ram import FrameAllocator, Ram
from pagefault.tables.pagetable import PageTables
from pagefault.vocabulary.access import Access, AccessKind
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.walk import Mapped, NotPresent

P, RW, US, A, D, NX = (
    *(x86.PRESENT, x86.WRITABLE, x86.USER, x86.ACCESSED, x86.DIRTY),
    x86.EXECUTE_DISABLE,
)
READ, WRITE, FETCH = AccessKind.READ, AccessKind.WRITE, AccessKind.FETCH
ADDRESS, FRAME = 0x40_0000, 0x9000


class Bench:
    def __init__(self, flags: int, frame: int = FRAME) -> None:
        self.ram = Ram(64 * PAGE)
        frames = FrameAllocator(16 * PAGE, self.ram.size)
        self.state = replace(CpuState(), cr3=frames.take())
        tables = PageTables(self.ram, self.state, frames.take)
        tables.map(self.state.root, ADDRESS, frame, flags)
        self.slot = tables.entry_slot(self.state.root, ADDRESS)
        self.mmu = Mmu(self.ram)

    def ask(self, kind: AccessKind, *, user: bool = False, state: CpuState | None = None) -> Translation | None:
        return self.mmu.translate(Access(ADDRESS + 8, kind, user), state or self.state)[1]


def test_a_translation_gives_the_page_and_every_right_of_the_mode_that_asks() -> None:
    assert Bench(P | RW | US | D).ask(READ) == Translation(FRAME, read=True, write=True, fetch=True)
    assert Bench(P | US | NX).ask(READ, user=True) == Translation(FRAME, read=True, write=False, fetch=False)
    assert Bench(P).ask(FETCH) == Translation(FRAME, read=True, write=False, fetch=True)


def test_a_fetch_does_not_open_what_smap_or_a_key_closes() -> None:
    bench = Bench(P | RW | US | D)
    smap = replace(bench.state, cr4=bench.state.cr4 | x86.CR4_SMAP, eflags=2)
    assert bench.ask(FETCH, state=smap) == Translation(FRAME, read=False, write=False, fetch=True)
    key = replace(bench.state, cr4=bench.state.cr4 | x86.CR4_PKE, pkru=3)
    assert bench.ask(FETCH, user=True, state=key) == Translation(FRAME, read=False, write=False, fetch=True)


def test_the_right_to_write_waits_for_the_dirty_bit() -> None:
    bench = Bench(P | RW)
    before_write = bench.ask(READ)
    assert before_write is not None
    assert not before_write.write
    assert bench.ram.read_u64(bench.slot) == FRAME | P | RW | A
    written = bench.ask(WRITE)
    assert written is not None
    assert written.write
    assert bench.ram.read_u64(bench.slot) == FRAME | P | RW | A | D
    after = bench.ask(READ)
    assert after is not None
    assert after.write


@pytest.mark.parametrize(
    ("flags", "kind", "user"), [(P, WRITE, False), (P | NX, FETCH, False), (P, READ, True), (0, READ, False)]
)
def test_a_refusal_changes_nothing(flags: int, kind: AccessKind, user: bool) -> None:
    bench = Bench(flags)
    before = bench.ram.read(0, bench.ram.size)
    assert bench.ask(kind, user=user) is None
    assert bench.ram.read(0, bench.ram.size) == before


def test_a_page_outside_ram_has_no_translation() -> None:
    bench = Bench(P | RW, frame=64 * PAGE)
    way, translation = bench.mmu.translate(Access(ADDRESS, READ), bench.state)
    assert isinstance(way.end, Mapped)
    assert translation is None


def test_a_held_translation_outlives_the_tables_until_it_is_dropped() -> None:
    bench = Bench(P)
    bench.mmu.hold(ADDRESS + 0x123, bench.state)
    bench.ram.write_u64(bench.slot, FRAME | P | RW)
    assert bench.ask(WRITE) is None
    way = bench.mmu.look(ADDRESS + 0x18, bench.state)
    assert isinstance(way.end, Mapped)
    assert (way.address, way.end.physical) == (ADDRESS + 0x18, FRAME + 0x18)
    bench.mmu.drop(ADDRESS + PAGE)
    assert bench.ask(WRITE) is None, "another page"
    bench.mmu.drop(ADDRESS + 0xFFF)
    assert bench.ask(WRITE) is not None


def test_a_flush_drops_all_that_is_held() -> None:
    bench = Bench(P | RW)
    bench.mmu.hold(ADDRESS, bench.state)
    bench.ram.write_u64(bench.slot, 0)
    assert bench.ask(READ) is not None
    bench.mmu.flush()
    assert bench.mmu.look(ADDRESS, bench.state).end == NotPresent("pte")


def test_a_held_translation_writes_no_entry() -> None:
    """The CPU does not look at the tables then."""
    bench = Bench(P | RW)
    bench.mmu.hold(ADDRESS, bench.state)
    bench.ram.write_u64(bench.slot, 0)
    bench.ask(READ)
    assert bench.ram.read_u64(bench.slot) == 0


@given(seed=st.integers(0, 1 << 32))
def test_every_right_that_is_given_is_one_the_rules_give(seed: int) -> None:
    random = Random(seed)
    flags = P | sum(bit for bit in (RW, US, A, D, NX) if random.random() < 0.5) | random.getrandbits(2) << 59
    bench = Bench(flags)
    cr4 = sum(bit for bit in (x86.CR4_SMAP, x86.CR4_SMEP, x86.CR4_PKE) if random.random() < 0.5)
    state = replace(
        bench.state,
        cr4=bench.state.cr4 | cr4,
        cr0=bench.state.cr0 & ~(x86.CR0_WP if random.random() < 0.5 else 0),
        eflags=random.choice([2, 2 | x86.EFLAGS_AC]),
        pkru=random.getrandbits(8),
    )
    user = random.random() < 0.5
    asked = random.choice(list(AccessKind))
    way, given_ = bench.mmu.translate(Access(ADDRESS, asked, user), state)
    allowed = {
        kind: x86_64.fault(way, Access(ADDRESS, kind, user), state, {"rip": 0, "cs": 0}) is None for kind in AccessKind
    }
    assert (given_ is not None) is allowed[asked]
    if given_ is not None:
        dirty = bool(flags & D) or asked is WRITE
        assert (given_.read, given_.write, given_.fetch) == (allowed[READ], allowed[WRITE] and dirty, allowed[FETCH])
