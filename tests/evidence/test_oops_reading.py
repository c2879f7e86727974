from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.oops import RECORDINGS, SETUPS, parse

from evidence.oops_corpus import Recorded, corpus
from pagefault.errors import BadInput
from pagefault.evidence.oops import read, read_all, write
from pagefault.evidence.oops_report import CorruptedPageTable, PageFaultWords, RegisterFrame, StackGuard

CORPUS = list(corpus())
LAB = {name: dict(parse((RECORDINGS / f"{name}.txt").read_text()).said) for name in SETUPS}
TWO_LEVEL, PAE = LAB["6.1-686.max"]["w 10000000"], LAB["6.1-686-pae.max"]["w 10000000"]
FIRST = next(each for each in CORPUS if each.name == "6.1-max-null")


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case.name)
def test_a_recorded_oops_is_written_back_line_for_line(case: Recorded) -> None:
    assert write(read(case.text)).splitlines() == case.lines


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case.name)
def test_a_recorded_oops_says_what_its_header_expects(case: Recorded) -> None:
    report, header = read(case.text), case.header
    assert report.die.error_code == int(header["ERROR_CODE"], 16)
    assert report.die.number == int(header["NUMBER"])
    assert report.task.release.startswith(f"{header['KERNEL']}.")
    assert report.style.die_prefix is report.style.uid is report.style.taint_names is (header["KERNEL"] == "6.12")
    assert (report.preface is None) is (header["TRAP"] == "#GP")
    match report.preface:
        case PageFaultWords(address, error_code):
            assert (address, error_code) == (int(header["ADDRESS"], 16), report.die.error_code)
            assert report.cr2 == address
        case CorruptedPageTable(_, address) | StackGuard(_, address):
            assert address == int(header["ADDRESS"], 16)
            assert report.cr2 is None
        case None:
            assert header["ADDRESS"] == "none" or report.die.what.endswith(f"0x{header['ADDRESS']}")


@pytest.mark.parametrize("name", SETUPS)
def test_what_the_lab_recorded_is_written_back_line_for_line(name: str) -> None:
    """x86-32's words as well. What else the kernel says meanwhile is no part of an oops."""
    others = ("note: ", "traps: ", "tsc: ", "clocksource: ")
    for console in LAB[name].values():
        lines = [line for line in console.splitlines() if line and not line.startswith(others)]
        if lines != ["nothing happened"]:
            assert write(read(console)).splitlines() == lines


def test_the_parts_of_an_oops_on_x86_32() -> None:
    report = read(PAE)
    assert report.style.bits == 32
    assert isinstance(report.preface, PageFaultWords)
    assert (report.preface.address, report.preface.error_code) == (0x1000_0000, 3)
    assert [name for name, _ in report.preface.tables.entries] == ["pdpt", "pde", "pte"]
    assert report.frame.where == "wr+0x3/0x10 [faulty]"
    assert (report.frame.cs, report.frame.ss, report.frame.segments) == (0x60, 0x68, (0x7B, 0x7B, 0xD8, 0))
    assert (report.frame.values["edx"], report.frame.values["ebx"]) == (0x1000_0000, 0x0B0B_0B0B)
    assert not report.frame.user_mode
    assert report.control is not None
    assert (report.control.cr2, report.control.segments) == (0x1000_0000, None)
    assert report.trace is not None
    (stack,) = report.trace
    assert stack.name == ""
    last = stack.lines[-1]
    assert isinstance(last, RegisterFrame)
    assert (last.cs, last.user_mode, last.values["eax"]) == (0x73, True, 0xFFFF_FFDA)
    assert report.cr2 == 0x1000_0000
    two_level = read(TWO_LEVEL).preface
    assert isinstance(two_level, PageFaultWords)
    assert [name for name, _ in two_level.tables.entries] == ["pde", "pte"]


@pytest.mark.parametrize("without", ["EAX: ", "ESI: ", "DS: 007b"])
def test_an_oops_of_x86_32_without_its_registers_is_bad_input(without: str) -> None:
    text = "\n".join(line for line in PAE.splitlines() if not line.startswith(without))
    with pytest.raises(BadInput, match="expected ESP"):
        read(text, "console.log")


def test_the_parts_of_one_oops() -> None:
    report = read(FIRST.text)
    assert isinstance(report.preface, PageFaultWords)
    names = ("PGD", "P4D", "PUD", "PMD")
    assert report.preface.tables.entries == tuple(zip(names, (0x5ED0067, 0x5EC1067, 0x5EC3067, 0), strict=True))
    assert report.die.configuration == ("PREEMPT", "SMP", "NOPTI")
    assert (report.task.pid, report.task.comm, report.task.build) == (86, "busybox", "#1  Debian 6.1.192-2")
    assert report.frame.where == "rd+0x9/0x20 [faulty]"
    assert (report.frame.code, report.frame.code_at) == (None, 0xFFFFFFFFC0200FDF)
    assert report.frame.values["rdi"] == 0x10
    assert report.frame.values["r8"] == 0
    assert report.control is not None
    assert (report.control.cr2, report.control.pkru) == (0xFFFFFFFFC0200FDF, 0x55555554)
    assert report.modules == ("qemu_fw_cfg", "faulty(OE)")
    assert report.trace is not None
    lines = report.trace[0].lines
    assert not isinstance(lines[1], RegisterFrame)
    assert (lines[1].where, lines[1].reliable) == ("apparmor_file_permission+0x6c/0x170", False)
    assert isinstance(lines[-1], RegisterFrame)
    assert (lines[-1].cs, lines[-1].orig_rax, lines[-1].where) == (0x33, 1, "0x47b7a0")
    assert report.summary is not None
    assert report.summary[0] == report.frame


@pytest.mark.parametrize(
    "prefix", ["", "[    1.917895] ", "[    1.917895][   T86] ", "<4>[    1.917895] ", "Nov 22 17:00:00 host kernel: "]
)
def test_every_usual_prefix_of_a_line_is_taken_off(prefix: str) -> None:
    text = "".join(f"{prefix}{line}\n" for line in FIRST.lines)
    assert write(read(text)).splitlines() == FIRST.lines


def test_lines_that_do_not_belong_are_skipped() -> None:
    noise = ["Killed", "[    1.9] e1000: link is up", " and an indented one", "CR2: not a number", ""]
    lines = [each for line in FIRST.lines for each in (line, *noise)]
    assert write(read("\n".join(lines))).splitlines() == FIRST.lines


def test_a_log_of_many_oopses_gives_each() -> None:
    cases = [case for case in CORPUS if case.header["KERNEL"] == "6.12"]
    log = "boot messages\n" + "\nKilled\n".join(case.text for case in cases) + "READY\n"
    assert [write(report).splitlines() for report in read_all(log)] == [case.lines for case in cases]


def test_an_oops_that_is_cut_off_is_none() -> None:
    end = next(i for i, line in enumerate(FIRST.lines) if "end trace" in line)
    assert read_all("\n".join(FIRST.lines[:end])) == []
    report = read("\n".join(FIRST.lines[: end + 1]))
    assert report.summary is None
    assert write(report).splitlines() == FIRST.lines[: end + 1]
    assert len(read_all("\n".join(FIRST.lines[:end] + FIRST.lines))) == 1


@pytest.mark.parametrize("without", ["CPU: 0 PID", "RSP: 0018", "#PF: error_code"])
def test_an_oops_without_a_line_that_the_rest_needs_is_bad_input(without: str) -> None:
    text = "\n".join(line for line in FIRST.lines if not line.startswith(without))
    with pytest.raises(BadInput, match="expected a"):
        read(text, "console.log")


@pytest.mark.parametrize("text", ["", "\0\1\2", "Linux version 6.1\n", "Oops: 0000 [#1] SMP\n", "x" * 100_000])
def test_what_is_no_oops_is_bad_input(text: str) -> None:
    with pytest.raises(BadInput, match=r"console\.log: expected an oops"):
        read(text, "console.log")


@given(st.data())
def test_a_damaged_log_is_read_or_refused(data: st.DataObject) -> None:
    lines = list(
        data.draw(st.sampled_from([*(each.lines for each in CORPUS), TWO_LEVEL.splitlines(), PAE.splitlines()]))
    )
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(lines) - 1))
        cut = data.draw(st.integers(0, len(lines[at])))
        lines[at] = lines[at][:cut] + data.draw(st.text(max_size=8)) + lines[at][cut + data.draw(st.integers(0, 9)) :]
    try:
        reports = read_all("\n".join(lines))
    except BadInput:
        return
    for report in reports:
        assert read(write(report)) == report
