"""The vDSO's own table: found through the kernel's description of the vDSO, in real kernels and in made-up ones."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from pagefault.arch.platform import ARM64, X86_32, X86_64, X86_VDSOS, Platform
from pagefault.errors import Absent
from pagefault.images.vmlinux import Vmlinux
from pagefault.tables.vdso_extable import vdso_exception_tables, vdso_table

IMAGE, DATA, COPY = 0x1000, 0x4000, 0x2000
"""Where a description, the vDSO, and the copy of its table lie in a made-up kernel."""


def kernel(form: str, base: int, length: int, *entries: int, size: int = 0x1000) -> bytes:
    """A kernel's memory with one vDSO, of pointers `form`."""
    memory = bytearray(0x6000)
    struct.pack_into(f"<7{form}", memory, IMAGE, DATA, size, 0, 0, base, length, COPY)
    struct.pack_into(f"<{len(entries)}i", memory, COPY, *entries)
    return bytes(memory)


def tables(memory: bytes, platform: Platform = X86_64) -> list[tuple[str, list[tuple[int, int, str]]]]:
    def read(address: int, length: int) -> bytes:
        if address + length > len(memory):
            raise Absent("memory", where="kernel")
        return memory[address : address + length]

    symbols = {"vdso_image_64": IMAGE, "vdso_image_32": IMAGE}
    found = vdso_exception_tables(read, symbols.get, platform, where="kernel")
    return [(name, [(entry.insn, entry.fixup, entry.type) for entry in table]) for name, table in found]


@pytest.mark.parametrize(("platform", "form"), [(X86_64, "Q"), (X86_32, "I")])
def test_entries_count_from_the_table(platform: Platform, form: str) -> None:
    memory = kernel(form, 0x800, 16, -0x700, -0x6F0, -0x100, -0xF0)
    base = DATA + 0x800
    entries = [(base - 0x700, base - 0x6F0, "vdso"), (base - 0x100, base - 0xF0, "vdso")]
    assert tables(memory, platform) == [("vdso_image_64", entries), ("vdso_image_32", entries)]


def test_the_order_is_left_as_it_is() -> None:
    (_, entries), _ = tables(kernel("Q", 0x800, 16, -0x100, -0xF0, -0x700, -0x6F0))
    assert [insn - DATA for insn, _, _ in entries] == [0x700, 0x100]


def test_an_entry_outside_of_the_vdso_stays_to_be_seen() -> None:
    assert tables(kernel("Q", 0x800, 8, 0x10_0000, 0))[0][1] == [(DATA + 0x10_0800, DATA + 0x800, "vdso")]


@pytest.mark.parametrize(
    ("base", "length", "size"),
    [
        (0x800, 0, 0x1000),
        (0x800, 12, 0x1000),
        (0x800, 0x2000, 0x1000),
        (0x1000, 8, 0x1000),
        ((1 << 64) - 0x4000, 8, 0x1000),
        (0x800, 8, 1 << 40),
    ],
)
def test_what_is_no_table_is_none(base: int, length: int, size: int) -> None:
    """The last but one: a kernel before 5.11 has a negative offset where the table's start is now."""
    assert tables(kernel("Q", base, length, size=size)) == []


def test_an_image_that_lacks_the_copy_has_no_table() -> None:
    assert tables(kernel("Q", 0x800, 8, -0x700, -0x6F0)[: COPY + 4]) == []


def test_other_architectures_and_kernels_without_symbols() -> None:
    memory = kernel("Q", 0x800, 8, -0x700, -0x6F0)
    assert tables(memory, ARM64) == []
    assert not list(vdso_exception_tables(lambda address, length: b"", lambda name: None, X86_64, where="kernel"))


def test_absent_memory_is_the_callers_to_know() -> None:
    def read(address: int, length: int) -> bytes:
        raise Absent("memory", where="kernel")

    with pytest.raises(Absent):
        vdso_table(read, IMAGE, X86_64, X86_VDSOS, where="kernel")


@pytest.mark.parametrize("fixture", ["vmlinux_61", "vmlinux_612"])
def test_debians_vdso_enters_an_enclave_in_one_place(fixture: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(fixture)
    image = Vmlinux.open(path)
    ((name, table),) = vdso_exception_tables(image.read, image.symbols.get, X86_64, where="vmlinux")
    assert name == "vdso_image_64"
    (entry,) = table
    assert image.read(entry.insn, 3) == b"\x0f\x01\xd7", "ENCLU"
    assert 3 <= entry.fixup - entry.insn < 0x100
