"""
Several buffers of a process as one: what readv(2) and its kin copy to and from.

A copy takes the segments in turn and stops inside the first one that is not reached in full. The loops are the
kernel's; each access is `UserAccess`'s, so real code's.
"""

from __future__ import annotations

from collections.abc import Callable

from ..tables.address_space import AddressSpace
from .user_access import UserAccess


class IovIter:
    """
    The segments that are still to be copied: (base, length) pairs, `count` bytes in all. Copies advance it.

    Kernel: include/linux/uio.h struct iov_iter of ITER_IOVEC or ITER_UBUF, v6.1, v6.12: one segment is taken as either.
    """

    def __init__(self, access: UserAccess, segments: list[tuple[int, int]]) -> None:
        self._access = access
        self._segments = [(base, length) for base, length in segments if length]
        self.count = sum(length for _, length in self._segments)

    @property
    def segments(self) -> tuple[tuple[int, int], ...]:
        """What is still to be copied."""
        return tuple(self._segments)

    @property
    def mm(self) -> AddressSpace:
        """Whose memory it is."""
        return self._access.machine.current.mm

    def advance(self, length: int) -> None:
        """Leave out the next `length` bytes (Kernel: lib/iov_iter.c iov_iter_advance(), v6.1)."""
        length = min(length, self.count)
        self.count -= length
        while length:
            base, here = self._segments.pop(0)
            if here > length:
                self._segments.insert(0, (base + length, here - length))
            length = max(0, length - here)

    def each(self, length: int, step: Callable[[int, int, int], int]) -> int:
        """
        Let `step(user address, bytes done before, size)` reach the next `length` bytes, segment by segment, until it
        leaves some; returns how many it reached.

        Kernel: lib/iov_iter.c iterate_and_advance(), v6.1; include/linux/iov_iter.h iterate_iovec(), v6.12.
        """
        length, done = min(length, self.count), 0
        while done < length:
            base, here = self._segments[0]
            size = min(here, length - done)
            left = step(base, done, size)
            self.advance(size - left)
            done += size - left
            if left:
                break
        return done

    def copy_to(self, source: int, length: int) -> int:
        """
        One round from kernel memory to the user; returns the bytes copied.

        Kernel: lib/iov_iter.c _copy_to_iter(), v6.1, v6.12.
        """
        return self.each(length, lambda to, done, size: self._access.copy_kernel_to_user(to, source + done, size))

    def copy_page_to(self, page: int, length: int) -> int:
        """
        From a page (the kernel's address of its first byte wanted) to the user, again and again until a round gets
        nothing; returns the bytes copied.

        Kernel: lib/iov_iter.c copy_page_to_iter(), v6.1, v6.12.
        """
        return self._rounds(length, lambda done, size: self.copy_to(page + done, size))

    def copy_page_from(self, page: int, length: int) -> int:
        """
        From the user to a page, bringing pages in, again and again until a round gets nothing; returns the bytes
        copied.

        Kernel: lib/iov_iter.c copy_page_from_iter(), v6.1, v6.12.
        """
        return self._rounds(length, lambda done, size: self._copy_from(page + done, size, atomic=False))

    def copy_page_from_atomic(self, page: int, length: int) -> int:
        """
        From the user to a page with page faults disabled, once; returns the bytes copied.

        Kernel: lib/iov_iter.c copy_page_from_iter_atomic(), v6.1, v6.12.
        """
        return self._copy_from(page, length, atomic=True)

    def zero(self, length: int) -> int:
        """
        Clear the next bytes; returns how many.

        Kernel: lib/iov_iter.c iov_iter_zero(), v6.1, v6.12.
        """
        return self.each(length, lambda to, _, size: self._access.clear_user(to, size))

    def fault_in_readable(self, length: int) -> int:
        """
        Bring in what a copy of `length` bytes will read, without advancing; returns the bytes left.

        Kernel: lib/iov_iter.c fault_in_iov_iter_readable(), v6.1, v6.12.
        """
        wanted = min(length, self.count)
        for base, here in self._segments:
            if not wanted:
                break
            size = min(wanted, here)
            left = self._access.fault_in_readable(base, size)
            wanted -= size - left
            if left:
                break
        return wanted + length - min(length, self.count)

    def _copy_from(self, page: int, length: int, *, atomic: bool) -> int:
        def step(source: int, done: int, size: int) -> int:
            return self._access.copy_user_to_kernel(page + done, source, size, atomic=atomic)

        return self.each(length, step)

    def _rounds(self, length: int, one: Callable[[int, int], int]) -> int:
        done = 0
        while done < length and self.count:
            now = one(done, length - done)
            if not now:
                break
            done += now
        return done
