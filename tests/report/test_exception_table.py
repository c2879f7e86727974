from __future__ import annotations

import pytest

from pagefault.images.vmlinux import Vmlinux
from pagefault.kernels import small_kernel
from pagefault.report.exception_table import about, landing, listing, neighbours, verdict
from pagefault.report.page import plain


@pytest.fixture(scope="module")
def image() -> Vmlinux:
    return Vmlinux.open(small_kernel())


def test_the_listing_has_every_entry(image: Vmlinux) -> None:
    table = image.exception_table
    rows = listing(list(table), image.symbols).rows
    assert [row[0] for row in rows] == [str(index) for index in range(len(table))]
    assert rows[0][1] == f"{table[0].insn:#x}"
    assert rows[0][3] == image.symbols.format(table[0].insn)


def test_about_says_how_the_layout_was_chosen(image: Vmlinux) -> None:
    text = plain(about(image.exception_table))
    assert f"{len(image.exception_table)} entries at {image.exception_table.address:#x}" in text
    assert "layout: data (12 bytes an entry" in text


def test_a_landing_in_the_same_function_is_a_distance(image: Vmlinux) -> None:
    places = {landing(entry, image.symbols) for entry in image.exception_table}
    assert any(place.startswith("+0x") for place in places)
    assert any(not place.startswith("+") for place in places)


def test_verdicts(image: Vmlinux) -> None:
    entry = image.exception_table[3]
    yes = plain(verdict(entry.insn, entry, image.symbols, "what it means"))
    assert yes.startswith(f"covered: {image.symbols.format(entry.insn)}")
    assert f"goes on at   {image.symbols.format(entry.fixup)}" in yes
    assert "what it means" in yes
    assert plain(verdict(entry.insn + 1, None, image.symbols, "")).startswith("not covered: ")


def test_neighbours_surround_the_address(image: Vmlinux) -> None:
    table = image.exception_table
    near = neighbours(table, table[10].insn)
    assert [entry.index for entry in near] == [8, 9, 10, 11, 12]
    assert [entry.index for entry in neighbours(table, 0)] == [0, 1, 2]
    last = len(table) - 1
    assert [entry.index for entry in neighbours(table, (1 << 64) - 1)] == [last - 1, last]
