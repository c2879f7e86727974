"""
Getting the kernel out of what it is packed in: layer by layer, each known by its first bytes.

    payload = unwrap(memoryview(mapping), "/boot/vmlinuz")
    payload.how         # ("x86 bzImage (boot protocol 2.15)", "xz-compressed payload at 0x43d4, 7.9 MB -> 41.0 MB")

Where a layer does not say where the kernel is (arm, s390, MIPS, old x86), it is searched for: every place at which a
compressed stream may start is tried in order, and the first that holds a kernel is it. What stands for a kernel is its
utsname, not the words "Linux version": those are in modules and programs too, and lz4 leaves them readable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import BadInput
from .boot_headers import Machine, number, recognise
from .compression import candidates, decompress, identify, output_limit, pieces
from .utsname import find_utsname

MOST_LAYERS = 8
"""A kernel in a zImage in a uImage, compressed each time, has five."""
MOST_TRIES, MOST_OPENED = 512, 4
"""How many places of a magic are looked at, and how many streams are decompressed to their end, to find the kernel."""
MOST_FOUND = 256 << 20
"""The most that a kernel which was searched for may come out as: it has no debugging information."""
LEAST_KERNEL = 4096
"""A stream that starts with a piece smaller than this is none: the self-tests of zstd and xz in the kernel are."""
CPIO = b"0707"
"""What an initramfs begins with. Kernel: init/initramfs.c do_header(), v6.1."""

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
    `machine` is what a header around a raw image said, for `platform_of`; None if none did. `text_offset` is how far
    from a multiple of 2 MiB its header says that it is linked to.
    """

    data: memoryview
    how: tuple[str, ...]
    offset: int
    kind: Literal["elf", "raw"]
    machine: Machine | None = None
    text_offset: int = 0


def unwrap(data: memoryview, where: str) -> Payload:
    """
    The kernel in `data`, the whole of a file; an ELF file that is no wrapper (an object, a core, any program) as it is.

    Nothing that comes out on the way is larger than 64 times the file, or 1 GiB. Only what is known
    by its header or has a utsname in it is taken for a raw image.

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
                return Payload(data, tuple(how), offset, "raw", machine, layer.text_offset)
            if layer.holds == "the next layer":
                continue
        elf, inside = data[:4] == ELF_MAGIC, within(where, how)
        if identify(data):
            at, found, size = 0, memoryview(decompress(data, inside, limit=limit)), f", {megabytes(len(data))}"
        elif elf and is_no_wrapper(data):
            return Payload(data, tuple(how), offset, "elf")
        elif not isinstance(stream := find_stream(data, inside, limit), str):
            (at, found), size = stream, ", found by its magic"
            if elf:
                machine = elf_machine(data)
                how.append("ELF executable around a kernel")
        elif elf:
            return Payload(data, tuple(how), offset, "elf")
        elif find_utsname(data):
            return Payload(data, tuple(how), offset, "raw", machine)
        else:
            got = f"{bytes(data[:4]).hex(' ') or 'nothing'}, and {stream}"
            raise BadInput(inside, offset=0, expected="a kernel: ELF, a boot image, or compressed", got=got)
        offset += 0 if packed else at
        place = f"at {at:#x} of it" if packed else f"at {offset:#x}"
        how.append(f"{identify(data, at)}-compressed payload {place}{size} -> {megabytes(len(found))}")
        data, packed = found, True
    raise BadInput(where, expected=f"a kernel within at most {MOST_LAYERS} wrappers", got="more of them")


def within(where: str, how: list[str]) -> str:
    return f"{where}, in {how[-1]}" if how else where


def find_stream(data: memoryview, where: str, limit: int) -> tuple[int, memoryview] | str:
    """Where the first compressed stream in `data` is that holds a kernel, and what it holds; or why none is found."""
    opened, damage = 0, ""
    for tried, at in enumerate(candidates(data)):
        if tried == MOST_TRIES or opened == MOST_OPENED:
            return f"no kernel in the {opened} compressed streams that were opened, with more behind them{damage}"
        if not may_be_kernel(data[at:], where):
            continue
        opened += 1
        try:
            found = memoryview(decompress(data[at:], where, limit=min(limit, MOST_FOUND)))
            if holds_kernel(found, where):
                return at, found
        except BadInput as error:
            damage = damage or f"; the {identify(data, at)} stream at {at:#x} is broken: {error.got}"
    return f"no kernel behind it{damage}"


def may_be_kernel(stream: memoryview, where: str) -> bool:
    """Does a kernel's worth of bytes begin to decompress, and not as an initramfs or a module does?"""
    try:
        first = memoryview(next(pieces(stream, where), b""))
    except BadInput:
        return False
    return (
        len(first) >= LEAST_KERNEL and first[: len(CPIO)] != CPIO and (first[:4] != ELF_MAGIC or is_executable(first))
    )


def holds_kernel(found: memoryview, where: str) -> bool:
    """Is it a kernel, or the next layer around one? Errors: BadInput if that layer is cut off."""
    if found[:4] == ELF_MAGIC:
        return is_executable(found) and find_utsname(found) is not None
    return find_utsname(found) is not None or recognise(found, where) is not None


def is_no_wrapper(elf: memoryview) -> bool:
    """
    Is this ELF file an object or a core, or has it an exception table? A wrapper is an executable without one.

    Manual: System V ABI, chapter 4 (ELF header, e_shstrndx; section header, sh_offset).
    """
    if not is_executable(elf):
        return True
    wide, order = elf_class(elf)
    headers = number(elf, 40, f"{order}Q") if wide else number(elf, 32, f"{order}I")
    size, names = (number(elf, at, f"{order}H") for at in ((58, 62) if wide else (46, 50)))
    header = headers + size * names
    start = number(elf, header + 24, f"{order}Q") if wide else number(elf, header + 16, f"{order}I")
    return EX_TABLE in bytes(elf[start : start + SECTION_NAMES])


def is_executable(elf: memoryview) -> bool:
    return number(elf, 16, f"{elf_class(elf)[1]}H") in (ET_EXEC, ET_DYN)


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
