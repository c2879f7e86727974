"""
vmalloc space on x86-32, on Debian's own kernels: who writes a new entry into which table, by era and by kind of tables.
"""

from __future__ import annotations

from typing import Any

import pytest

from machine.kernel_32 import VARIABLES, machine_32
from pagefault import PAGE, Machine
from pagefault.arch import x86_32
from pagefault.arch.x86_eras import profile
from pagefault.machine.event import Died, Returned
from pagefault.vocabulary.outcome import Oops, Resolved
from pagefault.vocabulary.walk import Mapped, NotPresent

FEATURES = {"nx", "smep", "smap"}
COPIED = Resolved("vmalloc entry copied from init_mm")
LEVEL = {"two levels": "pgd", "PAE": "pmd"}


def machine_of(mode: str, version: tuple[int, int] = (6, 1), *, pti: bool = True) -> Machine:
    features = FEATURES | ({"pti"} if pti else set())
    return machine_32(mode, features, kernel_profile=profile(version, x86_32))


@pytest.fixture(params=VARIABLES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def touch(machine: Machine, address: int) -> Any:
    """Let the kernel's own memcpy() write there."""
    return machine.run("memcpy", address, machine.kmalloc(64, b"from the kernel"), 16)


def test_up_to_5_7_the_first_touch_copies_the_pmd(mode: str) -> None:
    machine = machine_of(mode, (5, 7))
    area = machine.vmalloc(2 * PAGE, start=0xF800_0000)
    assert isinstance(machine.walk(area).end, NotPresent)
    result = touch(machine, area + 8)
    assert isinstance(result.end, Returned)
    assert [event.decision.outcome for event in result.events] == [COPIED]
    (effect,) = result.events[0].decision.effects
    assert effect.level == LEVEL[mode]
    assert machine.read(area + 8, 15) == b"from the kernel"
    assert touch(machine, area + PAGE).events == (), "what is below the entry is shared"
    assert touch(machine, machine.vmalloc(PAGE, start=area)).events == (), (
        "and so is the next area under the same entry"
    )


@pytest.mark.parametrize("version", [(5, 8), (5, 9), (6, 1)])
def test_since_5_8_every_table_has_it_at_once(mode: str, version: tuple[int, int]) -> None:
    machine = machine_of(mode, version)
    other = machine.spawn("other")
    area = machine.vmalloc(PAGE)
    assert touch(machine, area).events == ()
    machine.switch_to(other)
    assert touch(machine, area).events == ()


def test_since_5_9_the_race_before_that_is_closed_by_a_copy(mode: str) -> None:
    machine = machine_of(mode)
    area = machine.vmalloc(PAGE, sync=False)
    result = touch(machine, area)
    assert isinstance(result.end, Returned)
    assert [event.decision.outcome for event in result.events] == [COPIED]


def test_in_5_8_the_same_race_was_an_oops(mode: str) -> None:
    machine = machine_of(mode, (5, 8))
    result = touch(machine, machine.vmalloc(PAGE, sync=False))
    assert isinstance(result.end, Died)
    assert result.end.outcome == Oops("unable to handle page fault")


@pytest.mark.parametrize("version", [(5, 7), (6, 1)])
def test_pae_without_isolation_shares_the_pmd_table(version: tuple[int, int]) -> None:
    machine = machine_of("PAE", version, pti=False)
    area = machine.vmalloc(PAGE, sync=False)
    assert isinstance(machine.walk(area).end, Mapped)
    assert touch(machine, area).events == ()


def test_a_freed_area_and_the_page_behind_one_are_oopses(mode: str) -> None:
    machine = machine_of(mode)
    area = machine.vmalloc(PAGE)
    assert isinstance(touch(machine, area + PAGE - 8).end, Died), "it runs over the end"
    machine.vfree(area)
    result = touch(machine, area)
    assert isinstance(result.end, Died)
    assert isinstance(result.events[0].before.end, NotPresent)
    assert result.events[0].before.end.level == "pte"


def test_a_process_begins_with_the_kernel_s_part_only(mode: str) -> None:
    machine = machine_of(mode)
    for address in (0x0804_8000, 0x4000_0000, 0xBFFF_F000):
        end = machine.walk(address).end
        assert isinstance(end, NotPresent)
        assert end.level == LEVEL[mode], "PAE's top entries are there from the start"
    for address in (0xC000_0000, machine.symbols.find("_copy_from_user"), machine.current.task.stack[0]):
        assert isinstance(machine.walk(address).end, Mapped), hex(address)
    text = machine.walk(machine.symbols.find("_copy_from_user")).end
    data = machine.walk(machine.symbols.find("movsl_mask")).end
    assert isinstance(text, Mapped)
    assert isinstance(data, Mapped)
    assert (text.writable, text.executable) == (False, True)
    assert (data.writable, data.executable) == (True, mode == "two levels"), "no NX without PAE"


def test_kernel_code_finds_its_per_cpu_area_and_its_segments(mode: str) -> None:
    machine = machine_of(mode)
    registers = machine.run("memcpy", machine.kmalloc(8), machine.kmalloc(8), 4).registers
    selectors = {name: registers[name] for name in ("cs", "ss", "ds", "es", "fs")}
    assert selectors == {"cs": 0x60, "ss": 0x68, "ds": 0x7B, "es": 0x7B, "fs": 0xD8}
    assert registers["fs_base"] == machine.booted.percpu
    current = machine.booted.percpu + machine.symbols.find("current_task") & 0xFFFF_FFFF
    assert int.from_bytes(machine.read(current, 4), "little") == machine.current.task.address


def test_arguments_go_by_registers_and_then_by_the_stack(mode: str) -> None:
    machine = machine_of(mode)
    result, first, second = machine.kmalloc(8), machine.kmalloc(8, b"\xf0\x0f\xff\xff"), machine.kmalloc(8, b"\xff" * 4)
    assert machine.call("__bitmap_and", result, first, second, 12) & 0xFF == 1
    assert machine.read(result, 4) == b"\xf0\x0f\0\0", "the fourth one, how many bits, is on the stack"
