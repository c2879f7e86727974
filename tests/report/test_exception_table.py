from __future__ import annotations

from dataclasses import replace

from pagefault.report.exception_table import (
    MOST_TABLES,
    NEIGHBOURS,
    TableFacts,
    about,
    landing,
    listing,
    neighbours,
    shown,
    type_words,
    verdict,
)
from pagefault.report.page import Page, plain
from pagefault.survey.described import DescribedEntry, SourceLine
from pagefault.tables.symbols import Symbol
from survey.made_up import BASE, entry, several

LOAD, STORE = "<movq {0x10(%rsi)}, %rax", ">movq %rax, {(%rdi)}"
SOURCE = (SourceLine("get", "a.h", 3), SourceLine("f", "b.c", 9))
FACTS = TableFacts("__ex_table", None, "section __ex_table", BASE, "data (12 bytes)", "data", "all is well", True, 2)


def in_a_pipe(entries: list[DescribedEntry], *, sources: bool = False) -> list[str]:
    return plain(listing(entries, None, sources=sources)).splitlines()


def on_a_terminal(entries: list[DescribedEntry], width: int, *, sources: bool = False) -> list[str]:
    page = Page(terminal=True, colour=False, width=width)
    return [page.styled(line) for line in listing(entries, width, sources=sources)]


def test_the_listing_has_a_line_for_every_entry() -> None:
    entries = [entry("f", LOAD, at=4), entry("g", STORE, "bpf", index=1, fields=(("a", "1"),))]
    assert in_a_pipe(entries) == [
        "entry  address             section  symbol       instruction            goes on at  with             type",
        "    0  0xffffffff81000004  .text    f+0x4/0x100  movq 0x10(%rsi), %rax  +0x44       xorl %eax, %eax  uaccess",
        "    1  0xffffffff81000000  .text    g+0x0/0x100  movq %rax, (%rdi)      +0x40       xorl %eax, %eax  bpf(a=1)",
    ]


def test_no_entries_are_no_lines() -> None:
    assert in_a_pipe([]) == []


def test_second_tables_and_modules_are_named() -> None:
    lines = in_a_pipe([entry("f", LOAD), entry("g", LOAD, table="__dbe_table")])
    assert [line.split()[0] for line in lines] == ["table", "__ex_table", "__dbe_table"]
    lines = in_a_pipe([entry("f", LOAD, module="ext4")])
    assert lines[1].startswith("[ext4] __ex_table      0  0x")


def test_a_pipe_gets_one_line_an_entry_however_long() -> None:
    lines = in_a_pipe([entry("f" * 300, LOAD, source=SOURCE)], sources=True)
    assert len(lines) == 2
    assert lines[0].endswith("source")
    assert lines[1].endswith("uaccess  get a.h:3 < f b.c:9")


def test_a_terminal_gets_two_lines_where_one_is_too_narrow() -> None:
    entries = several("f", LOAD, STORE)
    assert len(on_a_terminal(entries, 200)) == 3
    lines = on_a_terminal(entries, 80)
    assert lines[:2] == [
        "0xffffffff81000000  f+0x0/0x100  .text  entry 0",
        "    movq 0x10(%rsi), %rax  → +0x40: xorl %eax, %eax  uaccess",
    ]
    assert len(lines) == 4


def test_source_lines_stand_below_on_a_terminal() -> None:
    for width in (80, 200):
        lines = on_a_terminal([entry("f", LOAD, source=SOURCE)], width, sources=True)
        assert [line.strip() for line in lines[-2:]] == ["get() at a.h:3", "inlined into f() at b.c:9"]
        assert not any("a.h" in line for line in on_a_terminal([entry("f", LOAD, source=SOURCE)], width))


def test_memory_operands_are_coloured_and_nothing_else_of_the_instruction_is() -> None:
    page = Page(terminal=True, colour=True, width=200)
    (_, line) = (page.styled(line) for line in listing([entry("f", LOAD)], 200))
    assert "movq \x1b[33m0x10(%rsi)\x1b[0m, %rax" in line


def test_without_symbols_section_or_instruction() -> None:
    (_, line) = in_a_pipe([entry(None, None, section=None)])
    assert line.split() == ["0", f"{BASE:#x}", f"{BASE:#x}", "?", f"{BASE + 0x40:#x}", "?", "uaccess"]


def test_control_characters_do_not_reach_the_terminal() -> None:
    evil = "\x1b]0;\x07"
    described = entry(evil, LOAD, module=evil, section=evil, source=(SourceLine(evil, evil, 1),))
    facts = replace(FACTS, found=evil, module=evil)
    lines = [*listing([described], None, sources=True), *listing([described], 60, sources=True)]
    lines += [*verdict(described.insn, described, ""), *about(evil, [evil], [facts])]
    assert "\x1b" not in plain(lines)
    assert shown(evil) == r"\x1b]0;\x07"


def test_about_says_how_it_was_opened_found_and_read() -> None:
    facts = [FACTS, replace(FACTS, table="__dbe_table", count=1, in_order=False)]
    assert plain(about("vmlinuz", ["bzImage", "xz"], facts)).splitlines() == [
        "vmlinuz: 3 entries",
        "opened: bzImage",
        "opened: xz",
        "__ex_table: 2 entries at 0xffffffff81000000, found by section __ex_table",
        "  layout: data (12 bytes), because: all is well",
        "__dbe_table: 1 entry at 0xffffffff81000000, found by section __ex_table",
        "  layout: data (12 bytes), not in order, because: all is well",
    ]


def test_about_a_thousand_tables_is_short() -> None:
    facts = [FACTS] * 1000 + [replace(FACTS, layout="older")]
    assert plain(about("tree", [], facts)).splitlines() == [
        "tree: 2,002 entries",
        "1,000 tables, layout: data (12 bytes)",
        "1 table, layout: older",
    ]
    assert len(plain(about("tree", [], [FACTS] * MOST_TABLES)).splitlines()) == 1 + 2 * MOST_TABLES


def test_a_landing_in_the_same_function_is_a_distance() -> None:
    described = entry("f", LOAD)
    assert landing(described) == "+0x40"
    elsewhere = replace(described.fixup, symbol=Symbol("tail", BASE + 0x40, 0x10, 0))
    assert landing(replace(described, fixup=elsewhere)) == "tail+0x0/0x10"


def test_types_carry_their_fields() -> None:
    assert type_words(entry("f", LOAD).entry) == "uaccess"
    assert type_words(entry("f", LOAD, "imm_reg", fields=(("reg", "rcx"),)).entry) == "imm_reg(reg=rcx)"


def test_verdicts() -> None:
    described = entry("f", LOAD, at=4, index=3, source=SOURCE)
    assert plain(verdict(described.insn, described, "what it means")).splitlines() == [
        "covered: f+0x4/0x100, 0xffffffff81000004 in .text",
        "  instruction  movq 0x10(%rsi), %rax",
        "  entry        3 of __ex_table, at 0xffffffff81001024",
        "  goes on at   f+0x44/0x100, 0xffffffff81000044",
        "  there        xorl %eax, %eax",
        "  type         uaccess: what it means",
        "  source       get() at a.h:3",
        "  inlined into f() at b.c:9",
    ]
    lines = plain(verdict(described.insn, None, "")).splitlines()
    assert lines[0] == "not covered: f+0x4/0x100, 0xffffffff81000004 in .text"
    assert "oops" in lines[-1]


def test_neighbours_surround_the_address() -> None:
    entries = several("f", *[LOAD] * 20)[::-1]

    def near(address: int) -> list[int]:
        return [each.entry.index for each in neighbours(entries, address)]

    assert NEIGHBOURS == 2
    assert near(entries[9].insn.address) == [8, 9, 10, 11, 12]
    assert near(0) == [0, 1, 2]
    assert near((1 << 64) - 1) == [18, 19]
