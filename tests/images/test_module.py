from __future__ import annotations

import gzip
import lzma
import re
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from foreign_kernel import ForeignKernel
from images.elf_writer import AX, NOBITS, RELA, RELOCATABLE, WA, A, Piece, elf, save, symbol_table
from pagefault.errors import Absent, BadInput, Unsupported
from pagefault.images.kernel_image import CodeSection
from pagefault.images.module import FIRST_ADDRESS, Module
from pagefault.images.module_tree import find_modules

R_X86_64_PC32, R_X86_64_NONE = 2, 0
MODINFO = b"license=GPL\0name=fine\0vermagic=6.1.0-50-amd64 SMP preempt mod_unload\0"


def rela(*relocations: tuple[int, int, int, int]) -> bytes:
    """Relocations (offset, type, symbol, addend)."""
    rows = (struct.pack("<QQq", at, symbol << 32 | kind, addend) for at, kind, symbol, addend in relocations)
    return b"".join(rows)


SYMBOLS = [("", 1, 0), ("", 2, 0), ("read_it", 1, 8), ("start", 2, 0), ("printk", 0, 0), ("gone", 9, 0), ("area", 6, 0)]
PAIR = rela((0, R_X86_64_PC32, 1, 0x10), (4, R_X86_64_PC32, 2, 0x4))
UACCESS = struct.pack("<iiI", 0, 0, 3)


def module_file(
    *, table: bytes = UACCESS, relocations: bytes = PAIR, modinfo: bytes = MODINFO, machine: int = 62
) -> bytes:
    pieces = [
        Piece(".text", bytes(range(64)), flags=AX, align=16),
        Piece(".init.text", bytes(24), flags=AX, align=4),
        Piece("__ex_table", table, flags=A, align=4),
        Piece(".rela__ex_table", relocations, type=RELA, link=7, info=3),
        Piece(".modinfo", modinfo, flags=A),
        Piece(".bss", b"", flags=WA, type=NOBITS, size=32, align=32),
        *symbol_table(SYMBOLS, 7),
        Piece(".comment", b"GCC"),
    ]
    return elf(pieces, kind=RELOCATABLE, machine=machine)


def opened(tmp_path: Path, data: bytes, name: str = "fine.ko", *, strict: bool = True) -> Module:
    return Module.open(save(tmp_path / name, data), strict=strict)


def test_sections_lie_one_after_another(tmp_path: Path) -> None:
    module = opened(tmp_path, module_file())
    at = FIRST_ADDRESS
    assert module.sections == (
        CodeSection(".text", at, 64, True),
        CodeSection(".init.text", at + 64, 24, True, discarded=True),
        CodeSection("__ex_table", at + 88, 12, False),
        CodeSection(".modinfo", at + 100, len(MODINFO), False),
        CodeSection(".bss", at + 192, 32, False),
    )
    assert module.executable == ((at, at + 64), (at + 64, at + 88))


def test_the_table_is_relocated(tmp_path: Path) -> None:
    module = opened(tmp_path, module_file())
    (found,) = module.exception_tables
    assert (found.name, found.found) == ("__ex_table", "section __ex_table and its relocations, .rela__ex_table")
    (entry,) = found.table
    assert (entry.insn, entry.fixup, entry.type) == (FIRST_ADDRESS + 0x10, FIRST_ADDRESS + 64 + 4, "uaccess")
    assert str(module.symbols.at(entry.insn)) == "read_it+0x8/0x38 [fine]"
    assert str(module.symbols.at(entry.fixup)).startswith("start+0x4/")


def test_relocations_in_words(tmp_path: Path) -> None:
    other = rela((0, 2, 3, 5), (4, 2, 5, -4), (8, R_X86_64_NONE, 0, 0), (8, 2, 6, 1))
    said = opened(tmp_path, module_file(relocations=other)).relocations("__ex_table")
    assert [(r.offset, r.type, r.symbol, r.section, r.loaded, r.addend) for r in said] == [
        (0, 2, "read_it", ".text", True, 5),
        (4, 2, "printk", None, True, -4),
        (8, 0, "", None, False, 0),
        (8, 2, "gone", ".comment", False, 1),
    ]
    assert opened(tmp_path, module_file()).relocations(".text") == ()


def test_a_relocation_against_a_discarded_section_is_left_as_it_is(tmp_path: Path) -> None:
    """The entry then points at itself, which no reader takes for code."""
    data = module_file(relocations=rela((0, R_X86_64_PC32, 0, 0x10), (4, R_X86_64_PC32, 2, 0x4)))
    with pytest.raises(BadInput, match="outside the image's code"):
        _ = opened(tmp_path, data).exception_tables
    (found,) = opened(tmp_path, data, strict=False).exception_tables
    assert [entry.insn for entry in found.table] == [found.table.address]


def test_a_file_of_debug_information_only(tmp_path: Path) -> None:
    pieces = [Piece(".text", bytes(64), flags=AX), Piece("__ex_table", b"", flags=A, type=NOBITS, size=12)]
    with pytest.raises(Absent, match="a file of debug information only"):
        _ = opened(tmp_path, elf(pieces, kind=RELOCATABLE)).exception_tables


def test_handlers_are_another_module_s_functions(tmp_path: Path) -> None:
    """From 4.6 to 5.15 the third word is the distance to a function of the kernel's."""
    symbols = symbol_table([("", 1, 0), ("ex_handler_default", 0, 0)], 4)
    pieces = [
        Piece(".text", bytes(64), flags=AX, align=16),
        Piece("__ex_table", bytes(12), flags=A, align=4),
        Piece(".rela__ex_table", rela((0, 2, 1, 16), (4, 2, 1, 32), (8, 2, 2, 0)), type=RELA, link=4, info=2),
        *symbols,
        Piece(".modinfo", b"vermagic=5.10.0 SMP\0", flags=A),
    ]
    (found,) = opened(tmp_path, elf(pieces, kind=RELOCATABLE)).exception_tables
    assert [(entry.insn, entry.type) for entry in found.table] == [(FIRST_ADDRESS + 16, "default")]


def test_most_modules_have_no_table(tmp_path: Path) -> None:
    module = opened(tmp_path, elf([Piece(".text", bytes(8), flags=AX)], kind=RELOCATABLE))
    assert module.exception_tables == ()
    assert not len(module.symbols)
    with pytest.raises(Absent, match="vermagic"):
        _ = module.version


def test_name_and_version(tmp_path: Path) -> None:
    module = opened(tmp_path, module_file(), "some-thing.ko.old")
    assert (module.module, module.version) == ("fine", (6, 1))
    assert opened(tmp_path, module_file(modinfo=b"x\0=\0"), "some-thing.ko").module == "some_thing"


@pytest.mark.parametrize("line", [b"6", b"6.x.1", b"99999.1", b"", b"\xff.1"])
def test_a_version_that_is_none(tmp_path: Path, line: bytes) -> None:
    with pytest.raises(Absent, match="vermagic"):
        _ = opened(tmp_path, module_file(modinfo=b"vermagic=" + line + b"\0")).version


def test_reading(tmp_path: Path) -> None:
    module = opened(tmp_path, module_file())
    bss = module.sections[-1].address
    assert module.read(FIRST_ADDRESS + 8, 3) == b"\x08\x09\x0a"
    assert module.read(FIRST_ADDRESS + 63, 1) == b"\x3f"
    assert module.read(bss, 32) == bytes(32)
    for address, length in (
        (FIRST_ADDRESS - 1, 1),
        (FIRST_ADDRESS + 60, 5),
        (bss, 33),
        (bss - 1, 1),
        (FIRST_ADDRESS, -1),
    ):
        with pytest.raises(Absent, match="no section of the module holds them"):
            module.read(address, length)


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("xz", lzma.compress)])
def test_compressed(tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]) -> None:
    module = opened(tmp_path, pack(module_file()), f"fine.ko.{suffix}")
    assert len(module.how) == 1
    assert module.how[0].endswith("-compressed module")
    assert len(module.exception_tables[0].table) == 1


def test_a_decompression_bomb(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="bomb"):
        opened(tmp_path, lzma.compress(bytes(1 << 22)), "bomb.ko.xz")


def test_what_is_no_module(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="ET_EXEC"):
        opened(tmp_path, elf([Piece(".text", bytes(8), 0x1000, AX)]))
    with pytest.raises(Unsupported, match="EM_PDP11"):
        opened(tmp_path, module_file(machine=65))
    with pytest.raises(BadInput, match="an ELF file"):
        opened(tmp_path, lzma.compress(b"not at all"))


@pytest.mark.parametrize("alignment", [3, 1 << 17, 1 << 63])
def test_an_alignment_that_no_module_has(tmp_path: Path, alignment: int) -> None:
    module = opened(tmp_path, elf([Piece(".text", b"code", flags=AX, align=alignment)], kind=RELOCATABLE))
    with pytest.raises(BadInput, match="alignment"):
        _ = module.sections


def test_a_size_that_no_module_has(tmp_path: Path) -> None:
    pieces = [Piece(".bss", b"", flags=WA, type=NOBITS, size=1 << 62)]
    with pytest.raises(BadInput, match="together"):
        _ = opened(tmp_path, elf(pieces, kind=RELOCATABLE)).sections


# ------------------------------------------------------------------------------------------- Debian's, held to readelf

SECTION_HEADER = re.compile(r"^  \[ *(\d+)\] (\S+) +[A-Z]\S* +[0-9a-f]+ ([0-9a-f]+) ([0-9a-f]+) ", re.MULTILINE)
RELOCATION = re.compile(r"^([0-9a-f]+) +[0-9a-f]+ (R_\w+) +[0-9a-f]+ +(\S+)(?: ([+-]) ([0-9a-f]+))?$", re.MULTILINE)
ARCHITECTURES = ("amd64", "i386", "arm64", "armel", "armhf", "mips64el", "mipsel", "ppc64el", "s390x")
ENTRY = {"mips64el": 16, "amd64": 12, "i386": 12, "arm64": 12, "s390x": 12}


def as_readelf_says(path: Path, architecture: str) -> list[tuple[str, int]]:
    """Section and offset of every address in __ex_table, by readelf; a REL addend out of the file."""
    run = subprocess.run(["readelf", "-SrW", path], capture_output=True, text=True, check=True)
    table = next(row for row in SECTION_HEADER.findall(run.stdout) if row[1] == "__ex_table")
    start = int(table[2], 16)
    _, _, relocations = run.stdout.partition("__ex_table' at offset")
    relocations = relocations.partition("\nRelocation section")[0]
    found = []
    for offset, _, symbol, sign, addend in RELOCATION.findall(relocations):
        value = int(sign + addend, 16) if addend else 0
        if not sign:
            raw = path.read_bytes()[start + int(offset, 16) :][:4]
            value = int.from_bytes(raw, "little", signed=True)
        found.append((int(offset, 16), symbol, value))
    assert len(found) == 2 * int(table[3], 16) // ENTRY.get(architecture, 8)
    return [(symbol, value) for _, symbol, value in sorted(found)]


def as_we_say(module: Module) -> list[tuple[str, int]]:
    starts = {section.address: section for section in module.sections}
    found = []
    for table in module.exception_tables:
        for entry in table.table:
            for address in (entry.insn, entry.fixup):
                home = max(start for start in starts if start <= address)
                found.append((starts[home].name, address - home))
    return found


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_debian_s_modules(foreign_kernel: Callable[[str], ForeignKernel], architecture: str) -> None:
    checked = 0
    for path in map(Path, find_modules(foreign_kernel(architecture).modules)[0]):
        module = Module.open(path)
        if module.exception_tables:
            assert as_we_say(module) == as_readelf_says(path, architecture), path
            assert module.version == (6, 1)
            checked += 1
            if checked == 40:
                break
    assert checked or architecture == "armhf", "no module has a table"


def test_relocations_without_a_symbol_table(tmp_path: Path) -> None:
    pieces = [
        Piece(".text", bytes(64), flags=AX),
        Piece("__ex_table", UACCESS, flags=A),
        Piece(".rela__ex_table", PAIR, type=RELA, info=2),
    ]
    with pytest.raises(BadInput, match="one of 0 symbols"):
        _ = opened(tmp_path, elf(pieces, kind=RELOCATABLE)).exception_tables
