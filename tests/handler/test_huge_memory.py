"""Which faults get 2 MiB at once, and what a write to them does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mm.huge import AREA, forked, get, huge_area, huge_world, physical, pmds, put, switch
from mm.touching import mapped, pte, touch
from pagefault.arch import x86
from pagefault.handler.huge_memory import has_huge_pages, hugepage_vma_check, transhuge_vma_suitable
from pagefault.handler.vmf import SPECIAL
from pagefault.memory.pages import HUGE_FRAMES, PageFlag
from pagefault.memory.ram import HUGE
from pagefault.mm.exit_mmap import exit_mmap
from pagefault.mm.memcg import mem_cgroup_attach, mem_cgroup_create
from pagefault.mm.munmap import do_munmap
from pagefault.vocabulary.address import PAGE, PAGE_SHIFT
from pagefault.vocabulary.vma import MAY_ALL, Vma, VmFlag


@pytest.mark.parametrize(
    ("thp", "flags", "expected", "collapse"),
    [
        ("always", VmFlag(0), True, True),
        ("madvise", VmFlag(0), False, True),
        ("madvise", VmFlag.HUGEPAGE, True, True),
        ("never", VmFlag.HUGEPAGE, False, True),
        ("always", VmFlag.NOHUGEPAGE, False, False),
        ("always", VmFlag.PFNMAP, False, False),
        ("always", VmFlag.DONTEXPAND, False, False),
    ],
)
def test_the_setting_and_the_advice_decide(thp: str, flags: VmFlag, expected: bool, collapse: bool) -> None:
    context = huge_world(thp=thp).context
    vma = Vma(AREA, AREA + HUGE, flags=MAY_ALL | flags)
    assert hugepage_vma_check(vma, context) is expected
    assert hugepage_vma_check(vma, context, enforce_sysfs=False) is collapse


def test_files_stacks_in_the_making_and_who_wants_none() -> None:
    world = huge_world()
    assert not hugepage_vma_check(Vma(AREA, AREA + HUGE, inode=1), world.context)
    both = MAY_ALL | VmFlag.SEQ_READ | VmFlag.RAND_READ
    assert not hugepage_vma_check(Vma(AREA, AREA + HUGE, grows_down=True, flags=both), world.context)
    assert hugepage_vma_check(Vma(AREA, AREA + HUGE, grows_down=True), world.context)
    world.user.thp_disabled = True
    assert not hugepage_vma_check(Vma(AREA, AREA + HUGE), world.context)


def test_two_levels_have_none() -> None:
    context = huge_world().context
    assert has_huge_pages(context)
    assert not has_huge_pages(replace(context, cpu=replace(context.cpu, cr4=0, efer=0)))


@pytest.mark.parametrize(
    ("start", "end", "fits"), [(0, HUGE, True), (PAGE, 2 * HUGE, False), (-PAGE, HUGE - PAGE, False)]
)
def test_the_whole_must_lie_in_the_area(start: int, end: int, fits: bool) -> None:
    assert transhuge_vma_suitable(Vma(AREA + start, AREA + end), AREA + 7 * PAGE) is fits


def test_a_write_maps_a_zeroed_page_at_once() -> None:
    world = huge_world()
    huge_area(world)
    world.ram.fill(8 << 20, 8 << 20, 0xAA)
    assert touch(world, AREA + 5 * PAGE) == "huge page of its own"
    assert pmds(world) == [(AREA, True)]
    head = physical(world, AREA)
    assert world.ram.read(head, HUGE) == bytes(HUGE)
    pages, number = world.memory.pages, head >> PAGE_SHIFT
    assert pages.folio(head + 3 * PAGE) == slice(number, number + HUGE_FRAMES)
    assert (pages.folio_refcount(head), pages.page_mapcount(head + PAGE)) == (1, 1)
    assert int(pages.index[number + 3]) == (AREA >> PAGE_SHIFT) + 3
    assert len(world.user.deposited) == 1
    assert touch(world, AREA + 6 * PAGE) == "access flags updated"


def test_a_read_shares_the_huge_zero_page() -> None:
    world = huge_world()
    huge_area(world)
    assert touch(world, AREA, write=False) == "huge zero page mapped"
    free = world.frames.free
    assert touch(world, AREA + HUGE, write=False) == "huge zero page mapped"
    assert free - world.frames.free == 1, "only the table for its split"
    assert physical(world, AREA) == physical(world, AREA + HUGE) == world.memory.huge_zero_page
    assert pmds(world) == [(AREA, False), (AREA + HUGE, False)]
    assert touch(world, AREA + 3 * PAGE) == "zero page copied on write"
    assert pmds(world) == [(AREA + HUGE, False)]
    assert pte(world, AREA) & (x86.PHYSICAL_MASK | SPECIAL) == world.zero_page | SPECIAL
    assert not world.user.deposited[1:]


def test_without_the_zero_page_a_read_gets_its_own() -> None:
    world = huge_world(zero=False)
    huge_area(world)
    assert touch(world, AREA, write=False) == "huge page of its own"


@pytest.mark.parametrize("reason", ["alignment", "setting", "no room", "group"])
def test_small_pages_where_there_can_be_no_huge_one(reason: str) -> None:
    world = huge_world(thp="never" if reason == "setting" else "always")
    mapped(world, AREA + (PAGE if reason == "alignment" else 0), HUGE // PAGE)
    if reason == "no room":
        while (run := world.frames.peek_huge()) is not None:
            world.frames.take_huge(run)
    if reason == "group":
        mem_cgroup_attach(world.user, mem_cgroup_create(world.memory, HUGE_FRAMES - 1))
    free = world.frames.free
    assert touch(world, AREA + 5 * PAGE) == "zeroed page of its own"
    assert not pmds(world)
    assert not world.user.deposited
    assert free - world.frames.free <= 4


def test_the_last_owner_reuses_and_others_split() -> None:
    world = huge_world()
    huge_area(world)
    put(world, AREA, 7)
    parent, child = world.user, forked(world)
    assert pmds(world) == pmds(world, child) == [(AREA, False)]
    head = physical(world, AREA)
    assert world.memory.pages.folio_refcount(head) == 2
    assert not world.memory.pages.has(head, PageFlag.EXCLUSIVE)
    switch(world, child)
    assert touch(world, AREA + PAGE) == "page copied on write"
    assert not pmds(world)
    assert physical(world, AREA + PAGE) != head + PAGE
    assert physical(world, AREA + 2 * PAGE) == head + 2 * PAGE
    assert get(world, AREA) == 7
    assert world.memory.pages.page_mapcount(head + PAGE) == 1
    assert world.memory.pages.page_mapcount(head + 2 * PAGE) == 2
    switch(world, parent)
    assert touch(world, AREA) == "page copied on write", "the child still has a part of it"


def test_who_is_left_alone_with_it_takes_it_over() -> None:
    world = huge_world()
    huge_area(world)
    put(world, AREA, 7)
    parent, child = world.user, forked(world)
    exit_mmap(world.memory, child)
    switch(world, parent)
    assert touch(world, AREA) == "huge page reused"
    assert pmds(world) == [(AREA, True)]
    assert world.memory.pages.has(physical(world, AREA), PageFlag.EXCLUSIVE)


@pytest.mark.parametrize(("version", "how"), [((6, 1), "page reused"), ((6, 12), "page copied on write")])
def test_a_part_that_is_left_of_a_huge_page(version: tuple[int, int], how: str) -> None:
    world = huge_world(version)
    huge_area(world)
    put(world, AREA, 7)
    parent, child = world.user, forked(world)
    exit_mmap(world.memory, child)
    switch(world, parent)
    do_munmap(world.memory, parent, AREA + PAGE, 2 * HUGE - PAGE)
    assert touch(world, AREA) == how
