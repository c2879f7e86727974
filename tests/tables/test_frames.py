from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from evidence.oops_stacks import RecordedStack, recorded_stack
from pagefault.evidence.oops_report import RegisterFrame, TraceLine
from pagefault.images.vmlinux import Vmlinux
from pagefault.tables.frames import PT_REGS, Interrupted, Stack, TextAddress, Unwinder, stack_trace
from pagefault.tables.orc import OrcEntry, OrcTable, OrcTables

LOW = 0xFFFF_C900_0000_0000
HIGH = LOW + 0x4000
TEXT = 0xFFFF_FFFF_8100_0000
CALL = OrcEntry("rsp", 8, "undefined", 0, "call")
REGS = OrcEntry("rsp", 0, "undefined", 0, "regs")
IRET = OrcEntry("rsp", 0, "undefined", 0, "regs_partial")


def registers(rip: int = TEXT, rsp: int = LOW + 0x3F00, rbp: int = 0, cs: int = 0x10) -> dict[str, int]:
    return dict.fromkeys(PT_REGS, 0) | {"rip": rip, "rsp": rsp, "rbp": rbp, "cs": cs}


def stack(*words: int, rsp: int = LOW + 0x3F00) -> Stack:
    return Stack(LOW, HIGH, rsp, b"".join(word.to_bytes(8, "little") for word in words).ljust(HIGH - rsp, b"\0"))


def is_text(address: int) -> bool:
    return TEXT <= address < TEXT + 0x1000


def pushed(**values: int) -> list[int]:
    return [(registers() | values)[name] for name in PT_REGS]


def nowhere(_ip: int) -> OrcEntry | None:
    return None


def by_address(entries: dict[int, OrcEntry]) -> Callable[[int], OrcEntry | None]:
    """One entry for each 0x100 bytes of text."""
    return lambda ip: entries.get(ip - TEXT >> 8)


def test_every_text_address_is_found_and_only_the_unwinder_s_are_reliable() -> None:
    words = stack(7, TEXT + 0x111, TEXT + 0x222, TEXT + 0x333, 9, TEXT + 0x444)
    entries = {0: replace(CALL, sp_offset=24), 2: replace(CALL, sp_offset=24), 4: replace(CALL, sp_offset=8)}
    assert stack_trace(registers(), words, by_address(entries), is_text) == [
        TextAddress(TEXT + 0x111, False),
        TextAddress(TEXT + 0x222, True),
        TextAddress(TEXT + 0x333, False),
        TextAddress(TEXT + 0x444, True),
    ]


def test_a_return_address_belongs_to_the_call_before_it() -> None:
    """A call that never returns may be its function's last instruction."""
    words = stack(TEXT + 0x200, 1, TEXT + 0x333)
    entries = {0: CALL, 1: replace(CALL, sp_offset=16), 2: CALL}
    assert [
        found.reliable
        for found in stack_trace(registers(), words, by_address(entries), is_text)
        if isinstance(found, TextAddress)
    ] == [True, True]


def test_without_a_table_frame_pointers_are_followed() -> None:
    rsp = LOW + 0x3F00
    words = stack(TEXT + 1, rsp + 0x20, TEXT + 2, TEXT + 3, 0, TEXT + 4)
    found = stack_trace(registers(rbp=rsp + 8), words, nowhere, is_text)
    expected = [(1, False), (2, True), (3, False), (4, True)]
    assert found == [TextAddress(TEXT + at, reliable) for at, reliable in expected]


def test_a_call_of_address_0_is_unwound_to_its_caller() -> None:
    found = stack_trace(
        registers(rip=0), stack(TEXT + 0x55, 0, TEXT + 0x66), by_address({0: replace(CALL, sp_offset=16)}), is_text
    )
    assert found == [TextAddress(TEXT + 0x55, True), TextAddress(TEXT + 0x66, True)]


def test_the_user_s_registers_at_the_end_are_shown_and_end_it() -> None:
    frame = pushed(rip=0x401000, rsp=0x7FFF_0000, cs=0x33, orig_rax=1)
    words = stack(TEXT + 0x101, *frame)
    found = stack_trace(registers(), words, by_address({0: CALL, 1: REGS}), is_text)
    assert found[0] == TextAddress(TEXT + 0x101, True)
    assert isinstance(found[1], Interrupted)
    assert found[1].user_mode
    assert found[1].whole
    assert found[1].registers == dict(zip(PT_REGS, frame, strict=True))
    assert len(found) == 2


def test_an_interrupted_kernel_frame_is_shown_and_passed() -> None:
    rsp = LOW + 0x3F00
    frame = pushed(rip=TEXT + 0x210, rsp=rsp + 8 + 21 * 8, rbp=0x77)
    words = stack(TEXT + 0x101, *frame, TEXT + 0x300)
    found = stack_trace(registers(), words, by_address({0: CALL, 1: REGS, 2: CALL}), is_text)
    assert [type(each) for each in found] == [TextAddress, Interrupted, TextAddress]
    assert found[2] == TextAddress(TEXT + 0x300, True), "its rip is not printed twice"


def test_a_frame_of_which_the_cpu_pushed_only_the_end() -> None:
    rsp = LOW + 0x3F00
    frame = pushed(rip=TEXT + 0x210, rsp=rsp + 8 + 5 * 8)[16:]
    found = stack_trace(
        registers(), stack(TEXT + 0x101, *frame, TEXT + 0x300), by_address({0: CALL, 1: IRET, 2: CALL}), is_text
    )
    assert isinstance(found[1], Interrupted)
    assert not found[1].whole
    assert found[2] == TextAddress(TEXT + 0x300, True)


@pytest.mark.parametrize("base", ["r10", "r13", "rdi", "rdx"])
def test_a_stack_pointer_kept_in_a_register(base: str) -> None:
    rsp = LOW + 0x3F00
    start = registers() | {base: rsp + 0x20}
    words = stack(TEXT + 1, TEXT + 2, 0, TEXT + 3)
    found = stack_trace(start, words, by_address({0: OrcEntry(base, 99, "undefined", 0, "call")}), is_text)
    assert found == [TextAddress(TEXT + 1, False), TextAddress(TEXT + 2, False), TextAddress(TEXT + 3, True)]


def test_a_stack_pointer_kept_on_the_stack() -> None:
    rsp = LOW + 0x3F00
    indirect = OrcEntry("rsp_indirect", 8, "undefined", 0, "call")
    found = stack_trace(registers(), stack(rsp + 0x10, TEXT + 1, TEXT + 2), by_address({0: indirect}), is_text)
    assert found == [TextAddress(TEXT + 1, False), TextAddress(TEXT + 2, True)]
    at_bp = OrcEntry("rbp_indirect", 8, "undefined", 0, "call")
    found = stack_trace(registers(rbp=rsp), stack(7, rsp + 0x18, TEXT + 2), by_address({0: at_bp}), is_text)
    assert found == [TextAddress(TEXT + 2, True)]


@pytest.mark.parametrize(
    "entry",
    [
        OrcEntry("undefined", 0, "undefined", 0, "undefined"),
        OrcEntry("rsp", 8, "undefined", 0, "end_of_stack"),
        OrcEntry("rsp", 8, "unknown", 0, "call"),
        OrcEntry("unknown", 8, "undefined", 0, "call"),
        OrcEntry("rsp", -64, "undefined", 0, "call"),
        OrcEntry("rsp", 0x7000, "undefined", 0, "call"),
        OrcEntry("rsp", 8, "prev_sp", 0x7000, "call"),
        OrcEntry("rsp", 0x3FF0, "undefined", 0, "regs"),
    ],
)
def test_where_the_unwinder_ends_the_rest_is_unreliable(entry: OrcEntry) -> None:
    found = stack_trace(registers(), stack(TEXT + 1, TEXT + 2), by_address({0: entry}), is_text)
    assert found == [TextAddress(TEXT + 1, False), TextAddress(TEXT + 2, False)]


def test_frames_that_go_in_a_circle_end_it() -> None:
    rsp = LOW + 0x3F00
    words = stack(rsp, TEXT + 1, TEXT + 2)
    assert stack_trace(registers(rbp=rsp), words, nowhere, is_text) == [
        TextAddress(TEXT + 1, True),
        TextAddress(TEXT + 2, False),
    ]


def test_an_unwinder_in_a_circle_comes_to_an_end() -> None:
    rsp = LOW + 0x3F00
    unwinder = Unwinder(registers(rbp=rsp), stack(rsp, TEXT + 1), nowhere)
    for _ in range(4):
        unwinder.next()
    assert unwinder.done


def test_the_table_says_whether_a_frame_was_interrupted() -> None:
    """Then its address is that of the instruction itself."""
    words = stack(TEXT + 0x200, 1, TEXT + 0x333)
    entries = {0: replace(CALL, signal=True), 1: CALL, 2: replace(CALL, sp_offset=16)}
    assert stack_trace(registers(), words, by_address(entries), is_text)[-1] == TextAddress(TEXT + 0x333, True)
    entries[0] = replace(CALL, signal=False)
    assert stack_trace(registers(), words, by_address(entries), is_text)[-1] == TextAddress(TEXT + 0x333, False)


def test_an_interrupted_frame_s_own_registers_lead_on() -> None:
    rsp = LOW + 0x3F00
    frame = pushed(rip=TEXT + 0x110, rsp=rsp + 21 * 8, rbp=rsp + 22 * 8)
    words = stack(*frame, 7, 0, TEXT + 0x300)
    by_bp = OrcEntry("rbp", 16, "undefined", 0, "call")
    assert stack_trace(registers(), words, by_address({0: REGS, 1: by_bp}), is_text)[-1] == TextAddress(
        TEXT + 0x300, True
    )


def test_a_partial_frame_goes_by_the_whole_one_before_it() -> None:
    rsp = LOW + 0x3F00
    whole = pushed(rip=TEXT + 0x110, rsp=rsp + 21 * 8, r10=rsp + 28 * 8)
    partial = pushed(rip=TEXT + 0x210, rsp=rsp + 26 * 8)[16:]
    words = stack(*whole, *partial, 7, TEXT + 0x300)
    by_r10 = OrcEntry("r10", 0, "undefined", 0, "call")
    found = stack_trace(registers(), words, by_address({0: REGS, 1: IRET, 2: by_r10}), is_text)
    assert found[-1] == TextAddress(TEXT + 0x300, True)


def test_a_stack_that_ran_over_is_shown_from_its_low_end() -> None:
    whole = Stack(LOW, HIGH, LOW, (TEXT + 1).to_bytes(8, "little") + bytes(0x3FF8))
    assert stack_trace(registers(rsp=LOW - 16), whole, by_address({0: CALL}), is_text) == [TextAddress(TEXT + 1, False)]
    assert stack_trace(registers(rsp=0x1000), whole, by_address({0: CALL}), is_text) == []


@pytest.mark.parametrize("kernel", ["6.1", "6.12"])
def test_a_real_kernel_s_own_trace(kernel: str, request: pytest.FixtureRequest) -> None:
    """The recorded stack, followed with the image's own ORC table, gives every line that the kernel printed of it."""
    recorded = recorded_stack(kernel)
    path = request.getfixturevalue("vmlinux_" + kernel.replace(".", ""))
    assert isinstance(path, Path)
    image = Vmlinux.open(path)
    if recorded.report.task.build.split()[-1] not in image.banner:
        pytest.skip(f"recorded on {recorded.report.task.build}, and this is another build: {image.banner}")
    assert recorded.report.trace is not None
    assert shown(recorded, image) == list(recorded.report.trace[0].lines)


def shown(recorded: RecordedStack, image: Vmlinux) -> list[TraceLine | RegisterFrame]:
    (ip_at, ip), (_, entries) = image.section(".orc_unwind_ip") or (0, b""), image.section(".orc_unwind") or (0, b"")
    start, end = image.symbols.find("_stext"), image.symbols.find("_etext")
    module_start, module_end = recorded.text
    kernel = OrcTable(ip_at, bytes(ip), bytes(entries), start=start, end=end, where=image.path)
    assert recorded.report.trace is not None
    names = {
        recorded.module_symbol(line.where): line.where
        for line in recorded.report.trace[0].lines
        if isinstance(line, TraceLine) and "[" in line.where
    }

    def text(address: int) -> bool:
        return start <= address < end or module_start <= address < module_end

    lines: list[TraceLine | RegisterFrame] = []
    for found in stack_trace(recorded.registers, recorded.stack, OrcTables((kernel, recorded.orc)).find, text):
        match found:
            case TextAddress(address, reliable):
                lines.append(TraceLine(names.get(address) or image.symbols.format(address), reliable))
            case Interrupted(_, values):
                last = recorded.report.trace[0].lines[-1]
                assert isinstance(last, RegisterFrame)
                frame = {name: values[name] for name in last.values}
                lines.append(
                    replace(
                        last,
                        cs=values["cs"],
                        where=hex(values["rip"]),
                        ss=values["ss"],
                        eflags=values["eflags"],
                        orig_rax=values["orig_rax"],
                        values=frame,
                    )
                )
    return lines
