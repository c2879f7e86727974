"""
Every architecture's exception table, ours against binutils' bytes taken apart by the few lines of readelf_tables.

The boot images of most architectures have neither sections nor symbols: there the recording of the same release's
-dbg package says what is right, if there is one. Where there are sections, the shape has to lead to the same table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from foreign_kernel import FLAVOURS, ForeignKernel
from oracle.readelf_tables import ENTRIES, TABLES, entries, recorded, section
from pagefault.images.kernel_image import FoundTable, KernelImage
from pagefault.images.open_image import open_image
from pagefault.images.vmlinux import Vmlinux
from pagefault.tables.extable_shape import by_shape

Foreign = Callable[[str], ForeignKernel]


def same_entries(architecture: str, found: FoundTable, address: int, raw: bytes) -> None:
    """Entry for entry: the instruction, the fixup, and the words behind them as they stand in the table."""
    table = found.table
    assert (table.address, table.raw) == (address, raw)
    expected = list(entries(architecture, address, raw))
    assert len(table) == len(expected) > 0
    for entry, (insn, fixup, rest) in zip(table, expected, strict=True):
        assert (entry.insn, entry.fixup) == (insn, fixup)
        if rest and ENTRIES[architecture].endswith("hh"):
            assert entry.number == rest[0]
        elif rest:
            assert entry.number == rest[0] & 0xFF


@pytest.mark.parametrize("kernel", ["vmlinux_61", "vmlinux_612"])
def test_x86_64(kernel: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(kernel)
    found = section(path, "__ex_table")
    assert found is not None
    same_entries("amd64", open_image(path).exception_tables[0], *found)


@pytest.mark.parametrize("architecture", FLAVOURS)
def test_every_architecture(foreign_kernel: Foreign, architecture: str, tmp_path: Path) -> None:
    kernel = foreign_kernel(architecture)
    image = open_image(kernel.boot)
    known = recorded()
    checked = 0
    for found in image.exception_tables:
        if found.name not in TABLES:
            continue
        line = known.get((architecture, kernel.release, found.name))
        sectioned = section_of(image, found.name, tmp_path)
        if line is not None:
            address, size, digest = line
            assert (found.table.address, len(found.table.raw)) == (address, size)
            assert hashlib.sha256(found.table.raw).hexdigest() == digest
        if sectioned is not None:
            assert sectioned == (found.table.address, found.table.raw)
        if found.name == "__ex_table":
            same_entries(architecture, found, found.table.address, found.table.raw)
            checked += 1
    assert checked == 1  # s390's second one is known by symbols that the boot image does not have


def section_of(image: KernelImage, name: str, folder: Path) -> tuple[int, bytes] | None:
    """What readelf says of the kernel inside of a boot image, where that is an ELF file with sections."""
    if not isinstance(image, Vmlinux) or not image.elf.sections:
        return None
    inside = folder / "inside"
    inside.write_bytes(image.elf.data)
    return section(inside, name)


@pytest.mark.parametrize("architecture", ["amd64", "i386", "ppc64el"])
def test_the_shape_leads_to_the_section(foreign_kernel: Foreign, architecture: str) -> None:
    image = open_image(foreign_kernel(architecture).boot)
    assert isinstance(image, Vmlinux)
    pieces = [(segment.virtual, segment.data) for segment in image.segments]
    best = by_shape(pieces, image.platform, image.executable)[0]
    assert (best.address, bytes(best.raw)) == (image.exception_table.address, image.exception_table.raw)


@pytest.mark.parametrize("architecture", FLAVOURS)
def test_entries_are_in_order_and_in_code(foreign_kernel: Foreign, architecture: str) -> None:
    image = open_image(foreign_kernel(architecture).boot)
    table = image.exception_tables[0].table
    assert table.in_order
    starts, ends = np.array(image.executable, np.uint64).T
    for address in (table.reading.insn, table.reading.fixup):
        place = np.searchsorted(starts, address, side="right")
        assert (place > 0).all()
        assert (address < ends[place - 1]).all()
