from __future__ import annotations

import pytest

from pagefault.arch.x86_64 import LAYOUT_4_LEVEL
from pagefault.machine.machine import Machine
from pagefault.report.place import what_is_at
from pagefault.vocabulary.vma import Vma

AREA = LAYOUT_4_LEVEL
VMAS = (
    Vma(0x40_0000, 0x40_2000, name="[text]"),
    Vma(0x7FFF_0000_0000, 0x7FFF_0000_1000, grows_down=True, name="[stack]"),
)


def place(machine: Machine, address: int, vmas: tuple[Vma, ...] = VMAS) -> str:
    return what_is_at(address, machine.cpu.state(), machine.symbols, vmas, machine.walk(address))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (0x10, "user space: the first page"),
        (0x40_1000, "in the area 400000-402000 rw-p [text]"),
        (0x40_2010, "no area, just past 400000-402000 rw-p [text]"),
        (0x7FFE_FFFF_0000, "no area, 0x10000 bytes below 7fff00000000-7fff00001000 rw-p [stack]"),
        (0x5000_0000_0000, "0x2fff00000000 bytes below"),
        (0xDEAD_0000_0000_0100, "not canonical: bits 63 to 47"),
        (AREA.task_size_max, "the guard page at the end of user space; Linux 6.12 clamps"),
        (AREA.task_size_max + 0xFFF, "(USER_PTR_MAX)"),
        (AREA.task_size_max + 0x1000, "not canonical"),
        (AREA.page_offset + 0x1234, "the direct map: physical 0x1234"),
        (AREA.vmalloc_start + 0x2000, "vmalloc space, 0x2000 above its start"),
        ((AREA.vmemmap or 0) + 64, "vmemmap"),
        (AREA.modules_start + 0x100_0000, "the modules"),
        (0xFFFF_FFFF_FF60_0010, "the vsyscall page"),
        (0xFFFF_8000_0000_0000, "in a range that holds nothing"),
    ],
)
def test_each_part_of_the_map_has_its_words(machine: Machine, address: int, words: str) -> None:
    assert words in place(machine, address)


def test_no_area_anywhere(machine: Machine) -> None:
    assert place(machine, 0x40_0000, ()).endswith("no area is here, nor anywhere in this process")


def test_kernel_text_and_data_are_told_apart(machine: Machine) -> None:
    assert "kernel image: text, _copy_from_user+0x" in place(machine, machine.symbols.find("_copy_from_user") + 2)
    assert "kernel image: read-only data" in place(machine, machine.symbols.find("linux_banner"))
    assert "kernel image: data" in place(machine, machine.symbols.find("init_task"))


def test_the_low_half_is_larger_with_five_levels() -> None:
    machine = Machine.boot(features=("la57",))
    assert "user space" in place(machine, 1 << 47)
    assert "the guard page" in place(machine, (1 << 56) - 1)
