"""An audit's findings to read: those that count, those that are explained, and what was not looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from ..audit.finding import Audit, Finding, Severity
from .exception_table import count, shown
from .page import Line, Span, wrapped

STYLES = {Severity.ERROR: "bad", Severity.WARNING: "code", Severity.NOTE: "quiet"}
WIDTH = 96


def told(audits: Sequence[Audit], *, unreadable: int = 0) -> Iterator[Line]:
    """All findings of all images, worst first, and what they rest on. So many modules of a folder are `unreadable`."""
    findings = [(audit, finding) for audit in audits for finding in audit.findings]
    counting = [finding for _, finding in findings if finding.explained is None]
    explained = [(audit, finding) for audit, finding in findings if finding.explained is not None]
    order = list(Severity)
    for finding in sorted(counting, key=lambda each: (order.index(each.severity), each.code)):
        yield from one(finding, several=len(audits) > 1)
    if explained:
        yield (Span(f"known and explained: {len(explained):,}", "title"),)
        for (code, why), number in Counter((f.code, f.explained or "") for _, f in explained).items():
            yield from hanging(f"  {code}  {count(number, 'time', 'times')}: ", shown(why))
        yield ()
    yield from looked_at(audits)
    yield verdict(counting, unreadable)


def one(finding: Finding, *, several: bool) -> Iterator[Line]:
    """One finding: what and where, the facts, and what comes of it."""
    place = finding.place
    address = f"  {place.address:#x}" if place.address is not None and place.symbol is not None else ""
    where = f"  {shown(place.module or place.file)}" if several else ""
    severity = Span(finding.severity.value, STYLES[finding.severity])
    yield severity, " ", Span(finding.code, "strong"), f"  {shown(str(place))}{address}{where}"
    for text in (finding.message, finding.why):
        yield from hanging("    ", shown(text))
    yield ()


def looked_at(audits: Sequence[Audit]) -> Iterator[Line]:
    """Which rules were applied, and what was not checked and why."""
    rules = list(dict.fromkeys(title for audit in audits for title in audit.checked))
    yield (Span(f"checked: {count(len(rules), 'rule', 'rules')}", "title"),)
    yield from hanging("  ", "; ".join(rules))
    skipped = Counter(pair for audit in audits for pair in audit.not_checked)
    if skipped:
        yield (Span("not checked", "title"),)
        for (what, why), number in skipped.items():
            images = f" ({count(number, 'image', 'images')})" if len(audits) > 1 else ""
            yield from hanging("  ", f"{shown(what)}: {shown(why)}{images}")
    yield ()


def verdict(findings: Sequence[Finding], unreadable: int) -> Line:
    """The outcome in a line. What could not all be read is not clean."""
    modules = f"{count(unreadable, 'module', 'modules')} could not be read"
    if not findings and unreadable:
        return Span(modules, "bad"), "; no findings in what could"
    if not findings:
        return (Span("clean", "good"), ": no findings")
    numbers = Counter(finding.severity for finding in findings)
    kinds = ", ".join(count(numbers[each], each.value, f"{each.value}s") for each in Severity if numbers[each])
    rest = f"; {modules}" if unreadable else ""
    return Span(count(len(findings), "finding", "findings"), "bad"), f": {kinds}{rest}"


def hanging(indent: str, text: str) -> Iterator[Line]:
    """Text in lines, all behind the first one's indent."""
    for number, line in enumerate(wrapped(text, WIDTH - len(indent))):
        yield ((indent if number == 0 else " " * len(indent)) + line,)
