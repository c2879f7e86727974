"""What no recording shows; what they do show is tested by reading them and writing them back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from lab.oops import RECORDINGS, parse

from evidence.oops_corpus import FOLDER, recorded
from pagefault.evidence.oops import OopsReport, read, write
from pagefault.evidence.oops_report import PageFaultWords, PageTableWords, StackTrace


@pytest.fixture
def report() -> OopsReport:
    return read(recorded(FOLDER / "6.1-max-user.txt").text)


def page_fault(report: OopsReport, error_code: int, **changes: Any) -> list[str]:
    assert isinstance(report.preface, PageFaultWords)
    changed = replace(report, preface=replace(report.preface, error_code=error_code, **changes))
    assert read(write(changed)) == changed
    return write(changed).splitlines()


@pytest.mark.parametrize(
    ("error_code", "access", "why"),
    [
        (0x0, "supervisor read access in kernel mode", "not-present page"),
        (0x2, "supervisor write access in kernel mode", "not-present page"),
        (0x8, "supervisor read access in kernel mode", "not-present page"),
        (0x9, "supervisor read access in kernel mode", "reserved bit violation"),
        (0x21, "supervisor read access in kernel mode", "protection keys violation"),
        (0x29, "supervisor read access in kernel mode", "reserved bit violation"),
        (0x11, "supervisor instruction fetch in kernel mode", "permissions violation"),
        (0x7, "user write access in kernel mode", "permissions violation"),
    ],
)
def test_the_error_code_in_words(report: OopsReport, error_code: int, access: str, why: str) -> None:
    assert page_fault(report, error_code)[1:3] == [f"#PF: {access}", f"#PF: error_code(0x{error_code:04x}) - {why}"]


def test_a_table_that_cannot_be_read(report: OopsReport) -> None:
    tables = PageTableWords((("PGD", 0x5ED0067), ("P4D", 0xFFFFFFFFF067)), bad=True)
    assert page_fault(report, 0, tables=tables)[3:6] == [
        "PGD 5ed0067 P4D fffffffff067 ",
        "BAD",
        "Oops: 0001 [#4] PREEMPT SMP NOPTI",
    ]
    assert page_fault(report, 0, tables=PageTableWords((), bad=True))[3] == "BAD"


def test_user_code_stopped_by_a_supervisor_access(report: OopsReport) -> None:
    """It prints the descriptor tables, the user's bases, and no call trace."""
    descriptors = (
        "IDT: 0xfffffe0000000000 (limit=0xfff) GDT: 0xfffffe0000001000 (limit=0x7f)",
        "LDTR: NULL",
        "TR: 0x40 -- base=0xfffffe0000003000 limit=0x206f",
    )
    user = replace(report, frame=replace(report.frame, cs=0x33), control=None, user_bases=(0x5EC3C0, 0), trace=None)
    lines = page_fault(user, 0, address=0x10, descriptors=descriptors)
    assert lines[0] == "BUG: unable to handle page fault for address: 0000000000000010"
    assert lines[1] == "#PF: supervisor read access in user mode"
    assert tuple(lines[3:6]) == descriptors
    assert "FS:  00000000005ec3c0 GS:  0000000000000000" in lines
    assert "Call Trace:" not in lines


def test_the_debug_registers_if_they_are_in_use(report: OopsReport) -> None:
    assert report.control is not None
    changed = replace(report, control=replace(report.control, debug=(1, 2, 3, 4, 0xFFFF0FF0, 0x400)))
    lines = write(changed).splitlines()
    at = lines.index("DR0: 0000000000000001 DR1: 0000000000000002 DR2: 0000000000000003")
    assert lines[at + 1] == "DR3: 0000000000000004 DR6: 00000000ffff0ff0 DR7: 0000000000000400"
    assert lines[at + 2] == "PKRU: 55555554"
    assert read(write(changed)) == changed


def test_the_debug_registers_on_x86_32() -> None:
    recording = parse((RECORDINGS / "6.1-686.max.txt").read_text())
    report = read(dict(recording.said)["r 10"])
    assert report.control is not None
    changed = replace(report, control=replace(report.control, debug=(1, 2, 3, 4, 0xFFFF0FF0, 0x400)))
    lines = write(changed).splitlines()
    at = lines.index("DR0: 00000001 DR1: 00000002 DR2: 00000003 DR3: 00000004")
    assert lines[at - 1].startswith("CR0: ")
    assert lines[at + 1] == "DR6: ffff0ff0 DR7: 00000400"
    assert read(write(changed)) == changed


def test_a_named_stack_before_the_nameless_one_of_x86_32() -> None:
    recording = parse((RECORDINGS / "6.1-686.max.txt").read_text())
    report = read(dict(recording.said)["r 10"])
    assert report.trace is not None
    changed = replace(report, trace=(StackTrace("IRQ", report.trace[0].lines[:2]), *report.trace))
    lines = write(changed).splitlines()
    at = lines.index("Call Trace:")
    assert (lines[at + 1], lines[at + 4]) == (" <IRQ>", " </IRQ>")
    assert read(write(changed)) == changed


def test_the_task_line(report: OopsReport) -> None:
    task = replace(report.task, tainted=None, kdump_loaded=True, release="6.1.0", build="#1")
    changed = replace(report, task=task, notes=("Workqueue: events do_work",), hardware=None)
    assert "CPU: 0 PID: 89 Comm: busybox Kdump: loaded Not tainted 6.1.0 #1" in write(changed).splitlines()
    assert read(write(changed)) == changed


def test_registers_of_which_only_the_last_were_saved(report: OopsReport) -> None:
    changed = replace(report, frame=replace(report.frame, values={"rsp": 0x1000}, code_at=None))
    lines = write(changed).splitlines()
    at = lines.index("RSP: 0018:0000000000001000 EFLAGS: 00000282")
    assert lines[at - 1].startswith("RIP: ")
    assert lines[at + 1].startswith("FS: ")
    assert read(write(changed)) == changed
