"""A program file: what execve() reads of an ELF's headers. Static x86-64 programs only."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Protocol

from ..errors import BadInput
from ..vocabulary.address import PAGE

ELF64_HEADER = struct.Struct("<4sBBBB8xHHIQQQIHHHHHH")
PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")
ET_EXEC, ET_DYN, EM_X86_64 = 2, 3, 62
PT_LOAD, PT_INTERP, PT_GNU_STACK = 1, 3, 0x6474E551
PF_X, PF_W, PF_R = 1, 2, 4
MAX_SEGMENTS = 65536 // 56
USER_END = (1 << 47) - PAGE


class Content(Protocol):
    """The bytes of a file."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> bytes | memoryview: ...


@dataclass(frozen=True, slots=True)
class LoadSegment:
    """One PT_LOAD: `flags` are PF_*."""

    offset: int
    address: int
    file_size: int
    memory_size: int
    flags: int
    alignment: int


@dataclass(frozen=True, slots=True)
class Program:
    """
    `entry` and the segments' addresses are as linked; `position_independent` (ET_DYN) says that they move together.
    `headers` is the file offset of the program headers, `header_count` their number. Without a PT_GNU_STACK the
    stack is not executable (arch/x86/include/asm/elf.h, v6.1).
    """

    entry: int
    position_independent: bool
    headers: int
    header_count: int
    segments: tuple[LoadSegment, ...]
    executable_stack: bool

    @property
    def span(self) -> int:
        """Bytes from the first page to the end of the last (Kernel: fs/binfmt_elf.c total_mapping_size(), v6.1)."""
        return max(s.address + s.memory_size for s in self.segments) - (self.segments[0].address & -PAGE)

    def headers_address(self, bias: int) -> int:
        """Where the program headers are in memory, 0 if no segment has them (Kernel: load_elf_binary(), v6.1)."""
        for segment in self.segments:
            if segment.offset <= self.headers < segment.offset + segment.file_size:
                return bias + segment.address + self.headers - segment.offset
        return 0


def read_program(data: Content, where: str) -> Program:
    """
    The headers of a program.

    Kernel: fs/binfmt_elf.c load_elf_binary(), load_elf_phdrs(), v6.1.
    Errors: BadInput, for which execve() says -ENOEXEC: no ELF, of another machine, dynamic, or broken.
    """
    if len(data) < ELF64_HEADER.size or bytes(data[:4]) != b"\x7fELF":
        raise BadInput(where, offset=0, expected="a static x86-64 ELF program", got=kind_of(data))
    (_, bits, order, _, _, kind, machine, _, entry, table, _, _, _, size, count, *_) = ELF64_HEADER.unpack(
        bytes(data[: ELF64_HEADER.size])
    )
    if bits != 2 or order != 1 or machine != EM_X86_64:
        got = f"machine {machine}, {'64' if bits == 2 else '32'} bits"
        raise BadInput(where, offset=18, expected="an ELF for x86-64 (machine 62, 64 bits, little-endian)", got=got)
    if kind not in (ET_EXEC, ET_DYN):
        raise BadInput(where, offset=16, expected="a program (ET_EXEC or ET_DYN)", got=f"ELF type {kind}")
    if size != PROGRAM_HEADER.size or not 0 < count <= MAX_SEGMENTS:
        raise BadInput(where, offset=54, expected="1 to 1170 program headers of 56 bytes", got=f"{count} of {size}")
    if table + count * size > len(data):
        raise BadInput(where, offset=table, expected=f"{count} program headers", got="the end of the file")
    segments, executable_stack = [], False
    for number in range(count):
        at = table + number * size
        type_, flags, offset, address, _, file_size, memory_size, alignment = PROGRAM_HEADER.unpack(
            bytes(data[at : at + size])
        )
        if type_ == PT_INTERP:
            raise BadInput(
                where, offset=at, expected="a static program (link it with -static)", got="one that asks for a loader"
            )
        if type_ == PT_GNU_STACK:
            executable_stack = bool(flags & PF_X)
        if type_ == PT_LOAD:
            check_segment(where, at, offset, address, file_size, memory_size, len(data))
            segments.append(LoadSegment(offset, address, file_size, memory_size, flags, alignment))
    if not segments:
        raise BadInput(where, offset=table, expected="something to load (a PT_LOAD)", got="none")
    return Program(entry, kind == ET_DYN, table, count, tuple(segments), executable_stack)


def check_segment(
    where: str, at: int, offset: int, address: int, file_size: int, memory_size: int, length: int
) -> None:
    """What load_elf_binary() asks of a segment, and that the file has it."""
    if file_size > memory_size or memory_size > USER_END or address > USER_END - memory_size:
        got = f"{file_size:#x} bytes of file, {memory_size:#x} at {address:#x}"
        raise BadInput(where, offset=at, expected="a segment that fits user space", got=got)
    if offset % PAGE != address % PAGE and file_size:
        raise BadInput(
            where, offset=at, expected="a file offset congruent to its address", got=f"{offset:#x}, {address:#x}"
        )
    if offset + file_size > length:
        raise BadInput(where, offset=at, expected=f"{file_size:#x} bytes at {offset:#x}", got=f"a file of {length:#x}")


def kind_of(data: Content) -> str:
    """What a file that is no ELF looks like."""
    start = bytes(data[:2])
    if not start:
        return "an empty file"
    return "a script" if start == b"#!" else f"bytes {bytes(data[:4]).hex(' ')}"
