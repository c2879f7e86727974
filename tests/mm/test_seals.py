"""Seals of a memfd."""

from __future__ import annotations

from errno import EBUSY, EINVAL, EPERM

import pytest

from handler.world import USER_AREA, World
from mm.touching import mapped
from pagefault.mm.mmap import MAP_FIXED, MAP_SHARED, PROT_READ, PROT_WRITE, do_mmap
from pagefault.mm.munmap import do_munmap
from pagefault.mm.seals import add_seals, get_seals
from pagefault.tables.inode import (
    F_SEAL_EXEC,
    F_SEAL_FUTURE_WRITE,
    F_SEAL_GROW,
    F_SEAL_SEAL,
    F_SEAL_SHRINK,
    F_SEAL_WRITE,
    FileSystem,
    Inode,
)
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.vma import VmFlag


def memfd(world: World, seals: int = 0) -> Inode:
    inode = world.memory.new_inode("memory", FileSystem.SHMEM, PAGE)
    inode.users, inode.seals = 1, seals
    return inode


def test_seals_add_up_until_sealed() -> None:
    world = World()
    inode = memfd(world)
    assert add_seals(world.memory, inode, F_SEAL_GROW, writable=True) == 0
    assert add_seals(world.memory, inode, F_SEAL_SHRINK | F_SEAL_SEAL, writable=True) == 0
    assert get_seals(inode) == F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL
    assert add_seals(world.memory, inode, F_SEAL_WRITE, writable=True) == -EPERM


def test_what_is_refused() -> None:
    world = World()
    inode = memfd(world)
    assert add_seals(world.memory, inode, F_SEAL_GROW, writable=False) == -EPERM
    assert add_seals(world.memory, inode, 0x100, writable=True) == -EINVAL
    disk = world.memory.new_inode("a file", FileSystem.DISK)
    assert add_seals(world.memory, disk, F_SEAL_GROW, writable=True) == -EINVAL
    assert get_seals(disk) == -EINVAL
    ordinary = world.memory.new_inode("/tmp/a", FileSystem.SHMEM)
    assert add_seals(world.memory, ordinary, F_SEAL_GROW, writable=True) == -EPERM


def test_a_file_that_somebody_could_write_through_a_mapping_cannot_be_sealed_against_it() -> None:
    world = World()
    world.memory.spaces.append(world.user)
    inode = memfd(world)
    mapped(world, USER_AREA, 1, flags=MAP_SHARED | MAP_FIXED, inode=inode)
    assert add_seals(world.memory, inode, F_SEAL_WRITE, writable=True) == -EBUSY
    assert add_seals(world.memory, inode, F_SEAL_FUTURE_WRITE, writable=True) == 0
    do_munmap(world.memory, world.user, USER_AREA, PAGE)
    assert add_seals(world.memory, inode, F_SEAL_WRITE, writable=True) == 0


@pytest.mark.parametrize(
    ("version", "seal", "protection", "expected"),
    [
        ((6, 1), F_SEAL_WRITE, PROT_READ, -EPERM),
        ((6, 12), F_SEAL_WRITE, PROT_READ, 0),
        ((6, 12), F_SEAL_WRITE, PROT_READ | PROT_WRITE, -EPERM),
        ((6, 1), F_SEAL_FUTURE_WRITE, PROT_READ, 0),
        ((6, 1), F_SEAL_FUTURE_WRITE, PROT_WRITE, -EPERM),
        ((6, 12), F_SEAL_FUTURE_WRITE, PROT_WRITE, -EPERM),
    ],
)
def test_a_sealed_file_is_mapped_to_be_read_at_most(
    version: tuple[int, int], seal: int, protection: int, expected: int
) -> None:
    world = World(version)
    inode = memfd(world, seal)
    result = do_mmap(world.memory, world.user, USER_AREA, PAGE, protection, MAP_SHARED | MAP_FIXED, inode)
    assert result == (expected or USER_AREA)
    vma = world.user.vmas.vma_lookup(USER_AREA)
    assert vma is None or not vma.flags & VmFlag.MAYWRITE


def test_sealed_against_changes_of_its_mode_is_sealed_against_writing() -> None:
    world = World((6, 12))
    inode = memfd(world)
    inode.mode = 0o100777
    assert add_seals(world.memory, inode, F_SEAL_EXEC, writable=True) == 0
    assert get_seals(inode) & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) == F_SEAL_WRITE | F_SEAL_FUTURE_WRITE
    assert add_seals(World().memory, memfd(World()), F_SEAL_EXEC, writable=True) == -EINVAL


def test_a_mapping_that_can_never_be_written_to_does_not_stand_in_the_way() -> None:
    world = World()
    world.memory.spaces.append(world.user)
    inode = memfd(world, F_SEAL_FUTURE_WRITE)
    assert do_mmap(world.memory, world.user, USER_AREA, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, inode) == USER_AREA
    assert add_seals(world.memory, inode, F_SEAL_WRITE, writable=True) == 0
