"""
A real kernel's memory, dead and alive, against its file: Debian's 6.1 runs under QEMU with two modules that have
exception tables, moved by KASLR.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from lab.guest import Guest, NoGuestError

from foreign_kernel import ForeignKernel
from oracle.guest_python import python_files, run
from pagefault.errors import Absent, BadInput, PagefaultError
from pagefault.images.core import Core
from pagefault.images.kernel_image import KernelImage
from pagefault.images.open_image import open_image
from pagefault.tables.extable import ExceptionTable

MODULES = ("evdev", "x_tables")
SHOW = """
import json, sys
from pagefault.images.open_image import open_image
core = open_image("/proc/kcore")
for found in core.exception_tables:
    print("TABLE", json.dumps([found.name, found.module, [
        (core.symbols.format(entry.insn), core.symbols.format(entry.fixup), entry.type) for entry in found.table]]))
print("HOW", json.dumps(core.how))
"""
Words = list[tuple[str, str, str]]


@dataclass(frozen=True)
class Dumps:
    elf: Path
    kdump: Path


def inserted() -> str:
    return "".join(f"insmod /{name}.ko\n" for name in MODULES)


def modules_of(kernel: ForeignKernel, *names: str) -> dict[str, Path]:
    return {f"/{name}.ko": next(kernel.modules.rglob(f"{name}.ko")) for name in names}


@pytest.fixture(scope="module")
def kernel(foreign_kernel: Callable[[str], ForeignKernel]) -> ForeignKernel:
    return foreign_kernel("amd64")


@pytest.fixture(scope="module")
def dumps(kernel: ForeignKernel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dumps]:
    folder = tmp_path_factory.mktemp("dumps")
    found = Dumps(folder / "vmcore", folder / "kdump")
    script = inserted() + "insmod /qemu_fw_cfg.ko\n"
    with booted(kernel, modules_of(kernel, *MODULES, "qemu_fw_cfg"), script, memory=128) as guest:
        guest.dump(found.elf)
        guest.dump(found.kdump, format="kdump-zlib")
    yield found
    found.elf.unlink()
    found.kdump.unlink()


def booted(kernel: ForeignKernel, files: dict[str, Path], script: str, memory: int) -> Guest:
    try:
        return Guest(kernel.boot, files=files, script=script, memory=memory)
    except NoGuestError as reason:
        if os.environ.get("CI"):
            pytest.fail(str(reason), pytrace=False)
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def file(kernel: ForeignKernel) -> KernelImage:
    return open_image(str(kernel.boot))


def words(image: KernelImage, table: ExceptionTable) -> Words:
    """Entries by symbols, which are the same wherever KASLR put the kernel."""
    return [(image.symbols.format(e.insn), image.symbols.format(e.fixup), e.type) for e in table]


def module_words(kernel: ForeignKernel, name: str) -> Words:
    image = open_image(str(modules_of(kernel, name)[f"/{name}.ko"]))
    return [row for found in image.exception_tables for row in words(image, found.table)]


@pytest.mark.parametrize("form", ["elf", "kdump"])
def test_a_dump_has_the_files_table(dumps: Dumps, file: KernelImage, form: str) -> None:
    core = Core.open(getattr(dumps, form))
    moved = int(core.vmcoreinfo["KERNELOFFSET"], 16)
    assert moved, "KASLR left the kernel where it was linked"
    (dead, *_), (linked, *_) = core.exception_tables, file.exception_tables
    assert [(e.insn - moved, e.fixup - moved, e.type, e.fields) for e in dead.table] == [
        (e.insn, e.fixup, e.type, e.fields) for e in linked.table
    ]
    assert words(core, dead.table) == words(file, linked.table)


@pytest.mark.parametrize("form", ["elf", "kdump"])
@pytest.mark.parametrize("name", MODULES)
def test_a_dump_has_its_modules_tables(dumps: Dumps, kernel: ForeignKernel, form: str, name: str) -> None:
    core = Core.open(getattr(dumps, form))
    (loaded,) = (found.table for found in core.exception_tables if found.module == name)
    assert words(core, loaded) == module_words(kernel, name) != []


def test_a_dump_says_what_it_is(dumps: Dumps) -> None:
    assert Core.open(dumps.elf).how[0] == "ELF core"
    assert Core.open(dumps.kdump).how[0] == "flattened kdump"
    assert open_image(str(dumps.elf)).version == (6, 1)


def test_what_a_dump_lacks_is_absent(dumps: Dumps) -> None:
    core = Core.open(dumps.elf)
    with pytest.raises(Absent):
        core.read(0xFFFF_FFFF_0000_0000, 8)


@pytest.mark.parametrize("part", [0.0001, 0.01, 0.3, 0.9])
@pytest.mark.parametrize("form", ["elf", "kdump"])
def test_half_a_dump_is_one_clear_line(dumps: Dumps, tmp_path: Path, form: str, part: float) -> None:
    whole: Path = getattr(dumps, form)
    cut = tmp_path / "cut"
    with whole.open("rb") as source:
        cut.write_bytes(source.read(int(whole.stat().st_size * part)))
    with contextlib.suppress(PagefaultError):  # and nothing else; what is left of a dump may do
        assert len(open_image(str(cut)).exception_tables[0].table) > 500


def test_a_programs_core_is_no_kernels(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="dump"):
        Core.open(tmp_path / "nothing")


def test_the_running_kernel(kernel: ForeignKernel, file: KernelImage, tmp_path: Path) -> None:
    """pagefault itself runs in the guest, as root, on the guest's own /proc/kcore and /proc/kallsyms."""
    (tmp_path / "show.py").write_text(SHOW)
    files = {**modules_of(kernel, *MODULES), **python_files(), "/show.py": tmp_path / "show.py"}
    with booted(kernel, files, inserted() + run("/show.py"), memory=1200) as guest:
        said = guest.serial
    found = map(json.loads, re.findall(r"^TABLE (.*?)\r?$", said, re.MULTILINE))
    tables = {module: rows for name, module, rows in found if name == "__ex_table"}
    linked = words(file, file.exception_tables[0].table)
    assert [tuple(row) for row in tables[None]] == linked, said[-1000:]
    for name in MODULES:
        assert [tuple(row) for row in tables[name]] == module_words(kernel, name)
    assert "symbols from /proc/kallsyms" in said
