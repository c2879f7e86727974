"""Two-level and PAE page tables, 32-bit CPU states and accesses at random, from a seed."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import numpy as np
import numpy.typing as npt

from oracle.cpu_mmu import MAXPHYADDR, RAM_SIZE, ROOT, TABLES
from oracle.cpu_mmu_32 import PROTECTED_MODE, program_slots
from oracle.random_tables import CASES, Case
from oracle.random_tables import random_tables as random_tables_64
from pagefault.arch import x86, x86_32
from pagefault.arch.x86 import CpuState
from pagefault.memory.ram import Ram
from pagefault.tables.pagetable import walk
from pagefault.vocabulary.access import Access, AccessKind
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.walk import Mapped

BITS = {
    x86.PRESENT: 0.94,
    x86.WRITABLE: 0.8,
    x86.USER: 0.8,
    x86.WRITE_THROUGH: 0.5,
    x86.CACHE_DISABLE: 0.5,
    x86.ACCESSED: 0.5,
    x86.DIRTY: 0.5,
    x86.PAGE_SIZE_BIT: 0.3,
    x86.GLOBAL: 0.5,
    **dict.fromkeys((1 << bit for bit in range(9, 12)), 0.5),
}
ROOTS = PAGE // 32
"""PAE's table of four entries may begin at any multiple of 32 bytes."""


def random_tables(ram: Ram, seed: int) -> CpuState:
    """
    Fill the tables: by two levels for an even seed, by PAE for an odd one. Returns the state that goes with them, for
    `random_state` to vary.
    """
    random = Random(seed)
    if seed % 2:
        state = CpuState(cr3=ROOT + 32 * random.randrange(ROOTS - 1), cr4=x86.CR4_PAE, efer=0, maxphyaddr=MAXPHYADDR)
        ram.write(ROOT, pae_tables(random, seed, state))
    else:
        state = CpuState(cr3=ROOT, cr4=0, efer=0, maxphyaddr=MAXPHYADDR)
        ram.write(ROOT, two_level_tables(seed))
    for slot, value in program_slots(state).items():
        ram.write_entry(slot, value, x86_32.geometry(state).entry_size)
    return state


def pae_tables(random: Random, seed: int, state: CpuState) -> bytes:
    """
    Those of x86-64, but for bits 62..52, which are mostly clear here: they are reserved. In the four top entries bits
    1, 2 and 5 to 8 are clear: the manual has the CPU refuse them at MOV to CR3, and Unicorn never looks at them.
    """
    generator = np.random.default_rng(seed)
    entries = np.frombuffer(random_tables_64(seed), np.uint64).copy()
    mostly = generator.random(len(entries)) < 0.95
    entries = np.where(mostly, entries & np.uint64(~x86_32.ABOVE_PHYSICAL & (1 << 64) - 1), entries)
    first = (state.root - ROOT) // 8
    for index in range(first, first + 4):
        value = int(entries[index]) & ~x86_32.PDPTE_RESERVED
        entries[index] = value & ~x86.EXECUTE_DISABLE if random.random() < 0.8 else value
    return entries.tobytes()


def two_level_tables(seed: int) -> bytes:
    """Full of entries of 32 bits, that lead to a table, to a page, or to a large page above 4 GiB."""
    random = np.random.default_rng(seed)
    count = TABLES * PAGE // 4

    def chosen(probability: float) -> npt.NDArray[np.bool_]:
        return np.asarray(random.random(count) < probability)

    pages = random.integers(0, RAM_SIZE // PAGE, count, np.uint64)
    entries = np.where(chosen(0.85), random.integers(0, TABLES, count, np.uint64), pages) * np.uint64(PAGE)
    flags = np.zeros(count, np.uint64)
    for bit, probability in BITS.items():
        flags |= np.where(chosen(probability), np.uint64(bit), np.uint64(0))
    large = flags & np.uint64(x86.PAGE_SIZE_BIT) != 0
    aligned = np.uint64(4 << 20) * random.integers(0, RAM_SIZE >> 22, count, np.uint64)
    pat = np.where(chosen(0.5), np.uint64(x86.LARGE_PAT), np.uint64(0))
    high = np.where(chosen(0.1), np.uint64(1 << 13) * random.integers(0, 256, count, np.uint64), np.uint64(0))
    reserved = np.where(chosen(0.2), np.uint64(x86_32.PSE_RESERVED), np.uint64(0))
    entries = np.where(large & chosen(0.9), aligned | pat | high | reserved, entries) | flags
    return entries.astype(np.uint32).tobytes()


def random_state(random: Random, state: CpuState) -> CpuState:
    """Every control bit that decides a fault, on or off."""
    base = CpuState()
    cr4 = state.cr4
    for bit, probability in ((x86.CR4_SMEP, 0.5), (x86.CR4_SMAP, 0.5), (x86.CR4_PKE, 0.3), (x86.CR4_PSE, 0.7)):
        cr4 |= bit if random.random() < probability else 0
    return CpuState(
        cr0=base.cr0 if random.random() < 0.5 else base.cr0 & ~x86.CR0_WP,
        cr3=state.cr3,
        cr4=cr4,
        efer=x86.EFER_NXE if random.random() < 0.8 else 0,
        eflags=x86.EFLAGS_FIXED | (x86.EFLAGS_AC if random.random() < 0.5 else 0),
        pkru=random.getrandbits(32) & random.getrandbits(32),
        maxphyaddr=MAXPHYADDR,
    )


def random_address(random: Random) -> int:
    """Sometimes the program's own; sometimes in the last bytes of its page."""
    address = random.getrandbits(32)
    if random.random() < 0.02:
        address = PROTECTED_MODE.text + random.getrandbits(13)
    if random.random() < 0.1:
        address |= PAGE - 3
    return address


def random_case(random: Random, ram: Ram, tables: CpuState) -> Case:
    """Any access in any state, but often, of three addresses, the first that is mapped."""
    state = random_state(random, tables)
    for _ in range(random.choice((1, 3))):
        address = random_address(random)
        if isinstance(walk(ram, state.root, address, state).end, Mapped):
            break
    access = Access(address, random.choice(list(AccessKind)), user=random.random() < 0.5)
    return Case(state, access, random.getrandbits(32))


def random_cases(ram: Ram, seed: int) -> Iterator[Case]:
    """Fill the tables, then CASES accesses to them, each decided when it is asked for."""
    tables = random_tables(ram, seed)
    random = Random(seed)
    for _ in range(CASES):
        yield random_case(random, ram, tables)
