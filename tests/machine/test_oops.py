"""
The same bugs in our machine and on a real one: the same lines in the same order.

What depends on chance is masked in both texts, everything else must be equal:

    compared exactly    which lines; the #PF lines, error codes, oops numbers, configuration words, taints, what the
                        page table entries say of rights, selectors, CR0, which registers stand in which line, the end
                        of trace; addresses in the first page; and that the same of two addresses (the fault's, the
                        unreadable code's) stands in each BUG, RIP, Code and CR2 line
    compared by shape   other addresses, frames, general registers, EFLAGS, CR3, CR4, PKRU, pid and comm, the release,
                        the hardware's name, offsets within functions (the module is another one), code bytes
    compared elsewhere  the call trace: tests/tables/test_frames.py has real stacks

A recording's page at a user address is a file's, ours is anonymous: D and two software bits of a pte are masked.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from evidence.oops_corpus import FOLDER, recorded
from pagefault.errors import Unsupported
from pagefault.evidence.oops import OopsReport, read, write
from pagefault.evidence.oops_report import PageFaultWords, PageTableWords, StackGuard, TraceLine
from pagefault.handler.decision import Decision
from pagefault.kernels import faulty_module
from pagefault.machine.event import Died, FaultEvent
from pagefault.machine.kernel_memory import KERNEL_ROX
from pagefault.machine.machine import Machine
from pagefault.machine.oops import is_text, oops_of
from pagefault.vocabulary.address import PAGE
from pagefault.vocabulary.outcome import Spurious

MAX = ("nx", "smep", "smap", "la57", "pku", "rep_good", "erms")
QEMU64 = ("nx", "rep_good")
PTE_KIND = 1 << 6 | 1 << 9 | 1 << 11
FRAME = 0x000F_FFFF_FFFF_F000
PS = 1 << 7

MASKS = (
    (r"^(Hardware name: ).*", r"\1…"),
    (r"PID: \d+ Comm: \S+", "PID: … Comm: …"),
    (r" \d+\.\d+\.\S+-cloud-amd64 #1  Debian \S+$", " RELEASE"),
    (r"^(RIP: 0010:\w+)\+0x[0-9a-f]+/0x[0-9a-f]+", r"\1+…"),
    (r"^(Code: )[0-9a-f]{2} .*", r"\1BYTES"),
    (r"\b(R[A-Z0-9]{2}|CR3|CR4|knlGS): [0-9a-f]{16}", r"\1: …"),
    (r"(RSP: [0-9a-f]{4}):[0-9a-f]{16} EFLAGS: [0-9a-f]{8}", r"\1:… EFLAGS: …"),
    (r"\b(FS:  |GS:)[0-9a-f]{16}", r"\1…"),
    (r"^PKRU: .*", "PKRU: …"),
    (r"(was hit at) .*", r"\1 …"),
    (r"^(\w+)(: Corrupted page table at address) [0-9a-f]+", r"COMM\2 …"),
    (r" qemu_fw_cfg\b", ""),
)


def masked(report: OopsReport) -> list[str]:
    """The oops without its call trace, chance masked."""
    assert report.summary is not None
    names = {}
    if report.summary[0].code_at is not None:
        names[report.summary[0].code_at] = "FIRST-CODE"
    if report.frame.code_at is not None:
        names[report.frame.code_at] = "CODE"
    if isinstance(report.preface, PageFaultWords) and report.preface.address >= PAGE:
        names[report.preface.address] = "ADDRESS"
    lines = write(replace(report, trace=())).splitlines()
    return [mask(line, names) for line in lines]


def mask(line: str, names: dict[int, str]) -> str:
    if line.startswith("PGD "):
        return re.sub(r"(\w+) ([0-9a-f]+)", lambda found: f"{found[1]} {rights(found[1], int(found[2], 16)):x}", line)
    for pattern, shape in MASKS:
        line = re.sub(pattern, shape, line)
    for address, name in names.items():
        line = line.replace(f"{address:016x}", name).replace(f"0x{address:x}", name)
    return line


def rights(level: str, value: int) -> int:
    return value & ~FRAME & ~(PTE_KIND if level == "PTE" else 0)


def vmalloc_end(machine: Machine) -> int:
    return machine.vmalloc(PAGE) + PAGE


def user_page(machine: Machine, protection: str) -> int:
    """A page beside which all tables exist, as a program's are."""
    return machine.user.mmap(PAGE, address=0x400000, protection=protection, content=b"\xc3")


def user_code(machine: Machine) -> int:
    page = user_page(machine, "rw")
    machine.user.mprotect(page, PAGE, "rx")
    return page


def text(machine: Machine) -> int:
    return machine.symbols.find("rd") & ~7


def corrupted(machine: Machine) -> int:
    """A user page whose top-level entry has its PS bit set, which is reserved there."""
    page = user_page(machine, "rw")
    slot = machine.walk(page).entries[0]
    machine.ram.write_u64(slot.physical, slot.value | PS)
    return page


BUGS: dict[str, tuple[str, Callable[[Machine], int]]] = {
    "null": ("r", lambda machine: 0x10),
    "nullw": ("w", lambda machine: 0x18),
    "nullcall": ("x", lambda machine: 0),
    "noncanon": ("r", lambda machine: 0xDEAD_0000_0000_0100),
    "user": ("r", lambda machine: user_page(machine, "rw")),
    "smap": ("r", lambda machine: user_page(machine, "rw")),
    "smep": ("x", user_code),
    "usernx": ("x", lambda machine: user_page(machine, "r")),
    "execuser": ("x", lambda machine: user_page(machine, "r")),
    "userhole": ("r", lambda machine: 0x1000_0000),
    "vmallocoob": ("r", vmalloc_end),
    "rodata": ("w", text),
    "exec": ("x", lambda machine: machine.kmalloc(64)),
    "high": ("r", lambda machine: 0xFFFF_FFFF_FF00_0000),
    "guard": ("r", lambda machine: machine.current.task.stack[0] - 8),
    "badpagetable": ("r", corrupted),
}  # fmt: skip
UNLIKE = {
    "6.1-max-badpagetable": "QEMU's error code for a reserved bit lacks P",
    "6.12-max-badpagetable": "QEMU's error code for a reserved bit lacks P",
}
CASES = [
    (series, cpu, bug)
    for series, cpu in (("6.1", "max"), ("6.1", "qemu64"), ("6.12", "max"))
    for bug in BUGS
    if (FOLDER / f"{series}-{cpu}-{bug}.txt").exists() and f"{series}-{cpu}-{bug}" not in UNLIKE
]


def booted(kernel: str | Path | None = None, features: tuple[str, ...] = MAX) -> Machine:
    machine = Machine.boot(kernel, features=features)
    machine.load_module(faulty_module(), "faulty")
    machine.switch_to(machine.spawn("busybox"))  # the first process's stack starts vmalloc space: no guard page below
    user_page(machine, "r")
    return machine


def commit(machine: Machine, bug: str) -> FaultEvent:
    """Let the module commit one bug, and give the fault it died of."""
    what, address = BUGS[bug]
    result = machine.run("pw", ord(what), address(machine))
    assert isinstance(result.end, Died)
    return result.events[-1]


@pytest.mark.parametrize(("series", "cpu", "bug"), CASES)
def test_a_bug_prints_what_it_prints_on_a_real_machine(
    series: str, cpu: str, bug: str, request: pytest.FixtureRequest
) -> None:
    real = read(recorded(FOLDER / f"{series}-{cpu}-{bug}.txt").text)
    vmlinux = request.getfixturevalue("vmlinux_" + series.replace(".", ""))
    machine = booted(vmlinux, MAX if cpu == "max" else QEMU64)
    event = commit(machine, "null")
    if real.die.number > 1:
        event = commit(machine, bug)
    ours = oops_of(machine, event, real.die.number)
    assert read(write(ours)) == ours
    wanted = [re.sub(r"G    B ", "G      ", line.replace("[B]=BAD_PAGE, ", "")) for line in masked(real)]
    assert real.summary is not None
    assert ours.summary is not None
    frames = ((real.frame, real.summary[0]), (ours.frame, ours.summary[0]))
    shown = [[frame.code is None for frame in pair] for pair in frames]
    if shown[0] != shown[1]:
        # Whether all 42 bytes before RIP are mapped is a matter of where in the module the function lies.
        wanted, found = (
            [re.sub(r"^(Code|CR2): .*", r"\1: …", line) for line in each] for each in (wanted, masked(ours))
        )
        assert found == wanted
    else:
        assert masked(ours) == wanted


def test_there_are_recordings_to_compare_with() -> None:
    assert len(CASES) >= 30


# -------------------------------------------------------------------------------------------- on the small kernel


@pytest.fixture
def machine() -> Machine:
    return booted(features=("nx", "smep", "smap"))


def test_the_trace_names_the_callers(machine: Machine) -> None:
    report = oops_of(machine, commit(machine, "null"))
    assert report.trace is not None
    found = [
        (line.where.partition("+")[0], line.reliable) for line in report.trace[0].lines if isinstance(line, TraceLine)
    ]
    assert found == [("commit", True), ("pw", True)]
    assert all(line.where.endswith(" [faulty]") for line in report.trace[0].lines if isinstance(line, TraceLine))


def test_a_wild_jump_leaves_its_origin_on_the_stack(machine: Machine) -> None:
    report = oops_of(machine, commit(machine, "exec"))
    assert report.trace is not None
    found = [
        (line.where.partition("+")[0], line.reliable) for line in report.trace[0].lines if isinstance(line, TraceLine)
    ]
    assert found == [("call", False), ("commit", True), ("pw", True)], "as the kernel does for code without ORC data"


def test_oopses_are_counted_and_the_first_is_repeated(machine: Machine) -> None:
    first, second = (oops_of(machine, commit(machine, bug)) for bug in ("null", "exec"))
    assert (first.die.number, second.die.number) == (1, 2)
    assert (first.task.tainted or "").split() == ["G", "O"]
    assert (second.task.tainted or "").split() == ["G", "D", "O"]
    assert first.summary is not None
    assert second.summary is not None
    assert second.summary[0] == first.frame == first.summary[0]
    assert second.frame != first.frame


def test_an_unreadable_prologue_leaves_its_own_address_in_cr2(machine: Machine) -> None:
    at = machine.area.modules_start + 0x90000
    machine.memory.map_pages(at, bytes.fromhex("488b07c3"), PAGE, KERNEL_ROX)  # mov (%rdi), %rax at a page's start
    report = oops_of(machine, machine.run(at, 0x10).events[-1])
    assert report.control is not None
    assert report.frame.code is None
    assert report.control.cr2 == report.frame.code_at
    assert report.cr2 == 0x10
    report = oops_of(machine, commit(machine, "usernx"))
    assert report.control is not None
    assert report.frame.code_at == 0x400000 - 42
    assert report.control.cr2 == 0x400000, "the kernel does not try to read user memory"


def test_the_vsyscall_page_is_not_read_for_code(machine: Machine) -> None:
    result = machine.run("call", 0xFFFF_FFFF_FF60_0400)
    report = oops_of(machine, result.events[-1])
    assert report.control is not None
    assert report.frame.code_at == 0xFFFF_FFFF_FF60_0400 - 42
    assert report.control.cr2 == 0xFFFF_FFFF_FF60_0400


def test_code_is_text_and_data_is_not(machine: Machine) -> None:
    names = ("rd", "pw", "_copy_from_user", "faulty_data", "faulty_rodata", "init_task")
    assert [is_text(machine, machine.symbols.find(name)) for name in names] == [True] * 3 + [False] * 3
    assert not is_text(machine, 0)


def test_code_that_ends_with_its_page_cannot_be_shown(machine: Machine) -> None:
    last = machine.vmalloc(PAGE) + PAGE - 8
    result = machine.run("call", last)
    report = oops_of(machine, result.events[-1])
    assert (report.frame.code, report.frame.code_at) == (None, last - 42)
    assert report.control is not None
    assert report.control.cr2 == last + 8


def test_readable_code_is_shown_around_rip(machine: Machine) -> None:
    at = machine.symbols.find("touch")
    result = machine.run("touch", 0x10, 1)
    report = oops_of(machine, result.events[-1])
    ip = result.events[-1].fault.ip
    assert at <= ip < at + 32
    assert report.frame.code == machine.read(ip - 42, 64)
    assert report.control is not None
    assert report.control.cr2 == 0x10


def test_the_registers_are_those_of_the_fault(machine: Machine) -> None:
    result = machine.run("rd", 0x10, r12=0x1234)
    report = oops_of(machine, result.events[-1])
    fault = result.events[-1].fault
    assert report.frame.values["rdi"] == 0x10
    assert report.frame.values["r12"] == 0x1234
    assert report.frame.eflags == fault.registers["eflags"] | 1 << 16
    assert report.control is not None
    assert (report.control.cr3, report.control.pkru) == (machine.current.mm.root, None)


def test_a_general_protection_fault_has_no_address_lines(machine: Machine) -> None:
    commit(machine, "null")
    report = oops_of(machine, commit(machine, "noncanon"))
    assert (report.preface, report.cr2) == (None, None)
    assert report.die.what == "general protection fault, probably for non-canonical address 0xdead000000000100"


def test_a_corrupted_page_table(machine: Machine) -> None:
    lines = write(oops_of(machine, commit(machine, "badpagetable"))).splitlines()
    assert lines[0] == "busybox: Corrupted page table at address 400000"
    assert re.fullmatch("PGD [0-9a-f]+0e7 P4D [0-9a-f]+0e7 PUD [0-9a-f]+067 PMD [0-9a-f]+067 PTE [0-9a-f]+", lines[1])
    assert lines[2] == "Bad pagetable: 0009 [#1] SMP"


def test_a_table_outside_ram_is_bad(machine: Machine) -> None:
    page = user_page(machine, "rw")
    slot = machine.walk(page).entries[1]
    machine.ram.write_u64(slot.physical, FRAME | 0x67)
    report = oops_of(machine, commit(machine, "null"))
    assert isinstance(report.preface, PageFaultWords)
    top = machine.walk(page).entries[0].value
    assert report.preface.tables == PageTableWords((("PGD", top), ("P4D", top), ("PUD", FRAME | 0x67)), bad=True)


def test_the_guard_page_under_the_stack(machine: Machine) -> None:
    low, high = machine.current.task.stack
    report = oops_of(machine, commit(machine, "guard"))
    assert report.preface == StackGuard("TASK", low - 8, low, high)
    assert (report.die.what, report.die.error_code, report.cr2) == ("stack guard page", 0, None)
    written = machine.run("wr", low - 8).events[-1]
    assert (written.fault.error_code, oops_of(machine, written).die.error_code) == (2, 0)


def test_an_oops_of_another_process_shows_its_own_stack(machine: Machine) -> None:
    first = commit(machine, "null")
    machine.switch_to(machine.spawn("other"))
    machine.run("pw", ord("r"), 0x10)
    assert oops_of(machine, first).trace is not None
    assert oops_of(machine, machine.events[-1]).task.comm == "other"
    assert oops_of(machine, first).trace == oops_of(machine, machine.events[-1]).trace


def test_what_is_no_oops_is_refused(machine: Machine) -> None:
    event = commit(machine, "null")
    with pytest.raises(Unsupported):
        oops_of(machine, replace(event, decision=Decision(Spurious(), (), ())))


def test_an_entry_routine_called_as_a_function_is_an_oops_too(vmlinux_61: Path) -> None:
    """Its ORC entries promise registers on the stack that nobody pushed."""
    machine = booted(vmlinux_61, QEMU64)
    result = machine.run("asm_sysvec_spurious_apic_interrupt", machine.kmalloc(8), (1 << 64) - 1, 1, 1)
    assert isinstance(result.end, Died)
    assert result.oops is not None
    assert "Call Trace:" in write(result.oops)
