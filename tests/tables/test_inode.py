"""A file as memory management sees it."""

from __future__ import annotations

import pytest

from pagefault.tables.inode import FileSystem, Inode
from pagefault.vocabulary.address import PAGE


@pytest.mark.parametrize(("size", "pages"), [(0, 0), (1, 1), (PAGE, 1), (PAGE + 1, 2), (1 << 40, 1 << 28)])
def test_a_started_page_is_a_page(size: int, pages: int) -> None:
    assert Inode(1, "a file", FileSystem.DISK, size).pages == pages


def test_memory_is_all_there_is_behind_tmpfs() -> None:
    assert Inode(1, "a file", FileSystem.SHMEM).swap_backed
    assert not Inode(1, "a file", FileSystem.DISK).swap_backed


def test_two_files_share_nothing() -> None:
    first, second = Inode(1, "a", FileSystem.SHMEM), Inode(2, "b", FileSystem.SHMEM)
    first.cache.set(0, PAGE)
    first.swapped[1] = 3
    assert second.cache.get(0) is None
    assert not second.swapped
