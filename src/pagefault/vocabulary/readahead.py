"""What was last read ahead of a file, and how far: by it, the next read ahead is chosen."""

from __future__ import annotations

from dataclasses import dataclass

RA_PAGES = 32
"""Kernel: include/linux/pagemap.h VM_READAHEAD_PAGES (128 KiB), v6.1."""


@dataclass(frozen=True, slots=True)
class Readahead:
    """
    `start` and `size` are the pages that were read last, of which the last `async_size` when read begin the next time.
    `mmap_miss` counts faults that found no page, less those that did; `prev_pos` is where the last read(2) ended (-1:
    none yet). `pages` is how many are read at most; `random`: none but those asked for (posix_fadvise()).

    Kernel: include/linux/fs.h struct file_ra_state, v6.1.
    Differs: it is kept for a file, not for each time that it is opened. A device's own largest request is no larger.
    """

    start: int = 0
    size: int = 0
    async_size: int = 0
    mmap_miss: int = 0
    prev_pos: int = -1
    pages: int = RA_PAGES
    random: bool = False


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """
    What is to be read into the page cache: pages `first` to `first` + `count`, as far as they are not there, of which
    `mark` (if it is one that was missing) begins the next readahead when it is used; and the state after that.
    """

    state: Readahead
    first: int = 0
    count: int = 0
    mark: int = -1
