from __future__ import annotations

import pytest

from pagefault.audit.finding import Audit, Finding, Place, Severity
from pagefault.report.findings import told
from pagefault.report.page import Page, plain
from pagefault.tables.symbols import Symbol

WHERE = Place("vmlinux", None, 0xFFFF_FFFF_8100_0010, ".text", Symbol("f", 0xFFFF_FFFF_8100_0000, 0x40, 0x10))


def finding(code: str, severity: Severity, explained: str | None = None, place: Place = WHERE) -> Finding:
    return Finding(code, severity, place, f"what {code} found", f"what comes of {code}", explained)


def audit(*findings: Finding, module: str | None = None) -> Audit:
    return Audit("vmlinux", module, findings, ("order", "duplicates"), (("windows", "no such thing here"),))


def text(*audits: Audit) -> list[str]:
    return plain(told(audits)).splitlines()


def test_findings_come_worst_first_and_the_verdict_last() -> None:
    found = audit(finding("PF005", Severity.NOTE), finding("PF002", Severity.ERROR), finding("PF001", Severity.WARNING))
    lines = text(found)
    assert [line.split()[:2] for line in lines if "PF00" in line and not line.startswith(" ")] == [
        ["error", "PF002"],
        ["warning", "PF001"],
        ["note", "PF005"],
    ]
    assert lines[:3] == [
        "error PF002  f+0x10  0xffffffff81000010",
        "    what PF002 found",
        "    what comes of PF002",
    ]
    assert lines[-1] == "3 findings: 1 error, 1 warning, 1 note"


def test_clean() -> None:
    assert text(audit())[-1] == "clean: no findings"


def test_what_is_explained_does_not_count() -> None:
    explained = [finding("PF003", Severity.ERROR, "the kernel means it") for _ in range(2)]
    lines = text(audit(*explained))
    assert "known and explained: 2" in lines
    assert "  PF003  2 times: the kernel means it" in lines
    assert lines[-1] == "clean: no findings"


@pytest.mark.parametrize(
    ("audits", "unreadable", "last"),
    [
        ([audit()], 1, "1 module could not be read; no findings in what could"),
        ([audit(finding("PF001", Severity.ERROR))], 2, "1 finding: 1 error; 2 modules could not be read"),
    ],
)
def test_what_could_not_be_read_is_not_clean(audits: list[Audit], unreadable: int, last: str) -> None:
    assert plain(told(audits, unreadable=unreadable)).splitlines()[-1] == last


def test_what_was_checked_and_what_was_not() -> None:
    lines = text(audit(), audit(module="ext4"))
    assert "checked: 2 rules" in lines
    assert "  order; duplicates" in lines
    assert "  windows: no such thing here (2 images)" in lines


def test_among_several_images_the_module_is_named() -> None:
    place = Place("ext4.ko", "ext4", 0x10)
    lines = text(audit(finding("PF001", Severity.ERROR, place=place), module="ext4"), audit())
    assert lines[0] == "error PF001  0x10  ext4"


def test_control_characters_do_not_reach_the_terminal() -> None:
    place = Place("f", "\x1b[m", 1, None, Symbol("\x1b[m", 0, 1, 1))
    evil = Finding("PF001", Severity.ERROR, place, "\x1b[m", "\x1b[m")
    assert "\x1b" not in "".join(text(audit(evil), audit()))


def test_severities_have_colours() -> None:
    page = Page(terminal=True, colour=True, width=100)
    lines = [page.styled(line) for line in told([audit(finding("PF001", Severity.ERROR))])]
    assert lines[0].startswith("\x1b[31m\x1b[1merror\x1b[0m")
