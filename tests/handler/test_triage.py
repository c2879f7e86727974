"""Whole decisions: the order of the questions, how each ends, and that deciding touches nothing."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.world import AREA, DATA_PAGE, LANDING, LISTED, RO_PAGE, STACK, TEXT, UNLISTED, USER_AREA, World, page_fault
from pagefault.arch import x86, x86_64
from pagefault.errors import Unsupported
from pagefault.handler import Decision, handle_exception, handle_general_protection, handle_page_fault
from pagefault.memory.pages import PageFlag
from pagefault.tables.inode import FileSystem
from pagefault.vocabulary.access import Access, AccessKind
from pagefault.vocabulary.address import PAGE, PAGE_SHIFT
from pagefault.vocabulary.effect import GetPage, GrowStack, WriteEntry
from pagefault.vocabulary.fault import Fault
from pagefault.vocabulary.outcome import FixedUp, Oops, OutOfMemory, Resolved, Retry, Signal, Spurious
from pagefault.vocabulary.vm_fault import VmFault

P, W, U, RSVD, I, PK = 1, 2, 4, 8, 16, 32  # noqa: E741 -- I is the manual's letter for a fetch
USER_TRAIL = [
    *("in_kernel_space", "kernel_fetch_from_user", "reserved_bits", "smap_violation", "cannot_take_the_fault"),
    *("no_vma", "access_error", "handle_the_fault"),
]
KERNEL_TRAIL = ["in_kernel_space", "spurious_kernel_fault", "bad_kernel_address"]
OOPS_TRAIL = ["fixup_exception", "stack_guard_page", "page_fault_oops"]


def asked(decision: Decision) -> list[str]:
    return [step.function for step in decision.trail]


def test_a_good_user_address_asks_every_question_in_the_kernel_s_order() -> None:
    world = World()
    world.area()
    decision = handle_page_fault(page_fault(USER_AREA, W), world.context)
    assert asked(decision) == USER_TRAIL
    assert [step.answer for step in decision.trail[:-1]] == ["no"] * 7
    assert isinstance(decision.outcome, Resolved)


@pytest.mark.parametrize(
    ("code", "stop"),
    [(I, "kernel_fetch_from_user"), (P | RSVD, "reserved_bits"), (0, "smap_violation")],
)
def test_some_questions_end_it_without_the_exception_table(code: int, stop: str) -> None:
    """Even at an instruction that is listed."""
    world = World(cr4=x86.CR4_SMAP)
    world.cpu = replace(world.cpu, eflags=x86.EFLAGS_FIXED)
    world.area()
    decision = handle_page_fault(page_fault(USER_AREA, code, ip=LISTED), world.context)
    assert asked(decision) == USER_TRAIL[: USER_TRAIL.index(stop) + 1]
    assert isinstance(decision.outcome, Oops)


@pytest.mark.parametrize(("version", "code"), [((5, 11), 0), ((5, 11), I | P)])
def test_before_5_12_smap_and_smep_violations_were_fixed_up(version: tuple[int, int], code: int) -> None:
    world = World(version, cr4=x86.CR4_SMAP | x86.CR4_SMEP)
    world.cpu = replace(world.cpu, eflags=x86.EFLAGS_FIXED)
    decision = handle_page_fault(page_fault(USER_AREA, code, ip=LISTED), world.context)
    assert isinstance(decision.outcome, FixedUp)
    assert asked(decision)[-1] == "fixup_exception"


def test_a_listed_instruction_goes_on_at_its_fixup() -> None:
    decision = handle_page_fault(page_fault(USER_AREA, W, ip=LISTED), World().context)
    assert isinstance(decision.outcome, FixedUp)
    assert decision.outcome.landing == LANDING
    assert asked(decision) == [*USER_TRAIL[:6], "fixup_exception"]


def test_an_unlisted_one_oopses() -> None:
    decision = handle_page_fault(page_fault(USER_AREA, W, ip=UNLISTED), World().context)
    assert decision.outcome == Oops("unable to handle page fault")
    assert asked(decision) == [*USER_TRAIL[:6], *OOPS_TRAIL]


def test_a_kernel_address() -> None:
    world = World()
    decision = handle_page_fault(page_fault(RO_PAGE, P | W), world.context)
    assert decision.outcome == Oops("unable to handle page fault")
    assert asked(decision) == [*KERNEL_TRAIL, *OOPS_TRAIL]
    assert [step.answer[:3] for step in decision.trail] == ["yes", "no", "yes", "no", "no", "yes"]
    assert isinstance(handle_page_fault(page_fault(RO_PAGE, P | W, ip=LISTED), world.context).outcome, FixedUp)
    assert handle_page_fault(page_fault(DATA_PAGE, P | W), world.context).outcome == Spurious()
    guard = handle_page_fault(page_fault(STACK[0] - 8, W), world.context)
    assert guard.outcome == Oops("stack guard page was hit")
    assert asked(guard)[-1] == "stack_guard_page"


@pytest.mark.parametrize(("version", "asks"), [((5, 7), True), ((5, 8), False), ((6, 12), False)])
def test_only_what_this_version_has_is_asked(version: tuple[int, int], asks: bool) -> None:
    fault = page_fault(DATA_PAGE, 0)
    assert ("vmalloc_fault" in asked(handle_page_fault(fault, World(version).context))) is asks
    fetch = handle_page_fault(page_fault(USER_AREA, W), World(version).context)
    assert ("kernel_fetch_from_user" in asked(fetch)) is (version >= (5, 12))


@pytest.mark.parametrize(
    ("address", "code", "outcome"),
    [
        (0x1000, U, Signal("SIGSEGV", "SEGV_MAPERR", 0x1000)),
        (USER_AREA + 0x10, U | P, Signal("SIGSEGV", "SEGV_ACCERR", USER_AREA + 0x10)),
        (USER_AREA, U | P | PK, Signal("SIGSEGV", "SEGV_PKUERR", USER_AREA)),
        (DATA_PAGE, U | P, Signal("SIGSEGV", "SEGV_MAPERR", DATA_PAGE)),
        (0xFFFF_FFFF_FF60_0000, U | I, Signal("SIGSEGV", "SEGV_MAPERR", 0xFFFF_FFFF_FF60_0000)),
        (USER_AREA, U | P | RSVD, Oops("Bad pagetable")),
    ],
)
def test_user_code_gets_a_signal_and_never_a_fixup(address: int, code: int, outcome: object) -> None:
    world = World()
    world.area()
    decision = handle_page_fault(page_fault(address, code, user_mode=True, ip=LISTED), world.context)
    assert decision.outcome == outcome
    assert decision.effects == ()


def test_an_implicit_access_of_user_code_to_the_kernel_oopses() -> None:
    """A descriptor table that is not mapped, say: nobody's pointer but the kernel's."""
    decision = handle_page_fault(page_fault(DATA_PAGE, W, user_mode=True, ip=LISTED), World().context)
    assert decision.outcome == Oops("unable to handle page fault")
    assert asked(decision)[-3:] == OOPS_TRAIL


def test_a_kernel_s_access_that_runs_out_of_memory_is_fixed_up() -> None:
    world = World()
    world.area()
    while world.frames.free:
        world.frames.take()
    assert isinstance(handle_page_fault(page_fault(USER_AREA, W, ip=LISTED), world.context).outcome, FixedUp)
    assert isinstance(handle_page_fault(page_fault(USER_AREA, W), world.context).outcome, Oops)
    user = handle_page_fault(page_fault(USER_AREA, W | U, user_mode=True), world.context)
    assert isinstance(user.outcome, OutOfMemory)


def test_disabled_page_faults_go_to_the_fixup_though_the_area_is_good() -> None:
    world = World()
    world.area()
    world.faulthandler_disabled = True
    decision = handle_page_fault(page_fault(USER_AREA, 0, ip=LISTED), world.context)
    assert isinstance(decision.outcome, FixedUp)
    assert asked(decision) == [*USER_TRAIL[:5], "fixup_exception"]


def test_general_protection() -> None:
    def gp(ip: int, selector: int = x86_64.KERNEL_CS) -> Fault:
        return x86_64.general_protection({"rip": ip, "cs": selector, "rdi": 1 << 60}, 0)

    context = World().context
    fixed = handle_general_protection(gp(LISTED), context)
    assert isinstance(fixed.outcome, FixedUp)
    assert asked(fixed) == ["fixup_exception"]
    oops = handle_general_protection(gp(UNLISTED), context)
    assert isinstance(oops.outcome, Oops)
    assert asked(oops) == ["fixup_exception", "general_protection_oops"]
    assert handle_general_protection(gp(LISTED, x86_64.USER_CS), context).outcome == Signal("SIGSEGV", "SI_KERNEL", 0)


def test_an_exception_goes_by_its_vector() -> None:
    context = World().context
    fault = page_fault(USER_AREA, 0, ip=LISTED)
    assert handle_exception(fault, context) == handle_page_fault(fault, context)
    gp = x86_64.general_protection(fault.registers, 0)
    assert handle_exception(gp, context) == handle_general_protection(gp, context)
    with pytest.raises(Unsupported, match="exception 6"):
        handle_exception(replace(fault, vector=6, trap="#UD"), context)


RIGHTS: list[dict[str, bool | int]] = [
    {},
    {"write": False},
    {"execute": True},
    {"read": False, "write": False},
    {"protection_key": 3},
    {"grows_down": True},
]
TOP = 0x7FFF_FFF0_0000


def random_world(random: Random) -> World:
    """Areas, some pages of them present in one way or another, and any kernel."""
    cr4 = sum(bit for bit in (x86.CR4_SMAP, x86.CR4_SMEP, x86.CR4_PKE) if random.random() < 0.4)
    world = World(random.choice([(5, 4), (5, 10), (5, 15), (6, 1), (6, 12)]), cr4, ram=128 * PAGE)
    for start in (USER_AREA, USER_AREA + 0x20_0000, TOP):
        world.area(start, 4, **random.choice(RIGHTS), **(random_file(random, world) if random.random() < 0.3 else {}))
    world.cpu = replace(world.cpu, pkru=random.getrandbits(8) & random.getrandbits(8))
    if random.random() < 0.2:
        world.cpu = replace(world.cpu, eflags=x86.EFLAGS_FIXED)
    world.tables.map(world.init_mm_root, AREA.vmalloc_start + 0x5000, 3 * PAGE, 0x163)
    for _ in range(random.randrange(4)):
        address = place(random) & ~0xFFF
        vma = world.user.vmas.vma_lookup(address)
        if vma is not None and not vma.anonymous:
            cached = world.memory.inodes[vma.inode].cache.get(vma.linear_page_index(address))
            if cached is not None:
                world.apply((GetPage(cached),))
                world.tables.map(world.user.root, address, cached, x86.PRESENT | x86.USER)
            continue
        frame = random.choice([world.zero_page, world.memory.new_page()])
        world.memory.pages.refcount[frame >> PAGE_SHIFT] += random.random() < 0.3
        world.memory.pages.set(frame, random.choice([PageFlag(0), PageFlag.ANON, PageFlag.ANON | PageFlag.EXCLUSIVE]))
        key = 3 if random.random() < 0.2 else 0
        writable = x86.WRITABLE if frame != world.zero_page and random.random() < 0.5 else 0
        world.tables.map(world.user.root, address, frame, x86.PRESENT | x86.USER | writable | key << 59)
    if random.random() < 0.15:
        keep = random.randrange(5)
        while world.frames.free > keep:
            world.frames.take()
    world.faulthandler_disabled = random.random() < 0.1
    return world


def random_file(random: Random, world: World) -> dict[str, bool | int]:
    """What makes an area one of a file, of which some pages are in the page cache."""
    inode = world.memory.new_inode("a file", random.choice(list(FileSystem)), random.randrange(6 * PAGE))
    for index in range(inode.pages):
        if random.random() < 0.4:
            world.memory.page_cache_page(inode, index)
    return {"inode": inode.number, "shared": random.random() < 0.5, "pgoff": random.randrange(3)}


def place(random: Random) -> int:
    return random.choice([USER_AREA, USER_AREA + 0x20_0000, TOP]) + random.randrange(-2 * PAGE, 5 * PAGE)


def random_access(random: Random) -> Access:
    anywhere = [0x10, RO_PAGE, DATA_PAGE + 8, TEXT, AREA.vmalloc_start + 0x5008, STACK[0] - 8, 0xFFFF_FFFF_FF60_0000]
    address = place(random) if random.random() < 0.8 else random.choice(anywhere)
    return Access(address, random.choice(list(AccessKind)), user=random.random() < 0.5)


def fault_of(world: World, access: Access, ip: int) -> Fault | None:
    """The fault that the CPU raises for this access in this world."""
    selector = x86_64.USER_CS if access.user else x86_64.KERNEL_CS
    registers = {"rip": ip, "cs": selector, "rsp": STACK[1] - 64, "rax": 0}
    return x86_64.fault(world.context.walk(access.address), access, world.cpu, registers)


@given(seed=st.integers(0, 1 << 32))
def test_deciding_touches_nothing_and_always_decides_the_same(seed: int) -> None:
    random = Random(seed)
    world = random_world(random)
    fault = fault_of(world, random_access(random), random.choice([LISTED, UNLISTED]))
    if fault is None:
        return
    context, before = world.context, world.snapshot()
    decision = handle_exception(fault, context)
    assert world.snapshot() == before
    assert handle_exception(fault, context) == decision
    assert all(step.question and step.citation and step.answer for step in decision.trail)
    assert all(step.answer == "no" or step.answer.startswith("yes") for step in decision.trail)


@given(seed=st.integers(0, 1 << 32))
def test_a_resolved_access_goes_through(seed: int) -> None:
    """
    With the effects applied, the access is permitted. One exception: a fetch from an absent page of an area that is not
    executable is brought in first and refused then.
    """
    random = Random(seed)
    world = random_world(random)
    access = random_access(random)
    fault = fault_of(world, access, UNLISTED)
    if fault is None:
        return
    decision = handle_exception(fault, world.context)
    tried: tuple[VmFault, ...] = ()
    while isinstance(decision.outcome, Retry):
        assert len(tried) < 2, "asked for ever"
        world.apply(decision.effects)
        tried += (decision.result or VmFault(0),)
        decision = handle_exception(fault, replace(world.context, tried=tried))
    if not isinstance(decision.outcome, Resolved | Spurious):
        no_page = decision.result == VmFault.SIGBUS
        assert no_page or not any(isinstance(effect, WriteEntry | GrowStack) for effect in decision.effects)
        return
    world.apply(decision.effects)
    again = fault_of(world, access, UNLISTED)
    if again is not None:
        assert access.kind is AccessKind.FETCH
        assert again.protection
        assert isinstance(handle_exception(again, world.context).outcome, Signal | Oops)


def test_the_random_faults_reach_every_outcome() -> None:
    """Or the two properties above say little."""
    seen: set[str] = set()
    for seed in range(2500):
        random = Random(seed)
        world = random_world(random)
        fault = fault_of(world, random_access(random), random.choice([LISTED, UNLISTED]))
        if fault is not None:
            outcome = handle_exception(fault, world.context).outcome
            seen.add(outcome.how if isinstance(outcome, Resolved) else type(outcome).__name__)
    assert seen >= {
        *("FixedUp", "Oops", "Signal", "OutOfMemory", "zero page mapped", "zeroed page of its own"),
        *("zero page copied on write", "page copied on write", "page reused", "vmalloc entry copied from init_mm"),
        *("Retry", "page-cache page mapped", "page-cache page copied", "page-cache page mapped for writing"),
        *("2 pages of the page cache mapped", "shared page made writable"),
    }, seen
