"""The file through which a process joins a group: cgroup.procs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from errno import EFAULT, EINVAL

from ..machine.user_access import UserAccess
from ..machine.user_access_iter import IovIter
from ..vocabulary.address import PAGE
from .open_file import OpenFile


@dataclass(eq=False)
class CgroupProcs(OpenFile):
    """
    A process id that is written joins (0: whoever writes); `attach` does that: 0, or -errno.

    Kernel: kernel/cgroup/cgroup.c __cgroup_procs_write(); fs/kernfs/file.c kernfs_fop_write_iter(), v6.1.
    Differs: it cannot be read.
    """

    access: UserAccess | None = None
    attach: Callable[[int], int] = lambda _: 0

    def write(self, source: IovIter, position: int) -> int:
        assert self.access is not None
        length = min(source.count, PAGE)
        with self.access.buffer(PAGE) as buffer:
            if source.copy_page_from(buffer, length) != length:
                return -EFAULT
            text = self.access.machine.read(buffer, length)
        try:
            pid = int(text.split(b"\0")[0].strip() or b"x", 0)
        except ValueError:
            return -EINVAL
        return (self.attach(pid) if 0 <= pid < 1 << 31 else -EINVAL) or length
