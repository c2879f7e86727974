"""Source lines and inlined functions."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pagefault.errors import Absent, BadInput
from pagefault.images.module import Module
from pagefault.images.open_image import open_image
from pagefault.survey.described import SourceLine
from pagefault.survey.source_lines import SourceLines, within_source

SOURCE = """\
static inline __attribute__((always_inline)) int inner(int *p)
{
    asm volatile("nop; nop; nop; nop" : "+m" (*p));
    return *p;
}

int outer(int *p)
{
    return inner(p) + 1;
}

__attribute__((section(".init.text"))) int other(int *p)
{
    return *p;
}
"""


@pytest.mark.parametrize(
    ("file", "within"),
    [
        ("kernel/fork.c", "kernel/fork.c"),
        ("./arch/x86/include/asm/uaccess.h", "arch/x86/include/asm/uaccess.h"),
        ("/build/reproducible-path/linux-6.1.176/arch/s390/kernel/entry.S", "arch/s390/kernel/entry.S"),
        ("/build/linux-6.1/include/linux/uaccess.h", "include/linux/uaccess.h"),
        ("/usr/src/linux/linux-6.1/include/linux/uaccess.h", "include/linux/uaccess.h"),
        ("arch/x86/lib/../kernel/x.c", "arch/x86/kernel/x.c"),
        ("/usr/src/k/x.c", "/usr/src/k/x.c"),
        ("include/linux/uaccess.h", "include/linux/uaccess.h"),
        ("", ""),
    ],
)
def test_a_file_is_named_from_the_top_of_the_source(file: str, within: str) -> None:
    assert within_source(file) == within


def test_without_drgn_it_is_said_what_is_missing(vmlinux_61: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "drgn", None)
    with pytest.raises(Absent, match="pip install drgn"):
        SourceLines.open(open_image(vmlinux_61))


def compiled(folder: Path, *options: str) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("no compiler to make a module with")
    (folder / "made.c").write_text(SOURCE, "ascii")
    command = [
        "gcc",
        "-c",
        "-O2",
        "-fno-pic",
        f"-ffile-prefix-map={folder}=/build/linux-6.1/fs",
        *options,
        "made.c",
        "-o",
        "made.ko",
    ]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "made.ko"


def test_a_module_s_lines_are_found_at_its_made_up_addresses(tmp_path: Path) -> None:
    pytest.importorskip("drgn")
    module = Module.open(compiled(tmp_path, "-g"))
    lines = SourceLines.open(module)
    outer, other = module.symbols.find("outer"), module.symbols.find("other")
    chains = {lines.at(at) for at in range(outer, outer + 4)}
    assert (SourceLine("inner", "fs/made.c", 3), SourceLine("outer", "fs/made.c", 9)) in chains
    assert lines.at(other) == (SourceLine("other", "fs/made.c", 14),)
    assert lines.at(0) == ()
    assert lines.file == module.path


def test_a_module_without_debug_information_has_none(tmp_path: Path) -> None:
    pytest.importorskip("drgn")
    plain = Module.open(compiled(tmp_path))
    with pytest.raises(Absent, match="no debug information"):
        SourceLines.open(plain)
    rubbish = tmp_path / "rubbish"
    rubbish.write_bytes(b"\x7fELF" + bytes(200))
    with pytest.raises(Absent, match="rubbish: no debug information"):
        SourceLines.open(plain, debug=rubbish)
    with pytest.raises(BadInput, match="expected a file with debug information, got no regular file"):
        SourceLines.open(plain, debug=tmp_path)
    with pytest.raises(Absent, match="no debug information"):
        SourceLines.open(plain, debug=plain.path)


def test_debug_information_may_be_in_a_file_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("drgn")
    if shutil.which("strip") is None:
        pytest.skip("no binutils to take the debug information away with")
    whole = compiled(tmp_path, "-g")
    stripped = tmp_path / "stripped.ko"
    subprocess.run(["strip", "--strip-debug", "-o", stripped, whole], check=True)
    module = Module.open(stripped)
    lines = SourceLines.open(module, debug=whole)
    assert lines.file == str(whole)
    assert lines.at(module.symbols.find("outer"))[-1] == SourceLine("outer", "fs/made.c", 9)


def test_debian_s_kernel_has_lines_for_every_entry(vmlinux_61: Path) -> None:
    pytest.importorskip("drgn")
    image = open_image(vmlinux_61)
    lines = SourceLines.open(image)
    chains = [lines.at(entry.insn) for entry in image.exception_tables[0].table]
    assert all(chains)
    assert any(len(chain) > 2 for chain in chains)
    names = [image.symbols.at(entry.insn) for entry in image.exception_tables[0].table]
    same = sum(
        name is not None and name.name.split(".")[0] == chain[-1].function
        for name, chain in zip(names, chains, strict=True)
    )
    assert same > len(chains) * 0.6
    at = image.symbols.find("fault_in_readable")
    assert lines.at(at)[-1].file == "mm/gup.c"
