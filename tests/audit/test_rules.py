"""Every rule fires on a table that is made wrong in its way, and is silent on the sound one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from audit.specimen import (
    IMM_REG,
    INIT,
    RDMSR,
    TEXT,
    UCOPY_LEN,
    WRMSR,
    ZEROPAD,
    Specimen,
    entry,
    piece,
    x86,
)
from pagefault.audit import Audit, Severity, audit
from pagefault.audit.rules import RULES
from pagefault.tables.extable_build import TableEntry

DOCS = Path(__file__).resolve().parents[2] / "docs" / "findings"

GET = "0f01cb 8b07 0f01ca c3 b8f2ffffff ebf5"
"""stac; 3: mov (%rdi),%eax; clac; 8: ret; 9: mov $-14,%eax; jmp 5"""
COPY = "0f01cb 4889d1 f3a4 0f01ca 4889c8 c3"
"""stac; mov %rdx,%rcx; 6: rep movsb; 8: clac; mov %rcx,%rax; ret"""
MISC = "0f32 c3 0f30 c3 488b07 c3 90 8b07 c3 89c8 c3 8ee0 c3"
"""0: rdmsr; 3: wrmsr; 6: mov (%rdi),%rax; 11: mov (%rdi),%eax; 14: mov %ecx,%eax; 17: mov %eax,%fs; a ret each"""
GOOD = (
    entry(3, 9),
    entry(256 + 6, 256 + 8, UCOPY_LEN, register=0, immediate=1),
    entry(512, 514, RDMSR),
    entry(515, 517, WRMSR),
    entry(518, 521, ZEROPAD),
    entry(523, 525, IMM_REG, register=0, immediate=-14),
    entry(529, 531, 5),
)
SOUND = x86(("get", GET), ("copy", COPY), ("misc", MISC)).with_entries(*GOOD)


def swapped(number: int, new: TableEntry) -> Specimen:
    """The sound table with one entry in place of another, in order."""
    entries = [*GOOD[:number], new, *GOOD[number + 1 :]]
    return SOUND.with_entries(*sorted(entries, key=lambda each: each.insn))


def codes(found: Audit) -> list[str]:
    return [finding.code for finding in found.unexplained]


def test_a_sound_table_has_no_findings() -> None:
    found = audit(SOUND)
    assert found.findings == ()
    assert found.clean
    assert len(found.checked) == len(RULES)


WITH_INIT = x86(("get", GET), ("copy", COPY), ("misc", MISC), init="8b07c3").with_entries(*GOOD)

CASES: dict[str, tuple[str, Callable[[], Specimen], str]] = {
    "unsorted": ("PF001", lambda: SOUND.with_entries(GOOD[1], GOOD[0], *GOOD[2:]), "1 of 7 entries stand behind"),
    "twice": (
        "PF002",
        lambda: SOUND.with_entries(GOOD[0], *GOOD),
        "entries 0 and 1 both name get+0x3, and say the same",
    ),
    "twice, and not the same": (
        "PF002",
        lambda: SOUND.with_entries(GOOD[0], entry(3, 5), *GOOD[1:]),
        "entries 0 and 1 both name get+0x3, and differ",
    ),
    "an instruction outside": ("PF003", lambda: SOUND.with_entries(*GOOD, entry(0x9000, 9)), "lies in no section"),
    "a fixup outside": ("PF004", lambda: swapped(2, entry(512, 0x9000, RDMSR)), "entry 2, for misc+0x0, leads to"),
    "another function's fixup": ("PF005", lambda: swapped(0, entry(3, 521)), "leads into another function: misc+0x9"),
    "the function behind": ("PF005", lambda: swapped(0, entry(3, 256)), "leads into another function: copy+0x0"),
    "its own instruction": ("PF015", lambda: swapped(0, entry(3, 3)), "for get+0x3, leads to its own instruction"),
    "inside an instruction": (
        "PF006",
        lambda: swapped(6, entry(530, 531, 5)),
        "1 bytes into the instruction at misc+0x11",
    ),
    "a fixup inside an instruction": ("PF006", lambda: swapped(0, entry(3, 10)), "entry 0's fixup is 1 bytes into"),
    "cannot fault": ("PF007", lambda: swapped(5, entry(526, 528)), "`movl %ecx, %eax`, which cannot fault"),
    "type 0": ("PF008", lambda: swapped(5, entry(523, 525, 0)), "has type 0, which is none"),
    "a wild type": ("PF008", lambda: swapped(5, entry(523, 525, 200)), "has type 200, which is none"),
    "ucopy_len": (
        "PF009",
        lambda: swapped(5, entry(523, 525, UCOPY_LEN)),
        "`movl (%rdi), %eax`: the handler takes cx for a count",
    ),
    "rdmsr": ("PF009", lambda: swapped(3, entry(515, 517, RDMSR)), "takes it for rdmsr"),
    "wrmsr": ("PF009", lambda: swapped(2, entry(512, 514, WRMSR)), "takes it for wrmsr"),
    "zeropad on half a word": ("PF009", lambda: swapped(5, entry(523, 525, ZEROPAD)), "a mov of a whole word"),
    "zeropad that leads elsewhere": ("PF009", lambda: swapped(4, entry(518, 517, ZEROPAD)), "with the fixup behind it"),
    "fpu_restore": ("PF009", lambda: swapped(5, entry(523, 525, 6)), "takes it for a restore of FPU state"),
    "clear_fs": ("PF009", lambda: swapped(5, entry(523, 525, 5)), "takes it for a load of %fs"),
    "pop_reg": ("PF009", lambda: swapped(5, entry(523, 525, 16)), "takes it for a pop"),
    "fault_sgx": ("PF009", lambda: swapped(5, entry(523, 525, 18)), "takes it for encls"),
    "the stack pointer": (
        "PF010",
        lambda: swapped(5, entry(523, 525, IMM_REG, register=4)),
        "names rsp as reg, which is the stack pointer",
    ),
    "a freed fixup": (
        "PF011",
        lambda: replace(WITH_INIT, entries=(*GOOD[:-1], TableEntry(TEXT + 529, INIT + 2, 5))),
        "fixup is in .init.text, which is freed",
    ),
    "no entry": ("PF014", lambda: SOUND.with_entries(*GOOD[1:]), "get+0x3, in the window that get+0x0 opens"),
}


@pytest.mark.parametrize(("code", "make", "words"), CASES.values(), ids=CASES)
def test_a_rule_fires(code: str, make: Callable[[], Specimen], words: str) -> None:
    found = [finding for finding in audit(make()).unexplained if finding.code == code]
    assert len(found) == 1
    assert words in found[0].message
    assert found[0].why.endswith(".")


def test_nothing_but_the_wrong_thing_is_found() -> None:
    alone = {"PF001", "PF002", "PF003", "PF009", "PF010", "PF014"}
    for name, (code, make, _) in CASES.items():
        if code in alone:
            # An unsorted table is still looked at entry by entry; what is added outside has a fixup elsewhere.
            assert set(codes(audit(make()))) == {code}, name


def test_an_unsorted_table_is_no_finding_in_a_module() -> None:
    found = audit(replace(SOUND.with_entries(GOOD[1], GOOD[0], *GOOD[2:]), module="tried"))
    assert found.findings == ()
    assert "the order of the table" in dict(found.not_checked)


def test_whether_the_boot_sorts_is_read() -> None:
    for value, severity in ((1, Severity.WARNING), (0, Severity.ERROR)):
        made = x86(("get", GET), ("copy", COPY), ("misc", MISC), data=value.to_bytes(4, "little"))
        made = replace(made, names=(*made.names, (TEXT + 0x40_0000, "main_extable_sort_needed")))
        [finding] = audit(made.with_entries(GOOD[1], GOOD[0], *GOOD[2:])).findings
        assert finding.severity is severity


def test_init_entries_that_stay_are_a_note_and_explained() -> None:
    table = (*GOOD, TableEntry(INIT, INIT + 2, 3))
    [finding] = audit(replace(WITH_INIT, entries=table)).findings
    assert (finding.code, finding.severity) == ("PF012", Severity.NOTE)
    assert "1 of 8 entries" in finding.message
    assert finding.explained is not None
    assert audit(replace(WITH_INIT, entries=table)).clean
    assert audit(replace(WITH_INIT, entries=table, module="tried")).findings == ()


def test_what_is_data_is_told_apart_from_nothing() -> None:
    pieces = (*SOUND.pieces, piece(".data", TEXT + 0x40_0000, bytes(64), executable=False))
    made = replace(SOUND, pieces=pieces).with_entries(*GOOD, entry(0x40_0010, 9))
    [finding] = [each for each in audit(made).findings if each.code == "PF003"]
    assert "lies in .data, which is not executable" in finding.message
    assert finding.place.section == ".data"


def test_without_symbols_it_says_what_it_did_not_check() -> None:
    found = audit(replace(SOUND, names=()))
    assert found.findings == ()
    assert {what for what, _ in found.not_checked} == {
        "whether fixups lie in their functions",
        "accesses of user memory without an entry",
    }


def test_every_rule_has_its_page_and_every_page_its_rule() -> None:
    assert [rule.code for rule in RULES] == [f"PF{number:03}" for number in range(1, len(RULES) + 1)]
    assert sorted(page.stem for page in DOCS.glob("PF*.md")) == [rule.code for rule in RULES]
    index = (DOCS / "README.md").read_text()
    for rule in RULES:
        page = (DOCS / f"{rule.code}.md").read_text()
        assert page.startswith(f"# {rule.code}: {rule.title}\n\nSeverity: {rule.severity.value}.")
        assert " ".join(rule.why.split()) in " ".join(page.split())
        assert f"[{rule.code}]({rule.code}.md)" in index
        assert f"{rule.title} |" in index
