from __future__ import annotations

from dataclasses import replace

import pytest

from pagefault.report import fault_summary
from pagefault.report.fault_summary import FaultSummary, cause, summarize, told
from pagefault.report.page import Line, Table, aligned, plain
from pagefault.vocabulary.fault_record import FaultRecord
from report.recorded_faults import RECORD, recorded_log, recording


def text(summary: FaultSummary, most: int = 10) -> list[str]:
    lines: list[str] = []
    for item in told(summary, most):
        if isinstance(item, Table):
            lines += aligned(item)
        else:
            line: Line = item
            lines.append(plain([line]))
    return lines


def test_three_tables_most_first() -> None:
    other = replace(RECORD, kernel=True, symbol="__put_user_4+0x3", vma="", action="fixed up with -EFAULT", results=())
    assert text(summarize([RECORD, RECORD, other, replace(RECORD, pid=1001, major=True)])) == [
        "4 page faults of 2 processes: 3 in user mode, 1 in kernel mode; 2 minor, 1 major",
        "",
        "faults  share  what was done          mode    counted as",
        "     2  50.0%  copied on write        user    minor",
        "     1  25.0%  fixed up with -EFAULT  kernel",
        "     1  25.0%  copied on write        user    major",
        "",
        "faults  share  area",
        "     3  75.0%  rw-p /data",
        "     1  25.0%  no area",
        "",
        "faults  share  mode    function",
        "     3  75.0%  user    fill",
        "     1  25.0%  kernel  __put_user_4",
    ]


def test_long_tables_are_cut_and_say_so() -> None:
    records = [replace(RECORD, symbol=f"f{number}+0x1") for number in range(7)] * 2
    lines = text(summarize(records), most=3)
    assert lines[-4:-1] == ["     2  14.3%  user  f0", "     2  14.3%  user  f1", "     2  14.3%  user  f2"]
    assert lines[-1] == "and 4 more, with 8 faults"


def test_no_fault_at_all() -> None:
    assert text(summarize([])) == ["0 page faults: 0 in user mode, 0 in kernel mode; 0 minor, 0 major"]


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("mapped with 15 neighbours", "mapped with N neighbours"),
        ("mapped with 1 neighbour", "mapped with N neighbours"),
        ("stack grown, own page", "stack grown, own page"),
        ("signal 11", "signal N"),
        ("", "nothing"),
    ],
)
def test_numbers_do_not_make_a_cause(action: str, expected: str) -> None:
    assert cause(action) == expected


def test_code_without_a_symbol_is_counted_by_page() -> None:
    summary = summarize([replace(RECORD, symbol="", ip=0x401259), replace(RECORD, symbol="", ip=0x401FFF)])
    assert summary.symbols == {("user", "0x401000"): 2}


def test_a_modules_function_keeps_its_module() -> None:
    assert summarize([replace(RECORD, symbol="rd+0x1a [faulty]")]).symbols == {("user", "rd [faulty]"): 1}


def test_counts_of_a_real_program_add_up() -> None:
    summary = summarize(recorded_log("mixed-fork"))
    faults = recording("mixed-fork").faults
    assert summary.total == len(faults)
    assert summary.kernel == sum(fault.kernel for fault in faults)
    assert summary.pids == {999 + fault.process for fault in faults}
    assert sum(summary.causes.values()) == sum(summary.areas.values()) == sum(summary.symbols.values()) == len(faults)


def test_a_program_that_faults_everywhere_does_not_take_all_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fault_summary, "MOST_KEPT", 3)
    records: list[FaultRecord] = [replace(RECORD, ip=number << 12, symbol="") for number in range(10)]
    summary = summarize([*records, records[0]])
    assert summary.symbols == {
        ("user", "0x0"): 2,
        ("user", "0x1000"): 1,
        ("user", "0x2000"): 1,
        ("user", "(others)"): 7,
    }


def test_names_cannot_command_the_terminal() -> None:
    hostile = replace(RECORD, symbol="f\x1b[2J+0x1", vma="1000-2000 r-xp 0 /tmp/\x1b]0;x\x07")
    assert not any("\x1b" in line for line in text(summarize([hostile])))
