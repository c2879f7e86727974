"""The text of instructions, those that have an entry in Debian's kernels first of all."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arch.instruction_corpus import CORPUS, PLATFORM, Specimen, specimens
from arch.objdump_spelling import plain
from pagefault.arch.disassembly import can_disassemble, disassemble, disassemble_all
from pagefault.arch.platform import (
    ARM,
    ARM64,
    LOONGARCH64,
    MIPS,
    MIPS64,
    PLATFORMS,
    POWERPC64,
    RISCV64,
    X86_64,
    Platform,
)
from pagefault.images.vmlinux import Vmlinux

FAMILY = {"x86_64": "x86", "x86_32": "x86", "mips64": "mips", "powerpc64": "powerpc"}


@pytest.mark.parametrize("specimen", specimens(), ids=str)
def test_the_instructions_of_debian_s_entries_read_as_objdump_reads_them(specimen: Specimen) -> None:
    found = disassemble(PLATFORM[specimen.platform], specimen.code + bytes(16), specimen.address)
    assert found is not None
    assert (found.address, found.code, found.length) == (specimen.address, specimen.code, len(specimen.code))
    if specimen.objdump is not None:
        family = FAMILY.get(specimen.platform, specimen.platform)
        assert plain(family, found.text) == plain(family, specimen.objdump)


def test_every_architecture_with_a_debian_kernel_has_a_corpus() -> None:
    assert {path.stem for path in CORPUS.iterdir()} == set(PLATFORM)
    assert all(len([each for each in specimens() if each.platform == name]) > 15 for name in PLATFORM)


@pytest.mark.parametrize(
    ("platform", "code", "text"),
    [
        (RISCV64, "03350500", "ld a0, 0(a0)"),
        (RISCV64, "0861", "c.ld a0, 0(a0)"),
        (ARM64, "43044019", "cpyfm [x3]!, [x0]!, x2!"),
        (MIPS64, "6800ac88", "lwl $t0, 0x68($a1)"),  # register 12 is t0 in a 64-bit kernel
        (MIPS, "6800ac88", "lwl $t4, 0x68($a1)"),
    ],
)
def test_some_instructions_of_other_kernels(platform: Platform, code: str, text: str) -> None:
    found = disassemble(platform, bytes.fromhex(code), 0)
    assert found is not None
    assert found.text == text


def test_big_endian_images_have_their_own_order() -> None:
    big = next(each for each in PLATFORMS if (each.elf_machine, each.bits, each.byte_order) == ("EM_PPC64", 64, "big"))
    found = disassemble(big, bytes.fromhex("e8c30000"), 0)
    assert found is not None
    assert found.text == "ld r6, 0(r3)"
    arm64 = next(each for each in PLATFORMS if (each.name, each.byte_order) == ("arm64", "big"))
    same = disassemble(arm64, bytes.fromhex("620840b8"), 0)
    assert same is not None
    assert same.text == "ldtr w2, [x3]"


def test_thumb_is_asked_for() -> None:
    found = disassemble(ARM, bytes.fromhex("0868"), 0, thumb=True)
    assert found is not None
    assert (found.text, found.memory, found.length) == ("ldr r0, [r1]", (4, 8), 2)


def test_what_is_no_instruction_is_none() -> None:
    assert disassemble(X86_64, b"", 0) is None
    assert disassemble(X86_64, b"\x06", 0) is None
    assert disassemble(X86_64, b"\x48\x8b", 0) is None
    assert disassemble(ARM64, b"\xff\xff\xff", 0) is None


def test_loongarch_is_known_not_to_be_known() -> None:
    assert not can_disassemble(LOONGARCH64)
    assert can_disassemble(X86_64)
    assert disassemble(LOONGARCH64, bytes(4), 0) is None
    assert list(disassemble_all(LOONGARCH64, bytes(64), 0)) == []


def test_all_instructions_one_after_another_over_what_is_none() -> None:
    code = bytes.fromhex("8a03" + "06" + "f3a4" + "488b")
    assert [(each.address, each.text) for each in disassemble_all(X86_64, code, 0x1000)] == [
        (0x1000, "movb (%rbx), %al"),
        (0x1003, "rep movsb (%rsi), (%rdi)"),
    ]
    code = bytes.fromhex("000060e8" + "0000c3e0" + "000061e8")  # the middle one is not capstone's
    assert [each.mnemonic for each in disassemble_all(POWERPC64, code, 0)] == ["ld", "lq", "ld"]
    code = bytes.fromhex("620840b8" + "ffffffff" + "a10800b8")
    assert [each.address for each in disassemble_all(ARM64, code, 0)] == [0, 8]


def test_a_long_run_is_cut_nowhere() -> None:
    code = bytes.fromhex("48b80102030405060708") * 20_000
    found = list(disassemble_all(X86_64, code, 0))
    assert [each.address for each in found] == list(range(0, len(code), 10))
    assert len({each.code for each in found}) == 1


@given(code=st.binary(max_size=64), platform=st.sampled_from(PLATFORMS))
def test_any_bytes_can_be_tried(code: bytes, platform: Platform) -> None:
    at = 0
    for each in disassemble_all(platform, code, 0):
        assert each.address >= at
        assert each.code == code[each.address : each.address + each.length] != b""
        if each.memory is not None:
            start, end = each.memory
            assert 0 <= start < end <= len(each.operands)
            assert each.reads or each.writes
        at = each.address + each.length


def test_every_entry_of_debian_s_kernel_reads_as_objdump_reads_it(vmlinux_61: Path, tmp_path: Path) -> None:
    if shutil.which("objdump") is None:
        pytest.skip("no objdump to ask")
    image = Vmlinux.open(vmlinux_61)
    places = sorted({at for entry in image.exception_table for at in (entry.insn, entry.fixup)})
    assert len(places) > 600
    # One behind the other with nops between, so that objdump finds each where it begins; its addresses are not theirs.
    (tmp_path / "code").write_bytes(b"".join(image.read(at, 15)[: size(image, at)].ljust(16, b"\x90") for at in places))
    command = ["objdump", "-D", "-w", "-b", "binary", "-m", "i386:x86-64", "--no-show-raw-insn", str(tmp_path / "code")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    theirs = {int(found[1], 16): found[2] for found in re.finditer(r"^ *([0-9a-f]+):\t(.*)$", printed, re.MULTILINE)}
    for index, at in enumerate(places):
        ours = disassemble(image.platform, image.read(at, 15), 16 * index)
        assert ours is not None
        branch = re.sub(r"^((?:j|call)\w* +)(?=[0-9a-f]+ *$)", r"\g<1>0x", theirs[16 * index])
        assert plain("x86", ours.text) == plain("x86", branch)


def size(image: Vmlinux, address: int) -> int:
    found = disassemble(image.platform, image.read(address, 15), address)
    assert found is not None
    return found.length
