"""The page cache: read ahead, dropped, unmapped."""

from __future__ import annotations

from errno import EBUSY

from handler.world import USER_AREA, World
from mm.touching import disk_file, mapped, pte, touch
from pagefault.arch import x86
from pagefault.memory.pages import PageFlag
from pagefault.mm.filemap import (
    filemap_get_page,
    force_page_cache_ra,
    invalidate_inode_pages2_range,
    invalidate_mapping_pages,
    madvise_willneed,
    unmap_mapping_pages,
)
from pagefault.mm.mmap import MAP_FIXED, MAP_PRIVATE, MAP_SHARED
from pagefault.tables.inode import FileSystem, Inode
from pagefault.vocabulary.address import PAGE


def a_file(world: World, pages: int = 200) -> Inode:
    inode = world.memory.new_inode("a file", FileSystem.DISK, pages * PAGE, disk_file(pages * PAGE))
    inode.users += 1
    return inode


def cached(inode: Inode) -> list[int]:
    return [index for index, _ in inode.cache.items()]


def test_reading_through_a_file_reads_ahead() -> None:
    world = World(ram=512 * PAGE)
    world.memory.spaces.append(world.user)
    inode = a_file(world)
    frame = filemap_get_page(world.memory, inode, 0, 1)
    assert world.ram.read(frame, 1) == b"\1"
    assert cached(inode) == [0, 1, 2, 3]
    marked = inode.cache.get(1) or 0
    assert world.memory.pages.has(marked, PageFlag.READAHEAD)
    filemap_get_page(world.memory, inode, 1, 2)
    assert not world.memory.pages.has(marked, PageFlag.READAHEAD)
    assert cached(inode) == list(range(12))
    filemap_get_page(world.memory, inode, 2, 3)
    assert cached(inode) == list(range(12)), "no mark, nothing read"


def test_without_frames_less_is_read_ahead() -> None:
    world = World()
    world.memory.spaces.append(world.user)
    inode = a_file(world)
    while world.frames.free > 3:
        world.memory.new_page()
    filemap_get_page(world.memory, inode, 0, 1)
    assert cached(inode) == [0, 1, 2]


def test_what_will_be_needed_is_read_one_window_at_most() -> None:
    world = World(ram=512 * PAGE)
    world.memory.spaces.append(world.user)
    inode = a_file(world)
    force_page_cache_ra(world.memory, inode, 10, 1 << 40)
    assert cached(inode) == list(range(10, 42))
    assert not any(world.memory.pages.has(frame, PageFlag.READAHEAD) for _, frame in inode.cache.items())
    vma = mapped(world, USER_AREA, 20, flags=MAP_SHARED | MAP_FIXED, inode=inode, pgoff=100)
    assert madvise_willneed(world.memory, world.user, vma, USER_AREA + PAGE, USER_AREA + 3 * PAGE) == 0
    assert cached(inode)[-2:] == [101, 102]


def test_only_what_is_clean_and_unused_is_dropped() -> None:
    world = World(ram=512 * PAGE)
    world.memory.spaces.append(world.user)
    inode = a_file(world)
    force_page_cache_ra(world.memory, inode, 0, 6)
    world.memory.pages.set(inode.cache.get(2) or 0, PageFlag.DIRTY)
    mapped(world, USER_AREA, 1, flags=MAP_SHARED | MAP_FIXED, inode=inode, pgoff=3)
    touch(world, USER_AREA, write=False)
    free = world.frames.free
    invalidate_mapping_pages(world.memory, inode, 1, 4)
    assert cached(inode) == [0, 2, 3, 5]
    assert world.frames.free == free + 2


def test_direct_io_drops_what_is_mapped_too_and_writes_what_is_dirty() -> None:
    world = World(ram=512 * PAGE)
    world.memory.spaces.append(world.user)
    inode = a_file(world)
    mapped(world, USER_AREA, 4, flags=MAP_SHARED | MAP_FIXED, inode=inode)
    touch(world, USER_AREA + PAGE)
    world.ram.write(inode.cache.get(1) or 0, b"mine")
    assert invalidate_inode_pages2_range(world.memory, inode, 1, 2) == 0
    assert pte(world, USER_AREA + PAGE) == 0
    assert inode.cache.get(1) is None
    assert inode.backing is not None
    assert inode.backing.read_page(1)[:5] == b"mine\2"
    held = world.memory.page_cache_page(inode, 2)
    world.memory.pages.refcount[held >> 12] += 1
    assert invalidate_inode_pages2_range(world.memory, inode, 2, 2) == -EBUSY


def test_pages_leave_every_area_and_private_copies_stay_unless_asked() -> None:
    world = World(ram=512 * PAGE)
    world.memory.spaces.append(world.user)
    inode = a_file(world)
    other = USER_AREA + 64 * PAGE
    mapped(world, USER_AREA, 8, flags=MAP_SHARED | MAP_FIXED, inode=inode)
    mapped(world, other, 8, flags=MAP_PRIVATE | MAP_FIXED, inode=inode, pgoff=2)
    for address in (USER_AREA + 3 * PAGE, other + PAGE, other + 2 * PAGE):
        touch(world, address)
    touch(world, other, write=False)
    unmap_mapping_pages(world.memory, inode, 3, 3, private=False)
    assert pte(world, USER_AREA + 3 * PAGE) == 0
    assert pte(world, other + PAGE) & x86.PRESENT, "a copy of one's own"
    assert pte(world, other) & x86.PRESENT, "page 2"
    unmap_mapping_pages(world.memory, inode, 3, 3, private=True)
    assert pte(world, other + PAGE) == 0
    assert pte(world, other + 2 * PAGE) & x86.PRESENT
