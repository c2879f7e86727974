"""Room in a file ahead of its use, and MADV_REMOVE."""

from __future__ import annotations

from dataclasses import replace
from errno import EACCES, EINVAL, ENOMEM, EPERM

from handler.world import USER_AREA, World
from mm.touching import mapped, pte, touch
from pagefault.arch import x86
from pagefault.memory.pages import PageFlag
from pagefault.mm.fallocate import fallocate_hole, madvise_remove, shmem_fallocate
from pagefault.mm.mmap import MAP_FIXED, MAP_PRIVATE, MAP_SHARED
from pagefault.tables.inode import F_SEAL_GROW, F_SEAL_WRITE, FileSystem, Inode
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.vma import VmFlag


def memfd(world: World, pages: int = 0) -> Inode:
    inode = world.memory.new_inode("memory", FileSystem.SHMEM, pages * PAGE)
    inode.users += 1
    return inode


def test_pages_ahead_of_their_use_have_no_content_yet() -> None:
    world = World(ram=512 * PAGE)
    inode = memfd(world)
    assert shmem_fallocate(world.memory, inode, PAGE + 1, 4 * PAGE, keep_size=False) == 0
    assert inode.size == 4 * PAGE
    assert [index for index, _ in inode.cache.items()] == [1, 2, 3]
    mapped(world, USER_AREA, 4, flags=MAP_SHARED | MAP_FIXED, inode=inode)
    assert touch(world, USER_AREA + 2 * PAGE, write=False) == "page-cache page mapped"
    assert pte(world, USER_AREA + 3 * PAGE) == 0, "not mapped around a fault until it has been touched itself"
    assert not world.memory.pages.has(inode.cache.get(2) or 0, PageFlag.FALLOCATED)


def test_all_or_none() -> None:
    world = World()
    inode = memfd(world)
    free = world.frames.free
    for pages in (free + 1, 1 << 40):
        assert shmem_fallocate(world.memory, inode, 0, pages * PAGE, keep_size=False) == -ENOMEM
        assert (len(inode.cache), inode.size, world.frames.free) == (0, 0, free)
    assert shmem_fallocate(world.memory, inode, 0, free * PAGE, keep_size=True) == 0
    assert inode.size == 0


def test_pages_elsewhere_in_the_file_are_of_no_use() -> None:
    world = World()
    inode = memfd(world)
    for index in range(20):
        world.memory.page_cache_page(inode, index)
    free = world.frames.free
    assert shmem_fallocate(world.memory, inode, 20 * PAGE, (20 + free + 5) * PAGE, keep_size=False) == -ENOMEM
    assert (len(inode.cache), inode.size, world.frames.free) == (20, 0, free)


def test_seals() -> None:
    world = World()
    inode = memfd(world, 2)
    inode.seals = F_SEAL_GROW
    assert shmem_fallocate(world.memory, inode, 0, 3 * PAGE, keep_size=True) == -EPERM
    assert shmem_fallocate(world.memory, inode, 0, 2 * PAGE, keep_size=False) == 0
    inode.seals = F_SEAL_WRITE
    assert fallocate_hole(world.memory, inode, 0, PAGE) == -EPERM
    inode.seals = 0
    assert fallocate_hole(world.memory, inode, 0, PAGE) == 0
    assert inode.cache.get(0) is None


def test_remove_punches_the_file_of_a_shared_area() -> None:
    world = World(ram=512 * PAGE)
    world.memory.spaces.append(world.user)
    inode = memfd(world, 8)
    vma = mapped(world, USER_AREA, 4, flags=MAP_SHARED | MAP_FIXED, inode=inode, pgoff=2)
    for page in range(4):
        touch(world, USER_AREA + page * PAGE)
    assert madvise_remove(world.memory, world.user, vma, USER_AREA + PAGE, USER_AREA + 3 * PAGE) == 0
    assert [index for index, _ in inode.cache.items()] == [2, 5]
    assert [bool(pte(world, USER_AREA + page * PAGE) & x86.PRESENT) for page in range(4)] == [True, False, False, True]
    locked = replace(vma, flags=vma.flags | VmFlag.LOCKED)
    assert madvise_remove(world.memory, world.user, locked, USER_AREA, vma.end) == -EINVAL
    private = mapped(world, USER_AREA + 64 * PAGE, 4, flags=MAP_PRIVATE | MAP_FIXED, inode=inode)
    assert madvise_remove(world.memory, world.user, private, private.start, private.end) == -EACCES
    anonymous = world.area(USER_AREA + 128 * PAGE)
    assert madvise_remove(world.memory, world.user, anonymous, anonymous.start, anonymous.end) == -EINVAL
