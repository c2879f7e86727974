"""
Two-level and PAE paging against QEMU's own, on tables and accesses at random: as `test_mmu_agrees` does for long mode.

Left out: bits 1, 2 and 5 to 8 of PAE's four top entries (`random_tables_32.pae_tables`): see `arch/test_x86_32.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from oracle.agreement import disagreement, not_comparable, report, shrink
from oracle.cpu_mmu import LINK, RAM_SIZE, Asked
from oracle.cpu_mmu_32 import CpuMmu32, OurCpu32, install_program
from oracle.random_tables import Case
from oracle.random_tables_32 import random_case, random_tables
from pagefault.arch import x86, x86_32
from pagefault.memory.ram import Ram
from pagefault.tables.pagetable import walk
from pagefault.vocabulary.walk import Mapped

PARTS, TABLES_A_PART, CASES_A_TABLE = 12, 50, 24


@pytest.fixture(scope="module")
def ram() -> Ram:
    ram = Ram(RAM_SIZE)
    install_program(ram)
    return ram


@pytest.fixture(scope="module")
def oracle(ram: Ram) -> CpuMmu32:
    return CpuMmu32(ram)


def compared(ram: Ram, other: Asked, seeds: range, *, supervisor: bool = False) -> tuple[int, str]:
    """How many cases were compared, and the report of the first disagreement, if any."""
    count = 0
    for seed in seeds:
        tables = random_tables(ram, seed)
        random = Random(seed)
        for number in range(CASES_A_TABLE):
            case = random_case(random, ram, tables)
            if not_comparable(case, ram) or (supervisor and (case.access.user or case.state.cr4 & x86.CR4_PKE)):
                continue
            count += 1
            if found := disagreement(case, ram, other):
                smallest = shrink(case, ram, other)
                return (
                    count,
                    f"tables of seed {seed}, case {number}:\n{found}\n\nshrunk:\n{report(smallest, ram, other)}",
                )
    return count, ""


@pytest.mark.parametrize("part", range(PARTS))
def test_the_walk_agrees_with_the_cpu_s_own_mmu(part: int, ram: Ram, oracle: CpuMmu32) -> None:
    """12 parts of over 900 cases: more than 10,000."""
    count, found = compared(ram, oracle, range(part * TABLES_A_PART, (part + 1) * TABLES_A_PART))
    assert not found, found
    assert count > 900


@pytest.mark.parametrize("part", range(2))
def test_the_machine_s_cpu_agrees_with_our_mmu(part: int, ram: Ram) -> None:
    """The same cases, a supervisor's, with Unicorn asking our MMU for each translation."""
    count, found = compared(ram, OurCpu32(ram), range(5000 + part * 40, 5000 + (part + 1) * 40), supervisor=True)
    assert not found, found
    assert count > 200


def test_the_cases_reach_every_rule(ram: Ram) -> None:
    """Each of these must come up often enough for a wrong rule to be seen."""
    seen: Counter[str] = Counter()
    for seed in range(200):
        tables = random_tables(ram, seed)
        random = Random(seed)
        for _ in range(CASES_A_TABLE):
            case = random_case(random, ram, tables)
            if not not_comparable(case, ram):
                seen.update(kinds(case, ram))
    rare = {kind: seen[kind] for kind in EVERY_KIND if seen[kind] < 10}
    assert not rare, seen


EVERY_KIND = {
    *("Mapped", "NotPresent", "Reserved"),
    *(
        "a user-mode access to a supervisor page",
        "a fetch from an execute-disabled page",
        "a write to a read-only page",
    ),
    "a supervisor fetched from a user page (CR4.SMEP)",
    "a supervisor touched a user page outside an AC window (CR4.SMAP)",
    *("permitted READ", "permitted WRITE", "permitted FETCH", "D written", "A written"),
    *("two levels: page of 0x1000", "two levels: page of 0x400000", "two levels, PS without PSE"),
    *("PAE: page of 0x1000", "PAE: page of 0x200000", "above 4 GiB"),
    *("two pages", "tables through themselves", "keys that count for nothing"),
    *("two levels: reserved in a pgd", "PAE: reserved in a pgd", "PAE: reserved in a pmd", "PAE: reserved in a pte"),
    *("two levels: not present in a pgd", "two levels: not present in a pte"),
    *(f"PAE: not present in a {level}" for level in ("pgd", "pmd", "pte")),
}


def kinds(case: Case, ram: Ram) -> list[str]:
    """What this case exercises."""
    way = walk(ram, case.state.root, case.access.address, case.state)
    mode = "PAE" if case.state.pae else "two levels"
    name = type(way.end).__name__
    found = [name]
    found += ["two pages"] if case.crosses else []
    if name in ("Reserved", "NotPresent"):
        found.append(f"{mode}: {'reserved' if name == 'Reserved' else 'not present'} in a {way.end.level}")  # type: ignore[union-attr]
    if isinstance(way.end, Mapped):
        broken = x86.violation(way.end, case.access, case.state)
        found.append(broken.rule if broken else f"permitted {case.access.kind.name}")
        found.append(f"{mode}: page of {way.end.page_size:#x}")
        found += ["above 4 GiB"] if way.end.physical >> 32 else []
        if way.end.user and case.state.cr4 & x86.CR4_PKE and case.state.pkru & 1:
            found.append("keys that count for nothing")
        if mode == "two levels" and way.entries[0].value & x86.PAGE_SIZE_BIT and way.end.page_size == 4096:
            found.append("two levels, PS without PSE")
        if broken is None:
            written = [v ^ e.value for e, v in x86_32.accessed_dirty(way, case.access, case.state)]
            found += [
                word
                for bit, word in ((x86.ACCESSED, "A written"), (x86.DIRTY, "D written"))
                if any(w & bit for w in written)
            ]
            found += ["tables through themselves"] if way.end.physical < LINK else []
    return found


def no_pse_reserved(level: Any, value: int, cpu: Any) -> int:
    return RIGHT_RESERVED(level, value & ~x86_32.PSE_RESERVED if level is x86_32.PGD_32 else value, cpu)


def ignored_as_in_long_mode(level: Any, value: int, cpu: Any) -> int:
    return RIGHT_RESERVED(level, value & ~x86_32.ABOVE_PHYSICAL, cpu)


def executable_gigabyte(level: Any, value: int, cpu: Any) -> int:
    return RIGHT_RESERVED(level, value & ~x86.EXECUTE_DISABLE if level is x86_32.PGD_PAE else value, cpu)


def low_pages_only(level: Any, value: int) -> int:
    return RIGHT_FRAME(level, value) & 0xFFFF_FFFF


def marked_at_the_top(walk: Any, access: Any, cpu: Any) -> Any:
    return x86.accessed_dirty(walk.entries, access)


def always_pse(cpu: Any) -> Any:
    return RIGHT_GEOMETRY(replace(cpu, cr4=cpu.cr4 | x86.CR4_PSE))


RIGHT_RESERVED, RIGHT_FRAME, RIGHT_GEOMETRY = x86_32.reserved_bits, x86_32.page_frame, x86_32.geometry


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("reserved_bits", no_pse_reserved),
        ("reserved_bits", ignored_as_in_long_mode),
        ("reserved_bits", executable_gigabyte),
        ("page_frame", low_pages_only),
        ("accessed_dirty", marked_at_the_top),
        ("geometry", always_pse),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_wrong_rule_is_noticed(
    name: str, wrong: Callable[..., Any], ram: Ram, oracle: CpuMmu32, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison can fail, and says where: the report has the walk and both answers."""
    monkeypatch.setattr(x86_32, name, wrong)
    _, found = compared(ram, oracle, range(120))
    assert "tables of seed" in found
    assert "the oracle's" in found.partition("shrunk:")[2]
