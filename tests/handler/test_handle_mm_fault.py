"""Getting the page: exactly the tables that are missing are made, and no frame is taken that is not needed."""

from __future__ import annotations

from itertools import pairwise

import pytest

from handler.world import USER_AREA, World, page_fault
from pagefault.arch import x86
from pagefault.handler.decision import Answer, BadArea
from pagefault.handler.handle_mm_fault import handle_mm_fault
from pagefault.handler.user_address import fault_flags
from pagefault.memory.ram import FrameAllocator
from pagefault.tables.pagetable import walk
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.effect import TakeFrame, WriteEntry, ZeroFrame
from pagefault.vocabulary.outcome import OutOfMemory, Resolved
from pagefault.vocabulary.vm_fault import FaultFlag, VmFault
from pagefault.vocabulary.walk import Mapped

W, U = 2, 4


def decide(world: World, address: int, code: int, *, user_mode: bool = False) -> Answer:
    vma = world.user.vmas.vma_lookup(address)
    assert vma is not None
    flags = fault_flags(page_fault(address, code, user_mode=user_mode), world.context)
    return handle_mm_fault(world.context, world.user, vma, address, flags)


def taken(answer: Answer) -> list[str]:
    return [effect.use for effect in answer.effects if isinstance(effect, TakeFrame)]


@pytest.mark.parametrize(("cr4", "names"), [(0, ["pud", "pmd", "pte"]), (x86.CR4_LA57, ["p4d", "pud", "pmd", "pte"])])
def test_every_missing_table_is_made_once_top_first(cr4: int, names: list[str]) -> None:
    world = World(cr4=cr4)
    world.area(pages=1024 + 8)
    answer = decide(world, USER_AREA, W)
    assert taken(answer) == [f"{name} table" for name in names] + ["page"]
    world.apply(answer.effects)
    assert taken(decide(world, USER_AREA, 0)) == []
    assert taken(decide(world, USER_AREA + PAGE, W)) == ["page"], "the tables are there"
    assert taken(decide(world, USER_AREA + (2 << 20), W)) == ["pte table", "page"], "another pmd entry"


def test_a_table_is_taken_and_cleared_before_it_is_entered() -> None:
    world = World()
    world.area()
    effects = decide(world, USER_AREA, W).effects
    for frame in [effect.frame for effect in effects if isinstance(effect, TakeFrame)]:
        places = [n for n, e in enumerate(effects) if isinstance(e, TakeFrame | ZeroFrame) and e.frame == frame]
        entered = [
            n for n, e in enumerate(effects) if isinstance(e, WriteEntry) and e.value & x86.PHYSICAL_MASK == frame
        ]
        assert len(places) == 2
        assert all(a < b for a, b in pairwise([*places, *entered]))


def test_what_lies_in_a_free_frame_does_not_show() -> None:
    world = World()
    world.area()
    for frame in world.frames.peek(6):
        world.ram.fill(frame, PAGE, 0xFF)
    world.apply(decide(world, USER_AREA, W).effects)
    end = walk(world.ram, world.user.root, USER_AREA, world.cpu).end
    assert isinstance(end, Mapped)
    assert world.ram.read(end.physical, PAGE) == bytes(PAGE)
    assert not isinstance(walk(world.ram, world.user.root, USER_AREA + PAGE, world.cpu).end, Mapped)


def drained(left: int) -> World:
    world = World()
    world.area()
    start = world.frames.peek(1)[0]
    world.frames = FrameAllocator(start, start + left * PAGE)
    return world


@pytest.mark.parametrize(
    ("code", "needed"),
    [(W, 4), (0, 3)],  # three tables; a read needs no page of its own
)
def test_out_of_memory(code: int, needed: int) -> None:
    for left in range(needed):
        world = drained(left)
        assert decide(world, USER_AREA, code, user_mode=True).outcome == OutOfMemory(needed)
        kernel = decide(world, USER_AREA, code | U)
        assert kernel.outcome == BadArea("SEGV_MAPERR"), "the kernel's own access takes the fixup"
        assert kernel.effects == ()
        assert kernel.result == VmFault.OOM
    assert isinstance(decide(drained(needed), USER_AREA, code).outcome, Resolved)


def test_what_needs_no_frame_works_without_one() -> None:
    world = World()
    world.area()
    world.apply(decide(world, USER_AREA, 0).effects)
    world.apply(decide(world, USER_AREA + PAGE, W).effects)
    world.frames = FrameAllocator(0, 0)
    assert decide(world, USER_AREA + 2 * PAGE, 0).outcome == Resolved("zero page mapped")
    assert decide(world, USER_AREA + PAGE, W).outcome == Resolved("access flags updated")
    assert decide(world, USER_AREA, W | U, user_mode=True).outcome == OutOfMemory(1)


def test_effects_that_come_first_stay_first() -> None:
    world = World()
    vma = world.area()
    first = TakeFrame(0, use="a test")
    answer = handle_mm_fault(world.context, world.user, vma, USER_AREA, FaultFlag(0), (first,))
    assert answer.effects[0] == first


def test_a_page_that_is_there_has_the_result_of_no_bits() -> None:
    world = World()
    world.area()
    assert decide(world, USER_AREA, W).result == VmFault(0)


@pytest.mark.parametrize(("version", "result"), [((6, 1), VmFault.WRITE), ((6, 12), VmFault(0))])
def test_a_copy_says_write_until_62(version: tuple[int, int], result: VmFault) -> None:
    world = World(version)
    world.area()
    world.apply(decide(world, USER_AREA, 0).effects)
    assert decide(world, USER_AREA, W | 1).result == result


def test_an_entry_that_is_neither_present_nor_empty_is_a_bad_area() -> None:
    world = World()
    world.area()
    world.apply(decide(world, USER_AREA, W).effects)
    slot = world.tables.entry_slot(world.user.root, USER_AREA)
    world.tables.write(slot, 1 << 40)
    assert decide(world, USER_AREA, 0).outcome == BadArea("SEGV_MAPERR")
