"""Our answer to a case, the oracle's, and a report of how they differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from oracle.cpu_mmu import KERNEL_CODE, LINK, RAM_SIZE, WATCHED, Asked, Program
from oracle.random_tables import Case, in_tables
from pagefault.arch import x86, x86_64
from pagefault.memory.ram import Ram
from pagefault.tables.pagetable import walk
from pagefault.vocabulary.access import Access, AccessKind
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.fault import Fault
from pagefault.vocabulary.walk import Mapped, Unreadable, Walk

Cases = Callable[[Ram, int], Iterable[Case]]
"""Given a seed: fills the tables, and then makes accesses at random to them."""
CODE_SEGMENT = {"rip": 0, "eip": 0, "cs": x86_64.KERNEL_CS}
MARKER = 0x5AA5_C33C_9669_F00F
LANDING = b"\xcc"


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What happened, in the words that both sides have: the vector (None: it went through), CR2, the error code, the value
    read, and the watched memory after it. `elsewhere` is what lies at the physical address outside the watched memory.
    """

    vector: int | None
    cr2: int | None
    error_code: int | None
    value: int | None
    in_ram: bool
    memory: bytes
    elsewhere: bytes


@dataclass(frozen=True, slots=True)
class Ours:
    """Our answer, with the walks it came from, and the A bits on which the manual lets the CPU choose."""

    answer: Answer
    walks: tuple[Walk, ...]
    pieces: tuple[tuple[int, int], ...]
    undecided: frozenset[int]


def accesses(case: Case) -> list[Access]:
    """One access a page, in the order in which they are made."""
    first = case.access
    highest = (1 << case.form.bits) - 1
    return [first, replace(first, address=(first.address | PAGE - 1) + 1 & highest)] if case.crosses else [first]


def not_comparable(case: Case, ram: Ram) -> str:
    """
    Why Unicorn's answer to this case says nothing about the architecture; empty if it does.

    Each is a deviation of Unicorn 2.1.4 (QEMU 5.0) from the manual, or out of the oracle's reach.
    """
    if case.form.bits < 64 and case.access.address + case.word > 1 << case.form.bits:
        return "an access around the end of 32-bit addresses: Unicorn, built for 64 bits, goes on above it"
    for access in accesses(case):
        way = walk(ram, case.state.root, access.address, case.state)
        if case.crosses and isinstance(way.end, Mapped) and way.end.physical >= ram.size:
            return "half an access outside RAM: where Unicorn gives up is no property of the MMU"
        if isinstance(way.end, Unreadable):
            return "a page table outside RAM: what the bus answers is no property of the MMU"
        physical = way.end.physical if isinstance(way.end, Mapped) else ram.size
        if access.kind is AccessKind.WRITE and KERNEL_CODE <= physical < WATCHED:
            return "a write to the program that makes it"
        if access.kind is AccessKind.FETCH and in_tables(physical, 1):
            return "a fetch from the tables or the program themselves would run them"
    return ""


def ours(case: Case, ram: Ram) -> Ours:
    """
    Make the access with our walk and our rules, in `ram`. Data outside the watched memory is marked first, so that the
    oracle's access shows whether it goes to the same physical address.
    """
    walks: list[Walk] = []
    pieces: list[tuple[int, int]] = []
    fault: Fault | None = None
    undecided: set[int] = set()
    address, left = case.access.address, case.word
    for access in accesses(case):
        way = walk(ram, case.state.root, access.address, case.state)
        walks.append(way)
        fault = case.form.fault(way, access, case.state, CODE_SEGMENT)
        if fault is not None:
            undecided = {
                entry.physical for entry in way.entries if entry is not way.entries[-1] or entry.level == "pud"
            }
            break
        assert isinstance(way.end, Mapped)
        for entry, marked in case.form.accessed_dirty(way, access, case.state):
            ram.write_entry(entry.physical, marked, case.form.geometry(case.state).entry_size)
        size = 1 if access.kind is AccessKind.FETCH else min(left, PAGE - access.address % PAGE)
        pieces.append((way.end.physical, size))
        left -= size
    in_ram = all(physical + size <= ram.size for physical, size in pieces)
    value: int | None = None
    if fault is None and in_ram:
        data = (case.value if case.access.kind is AccessKind.WRITE else MARKER ^ address).to_bytes(8, "little")[
            : case.word
        ]
        data = LANDING if case.access.kind is AccessKind.FETCH else data
        done = 0
        for physical, size in pieces:
            if case.access.kind is AccessKind.WRITE or not in_tables(physical, size):
                ram.write(physical, data[done : done + size])
            done += size
        if case.access.kind is AccessKind.READ:
            value = int.from_bytes(b"".join(ram.read(physical, size) or b"" for physical, size in pieces), "little")
    answer = Answer(
        vector=fault.vector if fault else None,
        cr2=fault.address if fault else None,
        error_code=fault.error_code if fault else None,
        value=value,
        in_ram=in_ram or fault is not None,
        memory=ram.read(0, WATCHED) or b"",
        elsewhere=elsewhere(ram, pieces),
    )
    return Ours(answer, tuple(walks), tuple(pieces), frozenset(undecided))


def elsewhere(ram: Ram, pieces: list[tuple[int, int]] | tuple[tuple[int, int], ...]) -> bytes:
    return b"".join(ram.read(physical, size) or b"" for physical, size in pieces if not in_tables(physical, size))


def clear(ram: Ram, pieces: tuple[tuple[int, int], ...]) -> None:
    for physical, size in pieces:
        if not in_tables(physical, size) and physical + size <= ram.size:
            ram.write(physical, bytes(size))


def compared(ram: Ram, other: Asked, cases: Cases, seeds: range) -> tuple[int, str]:
    """How many cases were compared, and the report of the first disagreement, if any."""
    count = 0
    for seed in seeds:
        for number, case in enumerate(cases(ram, seed)):
            if not_comparable(case, ram):
                continue
            count += 1
            if found := disagreement(case, ram, other):
                smallest = report(shrink(case, ram, other), ram, other)
                return count, f"tables of seed {seed}, case {number}:\n{found}\n\nshrunk:\n{smallest}"
    return count, ""


def disagreement(case: Case, ram: Ram, cpu: Asked) -> str:
    """
    Ask both; the empty string if they agree, else what differs. RAM is left as it was.

    The A bits of the upper entries (down to the pud, a leaf or not) of a walk that ends in a fault are left out:
    Unicorn sets them on its way down, we only when the access is permitted, and the manual (Intel SDM vol. 3A, 4.8)
    allows both.
    """
    before = ram.read(0, WATCHED) or b""
    mine = ours(case, ram)
    if case.access.kind is AccessKind.WRITE:
        clear(ram, mine.pieces)
    ram.write(0, before)
    seen = cpu.access(case.access, case.state, case.value)
    after = ram.read(0, WATCHED) or b""
    theirs = Answer(seen.vector, seen.cr2, seen.error_code, seen.value, seen.in_ram, after, elsewhere(ram, mine.pieces))
    clear(ram, mine.pieces)
    if after != before:
        ram.write(0, before)
        if after[-2 * PAGE :] != before[-2 * PAGE :]:
            cpu.forget_code()
    return difference(mine, theirs)


def difference(mine: Ours, theirs: Answer) -> str:
    found = [
        f"{name}: ours {shown(getattr(mine.answer, name))}, the oracle's {shown(getattr(theirs, name))}"
        for name in ("vector", "cr2", "error_code", "value", "in_ram", "elsewhere")
        if getattr(mine.answer, name) != getattr(theirs, name)
    ]
    a, b = (np.frombuffer(memory, np.uint32) for memory in (mine.answer.memory, theirs.memory))
    for index in np.flatnonzero(a != b).tolist():
        left, right = int(a[index]), int(b[index])
        if index * 4 not in mine.undecided or left | x86.ACCESSED != right:
            found.append(f"the word at {index * 4:#x}: ours {left:#x}, the oracle's {right:#x}")
    return "\n".join(found)


def shown(value: object) -> str:
    return hex(value) if isinstance(value, int) and not isinstance(value, bool) else str(value)


def shrink(case: Case, ram: Ram, cpu: Asked) -> Case:
    """
    The same disagreement with as little as possible: every entry that no walk meets is emptied, and each bit of the
    entries and of the state is cleared that can be. Changes `ram`.
    """
    met = {entry.physical for way in ours_without_trace(case, ram) for entry in way.entries}
    size = case.form.geometry(case.state).entry_size
    for at in range(0, LINK, size):
        if at not in met:
            attempt(ram, at, 0, case, cpu)
    for at in sorted(met):
        for bit in range(8 * size):
            attempt(ram, at, (ram.read_entry(at, size) or 0) & ~(1 << bit), case, cpu)
    for simpler in (
        *(replace(case.state, cr4=case.state.cr4 & ~(1 << bit)) for bit in (12, 20, 21, 22)),
        replace(case.state, pkru=0),
        replace(case.state, eflags=x86.EFLAGS_FIXED),
    ):
        tried = replace(case, state=simpler)
        if not not_comparable(tried, ram) and disagreement(tried, ram, cpu):
            case = tried
    return case


def attempt(ram: Ram, at: int, value: int, case: Case, cpu: Asked) -> None:
    size = case.form.geometry(case.state).entry_size
    kept = ram.read_entry(at, size) or 0
    if value == kept or at >= LINK or at in cpu.program_slots(case.state):
        return
    ram.write_entry(at, value, size)
    if not_comparable(case, ram) or not disagreement(case, ram, cpu):
        ram.write_entry(at, kept, size)


def ours_without_trace(case: Case, ram: Ram) -> tuple[Walk, ...]:
    before = ram.read(0, WATCHED) or b""
    mine = ours(case, ram)
    clear(ram, mine.pieces)
    ram.write(0, before)
    return mine.walks


def report(case: Case, ram: Ram, cpu: Asked) -> str:
    """The smallest form of a disagreement, for a person."""
    access, state = case.access, case.state
    lines = [
        f"{access.kind.value} of {access.address:#x}, {'user' if access.user else 'supervisor'}",
        f"cr0 {state.cr0:#x}  cr4 {state.cr4:#x}  efer {state.efer:#x}  eflags {state.eflags:#x}  pkru {state.pkru:#x}",
    ]
    for way in ours_without_trace(case, ram):
        lines.append(f"walk of {way.address:#x}:")
        for entry in way.entries:
            flags = " ".join(case.form.entry_flags(entry, state))
            lines.append(f"  {entry.level} {entry.index:3} at {entry.physical:#x}: {entry.value:#018x}  {flags}")
        lines.append(f"  {way.end}")
    return "\n".join([*lines, disagreement(case, ram, cpu)])


def fresh_ram(program: Program) -> Ram:
    ram = Ram(RAM_SIZE)
    program.install(ram)
    return ram
