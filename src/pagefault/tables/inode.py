"""A file as memory management sees it: a size, a page cache, and where pages come from that are not in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from ..vocabulary.address import PAGE
from ..vocabulary.readahead import Readahead
from .disk_file import DiskFile
from .page_cache import PageCache


class FileSystem(Enum):
    """Whose file it is: that decides how a missing page is had."""

    SHMEM = "tmpfs"
    """tmpfs, memfd, shared anonymous memory: its pages are memory, made when first touched, and may be swapped."""
    DISK = "ext2"
    """Pages are read from a device: a major fault."""
    SPECIAL = "special"
    """Not a file: pages of the kernel's own that are mapped into every process, like the vdso."""


F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE, F_SEAL_FUTURE_WRITE, F_SEAL_EXEC = 1, 2, 4, 8, 16, 32
"""Kernel: include/uapi/linux/fcntl.h, v6.12."""
MAX_LFS_FILESIZE = (1 << 63) - 1
"""Kernel: include/linux/fs.h MAX_LFS_FILESIZE, v6.1."""


@dataclass(slots=True)
class Inode:
    """
    `number` is unique in its machine. `backing` is where a device has the file's pages; `swapped` are pages that are in
    the swap file: index -> slot. `links` counts names, `users` areas and open files. `seals` are a memfd's (F_SEAL_*).

    Kernel: include/linux/fs.h struct inode, v6.1.
    """

    number: int
    name: str
    kind: FileSystem
    size: int = 0
    backing: DiskFile | None = None
    cache: PageCache = field(default_factory=PageCache)
    swapped: dict[int, int] = field(default_factory=dict)
    mode: int = 0o100644
    links: int = 1
    users: int = 0
    seals: int = F_SEAL_SEAL
    readahead: Readahead = field(default_factory=Readahead)

    @property
    def path(self) -> str:
        """What /proc/PID/maps calls it (Kernel: fs/d_path.c d_path(), v6.1)."""
        return self.name if self.links else f"{self.name} (deleted)"

    @property
    def swap_backed(self) -> bool:
        """Is memory all there is behind it?"""
        return self.kind is FileSystem.SHMEM

    @property
    def pages(self) -> int:
        """How many pages its size takes."""
        return -(-self.size // PAGE)
