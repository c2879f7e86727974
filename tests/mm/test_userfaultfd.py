"""userfaultfd's part in memory: which ranges can be registered, and what is put into them."""

from __future__ import annotations

from dataclasses import replace
from errno import EBUSY, EEXIST, EFAULT, EINVAL, ENOENT, ENOMEM, EPERM

import pytest

from handler.world import USER_AREA, World
from mm.touching import areas, disk_file, mapped, pte, touch
from pagefault.arch import x86
from pagefault.handler.vmf import SPECIAL
from pagefault.memory.pages import PageFlag
from pagefault.mm.mmap import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED
from pagefault.mm.userfaultfd import mfill_atomic, register, release, unregister, validate_range
from pagefault.tables.inode import FileSystem
from pagefault.tables.userfaultfd import UserfaultfdCtx
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.vma import VmFlag

SHARED = MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED


def made(world: World, number: int = 1) -> UserfaultfdCtx:
    ctx = world.memory.userfaults[number] = UserfaultfdCtx(number, world.user, features=0)
    return ctx


def bytes_of(world: World, value: int) -> bytes:
    return world.ram.read(value & x86.PHYSICAL_MASK, PAGE) or b""


@pytest.mark.parametrize(
    ("start", "length"),
    [
        (USER_AREA + 1, PAGE),
        (USER_AREA, 0),
        (USER_AREA, 5),
        (PAGE, PAGE),
        ((1 << 47) - PAGE, PAGE),
        (USER_AREA, 1 << 47),
    ],
)
def test_ranges_that_are_none(start: int, length: int) -> None:
    world = World()
    assert validate_range(world.memory, start, length) == -EINVAL
    assert validate_range(world.memory, USER_AREA, PAGE) == 0


def test_registering_cuts_areas_and_giving_back_joins_them() -> None:
    world = World()
    mapped(world, USER_AREA, 8)
    ctx = made(world)
    assert register(world.memory, ctx, USER_AREA + 2 * PAGE, 2 * PAGE) == 0
    pages = [((start - USER_AREA) // PAGE, (end - USER_AREA) // PAGE) for start, end in areas(world)]
    assert pages == [(0, 2), (2, 4), (4, 8)]
    assert [(vma.userfault, bool(vma.flags & VmFlag.UFFD_MISSING)) for vma in world.user.vmas] == [
        (0, False),
        (1, True),
        (0, False),
    ]
    assert register(world.memory, made(world, 2), USER_AREA, 8 * PAGE) == -EBUSY
    assert unregister(world.memory, ctx, USER_AREA, 8 * PAGE) == 0
    assert areas(world) == [(USER_AREA, USER_AREA + 8 * PAGE)]


def test_what_cannot_be_registered() -> None:
    world = World()
    ctx = made(world)
    assert register(world.memory, ctx, USER_AREA, PAGE) == -ENOMEM
    mapped(world, USER_AREA + 4 * PAGE, 1)
    assert register(world.memory, ctx, USER_AREA, PAGE) == -EINVAL
    file = world.memory.new_inode("/data", FileSystem.DISK, PAGE, disk_file(PAGE))
    mapped(world, USER_AREA, 1, flags=MAP_PRIVATE | MAP_FIXED, inode=file)
    assert register(world.memory, ctx, USER_AREA, PAGE) == -EINVAL
    vma = mapped(world, USER_AREA + PAGE, 1)
    world.user.vmas.replace(vma, replace(vma, flags=vma.flags & ~VmFlag.MAYWRITE))
    assert register(world.memory, ctx, USER_AREA + PAGE, PAGE) == -EPERM


def test_closing_gives_everything_back() -> None:
    world = World()
    mapped(world, USER_AREA, 4)
    ctx = made(world)
    register(world.memory, ctx, USER_AREA + PAGE, PAGE)
    release(world.memory, ctx)
    assert [vma.userfault for vma in world.user.vmas] == [0]
    assert not world.memory.userfaults


def test_pages_are_put_where_none_are() -> None:
    world = World()
    mapped(world, USER_AREA, 4)
    ctx = made(world)
    register(world.memory, ctx, USER_AREA, 4 * PAGE)

    def fill(frame: int, offset: int) -> bool:
        world.ram.fill(frame, PAGE, 7 + offset // PAGE)
        return offset < 2 * PAGE

    assert mfill_atomic(world.memory, ctx, USER_AREA + 3 * PAGE, PAGE, None) == PAGE
    assert pte(world, USER_AREA + 3 * PAGE) & (SPECIAL | x86.WRITABLE) == SPECIAL
    free = world.frames.free
    assert mfill_atomic(world.memory, ctx, USER_AREA, 3 * PAGE, fill) == 2 * PAGE
    assert free - world.frames.free == 2
    assert bytes_of(world, pte(world, USER_AREA + PAGE)) == b"\x08" * PAGE
    assert pte(world, USER_AREA) & (x86.WRITABLE | x86.DIRTY) == x86.WRITABLE | x86.DIRTY
    assert world.memory.pages.has(pte(world, USER_AREA) & x86.PHYSICAL_MASK, PageFlag.EXCLUSIVE)
    assert mfill_atomic(world.memory, ctx, USER_AREA + 2 * PAGE, PAGE, lambda *_: False) == -EFAULT
    for content in (fill, None):
        assert mfill_atomic(world.memory, ctx, USER_AREA, PAGE, content) == -EEXIST
    assert free - world.frames.free == 2
    assert mfill_atomic(world.memory, ctx, USER_AREA + 3 * PAGE, 2 * PAGE, fill) == -ENOENT
    # A private area that has a page now has an anon_vma too.
    assert all(vma.anon_vma for vma in world.user.vmas)


def test_a_shared_page_is_the_files() -> None:
    world = World()
    vma = mapped(world, USER_AREA, 2, flags=SHARED)
    ctx, inode = made(world), world.memory.inodes[vma.inode]
    register(world.memory, ctx, USER_AREA, 2 * PAGE)
    assert mfill_atomic(world.memory, ctx, USER_AREA, PAGE, None) == PAGE
    assert inode.cache.get(0) == pte(world, USER_AREA) & x86.PHYSICAL_MASK
    assert bytes_of(world, pte(world, USER_AREA)) == bytes(PAGE)
    assert mfill_atomic(world.memory, ctx, USER_AREA, PAGE, None) == -EEXIST
    unregister(world.memory, ctx, USER_AREA, 2 * PAGE)
    assert mfill_atomic(world.memory, ctx, USER_AREA + PAGE, PAGE, None) == -ENOENT
    assert touch(world, USER_AREA + PAGE)


def test_out_of_memory() -> None:
    world = World()
    mapped(world, USER_AREA, 2)
    ctx = made(world)
    register(world.memory, ctx, USER_AREA, PAGE)
    world.frames.take_contiguous(world.frames.free * PAGE - 2 * PAGE)
    assert mfill_atomic(world.memory, ctx, USER_AREA, PAGE, None) == -ENOMEM
