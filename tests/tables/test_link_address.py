"""The address of a flat image, out of its exception table."""

from __future__ import annotations

import pytest

from pagefault.arch.platform import ALPHA, ARM, ARM64, MIPS, MIPS64, S390, Platform
from pagefault.tables.link_address import find_address
from tables.table_image import SIZE, table_image


@pytest.mark.parametrize(
    ("platform", "address"),
    [(ARM, 0xC0008000), (ARM, 0x80208000), (MIPS, 0x80001000), (MIPS64, 0xFFFFFFFF81100000)],
)
def test_absolute_entries_tell_it(platform: Platform, address: int) -> None:
    image = table_image(platform, 100, address=address)
    words = f"linked to {address:#x}, where the instructions of 100 entries may fault"
    assert find_address(memoryview(image.data), platform) == (address, words)


def test_a_place_nobody_links_to_is_not_guessed() -> None:
    image = table_image(ARM, 100, address=0xD0123000)
    assert find_address(memoryview(image.data), ARM)[0] == 0xC0008000


@pytest.mark.parametrize(
    ("platform", "address"), [(ARM64, 0xFFFF800008000000), (S390, 0x100000), (ALPHA, ALPHA.kernel_half)]
)
def test_relative_entries_do_not(platform: Platform, address: int) -> None:
    found, words = find_address(memoryview(bytes(SIZE)), platform)
    assert found == address
    assert words.endswith("as kernels of this architecture are (assumed)")


def test_stext_tells_it_where_entries_are_relative() -> None:
    found, words = find_address(memoryview(bytes(SIZE)), ARM64, 0xFFFF800080010000)
    assert (found, words) == (
        0xFFFF800080000000,
        "linked to 0xffff800080000000, the 2 MiB boundary below _stext (assumed)",
    )
