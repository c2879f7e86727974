"""The file behind a userfaultfd: faults are read from it, and answered by ioctl()."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from errno import EAGAIN, EFAULT, EINVAL

from ..machine.scheduler import ERESTARTSYS, Scheduler, WaitQueue
from ..machine.user_access import UserAccess
from ..machine.user_access_iter import IovIter
from ..mm.memory import Memory
from ..mm.userfaultfd import mfill_atomic, register, release, unregister, validate_range
from ..tables.userfaultfd import (
    UFFD_FEATURE_EXACT_ADDRESS,
    UFFD_FEATURE_MISSING_SHMEM,
    UFFD_FEATURE_SIGBUS,
    UFFD_FEATURE_THREAD_ID,
    Userfault,
    UserfaultfdCtx,
)
from ..vocabulary.address import PAGE, PAGE_MASK
from .open_file import EPOLLERR, EPOLLIN, O_NONBLOCK, OpenFile

UFFDIO_API, UFFDIO_REGISTER, UFFDIO_UNREGISTER = 0xC018AA3F, 0xC020AA00, 0x8010AA01
UFFDIO_WAKE, UFFDIO_COPY, UFFDIO_ZEROPAGE = 0x8010AA02, 0xC028AA03, 0xC020AA04
UFFD_API, FEATURES = (
    0xAA,
    (UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_SIGBUS | UFFD_FEATURE_THREAD_ID | UFFD_FEATURE_EXACT_ADDRESS),
)
API_IOCTLS, RANGE_IOCTLS = 1 << 0 | 1 << 1 | 1 << 0x3F, 1 << 2 | 1 << 3 | 1 << 4
"""Which calls there are, by the low byte of their numbers."""
MODE_MISSING, DONTWAKE = 1, 1
UFFD_EVENT_PAGEFAULT, UFFD_PAGEFAULT_FLAG_WRITE = 0x12, 1
UFFD_MSG = struct.Struct("<BxHIQQI4x")
"""Kernel: include/uapi/linux/userfaultfd.h, v6.1."""


@dataclass(eq=False)
class UserfaultFile(OpenFile):
    """
    One userfaultfd. Its owner reads who waits; whoever fills a page or wakes a range lets them go on.

    Kernel: fs/userfaultfd.c userfaultfd_fops, v6.1.
    Differs: missing pages only: neither write protection nor minor faults, and no events but faults.
    """

    access: UserAccess = field(kw_only=True)
    memory: Memory = field(kw_only=True)
    scheduler: Scheduler = field(kw_only=True)
    ctx: UserfaultfdCtx = field(kw_only=True)
    released: Callable[[], object] = field(kw_only=True, default=lambda: None)
    readers: WaitQueue = field(default_factory=WaitQueue)
    waiters: WaitQueue = field(default_factory=WaitQueue)

    @property
    def readable(self) -> bool:
        return True

    def wait(self, address: int, pid: int, *, write: bool, interruptible: bool) -> bool:
        """
        Sleep until somebody answers for `address`; False if a signal came first.

        Kernel: fs/userfaultfd.c handle_userfault(), v6.1.
        """
        fault = Userfault(address, write, pid)
        self.ctx.waiting.append(fault)
        self.scheduler.wake_up(self.readers)
        try:
            if interruptible:
                return self.scheduler.wait_event_interruptible(self.waiters, lambda: fault.woken)
            self.scheduler.wait_event(self.waiters, lambda: fault.woken)
            return True
        finally:
            if fault in self.ctx.waiting:
                self.ctx.waiting.remove(fault)

    def read(self, to: IovIter, position: int) -> int:
        """
        A message for each fault that nobody has read, the oldest first; waits for the first one.

        Kernel: fs/userfaultfd.c userfaultfd_read(), userfaultfd_ctx_read(), v6.1.
        """
        if self.ctx.features is None:
            return -EINVAL
        done = 0
        while to.count >= UFFD_MSG.size:
            if self._unread() is None and (done or self.flags & O_NONBLOCK):
                return done or -EAGAIN
            if not self.scheduler.wait_event_interruptible(self.readers, lambda: self._unread() is not None):
                return -ERESTARTSYS
            fault = self._unread()
            assert fault is not None
            fault.read = True
            with self.access.buffer(UFFD_MSG.size) as buffer:
                self.access.machine.write(buffer, self._message(fault))
                if to.copy_to(buffer, UFFD_MSG.size) < UFFD_MSG.size:
                    return done or -EFAULT
            done += UFFD_MSG.size
        return done or -EINVAL

    def poll(self) -> int:
        """
        Kernel: fs/userfaultfd.c userfaultfd_poll(), v6.1.
        """
        if self.ctx.features is None or not self.flags & O_NONBLOCK:
            return EPOLLERR
        return EPOLLIN if self._unread() is not None else 0

    @property
    def poll_queue(self) -> WaitQueue:
        return self.readers

    def _unread(self) -> Userfault | None:
        return next((fault for fault in self.ctx.waiting if not fault.read), None)

    def _message(self, fault: Userfault) -> bytes:
        """
        Kernel: fs/userfaultfd.c userfault_msg(), v6.1.
        """
        features = self.ctx.features or 0
        address = fault.address if features & UFFD_FEATURE_EXACT_ADDRESS else fault.address & PAGE_MASK
        flags = UFFD_PAGEFAULT_FLAG_WRITE if fault.write else 0
        pid = fault.pid if features & UFFD_FEATURE_THREAD_ID else 0
        return UFFD_MSG.pack(UFFD_EVENT_PAGEFAULT, 0, 0, flags, address, pid)

    def ioctl(self, command: int, argument: int) -> int:
        """
        Kernel: fs/userfaultfd.c userfaultfd_ioctl(), v6.1.
        """
        if command != UFFDIO_API and self.ctx.features is None:
            return -EINVAL
        match command:
            case 0xC018AA3F:
                return self._api(argument)
            case 0xC020AA00:
                return self._register(argument)
            case 0x8010AA01 | 0x8010AA02:
                return self._unregister_or_wake(argument, unmap=command == UFFDIO_UNREGISTER)
            case 0xC028AA03:
                return self._copy(argument)
            case 0xC020AA04:
                return self._zeropage(argument)
            case _:
                return -EINVAL

    def _words(self, pointer: int, count: int) -> list[int] | None:
        data, left = self.access.copy_from_user(pointer, 8 * count)
        return None if left else list(struct.unpack(f"<{count}Q", data))

    def _api(self, pointer: int) -> int:
        """
        Kernel: fs/userfaultfd.c userfaultfd_api(), v6.1.
        """
        words = self._words(pointer, 3)
        if words is None:
            return -EFAULT
        api, features, _ = words
        if api != UFFD_API or features & ~FEATURES:
            return -EFAULT if self.access.copy_to_user(pointer, bytes(24)) else -EINVAL
        if self.access.copy_to_user(pointer, struct.pack("<QQQ", UFFD_API, FEATURES, API_IOCTLS)):
            return -EFAULT
        if self.ctx.features is not None:
            return -EFAULT if self.access.copy_to_user(pointer, bytes(24)) else -EINVAL
        self.ctx.features = features
        return 0

    def _register(self, pointer: int) -> int:
        """
        Kernel: fs/userfaultfd.c userfaultfd_register(), v6.1.
        """
        words = self._words(pointer, 3)
        if words is None:
            return -EFAULT
        start, length, mode = words
        if mode != MODE_MISSING:
            return -EINVAL
        error = validate_range(self.memory, start, length) or register(self.memory, self.ctx, start, length)
        if error:
            return error
        return 0 if self.access.put_user(pointer + 24, RANGE_IOCTLS, 8) else -EFAULT

    def _unregister_or_wake(self, pointer: int, *, unmap: bool) -> int:
        """
        Kernel: fs/userfaultfd.c userfaultfd_unregister(), userfaultfd_wake(), v6.1.
        """
        words = self._words(pointer, 2)
        if words is None:
            return -EFAULT
        start, length = words
        error = validate_range(self.memory, start, length)
        if not error and unmap:
            error = unregister(self.memory, self.ctx, start, length)
        if not error:
            self._wake(start, length)
        return error

    def _copy(self, pointer: int) -> int:
        """
        The content is copied with page faults disabled; if that fails, once more with faults enabled, before the page
        is put in place.

        Kernel: fs/userfaultfd.c userfaultfd_copy(); mm/userfaultfd.c __mcopy_atomic(), v6.1.
        """
        words = self._words(pointer, 4)
        if words is None:
            return -EFAULT
        start, source, length, mode = words
        error = validate_range(self.memory, start, length)
        if error:
            return error
        if source + length >> 64 or mode & ~DONTWAKE:
            return -EINVAL

        def fill(frame: int, offset: int) -> bool:
            page = self.access.machine.area.page_offset + frame
            return any(
                not self.access.copy_user_to_kernel(page, source + offset, PAGE, atomic=atomic)
                for atomic in (True, False)
            )

        done = mfill_atomic(self.memory, self.ctx, start, length, fill)
        return self._filled(pointer + 32, done, start, length, mode)

    def _zeropage(self, pointer: int) -> int:
        """
        Kernel: fs/userfaultfd.c userfaultfd_zeropage(), v6.1.
        """
        words = self._words(pointer, 3)
        if words is None:
            return -EFAULT
        start, length, mode = words
        error = validate_range(self.memory, start, length)
        if error or mode & ~DONTWAKE:
            return error or -EINVAL
        done = mfill_atomic(self.memory, self.ctx, start, length, None)
        return self._filled(pointer + 24, done, start, length, mode)

    def _filled(self, pointer: int, done: int, start: int, length: int, mode: int) -> int:
        """Say how much was done, and wake who waits for it."""
        if not self.access.put_user(pointer, done & (1 << 64) - 1, 8):
            return -EFAULT
        if done < 0:
            return done
        if not mode & DONTWAKE:
            self._wake(start, done)
        return 0 if done == length else -EAGAIN

    def _wake(self, start: int, length: int) -> None:
        """
        Kernel: fs/userfaultfd.c wake_userfault(), userfaultfd_wake_function(), v6.1.
        """
        for fault in [one for one in self.ctx.waiting if start <= one.address & PAGE_MASK < start + length]:
            fault.woken = True
            self.ctx.waiting.remove(fault)
        self.scheduler.wake_up(self.waiters)

    def release(self) -> None:
        """
        Kernel: fs/userfaultfd.c userfaultfd_release(), v6.1.
        """
        release(self.memory, self.ctx)
        self._wake(0, 1 << 64)
        self.released()
