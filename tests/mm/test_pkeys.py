"""Protection keys: giving them out, and memory that may only be executed."""

from __future__ import annotations

from dataclasses import replace
from errno import EINVAL

import pytest

from handler.world import USER_AREA, World
from mm.touching import RW, mapped, pte, touch
from pagefault.arch import x86
from pagefault.mm.mmap import PROT_EXEC, PROT_READ
from pagefault.mm.mprotect import do_mprotect_pkey
from pagefault.mm.pkeys import (
    INIT_PKRU,
    arch_set_user_pkey_access,
    execute_only_pkey,
    mm_pkey_alloc,
    mm_pkey_is_allocated,
)
from pagefault.vocabulary.address import PAGE


def set_pkru(world: World, value: int) -> None:
    world.cpu = replace(world.cpu, pkru=value)


@pytest.fixture
def world() -> World:
    world = World(cr4=x86.CR4_PKE)
    set_pkru(world, INIT_PKRU)
    world.memory.write_pkru = lambda value: set_pkru(world, value)
    return world


def key_of(value: int) -> int:
    return value >> x86.PROTECTION_KEY_SHIFT & 15


def test_fifteen_keys_can_be_had(world: World) -> None:
    assert [mm_pkey_alloc(world.memory, world.user) for _ in range(17)] == [*range(1, 16), -1, -1]


def test_without_the_feature_there_are_none() -> None:
    world = World()
    assert mm_pkey_alloc(world.memory, world.user) == -1
    assert execute_only_pkey(world.memory, world.user) == -1


@pytest.mark.parametrize("key", [-1, 1, 16, 99])
def test_keys_that_are_not_ones_own(world: World, key: int) -> None:
    assert not mm_pkey_is_allocated(world.user, key)
    mapped(world, USER_AREA, 1)
    assert do_mprotect_pkey(world.memory, world.user, USER_AREA, PAGE, RW, key) == -EINVAL


def test_rights_of_one_key_only_change(world: World) -> None:
    arch_set_user_pkey_access(world.memory, world.user, 2, 2)
    assert world.cpu.pkru == INIT_PKRU & ~(3 << 4) | 2 << 4


def test_a_key_goes_into_the_entries(world: World) -> None:
    mapped(world, USER_AREA, 2)
    touch(world, USER_AREA)
    key = mm_pkey_alloc(world.memory, world.user)
    assert do_mprotect_pkey(world.memory, world.user, USER_AREA, 2 * PAGE, RW, key) == 0
    touch(world, USER_AREA + PAGE)
    assert [key_of(pte(world, USER_AREA + page * PAGE)) for page in range(2)] == [key, key]
    assert do_mprotect_pkey(world.memory, world.user, USER_AREA, PAGE, PROT_READ) == 0
    assert key_of(pte(world, USER_AREA)) == key, "mprotect() keeps it"


def test_execute_only(world: World) -> None:
    set_pkru(world, 0)
    key = mapped(world, USER_AREA, 1, PROT_EXEC).protection_key
    assert key == 1
    assert world.cpu.pkru == 1 << 2
    assert not mm_pkey_is_allocated(world.user, key), "it is nobody's to use"
    mapped(world, USER_AREA + 8 * PAGE, 1)
    assert do_mprotect_pkey(world.memory, world.user, USER_AREA + 8 * PAGE, PAGE, PROT_EXEC) == 0
    assert [vma.protection_key for vma in world.user.vmas] == [key, key]
    set_pkru(world, 0)
    assert execute_only_pkey(world.memory, world.user) == key
    assert world.cpu.pkru == 1 << 2, "it is forbidden again"


def test_what_may_be_read_again_has_no_key(world: World) -> None:
    mapped(world, USER_AREA, 1, PROT_EXEC)
    assert do_mprotect_pkey(world.memory, world.user, USER_AREA, PAGE, PROT_READ) == 0
    assert [vma.protection_key for vma in world.user.vmas] == [0]


def test_without_a_free_key_execute_only_means_readable(world: World) -> None:
    while mm_pkey_alloc(world.memory, world.user) != -1:
        pass
    assert mapped(world, USER_AREA, 1, PROT_EXEC).protection_key == 0
