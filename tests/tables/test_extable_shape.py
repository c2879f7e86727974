"""The exception table without a header that says where it is: on every architecture, and beside what looks like it."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefault.arch.platform import (
    ALPHA,
    ARM,
    ARM64,
    LOONGARCH64,
    MIPS,
    MIPS64,
    POWERPC64,
    RISCV64,
    S390,
    X86_32,
    X86_64,
    Platform,
)
from pagefault.errors import Absent
from pagefault.images.vmlinux import Vmlinux
from pagefault.tables.extable_shape import by_shape, the_one
from tables.table_image import CODE, SIZE, TABLE, TableImage, table_image

X86 = 0xFFFFFFFF81000000
KERNELS = [
    (X86_64, X86),
    (X86_32, 0xC1000000),
    (ARM64, 0xFFFF800008000000),
    (RISCV64, 0xFFFFFFFF80000000),
    (LOONGARCH64, 0x9000000000200000),
    (S390, 0x100000),
    (POWERPC64, 0xC000000000000000),
    (ARM, 0xC0008000),
    (MIPS, 0x80100000),
    (replace(MIPS, byte_order="big"), 0x80100000),
    (MIPS64, 0xFFFFFFFF80100000),
]


def found(image: TableImage, platform: Platform, executable: list[tuple[int, int]] | None = None) -> tuple[int, int]:
    """Address and number of entries of what was found."""
    best, _ = the_one(by_shape([(image.address, memoryview(image.data))], platform, executable), where="it")
    return best.address, best.entries


@pytest.mark.parametrize(("platform", "address"), KERNELS, ids=lambda value: getattr(value, "name", ""))
def test_every_architectures_table_is_found_whole(platform: Platform, address: int) -> None:
    image = table_image(platform, 100, address=address)
    assert found(image, platform) == (image.table, 100)
    assert found(image, platform, [(address + CODE, address + TABLE)]) == (image.table, 100)


@pytest.mark.parametrize(("platform", "address"), KERNELS, ids=lambda value: getattr(value, "name", ""))
def test_longer_lists_that_look_like_a_table_are_not_taken(platform: Platform, address: int) -> None:
    image = table_image(platform, 40, address=address)
    order = "<" if platform.byte_order == "little" else ">"
    pointers = np.arange(3000, dtype=np.uint64) * np.uint64(32) + np.uint64(address + CODE)
    image.put(0x32_0000, pointers.astype(f"{order}u{platform.pointer}").tobytes())  # __mcount_loc
    places = np.arange(3000) * 4 + 0x34_0000
    image.put(0x34_0000, (np.arange(3000) * 16 + CODE - places).astype(f"{order}i4").tobytes())  # .orc_unwind_ip
    image.put(0x36_0000, np.full(3000, -0x20_0000).astype(f"{order}i4").tobytes())
    image.put(0x38_0000, struct.pack(f"{order}3i", 4, 20, 3) * 200)  # .notes
    assert found(image, platform) == (image.table, 40)


def test_a_note_behind_the_table_is_not_its_last_entry() -> None:
    image = table_image(ARM64, 50, address=0xFFFF800008000000)
    image.put(TABLE + 50 * 12, struct.pack("<3i", 4, 20, 3) + b"GNU\0")
    assert found(image, ARM64) == (image.table, 50)


def test_call_sites_are_told_from_accesses_by_their_instructions() -> None:
    """x86's .static_call_sites: in order, the first word at a call, the second at something in .data."""
    image = table_image(X86_64, 60, address=X86)
    calls = [CODE + 0x20 + index * 0x100 for index in range(400)]
    for index, call in enumerate(calls):
        at = 0x32_0000 + index * 8
        image.put(call, bytes.fromhex("e800000000"))
        image.put(at, struct.pack("<2i", call - at, 0x3A_0000 + index * 5 % 64 - at - 4))
    best, *others = by_shape([(X86, memoryview(image.data))], X86_64)
    assert (best.address, best.entries) == (image.table, 60)
    assert any(other.entries == 400 for other in others)


def test_a_longer_list_of_which_a_third_are_calls_is_not_taken() -> None:
    """Entries alone would choose it, and so would entries by their share: 140 * 2 / 3 are more than 80."""
    image = table_image(X86_64, 80, address=X86)
    for index in range(140):
        insn, at = CODE + 0x28 + index * 0x100, 0x32_0000 + index * 12
        image.put(insn, bytes.fromhex("e800000000" if index % 3 == 0 else "8b03"))
        image.put(at, struct.pack("<3i", insn - at, CODE + index * 0x531 % 0x2_0000 - at - 4, 3))
    best, *others = by_shape([(X86, memoryview(image.data))], X86_64)
    assert (best.address, best.entries) == (image.table, 80)
    longer = next(other for other in others if other.address == X86 + 0x32_0000)
    assert longer.entries == 140
    assert longer.faulting is not None
    assert longer.entries * longer.faulting > 80


def test_entries_of_no_type_are_no_table() -> None:
    image = table_image(X86_64, 60, address=X86)
    other = table_image(X86_64, 90, address=X86 - 0x2_0000, seed=2)
    for insn in other.insns:
        image.put(insn - other.address, b"\x8b\x03")
    words = np.frombuffer(bytes(other.data[TABLE : TABLE + 90 * 12]), "<i4").reshape(-1, 3).copy()
    words[:, :2] -= 0x2_0000
    words[:, 2] = 0
    image.put(TABLE + 0x2_0000, words.tobytes())
    assert found(image, X86_64) == (image.table, 60)


def test_words_that_count_beside_a_table_are_none() -> None:
    """As relative addresses they point at accesses too, but all at the same few bytes."""
    image = table_image(X86_64, 60, address=X86)
    words = np.tile(np.array([-0x20_0000, -0x20_0010, 3], "<i4"), 400)
    image.put(0x34_0000, words.tobytes())
    image.put(0x14_0000, b"\x8b\x03" * 3000)
    assert found(image, X86_64) == (image.table, 60)


def test_code_that_no_range_names_does_not_cut_the_table() -> None:
    """.init.text of an i386 kernel lies in a segment that is not marked executable."""
    image = table_image(X86_32, 80, address=0xC1000000)
    middle = image.insns[60]
    candidates = by_shape([(image.address, memoryview(image.data))], X86_32, [(image.address, middle)])
    assert (candidates[0].address, candidates[0].entries) == (image.table, 80)
    inside = sum(i < middle and f < middle for i, f in zip(image.insns, image.fixups, strict=True))
    assert candidates[0].inside == inside / 80


def test_two_tables_that_are_alike_leave_a_doubt() -> None:
    image = table_image(X86_64, 60, address=X86)
    other = table_image(X86_64, 50, address=X86, seed=2)
    for insn in other.insns:
        image.put(insn - X86, b"\x8b\x03")
    moved = [
        (word - 0x2_0000 if index % 3 != 2 else word)
        for index, word in enumerate(struct.unpack("<150i", other.data[TABLE : TABLE + 600]))
    ]
    image.put(TABLE + 0x2_0000, struct.pack("<150i", *moved))
    best, words = the_one(by_shape([(X86, memoryview(image.data))], X86_64), where="it")
    assert best.entries == 60
    assert "the next best run, at 0xffffffff81320000, has 50" in words
    assert "may be the wrong one" in words


def test_the_words_say_what_was_found() -> None:
    image = table_image(X86_64, 60, address=X86)
    _, words = the_one(by_shape([(X86, memoryview(image.data))], X86_64, [(X86, X86 + TABLE)]), where="it")
    assert words == (
        "its shape: 60 entries of 12 bytes in order at 0xffffffff81300000 whose addresses lie in code (100%)"
        " and whose instructions may fault (100%); nothing else is like it"
    )


@pytest.mark.parametrize("platform", [X86_64, ALPHA], ids=["nothing there", "not sorted when built"])
def test_nothing_is_made_up(platform: Platform) -> None:
    with pytest.raises(Absent, match="no exception table; nothing in it has the shape of one"):
        the_one(by_shape([(platform.kernel_half, memoryview(bytes(SIZE)))], platform), where="it")
    assert by_shape([], platform) == ()


def test_pieces_apart_from_each_other() -> None:
    """A table in one segment of code in another, and x86's per-CPU segment at 0, which is no code."""
    image = table_image(X86_64, 60, address=X86)
    data = memoryview(image.data)
    pieces = [(X86, data[:TABLE]), (X86 + TABLE, data[TABLE:]), (0, memoryview(bytes(0x4000)))]
    assert [(c.address, c.entries) for c in by_shape(pieces, X86_64)[:1]] == [(image.table, 60)]


WORDS = {
    "zeros": np.zeros(1 << 18, "<i4"),
    "ones": np.full(1 << 18, -1, "<i4"),
    "one address": np.full(1 << 18, 0x81000010, "<u4").view("<i4"),
    "backwards": np.full(1 << 18, -0x1000, "<i4"),
    "counting": np.arange(1 << 18, dtype="<i4"),
    "counting down": -np.arange(1 << 18, dtype="<i4") * 3,
    "entries all alike": np.tile(np.array([-0x100000, -0x100010, 3], "<i4"), 1 << 16),
    "entries in order": np.stack([-np.arange(1 << 16) * 9, -np.arange(1 << 16) * 5, np.full(1 << 16, 3)], 1),
}


@pytest.mark.parametrize(("platform", "address"), KERNELS, ids=lambda value: getattr(value, "name", ""))
@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_patterns_without_a_table(platform: Platform, address: int, words: np.ndarray) -> None:
    """Whatever is in the image: an answer, and one in the image."""
    data = words.astype("<i4").tobytes()
    for candidate in by_shape([(address, memoryview(data))], platform):
        assert address <= candidate.address <= candidate.address + len(candidate.raw) <= address + len(data)


@given(st.binary(max_size=2000), st.integers(0, (1 << 64) - 1), st.sampled_from([p for p, _ in KERNELS]))
def test_any_bytes_at_any_address(data: bytes, address: int, platform: Platform) -> None:
    by_shape([(address % (platform.address_mask + 1), memoryview(data))], platform, [(0, 1 << 40)])


def check_real(path: Path) -> None:
    image = Vmlinux.open(path)
    section = image.elf.section("__ex_table")
    assert section is not None
    pieces = [(segment.virtual, segment.data) for segment in image.segments]
    for executable in (None, image.executable):
        candidates = by_shape(pieces, image.platform, executable)
        assert (candidates[0].address, bytes(candidates[0].raw)) == (section.address, bytes(section.data))
        assert candidates[0].score > 4 * candidates[1].score


def test_debian_6_1(vmlinux_61: Path) -> None:
    check_real(vmlinux_61)


def test_debian_6_12(vmlinux_612: Path) -> None:
    check_real(vmlinux_612)
