"""The rules of x86-32 against the manual's and the kernel's. The oracle's tests compare the same code with a CPU."""

from __future__ import annotations

import itertools
from dataclasses import replace
from math import prod

import pytest

from pagefault.arch import x86, x86_32, x86_64
from pagefault.arch.architecture import Level
from pagefault.arch.architectures import architecture_of
from pagefault.arch.x86 import CpuState
from pagefault.arch.x86_32 import PGD_32, PGD_32_WITHOUT_PSE, PGD_PAE, PMD, PTE, PTE_32
from pagefault.arch.x86_eras import profile
from pagefault.vocabulary.access import Access, AccessKind
from pagefault.vocabulary.entry import Entry
from pagefault.vocabulary.walk import Mapped, Walk

TWO = CpuState(cr4=x86.CR4_PSE, efer=0)
PAE = CpuState(cr4=x86.CR4_PSE | x86.CR4_PAE, efer=x86.EFER_NXE)
READ, WRITE, FETCH = AccessKind.READ, AccessKind.WRITE, AccessKind.FETCH


def test_the_mode_chooses_the_form_and_the_geometry() -> None:
    assert architecture_of(TWO) is architecture_of(PAE) is x86_32
    assert architecture_of(CpuState()) is x86_64
    assert [level.name for level in x86_32.geometry(TWO).levels] == ["pgd", "pte"]
    assert [level.name for level in x86_32.geometry(PAE).levels] == ["pgd", "pmd", "pte"]
    assert x86_32.geometry(replace(TWO, cr4=0)).levels[0].may_be_leaf is False
    for state in (TWO, PAE):
        levels = x86_32.geometry(state).levels
        assert prod(level.entries for level in levels) << 12 == 1 << 32
        assert all(
            upper.shift == lower.shift + lower.entries.bit_length() - 1 for upper, lower in itertools.pairwise(levels)
        )


@pytest.mark.parametrize(
    ("state", "cr3", "root"),
    [
        (TWO, 0x1234_5FFF, 0x1234_5000),
        (PAE, 0x1234_5FFF, 0x1234_5FE0),
        (PAE, 0x1_1234_5020, 0x1234_5020),
        (CpuState(), 0x1_1234_5FFF, 0x1_1234_5000),
    ],
)
def test_where_the_top_table_lies(state: CpuState, cr3: int, root: int) -> None:
    assert replace(state, cr3=cr3).root == root


@pytest.mark.parametrize(
    ("level", "value", "maxphyaddr", "bad"),
    [
        (PGD_32, 0x00FF_F0E3 & ~0x80, 36, 0),
        (PGD_32, 0x0020_00E3, 40, 0x20_0000),
        (PGD_32, 0x001F_E0E3, 40, 0),
        (PGD_32, 0x001F_E0E3, 36, 0x1E_0000),
        (PGD_32, 0x001F_E0E3, 32, 0x1F_E000),
        (PGD_32, 0x0000_10E3, 32, 0),
        (PGD_32_WITHOUT_PSE, 0x003F_F0E3, 32, 0),
        (PTE_32, 0xFFFF_FFFF, 32, 0),
        *((PGD_PAE, 1 | 1 << bit, 36, 1 << bit) for bit in (1, 2, 5, 6, 7, 8, 36, 51, 52, 62, 63)),
        *((PGD_PAE, 1 | 1 << bit, 36, 0) for bit in (3, 4, 9, 10, 11, 12, 35)),
        *((level, 1 | 1 << bit, 36, 1 << bit) for level in (PMD, PTE) for bit in (36, 51, 52, 59, 62)),
        (PMD, 0x1000_01E3, 36, 0),
        (PMD, 0x1000_21E3, 36, 0x2000),
        (PMD, 0x1010_01E3, 36, 0x10_0000),
        (PMD, 0x1000_11E3, 36, 0),
        (PTE, x86.EXECUTE_DISABLE | 1, 36, 0),
    ],
)
def test_reserved_bits(level: Level, value: int, maxphyaddr: int, bad: int) -> None:
    state = replace(TWO if level in (PGD_32, PGD_32_WITHOUT_PSE, PTE_32) else PAE, maxphyaddr=maxphyaddr)
    assert x86_32.reserved_bits(level, value, state) == bad


def test_execute_disable_is_reserved_without_nxe_and_always_in_the_top_entries() -> None:
    without = replace(PAE, efer=0)
    for level in (PTE, PMD, PGD_PAE):
        assert x86_32.reserved_bits(level, x86.EXECUTE_DISABLE | 1, without) == x86.EXECUTE_DISABLE
    assert x86_32.reserved_bits(PGD_PAE, x86.EXECUTE_DISABLE | 1, PAE) == x86.EXECUTE_DISABLE


def test_a_4_mib_page_may_lie_above_4_gib() -> None:
    assert x86_32.page_frame(PGD_32, 0x1240_00E3) == 0x1240_0000
    assert x86_32.page_frame(PGD_32, 0x1240_00E3 | 0xA5 << 13) == 0xA5_1240_0000
    assert x86_32.page_frame(PTE_32, 0x1234_5067) == 0x1234_5000
    assert x86_32.page_frame(PMD, 0x1_1220_00E3) == 0x1_1220_0000


def test_the_kernel_s_entries_for_tables() -> None:
    assert x86_32.table_entry(PGD_PAE, 0x5000) == 0x5001
    assert x86_32.table_entry(PMD, 0x5000) == 0x5067
    assert x86_32.table_entry(PGD_32, 0x5000) == 0x5067
    assert not x86_32.reserved_bits(PGD_PAE, x86_32.table_entry(PGD_PAE, 0x5000), PAE)


@pytest.mark.parametrize(
    ("state", "kind", "code"),
    [
        (TWO, FETCH, 0),
        (replace(TWO, efer=x86.EFER_NXE), FETCH, 0),
        (replace(TWO, cr4=x86.CR4_SMEP), FETCH, x86.PF_INSTR),
        (PAE, FETCH, x86.PF_INSTR),
        (replace(PAE, efer=0), FETCH, 0),
        (TWO, WRITE, x86.PF_WRITE),
    ],
)
def test_a_fetch_is_told_apart_where_it_can_be(state: CpuState, kind: AccessKind, code: int) -> None:
    assert x86.error_code(Access(0, kind), state, protection=False) == code


def test_protection_keys_are_not_of_this_mode() -> None:
    state = replace(PAE, cr4=PAE.cr4 | x86.CR4_PKE | x86.CR4_PKS, pkru=0xFFFF_FFFF, pkrs=0xFFFF_FFFF)
    mapped = Mapped(0, 4096, user=True, writable=True, executable=True, protection_key=0, dirty=False)
    assert x86_32.violation(mapped, Access(0, READ, user=True), state) is None


def test_pae_s_top_entries_have_no_accessed_bit() -> None:
    mapped = Mapped(0, 4096, user=True, writable=True, executable=True, protection_key=0, dirty=False)
    entries = tuple(Entry(name, 8 * n, n, 1) for n, name in enumerate(("pgd", "pmd", "pte")))
    written = x86_32.accessed_dirty(Walk(0, 0, entries, mapped), Access(0, WRITE), PAE)
    assert [(entry.level, value) for entry, value in written] == [("pmd", 0x21), ("pte", 0x61)]
    written = x86_32.accessed_dirty(Walk(0, 0, entries[::2], mapped), Access(0, READ), TWO)
    assert [(entry.level, value) for entry, value in written] == [("pgd", 0x21), ("pte", 0x21)]


@pytest.mark.parametrize(
    ("level", "value", "state", "flags"),
    [
        ("pgd", 0x5001, PAE, ""),
        ("pgd", 0x5019, PAE, "PWT PCD"),
        ("pgd", 0x5007, PAE, "RESERVED 0x6"),
        ("pgd", 0, PAE, "empty"),
        ("pmd", 0xE3, PAE, "SUP RW ACC DRT PSE x"),
        ("pte", x86.EXECUTE_DISABLE | 0x163, PAE, "SUP RW ACC DRT GLB NX"),
        ("pgd", 0xE3, TWO, "SUP RW ACC DRT PSE x"),
        ("pgd", 0x67, TWO, "USR RW ACC x"),
        ("pte", 0x25, TWO, "USR ro ACC x"),
    ],
)
def test_an_entry_s_flags_in_the_kernel_s_words(level: str, value: int, state: CpuState, flags: str) -> None:
    assert " ".join(x86_32.entry_flags(Entry(level, 0, 0, value), state)) == flags


def test_the_address_map() -> None:
    for state, end in ((TWO, 0xFEBF_E000), (PAE, 0xFEFF_E000)):
        area = x86_32.address_map(state)
        assert (area.task_size_max, area.page_offset, area.vmalloc_end) == (0xC000_0000, 0xC000_0000, end)
        assert area.vmalloc_end - area.vmalloc_start == 120 << 20
        assert not x86_32.fault_in_kernel_space(0xBFFF_FFFF, state)
        assert x86_32.fault_in_kernel_space(0xC000_0000, state)


def test_every_register_has_its_kernel_name() -> None:
    for form in (x86_32, x86_64):
        assert set(form.pt_regs.values()) <= {*form.general_registers, "eip", "rip"}
        assert set(form.argument_registers) <= set(form.general_registers)


@pytest.mark.parametrize(
    ("version", "faulting", "synced"),
    [((5, 7), True, False), ((5, 8), False, True), ((5, 9), True, True), ((6, 1), True, True), ((6, 12), True, True)],
)
def test_vmalloc_s_eras(version: tuple[int, int], faulting: bool, synced: bool) -> None:
    rules = profile(version, x86_32)
    assert (rules.vmalloc_faulting, rules.vmalloc_synced, rules.vmalloc_preallocated) == (faulting, synced, False)
    assert profile(version).vmalloc_faulting is (version < (5, 8))
    assert not rules.user_gp_is_quiet
