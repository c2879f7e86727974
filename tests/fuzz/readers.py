"""
Every reader of files as a function of bytes that reads all there is to read. Each returns, or raises one of ALLOWED.

    READERS["image"](Path("vmlinux").read_bytes())
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice

import numpy as np

from pagefault.arch.disassembly import disassemble_all
from pagefault.arch.platform import ARM64, PLATFORMS, X86_64
from pagefault.errors import Absent, BadInput, Unsupported
from pagefault.evidence.oops import read_all, write
from pagefault.images.boot_image import unwrap
from pagefault.images.btf import Btf
from pagefault.images.compression import decompress, output_limit
from pagefault.images.core import Core
from pagefault.images.elf import Elf
from pagefault.images.kallsyms import find_kallsyms
from pagefault.images.kernel_image import KernelImage
from pagefault.images.module import Module
from pagefault.images.open_image import open_image
from pagefault.images.raw_image import RawImage
from pagefault.images.relocations import apply, read_records, symbol_entries
from pagefault.images.system_map import parse_system_map
from pagefault.images.vmlinux import Vmlinux
from pagefault.survey.describe import describe
from pagefault.tables.extable import ExceptionTable
from pagefault.tables.extable_shape import by_shape, the_one
from pagefault.tables.symbols import SymbolTable
from pagefault.tables.vdso_extable import vdso_exception_tables

ALLOWED = (BadInput, Absent, Unsupported)
Reader = Callable[[bytes], None]
DESCRIBED = 40
"""Entries of an image that are described: each costs the same, and a file may have many."""
STRUCTURES = ("task_struct", "thread_struct", "module", "pt_regs")


@contextmanager
def file_of(data: bytes) -> Iterator[str]:
    """The path of a regular file with these bytes, in memory."""
    descriptor = os.memfd_create("specimen")
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def all_of(image: KernelImage) -> None:
    """Whatever an image can be asked. What one question finds wrong does not keep the next from being asked."""
    questions: list[Callable[[], object]] = [
        lambda: image.version,
        lambda: (image.how, image.module, image.sections, image.executable),
        lambda: symbols_of(image.symbols),
        lambda: [list(islice(found.table, DESCRIBED)) for found in image.exception_tables],
        lambda: [found.table.search(start) for found in image.exception_tables for start, _ in image.executable[:4]],
        lambda: list(islice(describe(image), DESCRIBED)),
        *(
            lambda section=section: image.read(section.address, min(section.size, 1 << 16))
            for section in image.sections[:8]
        ),
        lambda: code_of(image),
    ]
    for ask in questions:
        with suppress(*ALLOWED):
            ask()


def code_of(image: KernelImage) -> None:
    for start, end in image.executable[:4]:
        code = image.read(start, min(end - start, 256))
        assert all(each.length > 0 for each in disassemble_all(image.platform, code, start))


def symbols_of(table: SymbolTable) -> None:
    for name in ("_stext", "linux_banner", "_end"):
        address = table.get(name)
        if address is not None:
            table.at(address)
            table.format(address)
    for _, address in islice(table.matching(bool), DESCRIBED):
        table.at(address)
        table.at(address + 1)
    table.find("a symbol that is not there")


def image(data: bytes) -> None:
    """A file that the command line is given: whatever it is, both ways."""
    with file_of(data) as path:
        for strict in (True, False):
            with suppress(*ALLOWED):
                all_of(open_image(path, strict=strict))
        open_image(path, system_map=path)


def elf(data: bytes) -> None:
    found = Elf.from_bytes(memoryview(data), "specimen")
    pieces = [each.data for each in found.sections] + [each.data for each in found.segments]
    assert all(len(piece) <= len(data) for piece in pieces)
    for section in found.sections:
        found.offset_of(section.data)
        found.strings_of(section)


def vmlinux(data: bytes) -> None:
    kernel = Vmlinux(Elf.from_bytes(memoryview(data), "specimen"), strict=False)
    all_of(kernel)
    for ask in (lambda: kernel.banner, lambda: kernel.physical(kernel.segments[0].virtual + 8), kernel.check_runnable):
        with suppress(*ALLOWED):
            ask()
    structures_of(kernel.layout)


def module(data: bytes) -> None:
    loaded = Module(Elf.from_bytes(memoryview(data), "specimen"), strict=False)
    all_of(loaded)
    for name in ("__ex_table", ".text", *{each.name for each in loaded.elf.sections}):
        with suppress(*ALLOWED):
            loaded.relocations(name)
    all_of(Module(loaded.elf))


def compressed_module(data: bytes) -> None:
    with file_of(data) as path:
        all_of(Module.open(path))


def boot_image(data: bytes) -> None:
    payload = unwrap(memoryview(data), "specimen")
    assert len(payload.data) <= max(len(data), output_limit(len(data)))


def compression(data: bytes) -> None:
    limit = output_limit(len(data))
    assert len(decompress(memoryview(data), "specimen", limit=limit)) <= limit


def kallsyms(data: bytes) -> None:
    for platform in PLATFORMS[:4]:
        with suppress(*ALLOWED):
            symbols_of(find_kallsyms(memoryview(data), platform, where="specimen").symbols())
    address_at: Callable[[int], int | None] = lambda offset: 0xFFFF_FFFF_8100_0000 + offset  # noqa: E731
    find_kallsyms(memoryview(data), ARM64, where="specimen", address_at=address_at)


def system_map(data: bytes) -> None:
    for platform in (X86_64, PLATFORMS[1]):
        with suppress(*ALLOWED):
            symbols_of(parse_system_map(data, platform, where="specimen"))


def raw_image(data: bytes) -> None:
    for platform in PLATFORMS:
        symbols = SymbolTable.empty("specimen")
        for strict in (True, False):
            start = max(platform.kernel_half, 1 << 20)
            all_of(RawImage("specimen", memoryview(data), start, platform, symbols=symbols, strict=strict))


def by_their_shape(data: bytes) -> None:
    for platform in PLATFORMS:
        address = max(platform.kernel_half, 1 << 20)
        with suppress(*ALLOWED):
            the_one(by_shape([(address, memoryview(data))], platform), where="specimen")


def exception_table(data: bytes) -> None:
    """The table is at an address that the first byte chooses, code is in front of it or everywhere."""
    for platform in PLATFORMS:
        address = platform.kernel_half + (data[0] << 12 if data else 0)
        code = {
            "strict": [(address - 0x1_0000 if address else 0, address + len(data))],
            "everywhere": [(0, platform.address_mask)],
            "none": [],
        }
        formats = [platform.exceptions, *(extra.format for extra in platform.extra_tables if extra.format)]
        for exceptions in formats:
            for name, executable in code.items():
                with suppress(*ALLOWED):
                    table = ExceptionTable.from_bytes(
                        data,
                        address,
                        where="specimen",
                        platform=platform,
                        exceptions=exceptions,
                        executable=executable,
                        version=(6, 1),
                        handler_symbol=lambda at: "ex_handler_default" if at & 8 else None,
                        strict=name == "strict",
                    )
                    entries_of(table)


def lenient_table(data: bytes) -> None:
    """Without `strict` nothing at all may be raised."""
    for platform in PLATFORMS:
        table = ExceptionTable.from_bytes(data, 0, where="", platform=platform, executable=[(0, 1 << 20)], strict=False)
        entries_of(table)


def entries_of(table: ExceptionTable) -> None:
    assert np.all(table.sorted_insn[:-1] <= table.sorted_insn[1:])
    for entry in islice(table, DESCRIBED):
        assert 0 <= entry.insn <= table.platform.address_mask
        assert table.search(entry.insn) is not None


def relocations(data: bytes) -> None:
    """The relocations of every section of a file, applied to the section they are for."""
    found = Elf.from_bytes(memoryview(data), "specimen")
    entries = symbol_entries(found, found.symtab)
    values, known = entries["value"].astype(np.uint64), np.ones(len(entries), np.bool_)
    for section in found.sections:
        if section.type in ("SHT_REL", "SHT_RELA") and section.info < len(found.sections):
            with suppress(*ALLOWED):
                raw = bytes(found.sections[section.info].data)
                assert len(apply(found, read_records(found, section), raw, 0, values, known)) == len(raw)


def btf(data: bytes) -> None:
    structures_of(Btf(data, where="specimen"))


def structures_of(layout: Btf) -> None:
    for name in STRUCTURES:
        with suppress(*ALLOWED):
            layout.size(name)
        for member in ("thread.sp", "x"):
            with suppress(*ALLOWED):
                layout.offset(name, member)


def vdso(data: bytes) -> None:
    """The bytes are the kernel's memory, the description of a vDSO at its start."""

    def read(address: int, length: int) -> bytes:
        if not 0 <= address <= address + length <= len(data):
            raise Absent("memory", where="specimen")
        return data[address : address + length]

    for platform in PLATFORMS[:2]:
        for _, table in vdso_exception_tables(read, lambda name: 0, platform, where="specimen"):
            entries_of(table)


def oops(data: bytes) -> None:
    for report in read_all(data.decode("utf-8", "surrogateescape"), "specimen"):
        write(report)


def core(data: bytes) -> None:
    with file_of(data) as path:
        dump = Core.open(path)
        with suppress(*ALLOWED):
            symbols_of(dump.symbols)
        all_of(dump)


READERS: dict[str, Reader] = {
    "image": image,
    "elf": elf,
    "vmlinux": vmlinux,
    "module": module,
    "compressed_module": compressed_module,
    "boot_image": boot_image,
    "compression": compression,
    "kallsyms": kallsyms,
    "system_map": system_map,
    "raw_image": raw_image,
    "by_shape": by_their_shape,
    "exception_table": exception_table,
    "lenient_table": lenient_table,
    "relocations": relocations,
    "btf": btf,
    "vdso": vdso,
    "oops": oops,
    "core": core,
}


def attempt(name: str, data: bytes) -> None:
    """Let a reader read; what is refused as it should be is fine, all else comes out."""
    with suppress(*ALLOWED):
        READERS[name](data)
