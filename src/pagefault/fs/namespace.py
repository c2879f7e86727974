"""
Names: the files that a program finds. They are those it was given, and those it makes; the host's are out of its reach.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import EACCES, EEXIST, EINVAL, EISDIR, ENOENT, ENOTDIR
from posixpath import normpath

from ..memory.pages import PageFlag
from ..mm.memory import Memory
from ..mm.truncate import truncate_setsize
from ..tables.disk_file import Backing, DiskFile
from ..tables.inode import FileSystem, Inode
from .devices import NullDevice, ZeroDevice
from .open_file import O_ACCMODE, O_CREAT, O_DIRECT, O_DIRECTORY, O_EXCL, O_RDONLY, O_TRUNC, Directory, OpenFile
from .regular import RegularFile

DEVICES = {"/dev/null": NullDevice, "/dev/zero": ZeroDevice}


class Namespace:
    """Absolute path -> inode. Directories exist where a file is below them; /, /tmp and /dev always do."""

    def __init__(self, memory: Memory, page_offset: int) -> None:
        self._memory, self._page_offset = memory, page_offset
        self._inodes: dict[str, Inode] = {}
        self._directories = {"/", "/tmp", "/dev"}
        self._mounts: dict[str, FileSystem] = {}
        self._read_only: set[str] = set()
        self._nodes: dict[str, Callable[[str, int], OpenFile]] = dict(DEVICES)

    def add(
        self,
        path: str,
        size: int,
        backing: Backing | None,
        *,
        kind: FileSystem = FileSystem.SHMEM,
        writable: bool = False,
        mode: int = 0o100644,
    ) -> Inode:
        """
        A file with content of the host's, and that st_mode; files of memory (SHMEM) are read into the page cache at
        once.
        """
        disk = DiskFile(backing, size)
        inode = self._memory.new_inode(path, kind, size, disk if kind is FileSystem.DISK else None)
        inode.mode = mode
        if kind is FileSystem.SHMEM:
            for index in range(inode.pages):
                frame = self._memory.page_cache_page(inode, index)
                self._memory.ram.write(frame, disk.read_page(index))
                self._memory.pages.set(frame, PageFlag.DIRTY)
        self._inodes[normpath(path)] = inode
        if not writable:
            self._read_only.add(normpath(path))
        return inode

    def add_node(self, path: str, opens: Callable[[str, int], OpenFile]) -> None:
        """A file without content of its own; `opens` makes it an open file, of its path and O_*."""
        self._nodes[normpath(path)] = opens

    def mount(self, path: str, kind: FileSystem) -> None:
        """Files that are made below this directory are on that file system; elsewhere they are on a tmpfs."""
        self._mounts[normpath(path)] = kind
        self._directories.add(normpath(path))

    def _file_system(self, path: str) -> FileSystem:
        above = [mounted for mounted in self._mounts if path.startswith(mounted.rstrip("/") + "/")]
        return self._mounts[max(above, key=len)] if above else FileSystem.SHMEM

    def lookup(self, path: str) -> Inode | None:
        """The inode of a path, from the root."""
        return self._inodes.get(normpath("/" + path.lstrip("/")))

    def is_directory(self, path: str) -> bool:
        path = normpath("/" + path.lstrip("/"))
        return path in self._directories or any(
            name.startswith(path.rstrip("/") + "/") for name in (*self._inodes, *self._nodes)
        )

    def exists(self, path: str) -> bool:
        """Is there anything of that name?"""
        return self.lookup(path) is not None or self.is_device(path) or self.is_directory(path)

    def is_read_only(self, path: str) -> bool:
        """Was it given to be read only?"""
        return normpath("/" + path.lstrip("/")) in self._read_only

    def is_device(self, path: str) -> bool:
        return normpath("/" + path.lstrip("/")) in self._nodes

    def open(self, path: str, flags: int) -> OpenFile | int:
        """
        An open file, or -errno.

        Kernel: fs/namei.c do_filp_open(), v6.1.
        """
        path = normpath("/" + path.lstrip("/"))
        if path in self._nodes:
            return self._nodes[path](path, flags)
        inode = self._inodes.get(path)
        if inode is None and self.is_directory(path):
            if flags & O_CREAT and flags & O_EXCL:
                return -EEXIST
            changes = flags & O_ACCMODE != O_RDONLY or flags & (O_CREAT | O_TRUNC)
            return -EISDIR if changes else Directory(path, flags)
        if inode is None and not flags & O_CREAT:
            return -ENOENT
        if inode is None:
            if not self.is_directory(path.rsplit("/", 1)[0] or "/"):
                return -ENOENT
            kind = self._file_system(path)
            inode = self._memory.new_inode(path, kind, 0, DiskFile() if kind is FileSystem.DISK else None)
            self._inodes[path] = inode
        elif flags & O_CREAT and flags & O_EXCL:
            return -EEXIST
        elif flags & O_DIRECTORY:
            return -ENOTDIR
        elif path in self._read_only and flags & O_ACCMODE != O_RDONLY:
            return -EACCES
        if flags & O_DIRECT and inode.swap_backed and not self._memory.rules.tmpfs_opens_direct:
            return -EINVAL
        if flags & O_TRUNC and flags & O_ACCMODE != O_RDONLY:
            self.truncate(inode, 0)
        return self.opened(inode, path, flags)

    def opened(self, inode: Inode, path: str, flags: int) -> RegularFile:
        """An open file of an inode."""
        inode.users += 1
        return RegularFile(path, flags, 0, inode, self._memory, self._page_offset)

    def unlink(self, path: str) -> int:
        """
        0 or -errno.
        """
        inode = self._inodes.pop(normpath("/" + path.lstrip("/")), None)
        if inode is None:
            return -EACCES if self.is_device(path) else -EISDIR if self.is_directory(path) else -ENOENT
        inode.links -= 1
        inode.users += 1
        self._memory.put_inode(inode)
        return 0

    def truncate(self, inode: Inode, size: int) -> None:
        """Make a file shorter or longer; pages beyond its end leave the page cache and every table."""
        truncate_setsize(self._memory, inode, size)
