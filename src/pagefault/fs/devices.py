"""Files that are no files: /dev/null, /dev/zero, and the streams that a program's output goes to."""

from __future__ import annotations

from dataclasses import dataclass
from errno import EFAULT
from typing import BinaryIO

from ..machine.user_access import UserAccess
from ..machine.user_access_iter import IovIter
from ..vocabulary.address import PAGE
from .open_file import OpenFile


class NullDevice(OpenFile):
    """Kernel: drivers/char/mem.c null_fops, null_lseek(), v6.1."""

    @property
    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int) -> int:
        self.position = 0
        return 0

    def read(self, to: IovIter, position: int) -> int:
        return 0

    def write(self, source: IovIter, position: int) -> int:
        count = source.count
        source.advance(count)
        return count


class ZeroDevice(NullDevice):
    """Kernel: drivers/char/mem.c zero_fops, v6.1."""

    def read(self, to: IovIter, position: int) -> int:
        done = 0
        while to.count:
            chunk = min(to.count, PAGE)
            got = to.zero(chunk)
            done += got
            if got < chunk:
                break
        return done or -EFAULT if to.count or done == 0 else done


@dataclass(eq=False)
class Stream(OpenFile):
    """
    What is written goes to the host's `stream`; nothing can be read.

    Differs: like a file in the page cache, not like a terminal: written page by page, after fault_in_readable().
    """

    stream: BinaryIO | None = None
    access: UserAccess | None = None

    def read(self, to: IovIter, position: int) -> int:
        return 0

    def write(self, source: IovIter, position: int) -> int:
        assert self.access is not None
        written = 0
        while source.count:
            size = min(PAGE - (position + written) % PAGE, source.count)
            if source.fault_in_readable(size) == size:
                break
            with self.access.buffer(PAGE) as buffer:
                copied = source.copy_page_from_atomic(buffer, size)
                if self.stream is not None:
                    self.stream.write(self.access.machine.read(buffer, copied))
            written += copied
        return written if written or not source.count else -EFAULT
