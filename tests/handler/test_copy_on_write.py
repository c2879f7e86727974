"""Writes to pages that are there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from handler.world import World, vmf_of
from pagefault.arch import x86
from pagefault.arch.x86 import SOFT_DIRTY
from pagefault.handler.copy_on_write import access_flags, do_wp_page, fault_dirty_shared_page
from pagefault.handler.decision import Answer
from pagefault.handler.vmf import SPECIAL, Vmf
from pagefault.memory.pages import PageFlag
from pagefault.tables.inode import FileSystem
from pagefault.tables.swap_space import SwapSpace
from pagefault.vocabulary.address import PAGE, PAGE_SHIFT
from pagefault.vocabulary.effect import (
    ChangePage,
    CopyFrame,
    DeleteFromSwapCache,
    Effect,
    FlushPage,
    NewAnonPage,
    PrepareAnonVma,
    PutPage,
    TakeFrame,
    WriteEntry,
)
from pagefault.vocabulary.outcome import Resolved
from pagefault.vocabulary.vm_fault import FaultFlag, VmFault
from pagefault.vocabulary.vma import Vma

P, RW, US, A, D, NX = (
    *(x86.PRESENT, x86.WRITABLE, x86.USER, x86.ACCESSED, x86.DIRTY),
    x86.EXECUTE_DISABLE,
)
AREA = Vma(0x5000, 0x9000, pgoff=0x105)
SLOT, OURS = 0x30018, 0x40000
WRITE, FIRST, AGAIN = FaultFlag.WRITE, FaultFlag.ALLOW_RETRY, FaultFlag.ALLOW_RETRY | FaultFlag.TRIED


def vmf(world: World, value: int, vma: Vma = AREA, flags: FaultFlag = WRITE) -> Vmf:
    return vmf_of(world, vma, 0x6000, flags, value=value, slot=SLOT)


def written(world: World, value: int, vma: Vma = AREA, flags: FaultFlag = WRITE) -> tuple[Answer, tuple[Effect, ...]]:
    fault = vmf(world, value, vma, flags)
    return do_wp_page(fault), tuple(fault.plan.effects)


def owned(world: World, flags: PageFlag, refcount: int = 1) -> World:
    world.memory.pages.flags[OURS >> PAGE_SHIFT] = flags
    world.memory.pages.refcount[OURS >> PAGE_SHIFT] = refcount
    return world


def copied(world: World, old: int, *after: Effect) -> tuple[Effect, ...]:
    (frame,) = world.frames.peek(1)
    return (
        PrepareAnonVma(0x6000),
        TakeFrame(frame),
        CopyFrame(old, frame),
        NewAnonPage(frame, 0x106),
        WriteEntry("pte", SLOT, frame | P | RW | US | A | D | SOFT_DIRTY | NX, 0x6000),
        FlushPage(0x6000),
        *after,
    )


def test_the_page_of_zeros_is_copied_and_nobody_s_to_put() -> None:
    world = World()
    answer, effects = written(world, world.zero_page | P | US | A | SPECIAL | NX)
    assert answer.outcome == Resolved("zero page copied on write")
    assert answer.result == VmFault.WRITE
    assert effects == copied(world, world.zero_page)


def test_a_page_of_the_page_cache_is_copied_and_given_up() -> None:
    world = owned(World(), PageFlag(0), 1)
    answer, effects = written(world, OURS | P | US | A | NX)
    assert answer.outcome == Resolved("page copied on write")
    assert effects == copied(world, OURS, PutPage(OURS))


@pytest.mark.parametrize(
    ("flags", "refcount", "reused"),
    [
        (PageFlag.ANON | PageFlag.EXCLUSIVE, 1, True),
        (PageFlag.ANON | PageFlag.EXCLUSIVE, 2, True),  # somebody looks at it, but nobody else maps it
        (PageFlag.ANON, 1, True),  # the other process is gone
        (PageFlag.ANON, 2, False),
        (PageFlag(0), 1, False),
    ],
)
def test_who_may_take_a_page_over(flags: PageFlag, refcount: int, reused: bool) -> None:
    answer, _ = written(owned(World(), flags, refcount), OURS | P | US | NX)
    assert answer.outcome == Resolved("page reused" if reused else "page copied on write")


@pytest.mark.parametrize(("refcount", "others", "reused"), [(2, 0, True), (3, 0, False), (2, 1, False)])
def test_the_swap_cache_gives_a_page_up_if_nobody_else_has_its_slot(refcount: int, others: int, reused: bool) -> None:
    world = owned(World(), PageFlag.ANON | PageFlag.SWAPCACHE, refcount)
    world.memory.swap = SwapSpace(16 * PAGE)
    world.memory.pages.swap[OURS >> PAGE_SHIFT] = 7 + 1
    world.memory.swap.count[7] = others
    answer, effects = written(world, OURS | P | US | NX)
    assert answer.outcome == Resolved("page reused" if reused else "page copied on write")
    assert (DeleteFromSwapCache(OURS) in effects) is reused


def test_a_page_that_nobody_shares_is_taken_over() -> None:
    answer, effects = written(owned(World(), PageFlag.ANON), OURS | P | US | NX)
    assert answer.result == VmFault.WRITE
    assert effects == (
        WriteEntry("pte", SLOT, OURS | P | RW | US | A | D | SOFT_DIRTY | NX, 0x6000),
        ChangePage(OURS, set=PageFlag.EXCLUSIVE),
        FlushPage(0x6000),
    )


def test_ptrace_gives_no_right_to_write() -> None:
    _, effects = written(owned(World(), PageFlag.ANON), OURS | P | US, replace(AREA, write=False))
    assert effects[0] == WriteEntry("pte", SLOT, OURS | P | US | A | D | SOFT_DIRTY, 0x6000)


def test_unsharing_takes_over_without_writing() -> None:
    answer, effects = written(owned(World(), PageFlag.ANON), OURS | P | US, flags=FaultFlag.UNSHARE)
    assert not any(isinstance(effect, WriteEntry) for effect in effects)
    assert answer.result == VmFault(0)


def shared_world(kind: FileSystem, version: tuple[int, int] = (6, 1)) -> tuple[World, Vma]:
    world = World(version)
    inode = world.memory.new_inode("a file", kind, 4 * PAGE)
    return world, replace(AREA, shared=True, inode=inode.number)


@pytest.mark.parametrize(
    ("version", "flags", "result"),
    [
        ((6, 1), FIRST, VmFault.WRITE | VmFault.COMPLETED),
        ((6, 12), FIRST, VmFault.COMPLETED),
        ((6, 1), AGAIN, VmFault.WRITE),
        ((6, 12), FaultFlag(0), VmFault(0)),
    ],
)
def test_a_shared_page_is_made_writable_in_place(version: tuple[int, int], flags: FaultFlag, result: VmFault) -> None:
    world, vma = shared_world(FileSystem.DISK, version)
    answer, effects = written(world, OURS | P | US | A | NX, vma, WRITE | flags)
    assert answer.result == result
    assert effects == (
        WriteEntry("pte", SLOT, OURS | P | RW | US | A | D | SOFT_DIRTY | NX, 0x6000),
        FlushPage(0x6000),
        ChangePage(OURS, set=PageFlag.DIRTY),
    )


@pytest.mark.parametrize(
    ("kind", "flags", "dirty", "completed"),
    [
        (FileSystem.DISK, FIRST, True, True),  # the file system is asked each time
        (FileSystem.SHMEM, FIRST, False, True),
        (FileSystem.SHMEM, FIRST, True, False),  # not news
        (FileSystem.SHMEM, AGAIN, False, False),
        (FileSystem.SHMEM, FIRST | FaultFlag.RETRY_NOWAIT, False, False),
        (FileSystem.SHMEM, FaultFlag(0), False, False),
    ],
)
def test_when_the_lock_is_given_back_to_balance_dirty_pages(
    kind: FileSystem, flags: FaultFlag, dirty: bool, completed: bool
) -> None:
    world, vma = shared_world(kind)
    owned(world, PageFlag.DIRTY if dirty else PageFlag(0))
    said = fault_dirty_shared_page(vmf(world, 0, vma, WRITE | flags), OURS)
    assert said == (VmFault.COMPLETED if completed else VmFault(0))


def test_access_flags() -> None:
    value = OURS | P | RW | US
    world = World()
    read, write = vmf(world, value, flags=FaultFlag(0)), vmf(world, value)
    assert access_flags(read).outcome == access_flags(write).outcome == Resolved("access flags updated")
    assert read.plan.effects == [WriteEntry("pte", SLOT, value | A, 0x6000), FlushPage(0x6000)]
    assert write.plan.effects == [WriteEntry("pte", SLOT, value | A | D | SOFT_DIRTY, 0x6000), FlushPage(0x6000)]
