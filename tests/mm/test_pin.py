"""Pages got for the kernel's own use: brought in, refused, unshared."""

from __future__ import annotations

from errno import EFAULT

from handler.world import USER_AREA, World
from mm.test_fork import forked
from mm.touching import mapped, pte, touch
from pagefault.arch import x86
from pagefault.mm.mmap import PROT_READ
from pagefault.mm.pin import SLOW, get_user_page
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.vm_fault import FaultFlag, VmFault


def test_a_page_is_brought_in_once_and_found_after_that() -> None:
    world = World()
    mapped(world, USER_AREA, 2)
    heard: list[tuple[int, FaultFlag]] = []
    world.memory.populated = lambda _mm, address, flags, _results: heard.append((address, flags))
    frame = get_user_page(world.memory, world.user, USER_AREA + 5, SLOW, write=True)
    assert frame == pte(world, USER_AREA) & x86.PHYSICAL_MASK
    assert get_user_page(world.memory, world.user, USER_AREA, SLOW, write=True) == frame
    assert heard == [(USER_AREA, SLOW | FaultFlag.WRITE)]


def test_rights_and_holes() -> None:
    world = World()
    mapped(world, USER_AREA, 1, PROT_READ)
    mapped(world, USER_AREA + 2 * PAGE, 1, 0)
    assert get_user_page(world.memory, world.user, USER_AREA, SLOW, write=True) == -EFAULT
    assert get_user_page(world.memory, world.user, USER_AREA, SLOW, write=False) == world.zero_page
    assert get_user_page(world.memory, world.user, USER_AREA + PAGE, SLOW, write=False) == -EFAULT
    assert get_user_page(world.memory, world.user, USER_AREA + 2 * PAGE, SLOW, write=False) == -EFAULT


def test_a_page_shared_by_fork_is_unshared_before_it_is_pinned() -> None:
    world = World((6, 12))
    mapped(world, USER_AREA, 1)
    touch(world, USER_AREA)
    forked(world)
    shared = pte(world, USER_AREA) & x86.PHYSICAL_MASK
    assert get_user_page(world.memory, world.user, USER_AREA, SLOW, write=False) == shared
    heard: list[tuple[FaultFlag, tuple[VmFault, ...]]] = []
    world.memory.populated = lambda _mm, _address, flags, results: heard.append((flags, results))
    frame = get_user_page(world.memory, world.user, USER_AREA, SLOW, write=False, pin=True)
    assert frame != shared
    assert not pte(world, USER_AREA) & x86.WRITABLE
    assert heard == [(SLOW | FaultFlag.UNSHARE, (VmFault(0),))]
    assert get_user_page(world.memory, world.user, USER_AREA, SLOW, write=False, pin=True) == frame
