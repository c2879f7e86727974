"""What a boot leaves behind: the image's rights, the direct map, the per-CPU area, the CPU's own bits."""

from __future__ import annotations

from pathlib import Path

import pytest

from pagefault import PAGE, Absent, BadInput, Machine, Unsupported
from pagefault.arch import x86_64
from pagefault.arch.x86_eras import profile
from pagefault.vocabulary.walk import Mapped, NotPresent


@pytest.fixture(scope="module", params=["small", "vmlinux_61", "vmlinux_612"])
def machine(request: pytest.FixtureRequest) -> Machine:
    path: Path | None = None if request.param == "small" else request.getfixturevalue(request.param)
    return Machine.boot(path)


def rights(machine: Machine, address: int) -> tuple[bool, bool]:
    end = machine.walk(address).end
    assert isinstance(end, Mapped), hex(address)
    assert not end.user
    return end.writable, end.executable


def test_text_rodata_and_data_have_their_rights(machine: Machine) -> None:
    find = machine.symbols.find
    assert rights(machine, find("_copy_from_user")) == (False, True)
    assert rights(machine, find("linux_banner")) == (False, False)
    assert rights(machine, find("init_task")) == (True, False)
    assert rights(machine, find("_etext") - 1) == (False, True)


def test_nothing_is_writable_and_executable(machine: Machine) -> None:
    find = machine.symbols.find
    for address in range(find("_text"), find("_end"), 5 * PAGE):
        assert rights(machine, address) != (True, True), hex(address)


def test_the_direct_map_shows_all_of_ram_and_text_only_to_read(machine: Machine) -> None:
    offset = machine.area.page_offset
    for physical in (0, 0x1000, machine.ram.size - PAGE):
        end = machine.walk(offset + physical).end
        assert isinstance(end, Mapped)
        assert (end.physical, end.writable, end.executable) == (physical, True, False)
    text = machine.booted.image.physical(machine.symbols.find("_copy_from_user"))
    assert rights(machine, offset + text) == (False, False)
    assert isinstance(machine.walk(offset + machine.ram.size).end, NotPresent)


def test_the_image_is_the_files_but_for_the_patches(machine: Machine) -> None:
    image = machine.booted.image
    banner = machine.symbols.find("linux_banner")
    assert machine.read(banner, 40) == image.read(banner, 40)


def test_kernel_code_finds_current_through_its_per_cpu_area(machine: Machine) -> None:
    symbols, task = machine.symbols, machine.current.task
    current = symbols.get("current_task")
    if current is None:
        current = symbols.find("pcpu_hot") + machine.booted.image.layout.offset("pcpu_hot", "current_task")
    at = machine.booted.percpu + current & (1 << 64) - 1
    assert int.from_bytes(machine.read(at, 8), "little") == task.address
    mm = machine.booted.image.layout.offset("task_struct", "mm")
    pgd = machine.booted.image.layout.offset("mm_struct", "pgd")
    assert int.from_bytes(machine.read(task.address + mm, 8), "little") == task.mm
    root = machine.area.page_offset + machine.user.mm.root
    assert int.from_bytes(machine.read(task.mm + pgd, 8), "little") == root
    comm = machine.booted.image.layout.offset("task_struct", "comm")
    assert machine.read(task.address + comm, 10) == b"pagefault\0"


def test_the_kernel_knows_its_address_bits(machine: Machine) -> None:
    offset = machine.booted.image.layout.offset("cpuinfo_x86", "x86_virt_bits")
    assert machine.read(machine.symbols.find("boot_cpu_data") + offset, 1) == b"\x30"


@pytest.mark.parametrize(
    ("features", "names"), [({"smap"}, {"smap"}), ({"smep", "la57"}, {"smep", "la57"}), ({"pku"}, {"pke"})]
)
def test_features_set_their_control_bits(features: set[str], names: set[str]) -> None:
    state = x86_64.boot_state(frozenset(features), pae=False)
    assert {name for name in ("smap", "smep", "la57", "pke", "nxe") if getattr(state, name)} == names


def test_every_table_has_every_entry_of_vmalloc_space_since_59_and_lacks_it_up_to_57() -> None:
    for version, present in (((5, 7), False), ((5, 9), True), ((6, 1), True)):
        machine = Machine.boot(ram=64 << 20, kernel_profile=profile(version))
        area = machine.area.vmalloc_start + (40 << 39)
        assert (len(machine.walk(area).entries) > 1) == present, version


def test_an_unknown_feature_is_named_with_its_neighbours() -> None:
    with pytest.raises(BadInput, match="smap"):
        Machine.boot(features={"smapp"})


def test_too_little_ram_says_how_much_is_needed() -> None:
    with pytest.raises(Unsupported, match="needs at least"):
        Machine.boot(ram=16 << 20)


def test_the_module_alone_is_no_kernel() -> None:
    from pagefault.kernels import faulty_module

    with pytest.raises(Absent):
        Machine.boot(faulty_module())
