"""For the tests of huge pages and swap: a world with room for them, and two processes in it."""

from __future__ import annotations

from dataclasses import replace

from handler.world import World
from mm.touching import mapped, touch
from pagefault.arch import x86
from pagefault.memory.ram import HUGE
from pagefault.mm.fork import dup_mmap
from pagefault.mm.huge_memory import huge_pmds
from pagefault.tables.address_space import AddressSpace
from pagefault.tables.swap_space import SwapSpace
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.mm_settings import MmSettings
from pagefault.vocabulary.vma import Vma

AREA = 0x4000_0000


def huge_world(
    version: tuple[int, int] = (6, 1), *, thp: str = "always", ram: int = 16 << 20, swap: int = 0, zero: bool = True
) -> World:
    """16 MiB of RAM, with huge pages on and a swap space of that many pages."""
    world = World(version, ram=ram)
    world.memory.settings = MmSettings(thp=thp, use_zero_page=zero)
    world.memory.swap = SwapSpace((swap + 1) * PAGE) if swap else None
    world.memory.spaces.append(world.user)
    return world


def huge_area(world: World, size: int = 2 * HUGE) -> Vma:
    return mapped(world, AREA, size // PAGE)


def pmds(world: World, mm: AddressSpace | None = None) -> list[tuple[int, bool]]:
    """(address, writable) of each huge page that is mapped."""
    found = huge_pmds(world.memory, mm or world.user, AREA, AREA + 16 * HUGE)
    return [(address, bool(value & x86.WRITABLE)) for _, value, address in found]


def put(world: World, address: int, byte: int) -> None:
    """Write one byte, as a program would."""
    touch(world, address)
    world.ram.fill(physical(world, address), 1, byte)


def get(world: World, address: int) -> int:
    """Read one byte, as a program would."""
    touch(world, address, write=False)
    return (world.ram.read(physical(world, address), 1) or b"")[0]


def physical(world: World, address: int) -> int:
    entry = world.tables.entry(world.user.root, address)
    assert entry is not None
    size = HUGE if entry.level == "pmd" else PAGE
    return (entry.value & x86.PHYSICAL_MASK & -size) + address % size


def forked(world: World) -> AddressSpace:
    """A child of the process."""
    child = AddressSpace(world.memory.new_page())
    world.ram.fill(child.root, PAGE)
    assert dup_mmap(world.memory, world.user, child) == 0
    world.memory.spaces.append(child)
    return child


def switch(world: World, mm: AddressSpace) -> None:
    """`mm` is the current process's from now on."""
    world.mm, world.cpu = mm, replace(world.cpu, cr3=mm.root)
