"""
A file that holds kernel code, whatever it is: its content says which reader it is for, not its name.

    image = open_image("/boot/vmlinuz", system_map="System.map")
"""

from __future__ import annotations

from pathlib import Path

from ..errors import Absent, BadInput
from .boot_image import unwrap
from .core import FLATTENED, KDUMP, Core, is_kcore
from .elf import ELF_MAGIC, Elf, map_file
from .kallsyms import find_kallsyms
from .kernel_image import KernelImage
from .module import Module
from .raw_image import RawImage
from .system_map import read_system_map
from .vmlinux import Vmlinux


def open_image(path: str | Path, *, system_map: str | None = None, strict: bool = True) -> KernelImage:
    """
    The kernel, module or dump in the file at `path`: an ELF vmlinux or module, a boot image that holds one or a flat
    image, any of them compressed, an ELF core or kdump, or /proc/kcore. Its `how` says what was taken off.

    Where an image has no symbols they are taken from the file `system_map`, or else from its kallsyms; with
    `system_map` always from there, but for modules. `strict` is `ExceptionTable.from_bytes()`'s.

    Memory: besides 32 MiB, at most 64 times the file's size, and 1 GiB, for what comes out of compression; and to read
    that, at most 40 times its size. (A table of nothing but entries takes 21 times; a real vmlinux a fraction of one.)
    Only the named file and `system_map` are opened.

    Errors: BadInput if it is none of these, or broken; Unsupported for an architecture that is not known here; and what
    `read_system_map` raises.
    """
    where = str(path)
    if is_kcore(where):
        return Core.open(where, system_map=system_map, strict=strict)
    data = memoryview(map_file(where))
    if is_dump(data):
        return Core.open(where, system_map=system_map, strict=strict)
    payload = unwrap(data, where)
    if payload.kind == "raw":
        return RawImage.from_payload(payload, where, system_map=system_map, strict=strict)
    elf = Elf.from_bytes(payload.data, where)
    if elf.type == "ET_REL":
        return Module(elf, how=payload.how, strict=strict)
    return with_symbols(Vmlinux(elf, how=payload.how, strict=strict), system_map)


def is_dump(data: memoryview) -> bool:
    """Is it a kdump, or an ELF core? e_type tells. Manual: System V ABI, chapter 4."""
    start = bytes(data[:18])
    if start.startswith(ELF_MAGIC):
        return int.from_bytes(start[16:18], "big" if start[5:6] == b"\2" else "little") == 4
    return start.startswith((KDUMP, FLATTENED))


def with_symbols(image: Vmlinux, system_map: str | None) -> Vmlinux:
    """The image with symbols from the file, or, if it has none, from its kallsyms."""
    if system_map is not None:
        return image.with_symbols(read_system_map(system_map, image.platform), f"symbols from {system_map}")
    if len(image.symbols):
        return image

    def address_at(offset: int) -> int | None:
        for segment in image.segments:
            at = offset - image.elf.offset_of(segment.data)
            if 0 <= at < len(segment.data):
                return segment.virtual + at
        return None

    try:
        found = find_kallsyms(image.elf.data, image.platform, where=image.path, address_at=address_at)
    except (Absent, BadInput):
        return image
    return image.with_symbols(found.symbols(), found.how)
