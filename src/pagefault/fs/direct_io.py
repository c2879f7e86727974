"""
O_DIRECT: the device reads into and writes from the user's own pages, and the page cache is kept out of it.

The pages are brought in and held as by get_user_pages_fast(): no CPU touches them, so no fault is taken.
"""

from __future__ import annotations

from errno import EFAULT, EINVAL

from ..machine.user_access_iter import IovIter
from ..memory.pages import PageFlag
from ..mm.filemap import invalidate_inode_pages2_range, invalidate_mapping_pages
from ..mm.memory import Memory
from ..mm.pin import SLOW, get_user_page
from ..mm.writeback import filemap_write_range
from ..tables.inode import Inode
from ..vocabulary.address import PAGE, PAGE_SHIFT

SECTOR = 512
"""The device's logical block size: what offsets and lengths are multiples of."""
BIO_MAX_VECS = 256
"""Kernel: include/linux/bio.h BIO_MAX_VECS, v6.1."""


def direct_read(memory: Memory, inode: Inode, to: IovIter, position: int) -> int:
    """
    Kernel: fs/iomap/direct-io.c iomap_dio_rw(), iomap_dio_bio_iter(), iomap_dio_hole_iter(); fs/ext4/file.c
    ext4_dio_read_iter(), v6.1.
    """
    if not to.count or position >= inode.size:
        return 0
    filemap_write_range(memory, inode, position >> PAGE_SHIFT, position + to.count - 1 >> PAGE_SHIFT)
    if unaligned(to, position):
        return -EINVAL
    start, mapped = position, inode.pages * PAGE
    while to.count and position < mapped:
        held = hold_pages(memory, to, min(to.count, mapped - position), write=True)
        if isinstance(held, int):
            return held
        for frame, offset, size in held:
            memory.ram.write(frame + offset, read_device(inode, position, size))
            memory.pages.set(frame, PageFlag.DIRTY)
            position += size
    if to.count:
        wanted = to.count
        if to.zero(wanted) < wanted:
            return -EFAULT
    return min(position, inode.size) - start


def direct_write(memory: Memory, inode: Inode, source: IovIter, position: int) -> int:
    """
    Kernel: fs/iomap/direct-io.c iomap_dio_rw(); fs/ext4/file.c ext4_dio_write_iter(), v6.1.
    Differs: what a file of ext2 has no block for is written like the rest, where ext4 goes through the page cache.
    """
    first, last = position >> PAGE_SHIFT, position + source.count - 1 >> PAGE_SHIFT
    invalidate_inode_pages2_range(memory, inode, first, last)
    if unaligned(source, position):
        return -EINVAL
    start = position
    while source.count:
        held = hold_pages(memory, source, source.count, write=False)
        if isinstance(held, int):
            return held
        for frame, offset, size in held:
            write_device(inode, position, memory.ram.read(frame + offset, size) or b"")
            position += size
        inode.size = max(inode.size, position)
    invalidate_mapping_pages(memory, inode, first, last)
    return position - start


def unaligned(iterator: IovIter, position: int) -> bool:
    """Does any part not lie on whole sectors (Kernel: fs/iomap/direct-io.c iomap_dio_bio_iter(), v6.1)?"""
    parts = [position, iterator.count, *(part for segment in iterator.segments for part in segment)]
    return any(part % SECTOR for part in parts)


def hold_pages(memory: Memory, iterator: IovIter, length: int, *, write: bool) -> list[tuple[int, int, int]] | int:
    """
    The pages of the next bytes of one segment, as many as can be had, as (frame, offset, size); the iterator moves on.
    Or -errno if not even the first can be had. `write`: the device will write into them.

    Kernel: block/bio.c __bio_iov_iter_get_pages(); lib/iov_iter.c __iov_iter_get_pages_alloc();
    mm/gup.c internal_get_user_pages_fast(), v6.1.
    """
    base, size = iterator.segments[0]
    size, rules = min(size, length), memory.rules
    held, moved = list[tuple[int, int, int]](), 0
    while moved < size and len(held) < BIO_MAX_VECS:
        frame = get_user_page(memory, iterator.mm, base + moved, SLOW, write=write, pin=rules.direct_io_pins)
        if frame < 0 and not held:
            return frame
        if frame < 0:
            break
        offset = (base + moved) % PAGE
        held.append((frame, offset, min(PAGE - offset, size - moved)))
        moved += held[-1][2]
    iterator.advance(moved)
    return held


def read_device(inode: Inode, position: int, size: int) -> bytes:
    """Part of one page or two, from where the file is."""
    assert inode.backing is not None
    first, last = position >> PAGE_SHIFT, position + size - 1 >> PAGE_SHIFT
    data = b"".join(inode.backing.read_page(index) for index in range(first, last + 1))
    return data[position % PAGE : position % PAGE + size]


def write_device(inode: Inode, position: int, data: bytes) -> None:
    """The same, written."""
    assert inode.backing is not None
    while data:
        index, offset = position >> PAGE_SHIFT, position % PAGE
        part = data[: PAGE - offset]
        page = inode.backing.read_page(index)
        inode.backing.write_page(index, page[:offset] + part + page[offset + len(part) :])
        position, data = position + len(part), data[len(part) :]
