from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from images.elf_writer import AX, TEXT, Piece, elf, save
from pagefault.errors import BadInput
from pagefault.images.elf import Elf

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


def test_arm64(tmp_path: Path) -> None:
    assert "EM_AARCH64" in refusal(save(tmp_path / "arm64", elf([Piece(".text", b"", TEXT, AX)], machine=183)))


def test_32_bit(tmp_path: Path) -> None:
    assert "32-bit" in refusal(save(tmp_path / "i386", GOOD[:4] + b"\x01" + GOOD[5:]))


def test_big_endian(tmp_path: Path) -> None:
    assert "little-endian" in refusal(save(tmp_path / "big", GOOD[:5] + b"\x02" + GOOD[6:]))


@pytest.mark.parametrize(("kind", "word"), [(1, "relocatable"), (3, "shared object"), (4, "core file"), (0, "no type")])
def test_no_executable(tmp_path: Path, kind: int, word: str) -> None:
    assert word in refusal(save(tmp_path / "other", elf([Piece(".text", b"", TEXT, AX)], kind=kind)))


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
