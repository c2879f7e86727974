"""Kernels without an ELF file around them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from foreign_kernel import ForeignKernel
from pagefault.arch.platform import ARM64
from pagefault.errors import Absent, BadInput
from pagefault.images import flat_identity
from pagefault.images.boot_headers import Machine
from pagefault.images.boot_image import Payload, unwrap
from pagefault.images.elf import map_file
from pagefault.images.raw_image import RawImage
from pagefault.tables.symbols import SymbolTable
from tables.table_image import CODE, SIZE, TABLE, TableImage, table_image

BASE = 0xFFFF800008000000
ARM64_MACHINE: Machine = ("EM_AARCH64", 64, "little")


def payload(image: TableImage, machine: Machine | None) -> Payload:
    return Payload(memoryview(bytes(image.data)), ("a wrapper",), 0, "raw", machine)


def system_map(folder: Path, symbols: dict[str, int]) -> str:
    path = folder / "System.map"
    path.write_text(
        "".join(f"{address:016x} T {name}\n" for name, address in sorted(symbols.items(), key=lambda s: s[1]))
    )
    return str(path)


def symbols_of(image: TableImage) -> dict[str, int]:
    start = image.address
    return {
        "_text": start,
        "_stext": start + CODE,
        "_etext": start + 0x20_0000,
        "_sinittext": start + 0x20_0000,
        "_einittext": start + TABLE,
        "__start___ex_table": image.table,
        "__stop___ex_table": image.table + 12 * len(image.insns),
        "_end": start + SIZE + 0x1000,
    }


def test_with_symbols_everything_has_a_place(tmp_path: Path) -> None:
    specimen = table_image(ARM64, 60, address=0xFFFF800080000000)
    specimen.put(0x3F_0000, b"Linux version 6.1.0-50-cloud-arm64 (debian)")
    file = system_map(tmp_path, symbols_of(specimen))
    image = RawImage.from_payload(payload(specimen, ARM64_MACHINE), "Image", system_map=file)
    assert (image.platform, image.address, image.version) == (ARM64, 0xFFFF800080000000, (6, 1))
    assert image.how == ("a wrapper", f"symbols from {file}")
    assert [(s.name, s.executable, s.discarded) for s in image.sections] == [
        (".head.text", True, False),
        (".text", True, False),
        (".init.text", True, True),
        ("__ex_table", False, False),
    ]
    (found,) = image.exception_tables
    assert found.found == "the symbols __start___ex_table and __stop___ex_table"
    assert tuple(entry.insn for entry in found.table) == specimen.insns
    assert tuple(entry.fixup for entry in found.table) == specimen.fixups
    assert image.read(image.end - 2, 4) == bytes(4)
    for address, size in ((image.address - 1, 4), (image.end + 0xFFE, 4), (image.address, -1)):
        with pytest.raises(Absent):
            image.read(address, size)


def test_only_so_much_behind_the_image_is_zeros(tmp_path: Path) -> None:
    """_end may say anything; as much as the image itself is believed."""
    specimen = table_image(ARM64, 60, address=BASE)
    file = system_map(tmp_path, {**symbols_of(specimen), "_end": (1 << 64) - 0x1000})
    image = RawImage.from_payload(payload(specimen, ARM64_MACHINE), "Image", system_map=file)
    assert image.read(image.end + SIZE - 4, 4) == bytes(4)
    with pytest.raises(Absent):
        image.read(image.end + SIZE - 3, 4)


def test_without_symbols_the_table_is_found_by_its_shape() -> None:
    specimen = table_image(ARM64, 60, address=BASE)
    image = RawImage.from_payload(payload(specimen, ARM64_MACHINE), "Image")
    assert image.how[1].startswith("no symbols (Image: ")
    assert (image.sections, image.executable) == ((), ((BASE, BASE + SIZE),))
    (found,) = image.exception_tables
    assert found.found.startswith("its shape: 60 entries of 12 bytes in order at 0xffff800008300000")
    assert tuple(entry.insn for entry in found.table) == specimen.insns
    with pytest.raises(Absent, match="version banner"):
        _ = image.version


def test_symbols_of_another_kernel(tmp_path: Path) -> None:
    specimen = table_image(ARM64, 60, address=BASE)
    wrong = {**symbols_of(specimen), "__start___ex_table": BASE + SIZE, "__stop___ex_table": BASE + SIZE + 120}
    file = system_map(tmp_path, wrong)
    image = RawImage.from_payload(payload(specimen, ARM64_MACHINE), "Image", system_map=file)
    with pytest.raises(BadInput, match="symbols of another kernel"):
        _ = image.exception_tables


def test_an_image_past_the_last_address(tmp_path: Path) -> None:
    specimen = table_image(ARM64, 60, address=BASE)
    file = system_map(tmp_path, {"_text": (1 << 64) - 0x1000, "_stext": (1 << 64) - 0x800})
    with pytest.raises(BadInput, match="fits the address space"):
        RawImage.from_payload(payload(specimen, ARM64_MACHINE), "Image", system_map=file)


@pytest.mark.parametrize(
    ("architecture", "entries"),
    [("arm64", 778), ("armhf", 215), ("armel", 276), ("mips64el", 1060), ("mipsel", 1006), ("s390x", 1219)],
)
def test_debians_kernels_with_kallsyms_and_without(
    foreign_kernel: Callable[[str], ForeignKernel],
    architecture: str,
    entries: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The number of entries is 6.1.176's; of another version at least the two ways must agree."""
    kernel = foreign_kernel(architecture)
    where = str(kernel.boot)
    unwrapped = unwrap(memoryview(map_file(where)), where)
    image = RawImage.from_payload(unwrapped, where)
    table = image.exception_tables[0].table
    assert len(table) == entries or not kernel.release.startswith("6.1.0-50-")
    assert all(image.symbols.at(entry.insn) for entry in table)
    assert image.version == (6, 1)

    monkeypatch.setattr(flat_identity, "own_symbols", lambda *_: (SymbolTable.empty(where), "no symbols"))
    bare = RawImage.from_payload(unwrapped, where)
    assert (bare.address, list(bare.exception_tables[0].table)) == (image.address, list(table))
