"""The rules of x86-64 against the manual's, rule by rule. The oracle's tests compare the same code with a CPU."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from pagefault.arch import x86, x86_64
from pagefault.arch.architecture import Level
from pagefault.arch.x86 import (
    CR4_LA57,
    CR4_PKE,
    CR4_PKS,
    CR4_SMAP,
    CR4_SMEP,
    EXECUTE_DISABLE,
    LARGE_PAT,
    PAGE_SIZE_BIT,
    PRESENT,
    CpuState,
)
from pagefault.arch.x86_64 import FIVE_LEVEL, FOUR_LEVEL, P4D, PMD, PTE, PUD
from pagefault.vocabulary.access import Access, AccessKind
from pagefault.vocabulary.entry import Entry
from pagefault.vocabulary.walk import Mapped, NonCanonical, NotPresent, Reserved, Unreadable, Walk, WalkEnd

READ, WRITE, FETCH = AccessKind.READ, AccessKind.WRITE, AccessKind.FETCH
BASE = CpuState()
LA57 = replace(BASE, cr4=BASE.cr4 | CR4_LA57)
PGD = FOUR_LEVEL.levels[0]
ADDRESS_DISABLE, WRITE_DISABLE = 1, 2
KERNEL, USER = {"rip": 0x1000, "cs": x86_64.KERNEL_CS}, {"rip": 0x1000, "cs": x86_64.USER_CS}


def mapped(*, user: bool = True, writable: bool = True, executable: bool = True, key: int = 0) -> Mapped:
    return Mapped(0x5000, 4096, user, writable, executable, key, dirty=False)


def cpu(cr4: int = 0, *, wp: bool = True, ac: bool = False, pkru: int = 0, pkrs: int = 0, nxe: bool = True) -> CpuState:
    return CpuState(
        cr0=BASE.cr0 if wp else BASE.cr0 & ~x86.CR0_WP,
        cr4=BASE.cr4 | cr4,
        efer=BASE.efer if nxe else BASE.efer & ~x86.EFER_NXE,
        eflags=x86.EFLAGS_FIXED | (x86.EFLAGS_AC if ac else 0),
        pkru=pkru,
        pkrs=pkrs,
    )


@pytest.mark.parametrize(
    ("address", "four", "five"),
    [
        (0, True, True),
        (0x0000_7FFF_FFFF_FFFF, True, True),
        (0x0000_8000_0000_0000, False, True),
        (0x00FF_FFFF_FFFF_FFFF, False, True),
        (0x0100_0000_0000_0000, False, False),
        (0x8000_0000_0000_0000, False, False),
        (0xFEFF_FFFF_FFFF_FFFF, False, False),
        (0xFF00_0000_0000_0000, False, True),
        (0xFFFF_7FFF_FFFF_FFFF, False, True),
        (0xFFFF_8000_0000_0000, True, True),
        (0xFFFF_FFFF_FFFF_FFFF, True, True),
    ],
)
def test_canonical(address: int, four: bool, five: bool) -> None:
    assert (x86_64.canonical(address, BASE), x86_64.canonical(address, LA57)) == (four, five)


def test_levels() -> None:
    assert [(level.name, level.shift) for level in x86_64.geometry(BASE).levels] == [
        *(("pgd", 39), ("pud", 30), ("pmd", 21), ("pte", 12))
    ]
    assert [(level.name, level.shift) for level in x86_64.geometry(LA57).levels] == [
        *(("pgd", 48), ("p4d", 39), ("pud", 30), ("pmd", 21), ("pte", 12))
    ]
    assert (FOUR_LEVEL.sign_bit, FIVE_LEVEL.sign_bit) == (47, 56)


@pytest.mark.parametrize(
    ("level", "value", "leaf"),
    [
        (PGD, PAGE_SIZE_BIT, False),
        (P4D, PAGE_SIZE_BIT, False),
        (PUD, PAGE_SIZE_BIT, True),
        (PMD, PAGE_SIZE_BIT, True),
        (PMD, 0, False),
        (PTE, 0, True),
        (PTE, PAGE_SIZE_BIT, True),  # PAT there
    ],
)
def test_which_entries_map_memory(level: Level, value: int, leaf: bool) -> None:
    assert x86_64.is_leaf(level, value | PRESENT) is leaf


@pytest.mark.parametrize("level", [PGD, P4D, PUD, PMD, PTE], ids=lambda level: level.name)
def test_bits_from_maxphyaddr_to_51_are_reserved_at_every_level(level: Level) -> None:
    state = replace(BASE, maxphyaddr=40)
    for bit in range(12 if level is PTE else 13, 63):
        expected = 1 << bit if 40 <= bit < 52 else 0
        assert x86_64.reserved_bits(level, PRESENT | 1 << bit, state) == expected


@pytest.mark.parametrize("level", [PGD, P4D, PUD, PMD, PTE], ids=lambda level: level.name)
def test_execute_disable_is_reserved_without_nxe(level: Level) -> None:
    assert x86_64.reserved_bits(level, PRESENT | EXECUTE_DISABLE, cpu()) == 0
    assert x86_64.reserved_bits(level, PRESENT | EXECUTE_DISABLE, cpu(nxe=False)) == EXECUTE_DISABLE


def test_the_page_size_bit_is_reserved_where_no_page_can_be() -> None:
    large, no_1g = PRESENT | PAGE_SIZE_BIT, replace(BASE, pages_1g=False)
    assert x86_64.reserved_bits(PGD, large, BASE) == PAGE_SIZE_BIT
    assert x86_64.reserved_bits(P4D, large, LA57) == PAGE_SIZE_BIT
    assert x86_64.reserved_bits(PUD, large, BASE) == 0
    assert x86_64.reserved_bits(PUD, large, no_1g) == PAGE_SIZE_BIT
    assert x86_64.reserved_bits(PMD, large, no_1g) == 0
    assert x86_64.reserved_bits(PTE, large, BASE) == 0


@pytest.mark.parametrize(("level", "size_bits"), [(PUD, 30), (PMD, 21)])
def test_a_large_page_s_low_address_bits_are_reserved_but_for_pat(level: Level, size_bits: int) -> None:
    assert x86_64.reserved_bits(level, PRESENT | PAGE_SIZE_BIT | LARGE_PAT, BASE) == 0
    for bit in range(13, size_bits):
        assert x86_64.reserved_bits(level, PRESENT | PAGE_SIZE_BIT | 1 << bit, BASE) == 1 << bit
        assert x86_64.reserved_bits(level, PRESENT | 1 << bit, BASE) == 0
    assert x86_64.reserved_bits(level, PRESENT | PAGE_SIZE_BIT | 1 << size_bits, BASE) == 0


def permitted(page: Mapped, access: Access, state: CpuState) -> bool:
    """
    The manual's lists of what is permitted, in its own order and words: an independent writing of the rules.

    Manual: Intel SDM vol. 3A, 4.6.1 and 4.6.2.
    """
    supervisor = not access.user or access.implicit
    key = 0
    if page.user and state.pke:
        key = state.pkru >> 2 * page.protection_key & 3
    if not page.user and state.pks:
        key = state.pkrs >> 2 * page.protection_key & 3
    readable_by_key = not key & ADDRESS_DISABLE
    writable_by_key = readable_by_key and not (key & WRITE_DISABLE and (not supervisor or state.wp))
    smap_stops = page.user and state.smap and (not state.ac or access.implicit)
    match supervisor, access.kind:
        case True, AccessKind.READ:
            return readable_by_key and not smap_stops
        case True, AccessKind.WRITE:
            return writable_by_key and not smap_stops and (page.writable or not state.wp)
        case True, AccessKind.FETCH:
            return page.executable and not (page.user and state.smep)
        case False, AccessKind.READ:
            return page.user and readable_by_key
        case False, AccessKind.WRITE:
            return page.user and page.writable and writable_by_key
        case _:
            return page.user and page.executable


def test_every_combination_of_rights_and_controls() -> None:
    """3 kinds of access, 2 privileges, implicit or not, 8 rights, 64 controls, 4 rights of the key: all of them."""
    flag = (False, True)
    refused = 0
    for user_page, writable, executable, smep, smap, pke, pks, wp, ac in product(flag, repeat=9):
        page = mapped(user=user_page, writable=writable, executable=executable, key=5)
        cr4 = sum(bit for bit, on in ((CR4_SMEP, smep), (CR4_SMAP, smap), (CR4_PKE, pke), (CR4_PKS, pks)) if on)
        for rights in range(4):
            state = cpu(cr4, wp=wp, ac=ac, pkru=rights << 10, pkrs=rights << 10)
            for kind, user, implicit in product(AccessKind, flag, flag):
                access = Access(0x1000, kind, user, implicit)
                broken = x86_64.violation(page, access, state)
                assert (broken is None) is permitted(page, access, state), (page, access, state, broken)
                refused += broken is not None
    assert refused > 10_000


@pytest.mark.parametrize(
    ("page", "access", "state", "rule"),
    [
        (mapped(user=False), Access(0, READ, user=True), cpu(), "user-mode access to a supervisor page"),
        (mapped(), Access(0, FETCH), cpu(CR4_SMEP), "SMEP"),
        (mapped(executable=False), Access(0, FETCH), cpu(CR4_SMEP), "SMEP"),
        (mapped(executable=False), Access(0, FETCH, user=True), cpu(), "execute-disabled"),
        (mapped(), Access(0, READ), cpu(CR4_SMAP), "SMAP"),
        (mapped(writable=False), Access(0, WRITE), cpu(CR4_SMAP), "SMAP"),
        (mapped(writable=False), Access(0, WRITE), cpu(CR4_SMAP, ac=True), "read-only"),
        (mapped(), Access(0, READ, user=True), cpu(CR4_PKE, pkru=1), "protection key"),
    ],
)
def test_the_rule_that_is_named(page: Mapped, access: Access, state: CpuState, rule: str) -> None:
    broken = x86_64.violation(page, access, state)
    assert broken is not None
    assert rule in broken.rule


SUPERVISOR_PAGE, READ_ONLY = mapped(user=False), mapped(writable=False)
KEY_1 = mapped(key=1)
P, W, U, RSVD, I, PK = 1, 2, 4, 8, 16, 32  # noqa: E741 -- I is the manual's letter for a fetch


@pytest.mark.parametrize(
    ("end", "access", "state", "code"),
    [
        # Nothing there: P clear.
        (NotPresent("pte"), Access(0, READ), cpu(), 0),
        (NotPresent("pgd"), Access(0, WRITE), cpu(), W),
        (NotPresent("pmd"), Access(0, READ, user=True), cpu(), U),
        (NotPresent("pmd"), Access(0, WRITE, user=True), cpu(), W | U),
        (NotPresent("pmd"), Access(0, WRITE, user=True, implicit=True), cpu(), W),
        (Unreadable("pmd", 1 << 45), Access(0, READ), cpu(), 0),
        # I/D: only where the CPU can tell a fetch, by NXE or SMEP.
        (NotPresent("pte"), Access(0, FETCH, user=True), cpu(), U | I),
        (NotPresent("pte"), Access(0, FETCH, user=True), cpu(nxe=False), U),
        (NotPresent("pte"), Access(0, FETCH), cpu(CR4_SMEP, nxe=False), I),
        # Reserved bits: P and RSVD; never without P.
        (Reserved("pud", 1 << 51), Access(0, READ), cpu(), P | RSVD),
        (Reserved("pte", 1 << 63), Access(0, WRITE, user=True), cpu(nxe=False), P | RSVD | W | U),
        (Reserved("pte", 1 << 51), Access(0, FETCH), cpu(), P | RSVD | I),
        # Permissions.
        (SUPERVISOR_PAGE, Access(0, READ, user=True), cpu(), P | U),
        (SUPERVISOR_PAGE, Access(0, WRITE, user=True), cpu(), P | U | W),
        (SUPERVISOR_PAGE, Access(0, FETCH, user=True), cpu(), P | U | I),
        (READ_ONLY, Access(0, WRITE), cpu(), P | W),
        (READ_ONLY, Access(0, WRITE, user=True), cpu(wp=False), P | W | U),
        (mapped(), Access(0, READ), cpu(CR4_SMAP), P),
        (mapped(), Access(0, WRITE), cpu(CR4_SMAP), P | W),
        (mapped(), Access(0, READ, implicit=True, user=True), cpu(CR4_SMAP, ac=True), P),
        (mapped(), Access(0, FETCH), cpu(CR4_SMEP), P | I),
        (mapped(executable=False), Access(0, FETCH), cpu(), P | I),
        # PK: whenever the key's rights refuse the data access, also where another rule refuses it as well.
        (KEY_1, Access(0, READ, user=True), cpu(CR4_PKE, pkru=1 << 2), P | U | PK),
        (KEY_1, Access(0, WRITE, user=True), cpu(CR4_PKE, pkru=2 << 2), P | U | W | PK),
        (KEY_1, Access(0, WRITE), cpu(CR4_PKE, pkru=2 << 2), P | W | PK),
        (mapped(writable=False, key=1), Access(0, WRITE), cpu(CR4_PKE, pkru=2 << 2), P | W | PK),
        (mapped(writable=False, key=1), Access(0, WRITE), cpu(CR4_PKE, pkru=2), P | W),
        (KEY_1, Access(0, READ), cpu(CR4_PKE | CR4_SMAP, pkru=1 << 2), P | PK),
        (mapped(user=False, key=1), Access(0, READ), cpu(CR4_PKS, pkrs=1 << 2), P | PK),
        (mapped(user=False, key=1), Access(0, WRITE), cpu(CR4_PKS, pkrs=2 << 2), P | W | PK),
        (mapped(user=False, key=1), Access(0, READ, user=True), cpu(CR4_PKE, pkru=1 << 2), P | U),
    ],
)
def test_error_code(end: WalkEnd, access: Access, state: CpuState, code: int) -> None:
    """Manual: Intel SDM vol. 3A, 4.7."""
    found = x86_64.fault(Walk(access.address, 0, (), end), access, state, USER if access.user else KERNEL)
    assert found is not None
    assert f"{found.error_code:06b}" == f"{code:06b}"
    assert (found.trap, found.vector, found.address) == ("#PF", 14, access.address)
    assert (found.protection, found.write, found.from_user) == (bool(code & P), bool(code & W), bool(code & U))
    assert (found.reserved, found.fetch, found.protection_key) == (bool(code & RSVD), bool(code & I), bool(code & PK))
    assert found.user_mode is access.user


def test_write_disable_spares_the_supervisor_without_wp() -> None:
    state = cpu(CR4_PKE, wp=False, pkru=2 << 2)
    way = Walk(0, 0, (), KEY_1)
    assert x86_64.fault(way, Access(0, WRITE), state, KERNEL) is None
    assert x86_64.fault(way, Access(0, WRITE, user=True), state, USER) is not None


def test_a_key_never_refuses_a_fetch() -> None:
    state = cpu(CR4_PKE, pkru=3 << 2)
    assert x86_64.fault(Walk(0, 0, (), KEY_1), Access(0, FETCH, user=True), state, USER) is None


def test_a_non_canonical_address_is_a_general_protection_fault_without_address() -> None:
    found = x86_64.fault(Walk(1 << 60, 0, (), NonCanonical()), Access(1 << 60, WRITE), cpu(), KERNEL)
    assert found is not None
    assert (found.trap, found.vector, found.error_code, found.address) == ("#GP", 13, 0, None)
    assert not found.user_mode


def test_a_permitted_access_raises_nothing() -> None:
    assert x86_64.fault(Walk(0, 0, (), mapped()), Access(0, WRITE, user=True), cpu(), USER) is None


def walk_over(*values: int) -> Walk:
    entries = tuple(
        Entry(name, 8 * n, n, value) for n, (name, value) in enumerate(zip(("pmd", "pte"), values, strict=True))
    )
    return Walk(0, 0, entries, mapped())


def test_accessed_everywhere_and_dirty_in_the_leaf_of_a_write() -> None:
    way = walk_over(1, 1)
    assert [(e.level, value) for e, value in x86_64.accessed_dirty(way, Access(0, READ), BASE)] == [
        ("pmd", 0x21),
        ("pte", 0x21),
    ]
    assert [(e.level, value) for e, value in x86_64.accessed_dirty(way, Access(0, WRITE), BASE)] == [
        ("pmd", 0x21),
        ("pte", 0x61),
    ]


def test_bits_that_are_set_are_not_written_again() -> None:
    assert x86_64.accessed_dirty(walk_over(0x21, 0x61), Access(0, WRITE), BASE) == []
    assert [e.level for e, _ in x86_64.accessed_dirty(walk_over(0x21, 0x21), Access(0, WRITE), BASE)] == ["pte"]
    assert x86_64.accessed_dirty(walk_over(0x21, 0x21), Access(0, FETCH), BASE) == []


@pytest.mark.parametrize(
    ("level", "value", "state", "flags"),
    [
        ("pte", 0, cpu(), "empty"),
        ("pte", 0x5000_0100, cpu(), "not present"),
        ("pte", 0x8000_0000_0000_0163, cpu(), "SUP RW ACC DRT GLB NX"),
        ("pte", 0x25, cpu(), "USR ro ACC x"),
        ("pte", 0x81, cpu(), "SUP ro x"),
        ("pmd", 0xE3, cpu(), "SUP RW ACC DRT PSE x"),
        ("pmd", 0x163, cpu(), "SUP RW ACC x"),
        ("pgd", 0x1F, cpu(), "USR RW PWT PCD x"),
        ("pte", 0x1800_0000_0000_0005, cpu(CR4_PKE), "USR ro pkey 3 x"),
        ("pte", 0x1800_0000_0000_0005, cpu(), "USR ro x"),
        ("pgd", 0x81, cpu(), "SUP ro x RESERVED 0x80"),
    ],
)
def test_an_entry_s_flags_in_the_kernel_s_words(level: str, value: int, state: CpuState, flags: str) -> None:
    assert " ".join(x86_64.entry_flags(Entry(level, 0, 0, value), state)) == flags


@pytest.mark.parametrize(
    ("address", "four", "five"),
    [
        (0, False, False),
        (0x0000_7FFF_FFFF_EFFF, False, False),
        (0x0000_7FFF_FFFF_F000, True, False),  # the last user page is never mapped: TASK_SIZE_MAX
        (0x00FF_FFFF_FFFF_EFFF, True, False),
        (0x00FF_FFFF_FFFF_F000, True, True),
        (0xFFFF_8880_0000_0000, True, True),
        (0xFFFF_FFFF_FF5F_FFFF, True, True),
        (0xFFFF_FFFF_FF60_0000, False, False),  # the vsyscall page
        (0xFFFF_FFFF_FF60_0FFF, False, False),
        (0xFFFF_FFFF_FF60_1000, True, True),
    ],
)
def test_where_kernel_space_begins(address: int, four: bool, five: bool) -> None:
    assert x86_64.fault_in_kernel_space(address, BASE) is four
    assert x86_64.fault_in_kernel_space(address, LA57) is five


def test_the_address_map_follows_the_number_of_levels() -> None:
    assert x86_64.address_map(BASE).page_offset == 0xFFFF_8880_0000_0000
    assert x86_64.address_map(BASE).vmalloc_start == 0xFFFF_C900_0000_0000
    assert x86_64.address_map(LA57).page_offset == 0xFF11_0000_0000_0000
    assert x86_64.address_map(LA57).vmalloc_start == 0xFFA0_0000_0000_0000
    for state in (BASE, LA57):
        area = x86_64.address_map(state)
        places = [area.task_size_max, area.page_offset, area.vmalloc_start, area.vmalloc_end, area.vmemmap or 0]
        assert places == sorted(places)
        assert all(x86_64.canonical(place, state) for place in places)


@pytest.mark.parametrize(("selector", "user"), [(0x10, False), (0x33, True), (0x2B, True), (0x18, False)])
def test_the_privilege_of_code_is_in_its_segment_selector(selector: int, user: bool) -> None:
    assert x86.user_mode({"cs": selector}) is user
