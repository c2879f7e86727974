"""The shipped files are what `kernel/` builds, and their exception tables are sound."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path

import pytest
from capstone import CS_AC_READ, CS_AC_WRITE, CS_ARCH_X86, CS_MODE_64, CS_OP_MEM, Cs, CsInsn
from elftools.elf.constants import P_FLAGS, SH_FLAGS
from elftools.elf.elffile import ELFFile

from kernels.bench import section
from pagefault.kernels import faulty_module, small_kernel

KERNEL = Path(__file__).parents[2] / "kernel"
IMAGES = {"vmlinux": small_kernel, "faulty.elf": faulty_module}


@dataclass(frozen=True)
class Image:
    sections: dict[str, tuple[int, bytes]]
    symbols: list[tuple[int, str]]
    """Functions, by address."""

    @classmethod
    def read(cls, path: Path) -> Image:
        with path.open("rb") as file:
            elf = ELFFile(file)
            sections = {s.name: (s["sh_addr"], s.data()) for s in elf.iter_sections()}
            symbols = {
                s["st_value"]: s.name
                for s in section(elf, ".symtab").iter_symbols()
                if s["st_info"]["type"] == "STT_FUNC"
            }
        return cls(sections, sorted(symbols.items()))

    def name(self, address: int) -> str:
        start, name = self.symbols[bisect_right(self.symbols, (address, "\x7f")) - 1]
        return f"{name}+{address - start:#x}"

    def ex_table(self) -> list[tuple[int, int, int]]:
        """Each entry's instruction, fixup and data word, in the table's order."""
        start, table = self.sections["__ex_table"]
        return [
            (start + at + insn, start + at + 4 + fixup, data)
            for at in range(0, len(table), 12)
            for insn, fixup, data in [struct.unpack_from("<iiI", table, at)]
        ]

    def named_table(self) -> list[tuple[str, str, int]]:
        return [(self.name(insn), self.name(fixup), data) for insn, fixup, data in self.ex_table()]


def accesses_memory(insn: CsInsn) -> bool:
    return any(operand.type == CS_OP_MEM and operand.access & (CS_AC_READ | CS_AC_WRITE) for operand in insn.operands)


def built(tmp_path: Path, name: str = "out") -> Path:
    """The folder of a fresh build, made from a copy of `kernel/`."""
    if shutil.which("gcc") is None or shutil.which("make") is None:
        pytest.skip("NOT TESTED: no gcc or make here, so the shipped small kernel is not compared with a rebuild")
    source = tmp_path / f"{name}-source"
    shutil.copytree(KERNEL, source, ignore=shutil.ignore_patterns("build"))
    environment = {k: v for k, v in os.environ.items() if k not in {"MAKEFLAGS", "MAKELEVEL", "CFLAGS", "LDFLAGS"}}
    subprocess.run(
        ["make", "-s", "-C", source, f"OUT={tmp_path / name}", f"PYTHON={sys.executable}"], check=True, env=environment
    )
    return tmp_path / name


def test_a_rebuild_has_the_same_exception_tables(tmp_path: Path) -> None:
    out = built(tmp_path)
    for name, shipped in IMAGES.items():
        assert Image.read(out / name).named_table() == Image.read(shipped()).named_table()


def test_two_builds_in_two_places_give_the_same_bytes(tmp_path: Path) -> None:
    one, two = built(tmp_path, "one"), built(tmp_path, "two")
    for name in IMAGES:
        assert (one / name).read_bytes() == (two / name).read_bytes()


@pytest.mark.parametrize("name", IMAGES)
def test_the_table_is_in_order_and_points_into_text(name: str) -> None:
    image = Image.read(IMAGES[name]())
    start, text = image.sections[".text"]
    table = image.ex_table()
    insns = [insn for insn, _, _ in table]
    assert insns == sorted(set(insns))
    for insn, fixup, _ in table:
        assert start <= insn < start + len(text)
        assert start <= fixup < start + len(text)


@pytest.mark.parametrize("name", IMAGES)
def test_every_entry_is_an_access_to_memory_and_every_fixup_starts_an_instruction(name: str) -> None:
    image = Image.read(IMAGES[name]())
    start, text = image.sections[".text"]
    disassembler = Cs(CS_ARCH_X86, CS_MODE_64)
    disassembler.detail = True
    boundaries = {
        insn.address: insn
        for (at, _), (end, _) in zip(image.symbols, [*image.symbols[1:], (start + len(text), "")], strict=True)
        for insn in disassembler.disasm(text[at - start : end - start], at)
    }
    for at, fixup, _ in image.ex_table():
        assert accesses_memory(boundaries[at]), boundaries[at]
        assert fixup in boundaries


def test_every_access_between_stac_and_clac_has_an_entry_but_the_one_that_forgets() -> None:
    """The windows of `.altinstructions`, walked from each STAC along the code as it lies."""
    for name, forgetful in (("vmlinux", set[str]()), ("faulty.elf", {"rd_user_unguarded"})):
        image = Image.read(IMAGES[name]())
        start, text = image.sections[".text"]
        table_start, table = image.sections[".altinstructions"]
        replacements_start, replacements = image.sections[".altinstr_replacement"]
        sites = {}
        for at in range(0, len(table), 12):
            insn, replacement, _, _, length = struct.unpack_from("<iiHBB", table, at)
            offset = table_start + at + 4 + replacement - replacements_start
            sites[table_start + at + insn] = replacements[offset : offset + length]
        entries = {insn for insn, _, _ in image.ex_table()}
        disassembler = Cs(CS_ARCH_X86, CS_MODE_64)
        disassembler.detail = True
        without = set()
        for site in (site for site, code in sites.items() if code == b"\x0f\x01\xcb"):
            for insn in disassembler.disasm(text[site + 3 - start :], site + 3):
                if sites.get(insn.address) == b"\x0f\x01\xca" or insn.mnemonic in {"ret", "jmp", "call"}:
                    break
                if accesses_memory(insn) and insn.address not in entries:
                    without.add(image.name(insn.address).split("+")[0])
        assert without == forgetful


@pytest.mark.parametrize("name", IMAGES)
def test_nothing_but_text_is_executable(name: str) -> None:
    with IMAGES[name]().open("rb") as file:
        elf = ELFFile(file)
        assert [s.name for s in elf.iter_sections() if s["sh_flags"] & SH_FLAGS.SHF_EXECINSTR] == [
            ".text",
            ".altinstr_replacement",
        ]
        assert [s["p_flags"] & P_FLAGS.PF_X for s in elf.iter_segments("PT_LOAD")].count(P_FLAGS.PF_X) == 1


def test_the_files_are_small() -> None:
    assert small_kernel().stat().st_size < 32 << 10
    assert faulty_module().stat().st_size < 16 << 10
