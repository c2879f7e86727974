"""The vdso of a real kernel in every process, and none where the kernel has none."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagefault import PAGE, Machine
from pagefault.fs.vdso import install_vdso
from pagefault.memory.pages import PageFlag
from pagefault.tables.inode import FileSystem
from pagefault.vocabulary.vma import VmFlag


def test_the_small_kernel_has_none() -> None:
    machine = Machine.boot()
    assert install_vdso(machine, machine.spawn("it").mm) == 0
    assert not [inode for inode in machine.mm.inodes.values() if inode.kind is FileSystem.SPECIAL]


@pytest.fixture
def machine(vmlinux_61: Path) -> Machine:
    return Machine.boot(vmlinux_61)


def test_two_areas_in_every_process(machine: Machine) -> None:
    processes = [machine.spawn("one"), machine.spawn("two")]
    texts = [install_vdso(machine, process.mm) for process in processes]
    assert texts[0] == texts[1]
    vvar, code = processes[0].mm.vmas
    assert vvar.start < vvar.end == code.start == texts[0]
    assert (code.execute, code.write, vvar.execute, vvar.write) == (True, False, False, False)
    assert vvar.flags & VmFlag.PFNMAP
    assert code.end <= processes[0].mm.mmap_base
    inodes = [inode for inode in machine.mm.inodes.values() if inode.kind is FileSystem.SPECIAL]
    assert sorted((inode.name, inode.users) for inode in inodes) == [("[vdso]", 2), ("[vvar]", 2)]
    image = next(inode for inode in inodes if inode.name == "[vdso]")
    assert code.end - code.start == len(image.cache) * PAGE
    first = image.cache.get(0) or 0
    assert machine.ram.read(first, 18) == b"\x7fELF\2\1\1" + bytes(9) + b"\3\0"
    assert not machine.mm.pages.has(first, PageFlag.DIRTY)
