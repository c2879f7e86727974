"""For the tests of mm/: touching pages as a program would, and counting what is in use."""

from __future__ import annotations

from handler.world import World
from pagefault.mm.gup import handle_fault
from pagefault.mm.mmap import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_READ, PROT_WRITE, do_mmap
from pagefault.tables.disk_file import DiskFile
from pagefault.tables.inode import Inode
from pagefault.vocabulary.outcome import Resolved
from pagefault.vocabulary.vm_fault import FaultFlag
from pagefault.vocabulary.vma import Vma

RW = PROT_READ | PROT_WRITE
ANONYMOUS = MAP_PRIVATE | MAP_ANONYMOUS


class Numbered:
    """A file whose page n is full of the byte n + 1."""

    def read(self, offset: int, length: int) -> bytes:
        return bytes((at >> 12) + 1 & 0xFF for at in range(offset, offset + length))

    def write(self, offset: int, data: bytes) -> None:
        raise AssertionError("nothing is written back here")


def disk_file(size: int) -> DiskFile:
    """`size` bytes on a device, numbered by page."""
    return DiskFile(Numbered(), size)


def mapped(
    world: World,
    address: int,
    pages: int,
    protection: int = RW,
    flags: int = ANONYMOUS | MAP_FIXED,
    inode: Inode | None = None,
    pgoff: int = 0,
) -> Vma:
    """mmap() at a fixed address; the area that holds it then."""
    assert do_mmap(world.memory, world.user, address, pages << 12, protection, flags, inode, pgoff) == address
    vma = world.user.vmas.vma_lookup(address)
    assert vma is not None
    return vma


def touch(world: World, address: int, *, write: bool = True) -> str:
    """Touch a page; how it was had."""
    vma = world.user.vmas.vma_lookup(address)
    assert vma is not None
    flags = FaultFlag.USER | FaultFlag.ALLOW_RETRY | (FaultFlag.WRITE if write else FaultFlag(0))
    outcome = handle_fault(world.memory, world.user, vma, address & ~0xFFF, flags).outcome
    return outcome.how if isinstance(outcome, Resolved) else type(outcome).__name__


def pte(world: World, address: int) -> int:
    """The entry of the page at `address`; 0 if there is none."""
    entry = world.tables.entry(world.user.root, address)
    return entry.value if entry is not None else 0


def areas(world: World) -> list[tuple[int, int]]:
    return [(vma.start, vma.end) for vma in world.user.vmas]
