"""fadvise64(), readahead(), msync(), fsync(), mincore(): what they answer, and what a program sees of them."""

from __future__ import annotations

from errno import EBADF, EBUSY, EFAULT, EINVAL, ENOMEM, ESPIPE
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from handler.world import USER_AREA, World
from mm.touching import disk_file, mapped, touch
from pagefault.memory.pages import PageFlag
from pagefault.mm.mmap import MAP_FIXED, MAP_SHARED
from pagefault.mm.munmap import do_munmap
from pagefault.syscalls.page_cache import (
    FADV_DONTNEED,
    FADV_NORMAL,
    FADV_RANDOM,
    FADV_SEQUENTIAL,
    FADV_WILLNEED,
    MS_ASYNC,
    MS_SYNC,
    fadvise,
    msync,
)
from pagefault.tables.inode import FileSystem
from pagefault.vocabulary.address import PAGE
from syscalls.saying import said, say

OPEN = 'int fd = sys(open, "/tmp/a", O_RDWR | O_CREAT, 0600); sys(ftruncate, fd, 8 * PAGE);'
MAP = "byte *p = map(8 * PAGE, RW, MAP_SHARED, fd, 0);"


def test_fadvise(tmp_path: Path) -> None:
    calls = say(
        "sys(fadvise64, fd, 0, 0, 4)",
        "sys(fadvise64, fd, 0, 0, 3)",
        "sys(fadvise64, fd, 0, -1, 4)",
        "sys(fadvise64, fd, 0, 0, 6)",
        "sys(fadvise64, 77, 0, 0, 0)",
        "sys(fadvise64, ends[0], 0, 0, 0)",
        "sys(readahead, fd, 0, PAGE)",
        "sys(readahead, ends[1], 0, PAGE)",
        "sys(readahead, ends[0], 0, PAGE)",
    )
    found = said(tmp_path, f"int ends[2]; {OPEN} sys(pipe2, ends, 0); {calls}")
    assert found == [0, 0, -EINVAL, -EINVAL, -EBADF, -ESPIPE, 0, -EBADF, -EINVAL]


def test_msync_and_fsync(tmp_path: Path) -> None:
    calls = say(
        "sys(msync, p, 8 * PAGE, MS_SYNC)",
        "sys(msync, p + 1, PAGE, MS_SYNC)",
        "sys(msync, p, PAGE, MS_SYNC | MS_ASYNC)",
        "sys(msync, p, PAGE, 8)",
        "sys(msync, p, 0, MS_SYNC)",
        "sys(msync, p, -1l, MS_SYNC)",
        "sys(msync, PAGE * 16, PAGE, MS_SYNC)",
        "sys(munmap, p + 2 * PAGE, PAGE)",
        "sys(msync, p, 8 * PAGE, MS_SYNC)",
        "sys(mlock, p, PAGE)",
        "sys(msync, p, PAGE, MS_INVALIDATE)",
        "sys(msync, p, PAGE, MS_ASYNC)",
        "sys(fsync, fd)",
        "sys(fdatasync, fd)",
        "sys(fsync, 77)",
        'sys(fsync, sys(open, "/dev/null", 0))',
    )
    found = said(tmp_path, OPEN + MAP + calls)
    assert found[:8] == [0, -EINVAL, -EINVAL, -EINVAL, 0, -ENOMEM, -ENOMEM, 0]
    assert found[8:] == [-ENOMEM, 0, -EBUSY, 0, 0, 0, -EBADF, -EINVAL]


def test_msync_writes_what_is_shared_and_in_the_range() -> None:
    world = World(ram=512 * PAGE)
    world.memory.spaces.append(world.user)
    inode = world.memory.new_inode("a file", FileSystem.DISK, 8 * PAGE, disk_file(8 * PAGE))
    mapped(world, USER_AREA, 4, flags=MAP_SHARED | MAP_FIXED, inode=inode, pgoff=2)
    for page in range(4):
        touch(world, USER_AREA + page * PAGE)
    system: Any = SimpleNamespace(machine=SimpleNamespace(mm=world.memory))
    task: Any = SimpleNamespace(process=SimpleNamespace(mm=world.user))

    def dirty() -> list[int]:
        return [index for index, frame in inode.cache.items() if world.memory.pages.has(frame, PageFlag.DIRTY)]

    assert msync(system, task, USER_AREA + PAGE, 2 * PAGE, MS_ASYNC) == 0
    assert dirty() == [2, 3, 4, 5]
    assert msync(system, task, USER_AREA + PAGE, 2 * PAGE, MS_SYNC) == 0
    assert dirty() == [2, 5]
    fadvise(world.memory, inode, 0, 0, FADV_DONTNEED)
    assert dirty() == []
    assert sorted(index for index, _ in inode.cache.items()) == [2, 3, 4, 5], "they are mapped"
    do_munmap(world.memory, world.user, USER_AREA, 4 * PAGE)
    fadvise(world.memory, inode, 2 * PAGE + 1, 2 * PAGE, FADV_DONTNEED)
    assert sorted(index for index, _ in inode.cache.items()) == [2, 4, 5], "whole pages only"
    fadvise(world.memory, inode, 0, 0, FADV_SEQUENTIAL)
    assert inode.readahead.pages == 64
    fadvise(world.memory, inode, 0, 0, FADV_RANDOM)
    assert inode.readahead.random
    fadvise(world.memory, inode, 0, 0, FADV_NORMAL)
    assert (inode.readahead.pages, inode.readahead.random) == (32, False)
    fadvise(world.memory, inode, PAGE - 1, 2, FADV_WILLNEED)
    assert sorted(index for index, _ in inode.cache.items()) == [0, 1, 2, 4, 5]


def test_mincore_of_memory(tmp_path: Path) -> None:
    body = """
    byte vector[8]; byte *p = map(8 * PAGE, RW, ANONYMOUS, -1, 0); poke(p + PAGE, 1); peek(p + 3 * PAGE);
    sys(mprotect, p + 3 * PAGE, PAGE, PROT_NONE);
    say("", sys(mincore, p, 8 * PAGE - 5, vector));
    for (int i = 0; i < 8; i++) say("", vector[i]);
    """
    assert said(tmp_path, body) == [0, 0, 1, 0, 1, 0, 0, 0, 0]


def test_mincore_of_a_file_is_what_its_page_cache_has(tmp_path: Path) -> None:
    body = f"""
    byte vector[8]; {OPEN}
    byte *shared = map(8 * PAGE, RW, MAP_SHARED, fd, 0), *p = map(8 * PAGE, RW, MAP_PRIVATE, fd, 0);
    poke(shared + 2 * PAGE, 1); poke(p + 5 * PAGE, 1); sys(fallocate, fd, 0, 7 * PAGE, PAGE);
    say("", sys(mincore, p, 8 * PAGE, vector));
    for (int i = 0; i < 8; i++) say("", vector[i]);
    """
    assert said(tmp_path, body) == [0, 0, 0, 1, 0, 0, 1, 0, 0]


def test_mincore_refuses(tmp_path: Path) -> None:
    calls = say(
        "sys(mincore, p + 1, PAGE, vector)",
        "sys(mincore, p, 1ul << 60, vector)",
        "sys(mincore, p, PAGE, 1ul << 60)",
        "sys(mincore, p, PAGE, 16)",
        "sys(mincore, p + 8 * PAGE, PAGE, vector)",
        "sys(mincore, p, 0, vector)",
    )
    body = f"byte vector[8]; byte *p = map_at(CLEAR, 8 * PAGE, RW, ANONYMOUS); {calls}"
    assert said(tmp_path, body) == [-EINVAL, -ENOMEM, -EFAULT, -EFAULT, -ENOMEM, 0]
