"""When an address space ends: everything that was only its own is free again, and the rest is as it was."""

from __future__ import annotations

from handler.world import USER_AREA, World
from mm.touching import mapped, touch
from pagefault.mm.exit_mmap import exit_mmap
from pagefault.mm.mmap import MAP_FIXED, MAP_SHARED
from pagefault.tables.inode import FileSystem
from pagefault.vocabulary.address import PAGE

FAR = 0x7000_0000_0000


def test_areas_pages_and_tables_are_given_up() -> None:
    world = World()
    world.memory.spaces.append(world.user)
    free = world.frames.free
    for start in (USER_AREA, FAR, FAR + (1 << 30)):
        mapped(world, start, 4)
        for page in range(3):
            touch(world, start + page * PAGE, write=page < 2)
    assert world.frames.free < free - 6
    exit_mmap(world.memory, world.user)
    assert world.frames.free == free
    assert list(world.user.vmas) == []
    assert world.user not in world.memory.spaces
    entries = world.ram.read(world.user.root, PAGE // 2) or b""
    assert not any(entries), "the top-level table stays, and nothing of the user's is in it"
    kernel = world.ram.read(world.user.root + PAGE // 2, PAGE // 2)
    assert kernel == world.ram.read(world.init_mm_root + PAGE // 2, PAGE // 2)


def test_a_files_pages_stay_in_its_page_cache() -> None:
    world = World()
    inode = world.memory.new_inode("a", FileSystem.SHMEM, 2 * PAGE)
    mapped(world, USER_AREA, 2, flags=MAP_SHARED | MAP_FIXED, inode=inode)
    touch(world, USER_AREA)
    frame = inode.cache.get(0)
    assert frame is not None
    world.ram.write(frame, b"kept")
    users, index = inode.users, frame // PAGE
    assert world.memory.pages.mapcount[index] == 1
    exit_mmap(world.memory, world.user)
    assert inode.users == users - 1
    assert inode.cache.get(0) == frame
    assert world.memory.pages.mapcount[index] == 0
    assert world.ram.read(frame, 4) == b"kept"


def test_one_that_is_not_known_any_more_and_has_nothing() -> None:
    world = World()
    free = world.frames.free
    exit_mmap(world.memory, world.user)
    exit_mmap(world.memory, world.user)
    assert world.frames.free == free
