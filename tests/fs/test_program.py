"""Reading a program's headers: what is one, what is not and how that is said, and what mutated ones come to."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab.build import BINARIES

from pagefault.errors import BadInput
from pagefault.fs.program import ELF64_HEADER, PROGRAM_HEADER, Program, read_program
from pagefault.syscalls.execution import check_program, execute

SOUND = (BINARIES / "anonymous").read_bytes()
HEADERS = 64 + SOUND[56] * 56
TYPE, MACHINE, ENTRY, TABLE, ENTRY_SIZE, COUNT = 16, 18, 24, 32, 54, 56
"""Offsets in an ELF header."""
KIND, FLAGS, OFFSET, ADDRESS, FILE_SIZE, MEMORY_SIZE = 0, 4, 8, 16, 32, 40
"""And in a program header."""
MAX = (1 << 64) - 1


def changed(at: int, form: str, value: int) -> bytes:
    """The sound program, with one number of its headers replaced."""
    data = bytearray(SOUND)
    struct.pack_into(form, data, at, value)
    return bytes(data)


def load(field: int, form: str, value: int) -> bytes:
    """The same in its last segment that is loaded."""
    last = max(at for at in range(64, HEADERS, 56) if SOUND[at : at + 4] == b"\1\0\0\0")
    return changed(last + field, form, value)


def test_a_sound_one() -> None:
    program = read_program(SOUND, "anonymous")
    assert not program.position_independent
    assert not program.executable_stack
    assert any(s.address <= program.entry < s.address + s.memory_size for s in program.segments)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "expected a static x86-64 ELF program, got an empty file"),
        (b"#!/bin/sh\necho\n", "got a script"),
        (b"MZ" + bytes(100), "got bytes 4d 5a 00 00"),
        (SOUND[:40], "expected a static x86-64 ELF program"),
        (SOUND[:80], "program headers, got the end of the file"),
        (changed(MACHINE, "<H", 183), "got machine 183, 64 bits"),
        (changed(MACHINE, "<H", 3), "got machine 3"),
        (changed(4, "B", 1), "32 bits"),
        (changed(5, "B", 2), "little-endian"),
        (changed(TYPE, "<H", 1), "got ELF type 1"),
        (changed(TYPE, "<H", 4), "got ELF type 4"),
        (changed(COUNT, "<H", 0), "got 0 of 56"),
        (changed(COUNT, "<H", 0xFFFF), "got 65535 of 56"),
        (changed(ENTRY_SIZE, "<H", 32), "of 32"),
        (changed(TABLE, "<Q", MAX), "got the end of the file"),
        (changed(TABLE, "<Q", len(SOUND) - 8), "got the end of the file"),
        (changed(64, "<I", 3), "expected a static program (link it with -static), got one that asks for a loader"),
        (load(FILE_SIZE, "<Q", MAX), "expected a segment that fits user space"),
        (load(MEMORY_SIZE, "<Q", 1 << 47), "expected a segment that fits user space"),
        (load(ADDRESS, "<Q", MAX & -4096), "expected a segment that fits user space"),
        (load(ADDRESS, "<Q", 1 << 47), "expected a segment that fits user space"),
        (load(OFFSET, "<Q", 1), "expected a file offset congruent to its address"),
        (load(OFFSET, "<Q", 1 << 40), "got a file of"),
    ],
)
def test_what_is_no_program_is_told(data: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"^some/file") as error:
        read_program(data, "some/file")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    (tmp_path / "program").write_bytes(data)
    with pytest.raises(BadInput):
        execute(tmp_path / "program")


def test_a_directory_a_pipe_and_nothing_are_no_programs(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/zero"), tmp_path / "missing"):
        with pytest.raises(BadInput):
            check_program(path)


@given(st.lists(st.tuples(st.integers(0, HEADERS - 1), st.integers(0, 255)), min_size=1, max_size=12))
def test_only_bad_input_comes_of_changed_headers(changes: list[tuple[int, int]]) -> None:
    data = bytearray(SOUND)
    for at, value in changes:
        data[at] = value
    read_or_refuse(bytes(data))


@given(st.integers(0, 4), st.sampled_from((OFFSET, ADDRESS, FILE_SIZE, MEMORY_SIZE)), st.integers(0, MAX))
def test_only_bad_input_comes_of_any_number(number: int, field: int, value: int) -> None:
    read_or_refuse(changed(64 + 56 * number + field, "<Q", value))


@given(st.integers(0, len(SOUND)))
def test_only_bad_input_comes_of_a_cut(length: int) -> None:
    read_or_refuse(SOUND[:length])


@given(st.binary(max_size=400))
def test_only_bad_input_comes_of_rubbish(data: bytes) -> None:
    read_or_refuse(b"\x7fELF" + data)


def read_or_refuse(data: bytes) -> None:
    """Either it is refused, or what it says can be loaded."""
    try:
        program = read_program(data, "changed")
    except BadInput:
        return
    assert_loadable(program, len(data))


def assert_loadable(program: Program, size: int) -> None:
    assert program.segments
    assert program.headers + program.header_count * PROGRAM_HEADER.size <= size
    for segment in program.segments:
        assert segment.file_size <= segment.memory_size
        assert segment.address + segment.memory_size <= 1 << 47
        assert segment.offset + segment.file_size <= size


@pytest.mark.parametrize(
    "data",
    [
        changed(ENTRY, "<Q", 0),
        changed(ENTRY, "<Q", MAX),
        changed(ENTRY, "<Q", 0xFFFF_8000_0000_0000),
        load(MEMORY_SIZE, "<Q", 1 << 46),
        load(ADDRESS, "<Q", 0),
        load(ADDRESS, "<Q", 0x400000),
        load(FLAGS, "<I", 0),
        changed(64 + FLAGS, "<I", 0),
    ],
    ids=["no entry", "entry -1", "entry in the kernel", "huge", "at 0", "overlapping", "no rights", "no rights at all"],
)
def test_a_broken_one_that_the_kernel_would_load_ends(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(data)
    ended = execute(tmp_path / "program", budget=10_000_000, fault_limit=10_000, ram=64 << 20, thp="never")
    assert ended.signal or ended.stopped or ended.exit_status is not None


@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(ELF64_HEADER.size, HEADERS - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_changed_headers_are_run_or_refused(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(SOUND)
    for at, value in changes:
        data[at] = value
    path = tmp_path_factory.mktemp("changed") / "program"
    path.write_bytes(bytes(data))
    try:
        ended = execute(path, budget=5_000_000, fault_limit=2_000, ram=64 << 20, thp="never")
    except BadInput:
        return
    assert ended.signal or ended.stopped or ended.exit_status is not None
