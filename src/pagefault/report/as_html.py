"""
A comparison of two kernels as one HTML page: nothing in it comes from elsewhere, nothing in it runs, and everything
that came out of a file is escaped. It is light or dark as the reader's system is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from ..survey.described import DescribedEntry
from ..survey.difference import Difference, FunctionDifference
from .difference import changes, gained, in_numbers, lost, name_of, offset_of
from .exception_table import shown, source_words

STYLE = """
:root { color-scheme: light dark; --paper: #fcfcfb; --ink: #1f2328; --faint: #59636e; --line: #d8dee4;
        --card: #f3f4f6; --came: #1a7f37; --went: #cf222e; --other: #8250df; --memory: #9a5b00; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #0f1319; --ink: #e6edf3; --faint: #9aa4af; --line: #2f3742; --card: #181e26;
          --came: #4cc267; --went: #ff7b72; --other: #c297ff; --memory: #f0b35a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 2rem 1.5rem 4rem; background: var(--paper); color: var(--ink);
       font: 16px/1.5 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
p { margin: .2rem 0; } .faint { color: var(--faint); }
code, table, .path { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: .85rem; }
.path { overflow-wrap: anywhere; }
.numbers { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.4rem 0; padding: 0; list-style: none; }
.numbers li { flex: 1 1 8rem; background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
              padding: .6rem 1rem; color: var(--faint); }
.numbers b { display: block; font-size: 1.7rem; line-height: 1.25; color: var(--ink); }
.came b, .came { color: var(--came); } .went b, .went { color: var(--went); } .other b, .other { color: var(--other); }
.names { columns: 17rem; margin: 0; padding: 0; list-style: none; }
.names li { break-inside: avoid; overflow-wrap: anywhere; font-size: .85rem; }
.names code { font-size: inherit; }
details { border-top: 1px solid var(--line); padding: .45rem 0; }
summary { cursor: pointer; font-weight: 600; } summary .faint { font-weight: 400; }
.wide { overflow-x: auto; } table { border-collapse: collapse; margin: .4rem 0 .4rem 1.1rem; }
td, th { text-align: left; padding: .1rem 1.4rem .1rem 0; white-space: nowrap; vertical-align: top; }
th { font-weight: 400; color: var(--faint); } mark { background: none; color: var(--memory); }
"""
WORDS = {"-": ("went", "removed"), "~": ("other", "handled otherwise"), "+": ("came", "added")}


def difference_page(found: Difference, old: str, new: str) -> str:
    """The comparison of two images, which are called `old` and `new`, as a page."""
    return "\n".join(("<!DOCTYPE html>", '<html lang="en">', *head(old, new), *body(found, old, new), "</html>", ""))


def head(old: str, new: str) -> Iterator[str]:
    """What the page is called and looks like; browsers are told not to load or run anything."""
    yield "<head>"
    yield '<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    yield f"<title>Exception tables: {text(last(old))} and {text(last(new))}</title>"
    yield f"<style>{STYLE}</style>"
    yield "</head>"


def body(found: Difference, old: str, new: str) -> Iterator[str]:
    """Numbers first, then who gained and lost user access, then each change."""
    yield "<body>"
    yield f"<h1>Exception tables: {text(last(old))} → {text(last(new))}</h1>"
    yield f'<p class="path">old: {text(old)}, {found.before:,} entries</p>'
    yield f'<p class="path">new: {text(new)}, {found.after:,} entries</p>'
    yield f'<p class="faint">{text(in_numbers(found))}</p>'
    yield '<ul class="numbers">'
    for kind, number, words in (
        ("same", found.unchanged, "unchanged"),
        ("came", len(found.added), "added"),
        ("went", len(found.removed), "removed"),
        ("other", len(found.retyped), "handled otherwise"),
        ("came", len(gained(found)), "functions gained user access"),
        ("went", len(lost(found)), "functions lost user access"),
    ):
        yield f'<li class="{kind}"><b>{number:,}</b>{words}</li>'
    yield "</ul>"
    yield from names("Functions that gained user access", "came", gained(found))
    yield from names("Functions that lost user access", "went", lost(found))
    if found.functions:
        yield "<h2>What changed, function by function</h2>"
    for function in found.functions:
        yield from details(function)
    yield "</body>"


def names(title: str, kind: str, functions: Sequence[FunctionDifference]) -> Iterator[str]:
    """Functions by name."""
    if not functions:
        return
    yield f"<h2>{title}</h2>"
    yield '<ul class="names">'
    for each in functions:
        number = each.user_after or each.user_before
        yield f'<li><code class="{kind}">{text(name_of(each))}</code> <span class="faint">{number}</span></li>'
    yield "</ul>"


def details(function: FunctionDifference) -> Iterator[str]:
    """One function's changes as a table that can be folded."""
    numbers = f"{function.before} → {function.after}"
    name = f"<code>{text(name_of(function))}</code>"
    yield f'<details open><summary>{name} <span class="faint">{numbers}</span></summary>'
    yield '<div class="wide"><table>'
    found = changes(function)
    written_in = "<th>written in</th>" if any(entry.source for _, entry, _ in found) else ""
    yield f"<tr><th></th><th>at</th><th>instruction</th><th>type</th>{written_in}</tr>"
    for sign, entry, handler in found:
        kind, words = WORDS[sign]
        cells = [offset_of(entry), instruction(entry), text(handler)]
        if written_in:
            cells.append(f'<span class="faint">{text(source_words(entry.source))}</span>')
        first = f'<td class="{kind}" title="{words}">{sign}</td>'
        yield "<tr>" + first + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
    yield "</table></div></details>"


def instruction(entry: DescribedEntry) -> str:
    """The instruction, its memory operand marked."""
    found = entry.insn.instruction
    if found is None:
        return "?"
    if found.memory is None:
        return text(found.text)
    start, end = found.memory
    before, memory, after = found.operands[:start], found.operands[start:end], found.operands[end:]
    return f"{text(found.mnemonic)} {text(before)}<mark>{text(memory)}</mark>{text(after)}"


def last(path: str) -> str:
    """The name in a path."""
    return path.rstrip("/").rpartition("/")[2] or path


def text(words: str) -> str:
    """Words out of a file, as HTML."""
    return escape(shown(words))
