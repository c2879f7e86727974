"""What an area says of itself."""

from __future__ import annotations

from dataclasses import replace

from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.vma import Vma, VmFlag


def test_pages_are_counted_from_the_files_page_at_the_start() -> None:
    area = Vma(0x10000, 0x20000, inode=1, pgoff=7)
    assert area.linear_page_index(0x10000) == area.linear_page_index(0x10FFF) == 7
    assert area.linear_page_index(0x10000 + 3 * PAGE) == 10


def test_an_area_is_anonymous_if_nothing_is_behind_it() -> None:
    assert Vma(0, PAGE).anonymous
    assert not Vma(0, PAGE, inode=1).anonymous
    assert not Vma(0, PAGE, flags=VmFlag.PFNMAP).anonymous, "pages of the kernel's own"


def test_any_right_makes_it_accessible() -> None:
    none = Vma(0, PAGE, read=False, write=False, execute=False)
    assert not none.accessible
    assert replace(none, read=True).accessible
    assert replace(none, write=True).accessible
    assert replace(none, execute=True).accessible
