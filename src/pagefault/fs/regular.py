"""Files whose content is in the page cache: read and written page by page."""

from __future__ import annotations

from dataclasses import dataclass
from errno import EFAULT, EFBIG, ENOSPC, ENXIO, EPERM

from ..machine.user_access_iter import IovIter
from ..memory.pages import PageFlag
from ..mm.filemap import file_read_to, filemap_get_page
from ..mm.memory import Memory
from ..tables.inode import F_SEAL_FUTURE_WRITE, F_SEAL_GROW, F_SEAL_WRITE, MAX_LFS_FILESIZE, Inode
from ..vocabulary.address import PAGE, PAGE_SHIFT
from .direct_io import direct_read, direct_write
from .open_file import O_DIRECT, OpenFile

LARGEST_FOLIO = 2 << 20
"""Kernel: include/linux/pagemap.h MAX_PAGECACHE_ORDER on x86-64, v6.12."""


@dataclass(eq=False)
class RegularFile(OpenFile):
    """
    A file of tmpfs, a memfd, or of a file system on a device. `page_offset` is where the direct map puts frame 0.
    """

    memory: Memory | None = None
    page_offset: int = 0

    def read(self, to: IovIter, position: int) -> int:
        """
        Kernel: mm/filemap.c filemap_read(); mm/shmem.c shmem_file_read_iter(), v6.1.
        """
        memory, inode = self._of()
        if self.flags & O_DIRECT and not inode.swap_backed:
            return direct_read(memory, inode, to, position)
        done, last = 0, -(-(position + to.count) // PAGE)
        while to.count and position < inode.size:
            offset = position % PAGE
            wanted = min(PAGE - offset, inode.size - position, to.count)
            frame = self._page_to_read(position >> PAGE_SHIFT, last)
            copied = to.copy_page_to(self.page_offset + frame + offset, wanted)
            done, position = done + copied, position + copied
            file_read_to(inode, position)
            if copied < wanted:
                return done or -EFAULT
        return done

    def _page_to_read(self, index: int, last: int) -> int:
        """
        A page as it is read: a hole in a file of memory is the page of zeros.

        Kernel: mm/shmem.c shmem_file_read_iter(), SGP_READ, v6.1.
        """
        memory, inode = self._of()
        if not inode.swap_backed:
            return filemap_get_page(memory, inode, index, last)
        frame = inode.cache.get(index)
        if frame is None and index in inode.swapped:
            return memory.page_cache_page(inode, index)
        return memory.zero_page if frame is None or memory.pages.has(frame, PageFlag.FALLOCATED) else frame

    def write(self, source: IovIter, position: int) -> int:
        """
        Kernel: mm/filemap.c generic_write_checks(), generic_perform_write(), v6.1 and v6.12; mm/shmem.c
        shmem_write_begin(), shmem_write_end(), v6.1.
        Differs: a device's file system does a short copy into a new page once more; nothing is seen of it.
        """
        memory, inode = self._of()
        if not source.count:
            return 0
        if position >= MAX_LFS_FILESIZE:
            return -EFBIG
        if self.flags & O_DIRECT and not inode.swap_backed:
            return direct_write(memory, inode, source, position)
        chunk = LARGEST_FOLIO if memory.rules.writes_by_folio and inode.swap_backed else PAGE
        end, start = min(position + source.count, MAX_LFS_FILESIZE), position
        while position < end:
            size = min(chunk - position % chunk, end - position)
            if source.fault_in_readable(size) == size:
                return position - start or -EFAULT
            error = self._write_begin(position, size)
            if error:
                return position - start or error
            frame = memory.page_cache_page(inode, position >> PAGE_SHIFT)
            size = min(size, PAGE - position % PAGE)
            position += source.copy_page_from_atomic(self.page_offset + frame + position % PAGE, size)
            memory.pages.set(frame, PageFlag.DIRTY)
            memory.pages.clear(frame, PageFlag.FALLOCATED)
            inode.size = max(inode.size, position)
        return position - start

    def _write_begin(self, position: int, size: int) -> int:
        """
        Kernel: mm/shmem.c shmem_write_begin(), v6.1.
        """
        memory, inode = self._of()
        if inode.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE):
            return -EPERM
        if inode.seals & F_SEAL_GROW and position + size > inode.size:
            return -EPERM
        return -ENOSPC if inode.cache.get(position >> PAGE_SHIFT) is None and not memory.frames.free else 0

    def seek_data(self, offset: int) -> int:
        """
        Kernel: mm/shmem.c shmem_file_llseek(); mm/filemap.c mapping_seek_hole_data(), v6.1.
        """
        _, inode = self._of()
        first, last = offset >> PAGE_SHIFT, inode.size - 1 >> PAGE_SHIFT
        if not inode.swap_backed or self._has_data(first):
            return offset
        cached = next((index for index, _ in inode.cache.items(first) if self._has_data(index)), last + 1)
        found = min([cached, *(index for index in inode.swapped if index >= first)])
        return found << PAGE_SHIFT if found <= last else -ENXIO

    def seek_hole(self, offset: int) -> int:
        """
        Kernel: mm/shmem.c shmem_file_llseek(); mm/filemap.c mapping_seek_hole_data(), v6.1.
        """
        _, inode = self._of()
        first = index = offset >> PAGE_SHIFT
        if not inode.swap_backed:
            return inode.size
        while index < inode.pages and self._has_data(index):
            index += 1
        return offset if index == first else min(index << PAGE_SHIFT, inode.size)

    def _has_data(self, index: int) -> bool:
        """
        Kernel: mm/filemap.c folio_seek_hole_data(), v6.1: a page that has never been written is a hole.
        """
        memory, inode = self._of()
        frame = inode.cache.get(index)
        return index in inode.swapped if frame is None else not memory.pages.has(frame, PageFlag.FALLOCATED)

    def release(self) -> None:
        """
        Kernel: fs/file_table.c __fput(), v6.1.
        """
        memory, inode = self._of()
        memory.put_inode(inode)

    def _of(self) -> tuple[Memory, Inode]:
        assert self.memory is not None
        assert self.inode is not None
        return self.memory, self.inode
