"""The descriptors of a process: struct files_struct."""

from __future__ import annotations

from errno import EBADF
from itertools import count

from .open_file import OpenFile


class FileTable:
    """From descriptor to open file; several descriptors, and several processes, may have the same one."""

    def __init__(self) -> None:
        self._files: dict[int, OpenFile] = {}
        self._next = 0
        """Below it all descriptors are in use."""
        self.close_on_exec: set[int] = set()

    def get(self, fd: int) -> OpenFile | None:
        return self._files.get(fd)

    def install(self, file: OpenFile, at: int | None = None) -> int:
        """Put a file at the lowest free descriptor, or at a given one."""
        fd = self.free_from(0) if at is None else at
        self._files[fd] = file
        file.users += 1
        return fd

    def free_from(self, lowest: int) -> int:
        """The lowest free descriptor that is not below `lowest`."""
        found = next(number for number in count(max(self._next, lowest)) if number not in self._files)
        if lowest <= self._next:
            self._next = found
        return found

    def close(self, fd: int) -> int:
        """
        0 or -EBADF.
        """
        file = self._files.pop(fd, None)
        if file is None:
            return -EBADF
        self.close_on_exec.discard(fd)
        self._next = min(self._next, fd)
        file.users -= 1
        if not file.users:
            file.release()
        return 0

    def copy(self) -> FileTable:
        """What a fork gets: the same files."""
        copied = FileTable()
        copied._files, copied.close_on_exec = dict(self._files), set(self.close_on_exec)
        for file in self._files.values():
            file.users += 1
        return copied

    def do_close_on_exec(self) -> None:
        """Kernel: fs/file.c do_close_on_exec(), v6.1."""
        for fd in sorted(self.close_on_exec):
            self.close(fd)

    def close_all(self) -> None:
        for fd in list(self._files):
            self.close(fd)
