from __future__ import annotations

from pagefault.report.page import plain
from pagefault.report.summary import MOST_ROWS, told
from pagefault.survey.described import DescribedEntry, SourceLine
from pagefault.survey.summary import summarize
from survey.made_up import entry, several

LOAD = "<movq {(%rsi)}, %rax"


def text(entries: list[DescribedEntry]) -> list[str]:
    return plain(told(summarize(entries), 40)).splitlines()


def test_every_list_has_its_bars() -> None:
    entries = [*several("f", LOAD, LOAD), entry("g", "rdmsr", "rdmsr", section=".init.text", table="__dbe_table")]
    assert text(entries) == [
        "3 entries in 2 functions; 2 may be for user memory",
        "",
        "by handler type",
        "uaccess  2  ████████████████████████████",
        "rdmsr    1  ██████████████",
        "",
        "by table",
        "__ex_table   2  ████████████████████████",
        "__dbe_table  1  ████████████",
        "",
        "by section",
        ".text       2  █████████████████████████",
        ".init.text  1  ████████████▌",
        "",
        "by function",
        "f  2  ██████████████████████████████████",
        "g  1  █████████████████",
    ]


def test_a_list_with_one_row_is_left_out() -> None:
    titles = [line for line in text(several("f", LOAD)) if line.startswith("by ")]
    assert titles == ["by handler type", "by function"]


def test_subsystems_are_told_if_they_are_known() -> None:
    lines = text([entry("f", LOAD, source=(SourceLine("f", "fs/ext4/dir.c", 1),))])
    assert "by folder of the source" in lines
    assert any(line.startswith("fs/ext4  1") for line in lines)
    assert "by module" in text([entry("f", LOAD, module="ext4")])


def test_long_lists_are_cut() -> None:
    lines = text([entry(f"f{i}", LOAD, at=i) for i in range(MOST_ROWS + 7)])
    assert lines[-1] == "and 7 more, with 7 entries"


def test_control_characters_do_not_reach_the_terminal() -> None:
    evil = "\x1b[m"
    assert "\x1b" not in "".join(text([entry(evil, LOAD, evil, section=evil, table=evil), entry("f", LOAD)]))
