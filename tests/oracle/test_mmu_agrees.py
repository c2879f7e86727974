"""
Our walk and our rules against QEMU's own, on tables and accesses at random.

Compared: does the access go through; the vector, CR2 and the error code if not; the physical address (by what is read,
written or run there); and every bit of every table afterwards. Left out, with the reasons, is what `not_comparable` and
`disagreement` say: no case in which Unicorn deviates from the manual was found.

Not varied, since Unicorn's CPU has no such thing: protection keys for supervisor pages (CR4.PKS), a CPU without 1 GiB
pages, and MAXPHYADDR other than 40. `arch/test_x86_64.py` has these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from oracle.agreement import compared, fresh_ram
from oracle.cpu_mmu import LONG_MODE, CpuMmu, OurCpu
from oracle.kinds import reached
from oracle.random_tables import random_cases
from pagefault.arch import x86, x86_64
from pagefault.arch.architecture import Violation
from pagefault.memory.ram import Ram
from pagefault.tables import pagetable
from pagefault.vocabulary.walk import Mapped

PARTS, TABLES_A_PART = 12, 50


@pytest.fixture(scope="module")
def ram() -> Ram:
    return fresh_ram(LONG_MODE)


@pytest.fixture(scope="module")
def oracle(ram: Ram) -> CpuMmu:
    return CpuMmu(ram, LONG_MODE)


@pytest.mark.parametrize("part", range(PARTS))
def test_the_walk_agrees_with_the_cpu_s_own_mmu(part: int, ram: Ram, oracle: CpuMmu) -> None:
    """12 parts of over 900 cases: more than 10,000."""
    count, found = compared(ram, oracle, random_cases, range(part * TABLES_A_PART, (part + 1) * TABLES_A_PART))
    assert not found, found
    assert count > 900


@pytest.mark.parametrize("part", range(2))
def test_the_machine_s_cpu_agrees_with_our_mmu(part: int, ram: Ram) -> None:
    """The same cases with Unicorn asking our MMU for each translation."""
    count, found = compared(ram, OurCpu(ram, LONG_MODE), random_cases, range(5000 + part * 12, 5000 + (part + 1) * 12))
    assert not found, found
    assert count > 200


def test_the_cases_reach_every_rule(ram: Ram) -> None:
    """Each of these must come up often enough for a wrong rule to be seen."""
    seen = reached(ram, random_cases, range(120))
    assert not {kind: seen[kind] for kind in EVERY_KIND if seen[kind] < 10}, seen


EVERY_KIND = {
    *("Mapped", "NotPresent", "Reserved", "NonCanonical"),
    *(
        "a user-mode access to a supervisor page",
        "a fetch from an execute-disabled page",
        "a write to a read-only page",
    ),
    "a supervisor fetched from a user page (CR4.SMEP)",
    "a supervisor touched a user page outside an AC window (CR4.SMAP)",
    "the page's protection key denies it",
    *("permitted READ", "permitted WRITE", "permitted FETCH", "D written", "A written"),
    *(f"long mode: page of {size:#x}" for size in (1 << 12, 1 << 21, 1 << 30)),
    *("4 levels", "5 levels"),
    *("two pages", "tables through themselves"),
    *(f"long mode: reserved in a {level}" for level in ("pgd", "p4d", "pud", "pmd", "pte")),
    *(f"long mode: not present in a {level}" for level in ("pgd", "p4d", "pud", "pmd", "pte")),
}


def no_wp(mapped: Any, access: Any, cpu: Any) -> Violation | None:
    return RIGHT_VIOLATION(mapped, access, replace(cpu, cr0=cpu.cr0 | x86.CR0_WP))


def no_smap(mapped: Any, access: Any, cpu: Any) -> Violation | None:
    return RIGHT_VIOLATION(mapped, access, replace(cpu, cr4=cpu.cr4 & ~x86.CR4_SMAP))


def no_key_bit(mapped: Any, access: Any, cpu: Any) -> Violation | None:
    broken = RIGHT_VIOLATION(mapped, access, cpu)
    return broken and Violation(broken.rule)


def no_reserved(level: Any, value: int, cpu: Any) -> int:
    return 0


def small_physical(level: Any, value: int, cpu: Any) -> int:
    return RIGHT_RESERVED(level, value, replace(cpu, maxphyaddr=39))


def never_dirty(walk: Any, access: Any, cpu: Any) -> list[tuple[Any, int]]:
    return [(entry, value & ~x86.DIRTY | entry.value) for entry, value in RIGHT_ACCESSED_DIRTY(walk, access, cpu)]


def leaf_only(walk: Any, access: Any, cpu: Any) -> list[tuple[Any, int]]:
    return [(entry, value) for entry, value in RIGHT_ACCESSED_DIRTY(walk, access, cpu) if entry is walk.entries[-1]]


def wrong_frame(form: Any, level: Any, *rest: Any) -> Any:
    end = RIGHT_LEAF(form, level, *rest)
    return replace(end, physical=end.physical ^ 0x2000) if isinstance(end, Mapped) and level.shift > 12 else end


RIGHT_VIOLATION, RIGHT_RESERVED = x86.violation, x86_64.reserved_bits
RIGHT_ACCESSED_DIRTY, RIGHT_LEAF = x86_64.accessed_dirty, pagetable.leaf


@pytest.mark.parametrize(
    ("module", "name", "wrong"),
    [
        (x86, "violation", no_wp),
        (x86, "violation", no_smap),
        (x86, "violation", no_key_bit),
        (x86_64, "reserved_bits", no_reserved),
        (x86_64, "reserved_bits", small_physical),
        (x86_64, "accessed_dirty", never_dirty),
        (x86_64, "accessed_dirty", leaf_only),
        (pagetable, "leaf", wrong_frame),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_wrong_rule_is_noticed(
    module: Any, name: str, wrong: Callable[..., Any], ram: Ram, oracle: CpuMmu, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison can fail, and says where: the report has the walk and both answers."""
    monkeypatch.setattr(module, name, wrong)
    _, found = compared(ram, oracle, random_cases, range(20))
    assert "tables of seed" in found
    assert "the oracle's" in found.partition("shrunk:")[2]
