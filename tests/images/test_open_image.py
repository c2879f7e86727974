"""Any file that holds kernel code, told by what is in it."""

from __future__ import annotations

import gzip
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from foreign_kernel import ForeignKernel
from images.elf_writer import AX, CORE, RELOCATABLE, TEXT, A, Piece, elf, save
from pagefault.arch.platform import ARM64, X86_64
from pagefault.errors import Absent, BadInput, PagefaultError, Unsupported
from pagefault.images.module import Module
from pagefault.images.open_image import is_dump, open_image
from pagefault.images.raw_image import RawImage
from pagefault.images.vmlinux import Vmlinux
from tables.table_image import TABLE, table_image

BASE = 0xFFFF800008000000


def vmlinux(*, section_headers: bool = True) -> bytes:
    image = table_image(X86_64, 60, address=TEXT)
    text, table = bytes(image.data[:TABLE]), bytes(image.data[TABLE:])
    names = Piece(".text", text, TEXT, AX), Piece("__ex_table", table[: 60 * 12], TEXT + TABLE, A)
    return elf(list(names), section_headers=section_headers)


def arm64_image() -> bytes:
    image = table_image(ARM64, 60, address=BASE)
    image.put(0, b"MZ")
    image.put(0x38, b"ARM\x64")
    image.put(0x38_0000, random.Random(3).randbytes(0x4_0000))  # or it is too well compressed to be believed
    return bytes(image.data)


def module() -> bytes:
    return elf([Piece(".text", bytes(64), 0, AX)], kind=RELOCATABLE)


@pytest.mark.parametrize(
    ("data", "kind", "how"),
    [
        (vmlinux(), Vmlinux, ()),
        (vmlinux(section_headers=False), Vmlinux, ()),
        (arm64_image(), RawImage, ("arm64 Image",)),
        (gzip.compress(arm64_image()), RawImage, ("gzip-compressed payload", "arm64 Image")),
        (module(), Module, ()),
        (gzip.compress(module()), Module, ("gzip-compressed payload",)),
    ],
    ids=["vmlinux", "no section headers", "Image", "Image.gz", "module", "module.gz"],
)
def test_the_content_says_what_it_is(tmp_path: Path, data: bytes, kind: type, how: tuple[str, ...]) -> None:
    image = open_image(save(tmp_path / "file", data))
    assert isinstance(image, kind)
    assert all(any(step in each for each in image.how) for step in how)
    if kind is not Module:
        assert len(image.exception_tables[0].table) == 60


def test_without_section_headers_the_shape_is_what_there_is(tmp_path: Path) -> None:
    with_headers, without = (
        open_image(save(tmp_path / str(headers), vmlinux(section_headers=headers))).exception_tables[0]
        for headers in (True, False)
    )
    assert list(with_headers.table) == list(without.table)
    assert with_headers.found == "section __ex_table"
    assert without.found.startswith("its shape: 60 entries of 12 bytes in order at 0xffffffff81300000")


def test_symbols_are_handed_in(tmp_path: Path) -> None:
    symbols = tmp_path / "System.map"
    symbols.write_text(f"{TEXT:016x} T _stext\n{TEXT + 0x400:016x} T here\n{TEXT + TABLE:016x} T _etext\n")
    image = open_image(save(tmp_path / "vmlinux", vmlinux()), system_map=str(symbols))
    assert image.symbols.get("here") == TEXT + 0x400
    assert image.how[0] == f"symbols from {symbols}"
    with pytest.raises(BadInput, match="readable"):
        open_image(tmp_path / "vmlinux", system_map=str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("kind", "order", "dump"),
    [(4, "little", True), (4, "big", True), (0x400, "little", False), (0x400, "big", False), (2, "big", False)],
)
def test_a_dump_is_known_in_either_byte_order(kind: int, order: Literal["little", "big"], *, dump: bool) -> None:
    start = b"\x7fELF\2" + (b"\1" if order == "little" else b"\2") + bytes(10) + kind.to_bytes(2, order)
    assert is_dump(memoryview(start + bytes(46))) == dump


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"a letter to a friend\n" * 40, BadInput),
        (b"KDUMP   " + bytes(8192), PagefaultError),
        (elf([], kind=CORE), PagefaultError),
        (vmlinux()[:5000], BadInput),
    ],
    ids=["text", "an empty kdump", "an empty core", "cut off"],
)
def test_what_is_none(tmp_path: Path, data: bytes, error: type[PagefaultError]) -> None:
    with pytest.raises(error):
        open_image(save(tmp_path / "file", data))


def test_a_folder_and_nothing(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(BadInput):
            open_image(path)


@pytest.mark.parametrize("whole", [vmlinux(), vmlinux(section_headers=False), arm64_image()])
def test_damaged_files_end_in_our_own_errors(tmp_path: Path, whole: bytes) -> None:
    draw = random.Random(7)
    for index in range(60):
        data = bytearray(whole if index % 3 else whole[: draw.randrange(len(whole))])
        front = min(len(data), 512)
        for _ in range(draw.randrange(1, 6)):
            if data:
                data[draw.randrange(front if draw.random() < 0.6 else len(data))] = draw.randrange(256)
        try:
            image = open_image(save(tmp_path / "file", bytes(data)))
            list(image.exception_tables[0].table)
            image.read(image.executable[0][0], 4)
        except (BadInput, Absent, Unsupported):
            continue


@pytest.mark.parametrize(
    "architecture",
    ["amd64", "i386", "arm64", "armhf", "armel", "mips64el", "mipsel", "ppc64el", "s390x"],
)
def test_debians_boot_images(foreign_kernel: Callable[[str], ForeignKernel], architecture: str) -> None:
    image = open_image(foreign_kernel(architecture).boot)
    found = image.exception_tables[0]
    assert (found.name, found.table.in_order, image.version, image.module) == ("__ex_table", True, (6, 1), None)
    assert len(found.table) > 200
    assert all(image.symbols.at(entry.insn) for entry in found.table)
    assert any(s.name == ".text" and s.executable for s in image.sections)


def test_a_vmlinux_stripped_of_all(vmlinux_61: Path, tmp_path: Path) -> None:
    """Without symbols, and then without section headers: kallsyms, and the shape, give the same entries."""
    expected = list(Vmlinux.open(vmlinux_61).exception_table)
    bare = tmp_path / "vmlinux"
    subprocess.run(["strip", "-o", bare, vmlinux_61], check=True)
    image = open_image(bare)
    assert list(image.exception_tables[0].table) == expected
    assert any("kallsyms" in step for step in image.how)
    data = bytearray(bare.read_bytes())
    data[40:48], data[58:64] = bytes(8), bytes(6)  # e_shoff; e_shentsize, e_shnum, e_shstrndx
    bare.write_bytes(data)
    assert list(open_image(bare).exception_tables[0].table) == expected
    found = Vmlinux.open(bare).exception_tables[0]
    assert list(found.table) == expected
    assert found.found.startswith("its shape: ")
