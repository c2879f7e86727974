"""For the tests of fs/: a machine whose process has some pages of user memory, and an end to them."""

from __future__ import annotations

from pagefault import PAGE, Machine
from pagefault.machine.user_access import UserAccess
from pagefault.machine.user_access_iter import IovIter


class UserBuffer:
    """`pages` of memory that hold 0, 1, 2, … 255, 0, …; after them nothing is mapped."""

    def __init__(self, pages: int = 3) -> None:
        self.machine = Machine.boot()
        self.user, self.access = self.machine.user, UserAccess(self.machine)
        size = pages * PAGE
        self.start = self.user.mmap(size + PAGE, content=bytes(range(256)) * (size // 256))
        self.user.munmap(self.start + size, PAGE)
        self.end = self.start + size

    def iter(self, *segments: tuple[int, int]) -> IovIter:
        """An iterator over (address, length) pairs."""
        return IovIter(self.access, list(segments))
