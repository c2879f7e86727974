from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from pagefault.report.as_html import difference_page
from pagefault.survey.described import SourceLine
from pagefault.survey.difference import difference
from survey.made_up import entry, several

LOAD, STORE = "<movq {(%rsi)}, %rax", ">movq %rax, {(%rdi)}"
EVIL = '</code><script>alert("1")</script>&'
VOID = {"meta"}


class Reader(HTMLParser):
    """The elements of a page, its text, and whether every element is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    def words(self) -> str:
        return " ".join("".join(self.text).split())


@pytest.fixture
def page() -> str:
    old = [*several("lost", LOAD), entry("same", LOAD), entry("typed", LOAD)]
    new = [
        *several("gained", STORE, STORE),
        entry("same", LOAD),
        entry("typed", LOAD, "imm_reg", fields=(("imm", "0"),)),
    ]
    return difference_page(difference(old, new), "/boot/old-kernel", "/boot/new-kernel")


def test_it_tells_everything(page: str) -> None:
    words = Reader(page).words()
    assert "Exception tables: old-kernel → new-kernel" in words
    assert "1 unchanged, 2 added, 1 removed, 1 handled in another way; 3 functions differ" in words
    assert re.search(r"Functions that gained user access ?gained 2", words)
    assert re.search(r"Functions that lost user access ?lost 1", words)
    assert "uaccess → imm_reg(imm=0)" in words
    assert "movq %rax, (%rdi)" in words


def test_memory_operands_are_marked(page: str) -> None:
    assert page.count("<mark>(%rdi)</mark>") == 2


def test_nothing_comes_from_elsewhere_or_runs(page: str) -> None:
    for tag, attributes in Reader(page).elements:
        assert tag not in ("script", "img", "link", "iframe", "object", "a", "base")
        assert not {"src", "href", "style"} & attributes.keys()
        assert not any(name.startswith("on") for name in attributes)
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_it_is_light_and_dark(page: str) -> None:
    assert "prefers-color-scheme: dark" in page
    used, defined = (set(re.findall(pattern, page)) for pattern in (r"var\((--\w+)\)", r"(--\w+):"))
    assert used == defined
    light, _, dark = page.partition("prefers-color-scheme: dark")
    assert set(re.findall(r"(--\w+):", light)) == set(re.findall(r"(--\w+):", dark))


def test_what_comes_from_a_file_is_escaped() -> None:
    evil = entry(
        EVIL, f"{EVIL} {{{EVIL}}}", EVIL, fields=((EVIL, EVIL),), table=EVIL, module=EVIL, section=EVIL,
        source=(SourceLine(EVIL, EVIL, 1),),
    )  # fmt: skip
    page = difference_page(difference([], [evil]), EVIL, EVIL)
    reader = Reader(page)
    assert "script" not in {tag for tag, _ in reader.elements}
    assert reader.words().count(EVIL) >= 10
    assert EVIL not in page


def test_control_characters_are_made_visible() -> None:
    page = difference_page(difference([], [entry("a\x1b[31m", LOAD)]), "old", "new")
    assert r"a\x1b[31m" in page


def test_sources_have_a_column_only_if_there_are_any(page: str) -> None:
    assert "written in" not in page
    source = (SourceLine("get", "a.h", 3), SourceLine("f", "b.c", 9))
    page = difference_page(difference([], [entry("f", LOAD, source=source)]), "old", "new")
    assert "get a.h:3 &lt; f b.c:9" in page
    assert "written in" in page


def test_no_difference() -> None:
    words = Reader(difference_page(difference([], []), "old", "new")).words()
    assert "no difference" in words
    assert "What changed" not in words
