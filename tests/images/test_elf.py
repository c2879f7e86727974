from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from images.elf_writer import AX, REL, SYMTAB, TEXT, Order, Piece, elf, save
from pagefault.errors import BadInput
from pagefault.images.elf import KINDS, Elf, check_share, structs

GOOD = elf([Piece(".text", b"\x90" * 32, TEXT, AX), Piece(".note", b"hello")])


def refusal(path: Path) -> str:
    with pytest.raises(BadInput) as refused:
        Elf.open(path)
    text = str(refused.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def test_sections_and_segments_are_views_of_the_file(tmp_path: Path) -> None:
    found = Elf.open(save(tmp_path / "good", GOOD))
    text = found.section(".text")
    assert text is not None
    assert (text.address, bytes(text.data), text.executable) == (TEXT, b"\x90" * 32, True)
    assert bytes(found.sections[2].data) == b"hello"
    (segment,) = found.segments
    assert (segment.virtual, segment.physical, bytes(segment.data)) == (TEXT, 0x1000000, b"\x90" * 32)
    assert found.section(".nothing") is None


def test_a_missing_file(tmp_path: Path) -> None:
    assert "nothing of that name" in refusal(tmp_path / "none")


def test_a_directory(tmp_path: Path) -> None:
    assert "a directory" in refusal(tmp_path)


def test_an_empty_file(tmp_path: Path) -> None:
    assert "got an empty file" in refusal(save(tmp_path / "empty", b""))


def test_a_text_file(tmp_path: Path) -> None:
    assert "got text" in refusal(save(tmp_path / "text", b"#!/bin/sh\necho hello, world\n"))


def test_another_binary_file(tmp_path: Path) -> None:
    assert "got 1f 8b 08 00" in refusal(save(tmp_path / "gz", b"\x1f\x8b\x08\0" * 30))


def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "a pipe" in refusal(tmp_path / "pipe")


def test_a_device_does_not_hang() -> None:
    assert "device" in refusal(Path("/dev/zero"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_an_unreadable_file(tmp_path: Path) -> None:
    path = save(tmp_path / "secret", GOOD)
    path.chmod(0)
    assert "Permission denied" in refusal(path)


def test_a_link_to_itself_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert "a readable file" in refusal(tmp_path / "loop")


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("bits", [32, 64])
def test_both_widths_and_both_byte_orders(tmp_path: Path, bits: int, order: Order) -> None:
    address = 0x80100000
    pieces = [Piece(".text", b"code", address, AX, align=16), Piece(".rel", b"r" * 24, type=REL, link=7, info=1)]
    found = Elf.open(save(tmp_path / "elf", elf(pieces, machine=8, bits=bits, order=order)))
    assert (found.machine, found.bits, found.byte_order, found.type) == ("EM_MIPS", bits, order, "ET_EXEC")
    (segment,) = found.segments
    assert (segment.virtual, segment.end, bytes(segment.data), segment.execute) == (address, address + 4, b"code", True)
    _, text, relocations, _ = found.sections
    assert (text.address, bytes(text.data), text.alignment, text.executable) == (address, b"code", 16, True)
    assert (relocations.type, relocations.link, relocations.info, relocations.entry_size) == ("SHT_REL", 7, 1, 24)


@pytest.mark.parametrize(
    ("kind", "word"), [(0, "ET_NONE"), (1, "ET_REL"), (2, "ET_EXEC"), (3, "ET_DYN"), (4, "ET_CORE")]
)
def test_every_type(tmp_path: Path, kind: int, word: str) -> None:
    assert Elf.open(save(tmp_path / "elf", elf([Piece(".text", b"", TEXT, AX)], kind=kind))).type == word


def test_an_elf_file_in_memory() -> None:
    found = Elf.from_bytes(memoryview(b"around" + GOOD)[6:], "vmlinuz")
    assert (found.path, len(found.sections)) == ("vmlinuz", 4)
    assert [found.offset_of(section.data) for section in found.sections[1:3]] == [120, 152]
    with pytest.raises(BadInput, match=r"vmlinuz at offset .*truncated"):
        Elf.from_bytes(memoryview(GOOD)[:-1], "vmlinuz")


def test_without_section_headers(tmp_path: Path) -> None:
    found = Elf.open(save(tmp_path / "elf", elf([Piece(".text", b"code", TEXT, AX)], section_headers=False)))
    assert found.sections == ()
    assert [bytes(segment.data) for segment in found.segments] == [b"code"]


def test_the_number_of_sections_may_be_in_the_first_header(tmp_path: Path) -> None:
    (headers,) = struct.unpack_from("<Q", GOOD, 0x28)
    many = bytearray(GOOD)
    many[0x3C:0x3E] = bytes(2)
    many[headers + 0x20 : headers + 0x28] = struct.pack("<Q", 4)
    assert [section.name for section in Elf.open(save(tmp_path / "many", bytes(many))).sections][1] == ".text"
    many[headers + 0x20 : headers + 0x28] = struct.pack("<Q", 1 << 60)
    assert "at most" in refusal(save(tmp_path / "too-many", bytes(many)))


def test_notes_are_no_segments(tmp_path: Path) -> None:
    data = GOOD[:64] + struct.pack("<I", 4) + GOOD[68:]
    found = Elf.open(save(tmp_path / "core", data))
    assert found.segments == ()
    assert [bytes(note) for note in found.notes] == [b"\x90" * 32]
    assert "the notes" in refusal(save(tmp_path / "past", data[: 64 + 8] + b"\xff" * 8 + data[64 + 16 :]))


def test_a_symbol_table_without_strings(tmp_path: Path) -> None:
    found = Elf.open(save(tmp_path / "elf", elf([Piece(".symtab", b"", type=SYMTAB, link=9)])))
    with pytest.raises(BadInput, match=r"a string table for \.symtab, got section number 9"):
        found.strings_of(found.sections[1])


@pytest.mark.parametrize(("at", "byte", "word"), [(4, 0, "class 0"), (4, 3, "class 3"), (5, 3, "data encoding 3")])
def test_no_form_that_there_is(tmp_path: Path, at: int, byte: int, word: str) -> None:
    assert word in refusal(save(tmp_path / "odd", GOOD[:at] + bytes((byte,)) + GOOD[at + 1 :]))


def test_an_address_past_the_end_of_a_32_bit_space(tmp_path: Path) -> None:
    data = elf([Piece(".text", b"code", 0xFFFF_FFFE, AX)], bits=32)
    assert "the address space" in refusal(save(tmp_path / "past", data))


def test_code_is_no_larger_than_its_file() -> None:
    check_share("vmlinux", ((0, 60), (100, 140)), 100)
    with pytest.raises(BadInput, match="overlap"):
        check_share("vmlinux", ((0, 60), (100, 141)), 100)


@pytest.mark.parametrize("length", [5, 40, 64, 100, len(GOOD) - 1])
def test_truncated(tmp_path: Path, length: int) -> None:
    refusal(save(tmp_path / "short", GOOD[:length]))


def test_section_data_past_the_end_names_section_and_offset(tmp_path: Path) -> None:
    (headers,) = struct.unpack_from("<Q", GOOD, 0x28)
    size_at = headers + 64 + 0x20
    bad = GOOD[:size_at] + struct.pack("<Q", 1 << 40) + GOOD[size_at + 8 :]
    text = refusal(save(tmp_path / "past", bad))
    assert "section '.text'" in text
    assert "offset 0x78" in text


def test_segment_data_past_the_end(tmp_path: Path) -> None:
    bad = GOOD[: 64 + 8] + struct.pack("<Q", 1 << 40) + GOOD[64 + 16 :]
    assert "segment for 0xffffffff81000000" in refusal(save(tmp_path / "past", bad))


def test_a_segment_larger_in_the_file_than_in_memory(tmp_path: Path) -> None:
    bad = GOOD[: 64 + 40] + struct.pack("<Q", 3) + GOOD[64 + 48 :]
    assert "fits its memory" in refusal(save(tmp_path / "fat", bad))


def test_a_number_of_headers_that_no_kernel_has(tmp_path: Path) -> None:
    bad = GOOD[:0x3C] + struct.pack("<H", 60_000) + GOOD[0x3E:]
    assert "at most" in refusal(save(tmp_path / "many", bad))


@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=4), st.data())
def test_a_damaged_file_opens_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[int, int]], data: st.DataObject
) -> None:
    bad = bytearray(GOOD)
    for at, byte in damage:
        bad[at] = byte
    del bad[data.draw(st.integers(1, len(bad))) :]
    path = save(tmp_path_factory.mktemp("damaged") / "elf", bytes(bad))
    try:
        found = Elf.open(path)
    except BadInput:
        return
    assert all(len(segment.data) <= segment.memory_size for segment in found.segments)


def test_forms_of_headers_do_not_pile_up() -> None:
    """A file may say any of 65,536 machines and as many types."""
    for machine in range(2 * KINDS):
        Elf.from_bytes(memoryview(elf([], machine=0xF000 + machine)), "made")
    assert structs.cache_info().currsize <= KINDS
