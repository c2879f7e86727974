"""
Two-level and PAE paging against QEMU's own, on tables and accesses at random: as `test_mmu_agrees` does for long mode.

Left out: bits 1, 2 and 5 to 8 of PAE's four top entries (`random_tables_32.pae_tables`): see `arch/test_x86_32.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from oracle.agreement import compared, fresh_ram
from oracle.cpu_mmu import CpuMmu, OurCpu
from oracle.cpu_mmu_32 import PROTECTED_MODE
from oracle.kinds import reached
from oracle.random_tables import Case
from oracle.random_tables_32 import random_cases
from pagefault.arch import x86, x86_32
from pagefault.memory.ram import Ram

PARTS, TABLES_A_PART = 12, 50


@pytest.fixture(scope="module")
def ram() -> Ram:
    return fresh_ram(PROTECTED_MODE)


@pytest.fixture(scope="module")
def oracle(ram: Ram) -> CpuMmu:
    return CpuMmu(ram, PROTECTED_MODE)


def of_a_supervisor(ram: Ram, seed: int) -> Iterator[Case]:
    """Those without a user and without keys: to get to user mode needs an MSR that the machine has no use for."""
    cases = random_cases(ram, seed)
    return (case for case in cases if not (case.access.user or case.state.cr4 & x86.CR4_PKE))


@pytest.mark.parametrize("part", range(PARTS))
def test_the_walk_agrees_with_the_cpu_s_own_mmu(part: int, ram: Ram, oracle: CpuMmu) -> None:
    """12 parts of over 900 cases: more than 10,000."""
    count, found = compared(ram, oracle, random_cases, range(part * TABLES_A_PART, (part + 1) * TABLES_A_PART))
    assert not found, found
    assert count > 900


@pytest.mark.parametrize("part", range(2))
def test_the_machine_s_cpu_agrees_with_our_mmu(part: int, ram: Ram) -> None:
    """The same cases, a supervisor's, with Unicorn asking our MMU for each translation."""
    count, found = compared(
        ram, OurCpu(ram, PROTECTED_MODE), of_a_supervisor, range(5000 + part * 40, 5000 + (part + 1) * 40)
    )
    assert not found, found
    assert count > 200


def test_the_cases_reach_every_rule(ram: Ram) -> None:
    """Each of these must come up often enough for a wrong rule to be seen."""
    seen = reached(ram, random_cases, range(200))
    assert not {kind: seen[kind] for kind in EVERY_KIND if seen[kind] < 10}, seen


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
    name: str, wrong: Callable[..., Any], ram: Ram, oracle: CpuMmu, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison can fail, and says where: the report has the walk and both answers."""
    monkeypatch.setattr(x86_32, name, wrong)
    _, found = compared(ram, oracle, random_cases, range(120))
    assert "tables of seed" in found
    assert "the oracle's" in found.partition("shrunk:")[2]
