"""Files that ask for more than they are: bombs, counts and sizes that lie, more of one thing than anybody has."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial

from fuzz.specimens import PACKERS
from images import test_kallsyms
from images.elf_writer import AX, RELOCATABLE, STRTAB, SYMTAB, TEXT, A, Piece, elf
from images.test_module import module_file
from images.test_utsname import utsname
from pagefault.arch.platform import X86_64

ZEROS = bytes(24 << 20)
MEGABYTE = 1 << 20


def nested() -> bytes:
    """A bomb in a bomb in a bomb, with a kernel's name at the bottom."""
    data = ZEROS + utsname()
    for pack in (PACKERS["zstd"], PACKERS["gzip"], PACKERS["lz4"]):
        data = pack(data)
    return data


def many_sections() -> bytes:
    """As many headers as there may be, each of them the whole file."""
    data = bytearray(elf([Piece(".text", bytes(64), TEXT, AX)] * 16_000))
    headers = struct.unpack_from("<Q", data, 40)[0]
    for at in range(headers + 64, len(data) - 64, 64):
        struct.pack_into("<QQ", data, at + 24, 0, len(data))
    return bytes(data)


def lying_sections() -> bytes:
    """The first header says how many there are, and it says 2**60."""
    data = bytearray(elf([Piece(".text", bytes(64), TEXT, AX)]))
    headers = struct.unpack_from("<Q", data, 40)[0]
    struct.pack_into("<H", data, 60, 0)
    struct.pack_into("<Q", data, headers + 32, 1 << 60)
    return bytes(data)


def huge_segment() -> bytes:
    """Memory of 2**46 bytes behind a file of some hundred."""
    data = bytearray(elf([Piece(".text", bytes(64), TEXT - (1 << 47), AX)]))
    struct.pack_into("<Q", data, 64 + 40, 1 << 46)
    return bytes(data)


def huge_bss() -> bytes:
    return elf([Piece(".text", bytes(64), 0, AX), Piece(".bss", b"", 0, A, 8, size=1 << 27)], kind=RELOCATABLE)


def many_symbols() -> bytes:
    names = b"\0" + b"a\0" * 8
    symbol = struct.pack("<IBBHQQ", 1, 2, 0, 1, TEXT, 0)
    table = Piece(".symtab", symbol * 200_000, type=SYMTAB, link=3)
    return elf([Piece(".text", bytes(64), TEXT, AX), table, Piece(".strtab", names, type=STRTAB)])


def many_entries(count: int) -> bytes:
    """A table of so many equal entries."""
    return elf(
        [
            Piece(".text", bytes(4096), TEXT, AX),
            Piece("__ex_table", struct.pack("<iiI", -0x800, -0x804, 3) * count, TEXT + 4096, A),
        ]
    )


def many_kallsyms() -> bytes:
    """Names of two bytes each, a quarter of a million."""
    listed = [(TEXT + 2 * number, "t", "a") for number in range(250_000)]
    return bytes(test_kallsyms.Writer(X86_64, listed).data)


def lying_kallsyms() -> bytes:
    """As many symbols as the count can say."""
    made = test_kallsyms.Writer(X86_64, test_kallsyms.symbols(X86_64))
    for name in ("num_syms", "markers"):
        struct.pack_into("<I", made.data, made.at[name], 0xFF_FFFF)
    return bytes(made.data)


BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    **{f"{name} bomb": ("whole", partial(pack, ZEROS)) for name, pack in PACKERS.items()},
    "bombs in bombs": ("whole", nested),
    "a module's bomb": ("compressed_module", lambda: PACKERS["xz"](module_file() + ZEROS)),
    "sections of the whole file": ("whole", many_sections),
    "a count of sections that lies": ("whole", lying_sections),
    "a segment of 64 TiB": ("whole", huge_segment),
    "a .bss of 128 MiB": ("whole", huge_bss),
    "symbols": ("whole", many_symbols),
    "entries": ("whole", lambda: many_entries(MEGABYTE)),
    "tags of .modinfo": ("whole", lambda: module_file(modinfo=b"".join(b"%x=\0" % n for n in range(200_000)))),
    "short names in kallsyms": ("kallsyms", many_kallsyms),
    "a count of kallsyms that lies": ("kallsyms", lying_kallsyms),
    "one long line": ("system_map", lambda: b"a" * (16 * MEGABYTE)),
    "empty lines": ("system_map", lambda: b"\n" * (4 * MEGABYTE)),
    "short lines": ("system_map", lambda: b"ffffffff81000000 T a\n" * 200_000),
    "modules of one symbol": (
        "system_map",
        lambda: b"".join(b"%016x t a\t[m%d]\n" % (TEXT + n, n) for n in range(1999)),
    ),
    "a flat image of nothing": ("whole", lambda: utsname() + bytes(8 * MEGABYTE)),
    "console of short lines": ("oops", lambda: b"ab\n" * MEGABYTE),
    "the magic of gzip": ("whole", lambda: b"\x1f\x8b\x08\0" * MEGABYTE),
}
