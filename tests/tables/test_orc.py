from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from evidence.oops_stacks import recorded_stack
from pagefault.errors import BadInput
from pagefault.images.vmlinux import Vmlinux
from pagefault.tables.orc import OrcEntry, OrcTable, OrcTables

IP_TABLE = 0xFFFF_FFFF_8200_0000
TEXT = 0xFFFF_FFFF_8100_0000
OLD_CALL, OLD_END, OLD_GAP = 0x005, 0x400, 0x000
NEW_CALL, NEW_END, NEW_GAP = 0x205, 0x100, 0x000
NEW_FRAME = 0x214
"""The caller's SP is RBP + …, its RBP was saved at PREV_SP + …"""

Raw = tuple[int, int, int, int]
"""Offset into the text, sp_offset, bp_offset, bits."""


def table(*entries: Raw, end: int = TEXT + 0x1000) -> OrcTable:
    ip = b"".join(struct.pack("<i", TEXT + raw[0] - (IP_TABLE + 4 * i)) for i, raw in enumerate(entries))
    return OrcTable(
        IP_TABLE, ip, b"".join(struct.pack("<hhH", *raw[1:]) for raw in entries), start=TEXT, end=end, where="t"
    )


def call(sp_offset: int, signal: bool | None = False) -> OrcEntry:
    return OrcEntry("rsp", sp_offset, "undefined", 0, "call", signal)


def test_an_entry_holds_up_to_the_next() -> None:
    found = table((0, 8, 0, NEW_CALL), (0x10, 16, 0, NEW_CALL), (0x20, 16, -16, NEW_FRAME))
    assert [found.find(TEXT + at) for at in (0, 0xF, 0x10, 0x1F)] == [call(8), call(8), call(16), call(16)]
    assert found.find(TEXT + 0xFFF) == OrcEntry("rbp", 16, "prev_sp", -16, "call", False)
    assert len(found) == 3


def test_addresses_outside_are_nobody_s() -> None:
    found = table((0, 8, 0, NEW_CALL))
    assert found.find(TEXT - 1) is None
    assert found.find(TEXT + 0x1000) is None
    assert found.find(0) is None
    assert found.find((1 << 64) - 1) is None


def test_the_last_of_several_at_one_address_holds() -> None:
    found = table((0, 8, 0, NEW_CALL), (0x10, 0, 0, NEW_GAP), (0x10, 24, 0, NEW_CALL))
    assert found.find(TEXT + 0x10) == call(24)


def test_a_table_out_of_order_is_sorted_gaps_first() -> None:
    entries = [(8 * at, 8 * at, 0, NEW_CALL) for at in range(1, 60)] + [(8 * at, 0, 0, NEW_GAP) for at in range(1, 60)]
    random.Random(1).shuffle(entries)
    found = table(*entries)
    assert [found.find(TEXT + 8 * at + 3) for at in range(1, 60)] == [call(8 * at) for at in range(1, 60)]


def test_the_layout_of_6_1() -> None:
    found = table(
        (0, 8, 0, OLD_CALL),
        (8, 0, 0, OLD_END),
        (16, 0, 0, OLD_GAP),
        (24, 8, 0, 0x105),
        (32, 0, 0, 0x205),
        (40, 8, 0, OLD_CALL),
        (48, 16, -16, 0x14),
    )
    kinds = [entry.type for at in range(7) if (entry := found.find(TEXT + 8 * at))]
    assert kinds == ["call", "end_of_stack", "undefined", "regs", "regs_partial", "call", "call"]
    assert found.find(TEXT) == call(8, signal=None)


def test_the_layout_of_6_12() -> None:
    found = table(
        (0, 8, 0, NEW_CALL),
        (8, 0, 0, NEW_END),
        (16, 0, 0, NEW_GAP),
        (24, 8, 0, 0xB05),
        (32, 0, 0, 0xC05),
        (40, 8, 0, NEW_CALL),
        (48, 8, 0, NEW_CALL),
    )
    found_entries = [entry for at in range(5) if (entry := found.find(TEXT + 8 * at))]
    assert [entry.type for entry in found_entries] == ["call", "end_of_stack", "undefined", "regs", "regs_partial"]
    assert [entry.signal for entry in found_entries] == [False, False, False, True, True]


def test_numbers_without_a_name_are_unknown() -> None:
    found = table((0, 8, 0, NEW_CALL), (8, 8, 0, NEW_CALL), (16, 8, 0, NEW_CALL), (24, 8, 0, 0x7EE))
    assert found.find(TEXT + 24) == OrcEntry("unknown", 8, "unknown", 0, "unknown", False)


@pytest.mark.parametrize(("ip", "entries"), [(0, 0), (3, 6), (8, 6), (4, 7)])
def test_tables_that_do_not_fit_each_other_are_bad_input(ip: int, entries: int) -> None:
    with pytest.raises(BadInput, match="ORC tables"):
        OrcTable(IP_TABLE, bytes(ip), bytes(entries), start=TEXT, end=TEXT + 1, where="vmlinux")


def test_tables_are_asked_in_turn() -> None:
    module = recorded_stack("6.1").orc
    both = OrcTables([table((0, 8, 0, OLD_CALL)), module])
    assert both.find(TEXT) == call(8, signal=None)
    assert both.find(module.start) == call(8, signal=None)
    assert both.find(0) is None


@pytest.mark.parametrize(("kernel", "signal"), [("vmlinux_61", None), ("vmlinux_612", False)])
def test_a_real_kernel_s_table(kernel: str, signal: bool | None, vmlinux: Path) -> None:
    image = Vmlinux.open(vmlinux)
    (ip_at, ip), (_, entries) = image.section(".orc_unwind_ip") or (0, b""), image.section(".orc_unwind") or (0, b"")
    start, end = image.symbols.find("_stext"), image.symbols.find("_etext")
    found = OrcTable(ip_at, bytes(ip), bytes(entries), start=start, end=end, where=str(vmlinux))
    assert len(found) > 300_000
    # Nothing is pushed yet at a function's first instruction: the return address is on top.
    for name in ("vfs_write", "ksys_write", "_copy_from_user", "handle_mm_fault", "do_user_addr_fault"):
        assert found.find(image.symbols.find(name)) == call(8, signal), name
    entry = found.find(image.symbols.find("asm_exc_page_fault"))
    assert entry is not None
    assert entry.type == "regs_partial"


@pytest.fixture
def vmlinux(kernel: str, request: pytest.FixtureRequest) -> Path:
    path = request.getfixturevalue(kernel)
    assert isinstance(path, Path)
    return path
