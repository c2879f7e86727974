"""
Getting the kernel out of what it is packed in: layer by layer, each known by its first bytes.

    payload = unwrap(memoryview(mapping), "/boot/vmlinuz")
    payload.how         # ("x86 bzImage (boot protocol 2.15)", "xz-compressed payload at 0x43d4, 7.9 MB -> 41.0 MB")

Where a layer does not say where the kernel is (arm, s390, MIPS, old x86), it is searched for: every place at which a
compressed stream may start is tried in order, and the first that holds a kernel is it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from ..errors import BadInput
from .boot_headers import Machine, number, recognise
from .compression import candidates, decompress, identify, output_limit, pieces

MOST_LAYERS = 8
"""A kernel in a zImage in a uImage, compressed each time, has five."""
MOST_TRIES, MOST_OPENED = 512, 4
"""How many places of a magic are looked at, and how many streams are decompressed to their end, to find the kernel."""
MOST_FOUND = 256 << 20
"""The most that a kernel which was searched for may come out as: it has no debugging information."""
LEAST_KERNEL = 4096
"""A stream that starts with a piece smaller than this is none: the self-tests of zstd and xz in the kernel are."""
BANNER_START = b"Linux version "
BANNER = re.compile(rb"Linux version \d+\.\d+")
SEARCHED, STEP, BANNER_SIZE = 256 << 20, 1 << 20, 64
"""How far the banner is looked for, in which steps, and how long what is looked for may be."""

ELF_MAGIC = b"\x7fELF"
ET_EXEC, ET_DYN = 2, 3
EX_TABLE = b"__ex_table\0"
SECTION_NAMES = 1 << 16
"""The most of the section names that is looked at; a vmlinux has about 2,000 bytes of them."""
ELF_MACHINES = {8: "EM_MIPS", 15: "EM_PARISC", 20: "EM_PPC", 21: "EM_PPC64", 22: "EM_S390", 40: "EM_ARM", 42: "EM_SH"}
"""Of the architectures whose wrappers are ELF files."""


@dataclass(frozen=True, slots=True)
class Payload:
    """
    `data` is the kernel: an ELF file, or `raw`, as it lies in memory. `how` is what was taken off, outermost first;
    nothing for a plain file. `offset` is where in the file `data` is, or the outermost compressed stream that holds it.
    `machine` is what a header around a raw image said, for `platform_of`; None if none did.
    """

    data: memoryview
    how: tuple[str, ...]
    offset: int
    kind: Literal["elf", "raw"]
    machine: Machine | None = None


def unwrap(data: memoryview, where: str) -> Payload:
    """
    The kernel in `data`, the whole of a file; an ELF file that is no wrapper (an object, a core, any program) as it is.

    Nothing that comes out on the way is larger than 64 times the file, or 1 GiB. Of the kernel's own, only what is
    known by its header or by "Linux version " is taken for a raw image.

    Errors: BadInput if there is no kernel in it, or a layer is damaged, cut off or too large.
    """
    limit = output_limit(len(data))
    how: list[str] = []
    machine: Machine | None = None
    offset, packed = 0, False
    for _ in range(MOST_LAYERS):
        layer = recognise(data, within(where, how))
        if layer:
            how.append(layer.how)
            machine = layer.machine or machine
            offset += 0 if packed else layer.start
            data = data[layer.start : layer.end]
            if layer.holds == "the image":
                return Payload(data, tuple(how), offset, "raw", machine)
            if layer.holds == "the next layer":
                continue
        elf, inside = data[:4] == ELF_MAGIC, within(where, how)
        if identify(data):
            at, found, size = 0, memoryview(decompress(data, inside, limit=limit)), f", {megabytes(len(data))}"
        elif elf and is_no_wrapper(data):
            return Payload(data, tuple(how), offset, "elf")
        elif stream := find_stream(data, inside, limit):  # before the banner: lz4 leaves it readable
            (at, found), size = stream, ", found by its magic"
            if elf:
                machine = elf_machine(data)
                how.append("ELF executable around a kernel")
        elif elf:
            return Payload(data, tuple(how), offset, "elf")
        elif has_banner(data):
            return Payload(data, tuple(how), offset, "raw", machine)
        else:
            got = f"{bytes(data[:4]).hex(' ') or 'nothing'}, and no kernel behind it"
            raise BadInput(inside, offset=0, expected="a kernel: ELF, a boot image, or compressed", got=got)
        offset += 0 if packed else at
        place = f"at {at:#x} of it" if packed else f"at {offset:#x}"
        how.append(f"{identify(data, at)}-compressed payload {place}{size} -> {megabytes(len(found))}")
        data, packed = found, True
    raise BadInput(where, expected=f"a kernel within at most {MOST_LAYERS} wrappers", got="more of them")


def within(where: str, how: list[str]) -> str:
    return f"{where}, in {how[-1]}" if how else where


def find_stream(data: memoryview, where: str, limit: int) -> tuple[int, memoryview] | None:
    """Where the first compressed stream in `data` is that holds a kernel, and what it holds."""
    for at in islice(streams(data, where), MOST_OPENED):
        if found := kernel_in(data[at:], where, min(limit, MOST_FOUND)):
            return at, found
    return None


def kernel_in(stream: memoryview, where: str, limit: int) -> memoryview | None:
    """What `stream` holds if it is sound and that is a kernel, or the next layer around one."""
    try:
        found = memoryview(decompress(stream, where, limit=limit))
        return found if found[:4] == ELF_MAGIC or has_banner(found) or recognise(found, where) else None
    except BadInput:
        return None


def streams(data: memoryview, where: str) -> Iterator[int]:
    """Every offset in `data` from which a kernel's worth of bytes begins to decompress."""
    for at in islice(candidates(data), MOST_TRIES):
        try:
            if len(next(pieces(data[at:], where), b"")) >= LEAST_KERNEL:
                yield at
        except BadInput:
            continue


def has_banner(data: memoryview) -> bool:
    """Does `data` hold the kernel's "Linux version 6.1…"?"""
    whole = min(len(data), SEARCHED)
    return any(
        (at := (step := bytes(data[start : start + STEP + BANNER_SIZE])).find(BANNER_START)) >= 0
        and BANNER.search(step, at)
        for start in range(0, whole, STEP)
    )


def is_no_wrapper(elf: memoryview) -> bool:
    """
    Is this ELF file an object or a core, or has it an exception table? A wrapper is an executable without one.

    Manual: System V ABI, chapter 4 (ELF header, e_shstrndx; section header, sh_offset).
    """
    wide, order = elf_class(elf)
    if number(elf, 16, f"{order}H") not in (ET_EXEC, ET_DYN):
        return True
    headers = number(elf, 40, f"{order}Q") if wide else number(elf, 32, f"{order}I")
    size, names = (number(elf, at, f"{order}H") for at in ((58, 62) if wide else (46, 50)))
    header = headers + size * names
    start = number(elf, header + 24, f"{order}Q") if wide else number(elf, header + 16, f"{order}I")
    return EX_TABLE in bytes(elf[start : start + SECTION_NAMES])


def elf_machine(elf: memoryview) -> Machine | None:
    """What the ELF header of a wrapper says of the kernel in it."""
    wide, order = elf_class(elf)
    name = ELF_MACHINES.get(number(elf, 18, f"{order}H"))
    return (name, 64 if wide else 32, "little" if order == "<" else "big") if name else None


def elf_class(elf: memoryview) -> tuple[bool, str]:
    """EI_CLASS: is it a 64-bit file? EI_DATA: its byte order, as `struct` has it."""
    return number(elf, 4, "B") == 2, ">" if number(elf, 5, "B") == 2 else "<"


def megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"
