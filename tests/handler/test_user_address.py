"""Faults on user addresses: each question of do_user_addr_fault(), its yes and its noes, in both eras."""

from __future__ import annotations

from dataclasses import replace

import pytest

from handler.world import LISTED, USER_AREA, World, page_fault
from pagefault.arch import x86
from pagefault.arch.x86_eras import profile
from pagefault.handler.decision import Answer, BadArea
from pagefault.handler.user_address import (
    DO_USER_ADDR_FAULT,
    access_error,
    cannot_take_the_fault,
    describe,
    find_vma_or_grow,
    handle_the_fault,
    kernel_fetch_from_user,
    no_vma,
    reserved_bits,
    smap_violation,
)
from pagefault.tables.address_space import MMAP_MIN_ADDR, STACK_GUARD_GAP
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.effect import GrowStack, PrepareAnonVma
from pagefault.vocabulary.outcome import Oops, Resolved

P, W, U, RSVD, I, PK = 1, 2, 4, 8, 16, 32  # noqa: E741 -- I is the manual's letter for a fetch
OLD, NEW = (5, 11), (5, 12)
STACK_VMA = 0x7FFF_FFF0_0000


def outcome(answer: Answer | None) -> object:
    return answer and answer.outcome


@pytest.mark.parametrize(
    ("version", "code", "expected"),
    [
        (NEW, I, Oops("kernel executed user memory")),
        (NEW, I | P, Oops("kernel executed user memory")),
        (OLD, I | P, None),  # goes on, and ends as a bad area
        (NEW, I | U, None),
        (NEW, P, None),
        (NEW, W, None),
    ],
)
def test_kernel_fetch_from_user(version: tuple[int, int], code: int, expected: object) -> None:
    assert outcome(kernel_fetch_from_user(page_fault(USER_AREA, code), World(version).context)) == expected


@pytest.mark.parametrize("user", [0, U])
def test_reserved_bits(user: int) -> None:
    context = World().context
    assert outcome(reserved_bits(page_fault(USER_AREA, P | RSVD | user), context)) == Oops("Bad pagetable")
    assert reserved_bits(page_fault(USER_AREA, P | user), context) is None


@pytest.mark.parametrize(
    ("version", "cr4", "ac", "code", "expected"),
    [
        (NEW, x86.CR4_SMAP, False, P, Oops("SMAP violation")),
        (NEW, x86.CR4_SMAP, False, W, Oops("SMAP violation")),  # absent pages too
        (OLD, x86.CR4_SMAP, False, P, BadArea("SEGV_MAPERR")),
        (NEW, x86.CR4_SMAP, True, P, None),
        (NEW, x86.CR4_SMAP, False, P | U, None),
        (NEW, 0, False, P, None),
    ],
)
def test_smap_violation(version: tuple[int, int], cr4: int, ac: bool, code: int, expected: object) -> None:
    world = World(version, cr4)
    world.cpu = replace(world.cpu, eflags=x86.EFLAGS_FIXED | (x86.EFLAGS_AC if ac else 0))
    assert outcome(smap_violation(page_fault(USER_AREA, code), world.context)) == expected


def test_cannot_take_the_fault() -> None:
    world = World()
    fault = page_fault(USER_AREA, 0)
    assert cannot_take_the_fault(fault, world.context) is None
    world.faulthandler_disabled = True
    answer = cannot_take_the_fault(fault, world.context)
    assert answer is not None
    assert answer.outcome == BadArea("SEGV_MAPERR")
    assert "pagefault_disable" in answer.because
    world.faulthandler_disabled, world.mm = False, None
    answer = cannot_take_the_fault(fault, world.context)
    assert answer is not None
    assert "kernel thread" in answer.because


@pytest.mark.parametrize(
    ("address", "there"),
    [(USER_AREA - 1, False), (USER_AREA, True), (USER_AREA + 4 * PAGE - 1, True), (USER_AREA + 4 * PAGE, False)],
)
def test_no_vma(address: int, there: bool) -> None:
    world = World()
    world.area()
    answer = no_vma(page_fault(address, 0), world.context)
    assert (answer is None) is there
    assert outcome(answer) == (None if there else BadArea("SEGV_MAPERR"))


def stack_world(below: int | None = None, **below_rights: bool) -> World:
    """A stack of two pages; `below` is where another area of one page starts."""
    world = World()
    world.area(STACK_VMA, 2, grows_down=True, name="[stack]")
    if below is not None:
        world.area(below, 1, **below_rights)
    return world


def grown(world: World, address: int) -> GrowStack | None:
    """The growth that a fault at `address` causes; None if the stack may not grow there. `no_vma` must say the same."""
    fault = page_fault(address, W, ip=LISTED)
    found = find_vma_or_grow(fault, world.context)
    assert (no_vma(fault, world.context) is None) is (found is not None)
    if found is None:
        return None
    vma, effects = found
    assert vma.start <= address < vma.end
    prepared, growth = effects
    assert isinstance(growth, GrowStack)
    assert prepared == PrepareAnonVma(growth.old_start)
    return growth


def test_a_stack_grows_down_to_the_page_of_the_fault() -> None:
    assert grown(stack_world(), STACK_VMA - 0x3008) == GrowStack(STACK_VMA, STACK_VMA - 0x4000)


@pytest.mark.parametrize(("version", "grows"), [((5, 19), True), ((6, 1), False), ((6, 12), False)])
def test_kernel_code_that_no_entry_lists_grows_no_stack_since_61(version: tuple[int, int], grows: bool) -> None:
    world = stack_world()
    world.profile = profile(version)
    unlisted = page_fault(STACK_VMA - 8, W)
    assert (find_vma_or_grow(unlisted, world.context) is not None) is grows
    assert find_vma_or_grow(page_fault(STACK_VMA - 8, W | U, user_mode=True), world.context) is not None
    if not grows:
        answer = no_vma(unlisted, world.context)
        assert answer is not None
        assert "does not list" in answer.because


def test_nothing_grows_inside_the_area() -> None:
    assert find_vma_or_grow(page_fault(STACK_VMA, W), stack_world().context) == (
        stack_world().user.vmas.find_vma(STACK_VMA),
        (),
    )


def test_an_area_that_is_no_stack_does_not_grow() -> None:
    world = World()
    world.area(STACK_VMA, 2)
    assert grown(world, STACK_VMA - 8) is None


def test_the_guard_gap_below_a_stack() -> None:
    """1 MiB of distance to what is accessible below, exactly."""
    below = STACK_VMA - STACK_GUARD_GAP - 4 * PAGE
    world = stack_world(below)
    lowest = below + PAGE + STACK_GUARD_GAP
    assert grown(world, lowest) == GrowStack(STACK_VMA, lowest)
    assert grown(world, lowest - 1) is None
    answer = no_vma(page_fault(lowest - 1, W), world.context)
    assert answer is not None
    assert "guard gap" in answer.because


@pytest.mark.parametrize("rights", [{"grows_down": True}, {"read": False, "write": False}])
def test_the_gap_need_not_be_kept_to_another_stack_or_to_what_nobody_can_touch(rights: dict[str, bool]) -> None:
    assert grown(stack_world(STACK_VMA - 4 * PAGE, **rights), STACK_VMA - 8) is not None


def test_rlimit_stack() -> None:
    world = stack_world()
    world.user.stack_rlimit = 8 * PAGE
    lowest = STACK_VMA + 2 * PAGE - 8 * PAGE
    assert grown(world, lowest) == GrowStack(STACK_VMA, lowest)
    assert grown(world, lowest - 1) is None
    answer = no_vma(page_fault(lowest - 1, W), world.context)
    assert answer is not None
    assert "RLIMIT_STACK" in answer.because


def test_a_stack_that_was_moved_up_grows_no_further_than_its_first_page() -> None:
    """Its pages are numbered from where it was."""
    world = World()
    world.area(STACK_VMA, 2, grows_down=True, pgoff=3)
    assert grown(world, STACK_VMA - 3 * PAGE) is not None
    assert grown(world, STACK_VMA - 3 * PAGE - 1) is None


def test_growth_keeps_which_page_is_which() -> None:
    world = stack_world()
    (stack,) = world.user.vmas
    vma, _ = find_vma_or_grow(page_fault(STACK_VMA - 0x3008, W, ip=LISTED), world.context) or (None, ())
    assert vma is not None
    assert vma.linear_page_index(STACK_VMA) == stack.pgoff


def test_mmap_min_addr() -> None:
    world = World()
    world.area(MMAP_MIN_ADDR + PAGE, 1, grows_down=True)
    assert grown(world, MMAP_MIN_ADDR) is not None
    assert grown(world, MMAP_MIN_ADDR - 1) is None


READ, WRITE, EXEC, NONE = (
    {"write": False},
    {"read": False},
    {"read": False, "write": False, "execute": True},
    {"read": False, "write": False},
)


@pytest.mark.parametrize(
    ("rights", "code", "expected"),
    [
        ({}, 0, None),
        ({}, W, None),
        ({}, W | P, None),  # copy on write
        ({}, I | U, None),  # absent: mapped first, refused when it is there
        (READ, 0, None),
        (READ, W, "SEGV_ACCERR"),
        (READ, W | P | U, "SEGV_ACCERR"),
        (WRITE, 0, None),  # x86 has no write-only pages
        (WRITE, W, None),
        (EXEC, I | U, None),
        (EXEC, 0, None),
        ({}, P, "SEGV_ACCERR"),
        ({}, P | I | U, "SEGV_ACCERR"),
        (NONE, 0, "SEGV_ACCERR"),
        (NONE, U | I, "SEGV_ACCERR"),
        (NONE, W, "SEGV_ACCERR"),
        ({}, P | PK, "SEGV_PKUERR"),
        ({}, P | PK | W, "SEGV_PKUERR"),
    ],
)
def test_access_error(rights: dict[str, bool], code: int, expected: str | None) -> None:
    world = World()
    world.area(**rights)
    answer = access_error(page_fault(USER_AREA, code), world.context)
    assert outcome(answer) == (expected and BadArea(expected))


@pytest.mark.parametrize(
    ("rights_of_key", "code", "refused"),
    [(1, 0, True), (1, W, True), (2, 0, False), (2, W, True), (3, I | U, False), (0, W, False)],
)
def test_a_page_that_its_key_would_refuse_is_not_brought_in(rights_of_key: int, code: int, refused: bool) -> None:
    world = World(cr4=x86.CR4_PKE)
    world.cpu = replace(world.cpu, pkru=rights_of_key << 2 * 7)
    world.area(protection_key=7)
    answer = access_error(page_fault(USER_AREA, code), world.context)
    assert outcome(answer) == (BadArea("SEGV_PKUERR") if refused else None)
    world.cpu = replace(world.cpu, cr4=world.cpu.cr4 & ~x86.CR4_PKE)
    assert access_error(page_fault(USER_AREA, code), world.context) is None


def test_handle_the_fault() -> None:
    world = World()
    world.area()
    assert outcome(handle_the_fault(page_fault(USER_AREA, W), world.context)) == Resolved("zeroed page of its own")


def test_growth_comes_before_the_page() -> None:
    answer = handle_the_fault(page_fault(STACK_VMA - 8, W, ip=LISTED), stack_world().context)
    assert answer is not None
    assert answer.effects[:2] == (PrepareAnonVma(STACK_VMA), GrowStack(STACK_VMA, STACK_VMA - PAGE))


def test_a_stack_that_was_written_needs_no_anon_vma_to_grow() -> None:
    world = World()
    world.area(STACK_VMA, 2, grows_down=True, anon_vma=1)
    _, effects = find_vma_or_grow(page_fault(STACK_VMA - 8, W, ip=LISTED), world.context) or (None, ())
    assert effects == (GrowStack(STACK_VMA, STACK_VMA - PAGE),)


@pytest.mark.parametrize(
    ("rights", "text"),
    [
        ({}, "400000-404000 rw-p"),
        ({"write": False, "execute": True, "name": "/bin/true"}, "400000-404000 r-xp /bin/true"),
        (NONE, "400000-404000 ---p"),
    ],
)
def test_an_area_reads_as_in_proc_maps(rights: dict[str, bool], text: str) -> None:
    assert describe(World().area(**rights)) == text


def test_the_kernel_s_order() -> None:
    assert (
        kernel_fetch_from_user,
        reserved_bits,
        smap_violation,
        cannot_take_the_fault,
        no_vma,
        access_error,
        handle_the_fault,
    ) == DO_USER_ADDR_FAULT
