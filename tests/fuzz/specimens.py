"""
What the readers are given before it is damaged: the kernels that are shipped, recorded oopses, and small files of every
format as the other tests make them. `modules_of` has real modules, for those who have a kernel package.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import struct
import sys
import zlib
from collections.abc import Callable
from functools import cache
from importlib.resources import files

import lz4.frame

from evidence.oops_corpus import corpus
from foreign_kernel import ForeignKernel
from images import test_boot_image, test_btf, test_compression, test_kallsyms, test_module, test_system_map
from images.elf_writer import AX, CORE, TEXT, A, Piece, elf
from images.test_utsname import utsname
from pagefault.arch.platform import ARM64, MIPS64, PLATFORMS, S390, X86_32, X86_64, Platform
from tables import test_vdso_extable
from tables.table_image import LOADS, entry

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PAGE, PHYSICAL = 4096, 1 << 24
LARGEST_MODULE = 16_000
TABLE, SIZE = 0x3000, 0x4000
"""Where a small flat kernel has its table, and how large it is."""
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "lz4": lz4.frame.compress,
    "lz4 legacy": test_compression.lz4_legacy,
    "lzo": test_compression.lzop,
    "zstd": zstd.compress,
}


def shipped(name: str) -> bytes:
    return (files("pagefault") / "kernels" / name).read_bytes()


def flat(platform: Platform, count: int = 40) -> bytes:
    """A flat kernel with a table of `count` entries."""
    layout, draw, data = platform.exceptions.layouts[0], random.Random(1), bytearray(SIZE)
    order = "<" if platform.byte_order == "little" else ">"
    start = max(platform.kernel_half, 1 << 20)
    offsets = sorted(draw.sample(range(0x400, TABLE - 0x100, 16), count))
    for index, offset in enumerate(offsets):
        data[offset : offset + 8] = LOADS.get(platform.elf_machine, b"").ljust(8, b"\0")
        at = TABLE + index * layout.size
        fixup = draw.randrange(0x400, TABLE - 0x100, 16)
        data[at : at + layout.size] = entry(layout, order, platform, start, at, offset, fixup)
    data[0x40:0x60] = b"Linux version 6.1.0 (small)\n".ljust(32, b"\0")
    name = utsname(platform.uts_machine)
    data[0x80 : 0x80 + len(name)] = name
    return bytes(data)


def table(platform: Platform) -> bytes:
    return flat(platform)[TABLE : TABLE + 40 * platform.exceptions.layouts[0].size]


def stripped() -> bytes:
    """A vmlinux without section headers or symbols."""
    data = flat(X86_64)
    pieces = [Piece(".text", data[:TABLE], TEXT, AX), Piece("__ex_table", data[TABLE:], TEXT + TABLE, A)]
    return elf(pieces, section_headers=False)


def dumped() -> tuple[bytes, bytes]:
    """The memory of a small kernel from TEXT on, code, table and kallsyms; and the VMCOREINFO that says where."""
    listed = [(TEXT, "T", "_stext"), (TEXT + TABLE, "T", "_etext"), (TEXT + TABLE, "D", "__start___ex_table")]
    listed += [(TEXT + TABLE + len(table(X86_64)), "D", "__stop___ex_table"), (TEXT + SIZE, "D", "_end")]
    listed += [(TEXT + SIZE + number, "d", f"after_{number}") for number in range(400)]
    kallsyms = test_kallsyms.Writer(X86_64, listed, before=0)
    memory = flat(X86_64) + bytes(kallsyms.data)
    memory += bytes(-len(memory) % PAGE)
    places = {f"kallsyms_{name}": TEXT + SIZE + at for name, at in kallsyms.at.items()}
    places["swapper_pg_dir"] = TEXT + len(memory)
    memory += page_tables(PHYSICAL + len(memory))
    symbols = [f"SYMBOL({name})={address:x}" for name, address in places.items()]
    numbers = ["NUMBER(phys_base)=0", "NUMBER(pgtable_l5_enabled)=0", "KERNELOFFSET=0"]
    return memory, "\n".join(["OSRELEASE=6.1.0", "PAGESIZE=4096", *numbers, *symbols, ""]).encode()


def page_tables(at: int) -> bytes:
    """Three tables one after another, at a physical address: they map TEXT to PHYSICAL with a page of 2 MiB."""
    tables = bytearray(3 * PAGE)
    entries = ((0, 511, at + PAGE | 0x63), (1, 510, at + 2 * PAGE | 0x63), (2, TEXT >> 21 & 511, PHYSICAL | 0xE3))
    for number, index, word in entries:
        struct.pack_into("<Q", tables, number * PAGE + 8 * index, word)
    return bytes(tables)


def note_of(information: bytes) -> bytes:
    note = struct.pack("<III", 11, len(information), 0) + b"VMCOREINFO\0\0" + information
    return note + bytes(-len(note) % 4)


def core() -> bytes:
    """An ELF dump of the small kernel."""
    memory, information = dumped()
    note, start = note_of(information), 64 + 2 * 56
    headers = struct.pack("<IIQQQQQQ", 4, 0, start, 0, 0, len(note), len(note), 4)
    headers += struct.pack("<IIQQQQQQ", 1, 7, start + len(note), TEXT, PHYSICAL, len(memory), len(memory), PAGE)
    ident = b"\x7fELF\2\1\1".ljust(16, b"\0")
    return (
        ident + struct.pack("<HHIQQQIHHHHHH", CORE, 62, 1, 0, 64, 0, 0, 64, 56, 2, 64, 0, 0) + headers + note + memory
    )


def kdump() -> bytes:
    """A kdump of the small kernel, its pages compressed with zlib. Manual: makedumpfile, IMPLEMENTATION."""
    memory, information = dumped()
    utsname = b"".join(text.ljust(65, b"\0") for text in (b"Linux", b"host", b"6.1.0", b"#1", b"x86_64", b""))
    first, count = PHYSICAL // PAGE, len(memory) // PAGE
    header = (b"KDUMP   " + struct.pack("<I", 6) + utsname).ljust(424, b"\0")
    header += struct.pack("<Ii9I", 0, PAGE, 1, 2, first + count, 0, 0, 0, 0, 1, 0)
    note, at = note_of(information), PAGE + 512
    places = at + 24, len(information), at, len(note), 0, 0, 0, 0, first + count
    part = struct.pack("<QiiQQ9Q", 0, 0, 0, 0, 0, *places).ljust(512, b"\0") + note
    bitmap = bytearray(PAGE)
    for number in range(first, first + count):
        bitmap[number // 8] |= 1 << number % 8
    pages = [zlib.compress(memory[at : at + PAGE]) for at in range(0, len(memory), PAGE)]
    at, descriptions = 4 * PAGE + 24 * count, b""
    for page in pages:
        descriptions += struct.pack("<QIIQ", at, len(page), 1, 0)
        at += len(page)
    return header.ljust(PAGE, b"\0") + part.ljust(PAGE, b"\0") + 2 * bytes(bitmap) + descriptions + b"".join(pages)


@cache
def specimens() -> dict[str, tuple[bytes, ...]]:
    """By the name of the reader they are for."""
    kernels = shipped("vmlinux"), shipped("faulty.elf"), stripped()
    packed = tuple(pack(kernels[0]) for pack in PACKERS.values())
    boot = tuple(data for data, _, _ in test_boot_image.LAYERS.values() if len(data) < 200_000)
    maps = test_system_map.TEXT.encode(), test_system_map.KALLSYMS.encode()
    lists = tuple(
        bytes(test_kallsyms.Writer(platform, test_kallsyms.symbols(platform, 600), since_64=new, form=form).data)
        for platform in PLATFORMS[:3]
        for new in (False, True)
        for form in ("relative", "places", "absolute")
    )
    flats = tuple(flat(each) for each in (X86_64, X86_32, ARM64, MIPS64, S390))
    tables = tuple(table(each) for each in PLATFORMS if each.elf_machine in LOADS)
    modules = test_module.module_file(), stripped()
    dumps = core(), kdump()
    return {
        "image": (*kernels, *modules, *boot[:20], *packed[:2]),
        "elf": kernels,
        "vmlinux": kernels,
        "module": modules,
        "compressed_module": tuple(pack(modules[0]) for pack in PACKERS.values()),
        "boot_image": (*boot, *packed),
        "compression": tuple(pack(test_compression.SMALL * 20) for pack in PACKERS.values()),
        "kallsyms": lists,
        "system_map": maps,
        "raw_image": flats,
        "by_shape": flats,
        "exception_table": tables,
        "lenient_table": tables,
        "relocations": modules,
        "btf": (test_btf.example(),),
        "vdso": (test_vdso_extable.kernel("Q", 0x800, 16, -0x700, -0x6F0, -0x100, -0xF0)[test_vdso_extable.IMAGE :],),
        "oops": tuple(case.text.encode() for case in list(corpus())[::6]),
        "core": dumps,
    }


def modules_of(kernel: ForeignKernel, count: int = 2) -> list[bytes]:
    """The smallest modules of a package that have an exception table, or the smallest."""
    small = sorted(
        (path for path in kernel.modules.rglob("*.ko") if path.stat().st_size < LARGEST_MODULE),
        key=lambda path: (path.stat().st_size, path),
    )
    having = [data for path in small if b"__ex_table" in (data := path.read_bytes())]
    return (having or [path.read_bytes() for path in small])[:count]
