from __future__ import annotations

from pagefault.report.difference import told
from pagefault.report.page import Page, plain
from pagefault.survey.described import DescribedEntry
from pagefault.survey.difference import difference
from survey.made_up import entry, several

LOAD, STORE = "<movq {(%rsi)}, %rax", ">movq %rax, {(%rdi)}"


def text(old: list[DescribedEntry], new: list[DescribedEntry]) -> list[str]:
    return plain(told(difference(old, new), "OLD", "NEW")).splitlines()


def test_a_comparison() -> None:
    old = [*several("lost", LOAD), entry("typed", LOAD, at=0x10), entry("msr", "rdmsr", "rdmsr")]
    new = [*several("gained", STORE), entry("typed", LOAD, "imm_reg", at=0x20, fields=(("imm", "0"),), index=3)]
    assert text(old, new) == [
        "OLD: 3 entries",
        "NEW: 2 entries",
        "0 unchanged, 1 added, 2 removed, 1 handled in another way; 4 functions differ",
        "",
        "functions that gained user access: 1",
        "  gained  1 entry",
        "",
        "functions that lost user access: 1",
        "  lost  1 entry",
        "",
        "what changed, function by function",
        "gained  0 → 1",
        "  + +0x0     movq %rax, (%rdi)                     uaccess",
        "lost  1 → 0",
        "  - +0x0     movq (%rsi), %rax                     uaccess",
        "msr  1 → 0",
        "  - +0x0     rdmsr                                 rdmsr",
        "typed  1 → 1",
        "  ~ +0x20    movq (%rsi), %rax                     uaccess → imm_reg(imm=0)",
    ]


def test_no_difference_is_said_in_two_words() -> None:
    assert text(several("f", LOAD), several("f", LOAD)) == ["OLD: 1 entry", "NEW: 1 entry", "no difference"]


def test_modules_tables_and_the_nameless_are_named() -> None:
    lines = text([], [entry("init", LOAD, module="ext4"), entry("f", LOAD, table="__dbe_table"), entry(None, LOAD)])
    assert "init [ext4]  0 → 1" in lines
    assert "f __dbe_table  0 → 1" in lines
    assert "(no symbol)  0 → 1" in lines
    assert any(line.startswith("  + 0xffffffff81000000 ") for line in lines)


def test_colours_on_a_terminal() -> None:
    page = Page(terminal=True, colour=True, width=100)
    lines = [page.styled(line) for line in told(difference(several("f", LOAD), several("g", STORE)), "OLD", "NEW")]
    assert any("\x1b[32m+\x1b[0m" in line for line in lines)
    assert any("\x1b[31m\x1b[1m-\x1b[0m" in line for line in lines)


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in "".join(text([entry("a\x1b]0;x\x07", LOAD)], []))
