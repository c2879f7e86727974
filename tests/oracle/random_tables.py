"""Page tables, CPU states and accesses at random, from a seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt

from oracle.cpu_mmu import LINK_ENTRY, LONG_MODE, MAXPHYADDR, RAM_SIZE, ROOT, TABLES, WATCHED
from pagefault.arch import x86, x86_64
from pagefault.arch.architecture import Architecture
from pagefault.arch.architectures import architecture_of
from pagefault.arch.x86 import CpuState
from pagefault.memory.ram import Ram
from pagefault.tables.pagetable import walk
from pagefault.vocabulary.access import Access, AccessKind
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.walk import Mapped

WORD = 8
ENTRIES = 512
CASES = 24
"""Accesses to each set of tables."""
OFTEN = 0.94
BITS = {
    x86.PRESENT: OFTEN,
    x86.WRITABLE: 0.8,
    x86.USER: 0.8,
    x86.WRITE_THROUGH: 0.5,
    x86.CACHE_DISABLE: 0.5,
    x86.ACCESSED: 0.5,
    x86.DIRTY: 0.5,
    x86.PAGE_SIZE_BIT: 0.15,
    x86.GLOBAL: 0.5,
    x86.EXECUTE_DISABLE: 0.12,
    **dict.fromkeys((1 << bit for bit in (*range(9, 12), *range(52, 63))), 0.5),  # ignored, and the protection key
}
"""How likely each bit is. One table serves any level, so that an access meets every combination on its way down."""
HIGHEST_FRAME = 1 << MAXPHYADDR - 1


@dataclass(frozen=True, slots=True)
class Case:
    """One access: the CPU's state, and what a write stores. Its tables are in RAM."""

    state: CpuState
    access: Access
    value: int

    @property
    def form(self) -> Architecture:
        """The architecture's, by the state."""
        return architecture_of(self.state)

    @property
    def word(self) -> int:
        """How many bytes a read or write touches."""
        return self.form.bits // 8

    @property
    def crosses(self) -> bool:
        """Does it touch two pages?"""
        return self.access.kind is not AccessKind.FETCH and self.access.address % PAGE > PAGE - self.word


def random_tables(seed: int) -> bytes:
    """
    TABLES pages of entries, full. Most lead to a table or to a page, some to where no RAM is, a few have reserved bits.
    """
    random = np.random.default_rng(seed)
    count = TABLES * ENTRIES

    def chosen(probability: float) -> npt.NDArray[np.bool_]:
        return random.random(count) < probability

    pages = random.integers(0, RAM_SIZE // PAGE, count, np.uint64)
    entries = np.where(chosen(0.85), random.integers(0, TABLES, count, np.uint64), pages) * np.uint64(PAGE)
    entries = np.where(chosen(0.03), np.uint64(HIGHEST_FRAME) + entries, entries)
    flags = np.zeros(count, np.uint64)
    for bit, probability in BITS.items():
        flags |= np.where(chosen(probability), np.uint64(bit), np.uint64(0))
    large = flags & np.uint64(x86.PAGE_SIZE_BIT) != 0
    aligned = np.uint64(1 << 30) * random.integers(0, 2, count, np.uint64) | np.where(
        chosen(0.5), np.uint64(2 << 20) * random.integers(0, 512, count, np.uint64), np.uint64(0)
    )
    pat = np.where(chosen(0.5), np.uint64(x86.LARGE_PAT), np.uint64(0))
    entries = np.where(large & chosen(0.9), aligned | pat, entries)
    above = np.uint64(1) << random.integers(MAXPHYADDR, 52, count, np.uint64)
    entries = np.where(chosen(0.05), entries | above, entries) | flags
    entries[ENTRIES - 1] = LINK_ENTRY  # the program that makes the access
    return entries.tobytes()


def random_state(random: Random) -> CpuState:
    """Every control bit that decides a fault, on or off."""
    base = CpuState()
    cr4 = base.cr4
    for bit in (x86.CR4_SMEP, x86.CR4_SMAP, x86.CR4_PKE, x86.CR4_LA57):
        cr4 |= bit if random.random() < 0.5 else 0
    return CpuState(
        cr0=base.cr0 if random.random() < 0.5 else base.cr0 & ~x86.CR0_WP,
        cr3=ROOT,
        cr4=cr4,
        efer=base.efer if random.random() < 0.8 else base.efer & ~x86.EFER_NXE,
        eflags=x86.EFLAGS_FIXED | (x86.EFLAGS_AC if random.random() < 0.5 else 0),
        pkru=random.getrandbits(32) & random.getrandbits(32) & random.getrandbits(32),
        maxphyaddr=MAXPHYADDR,
    )


def random_address(random: Random, state: CpuState) -> int:
    """Mostly canonical; sometimes the program's own; sometimes in the last bytes of its page."""
    sign = x86_64.geometry(state).sign_bit
    address = random.getrandbits(sign)
    half = random.random()
    if half < 0.45:
        address |= x86_64.U64 >> sign << sign
    elif half > 0.96:
        address = random.getrandbits(64)
    elif half > 0.94:
        address = LONG_MODE.text + random.getrandbits(13)
    if random.random() < 0.1:
        address |= PAGE - WORD + 1
    return address


def random_case(random: Random, ram: Ram) -> Case:
    """Any access in any state, but of three addresses the first that is mapped: permissions are most of the rules."""
    state = random_state(random)
    for _ in range(3):
        address = random_address(random, state)
        if isinstance(walk(ram, ROOT, address, state).end, Mapped):
            break
    access = Access(address, random.choice(list(AccessKind)), user=random.random() < 0.5)
    return Case(state, access, random.getrandbits(64))


def random_cases(ram: Ram, seed: int) -> Iterator[Case]:
    """Fill the tables, then CASES accesses to them, each decided when it is asked for."""
    ram.write(ROOT, random_tables(seed))
    random = Random(seed)
    for _ in range(CASES):
        yield random_case(random, ram)


def in_tables(physical: int, length: int) -> bool:
    """Does this range touch what is compared and restored as a whole?"""
    return physical < WATCHED and physical + length > 0
