"""SARIF 2.1.0: what the format requires, and what a code-scanning service needs to follow a finding over time."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import urlparse

import pytest

from pagefault.audit import Audit, Finding, Place, Severity
from pagefault.audit.rules import RULES
from pagefault.report.sarif import to_sarif
from pagefault.tables.symbols import Symbol


def at(name: str, address: int, offset: int, *, module: str | None = None) -> Place:
    symbol = Symbol(name, address, 0x100, offset, module)
    return Place("/boot/vm linux", module, address + offset, ".text", symbol, "__ex_table", 3)


def finding(place: Place, code: str = "PF014", explained: str | None = None) -> Finding:
    return Finding(code, Severity.ERROR, place, "It has no entry", "It is an oops.", explained)


def audit_of(*findings: Finding, file: str = "/boot/vm linux") -> Audit:
    return Audit(file, None, findings, ("PF014 it",), (("all of it", "no time"),))


def run_of(*audits: Audit, **options: Any) -> dict[str, Any]:
    document = to_sarif(audits, **options)
    assert json.loads(json.dumps(document)) == document
    assert document["version"] == "2.1.0"
    assert document["$schema"].endswith("sarif-2.1.0.json")
    [run] = document["runs"]
    assert isinstance(run, dict)
    return run


FIRST = finding(at("copy.isra.0", 0xFFFF_FFFF_8100_0000, 7))


def test_what_the_schema_requires() -> None:
    run = run_of(audit_of(FIRST), version="1.2")
    driver = run["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("pagefault", "1.2")
    assert [rule["id"] for rule in driver["rules"]] == [rule.code for rule in RULES]
    for rule in driver["rules"]:
        assert rule["shortDescription"]["text"].endswith(".")
        assert rule["defaultConfiguration"]["level"] in ("error", "warning", "note")
    [result] = run["results"]
    assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"] == "PF014"
    assert result["level"] == "error"
    assert result["message"]["text"] == "It has no entry. It is an oops."
    assert run["invocations"][0]["executionSuccessful"] is True
    [notification] = run["invocations"][0]["toolExecutionNotifications"]
    assert "all of it: no time" in notification["message"]["text"]


def test_what_was_not_checked_is_told_once_with_the_number_of_images() -> None:
    several = [replace(audit_of(file=f"{name}.ko"), not_checked=(("all of it", "no time"),)) for name in "abc"]
    alone = replace(audit_of(file="d.ko"), not_checked=(("some of it", "no code"),))
    notifications = run_of(*several, alone)["invocations"][0]["toolExecutionNotifications"]
    assert notifications == [
        {"level": "note", "message": {"text": "3 images: not checked: all of it: no time"}},
        {"level": "note", "message": {"text": "d.ko: not checked: some of it: no code"}},
    ]


def test_a_run_that_could_not_read_everything_has_not_succeeded() -> None:
    [invocation] = run_of(audit_of(), unreadable=["a.ko: no ELF"])["invocations"]
    assert invocation["executionSuccessful"] is False
    assert invocation["toolExecutionNotifications"][0] == {"level": "error", "message": {"text": "a.ko: no ELF"}}


def test_a_rule_says_what_is_to_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = run_of()["tool"]["driver"]["rules"]
    for rule, each in zip(rules, RULES, strict=True):
        assert rule["fullDescription"]["text"] == each.why
        assert rule["help"]["markdown"].startswith(f"# {each.code}")
        assert rule["help"]["text"].startswith(each.why)
    [told] = [rule for rule in rules if rule["id"] == "PF014"]
    assert "Find the macro" in told["help"]["text"]
    monkeypatch.setattr("pagefault.report.finding_pages.FOLDERS", ())
    assert run_of()["tool"]["driver"]["rules"][0]["help"] == {"text": f"{RULES[0].why} More in docs/findings/PF001.md."}


def test_where_a_finding_is() -> None:
    run = run_of(audit_of(file="other"), audit_of(FIRST))
    [location] = run["results"][0]["locations"]
    physical = location["physicalLocation"]
    assert physical["artifactLocation"] == {"uri": "file:///boot/vm%20linux", "index": 1}
    assert [each["location"]["uri"] for each in run["artifacts"]] == ["other", "file:///boot/vm%20linux"]
    assert physical["address"] == {
        "absoluteAddress": 0xFFFF_FFFF_8100_0007,
        "kind": "instruction",
        "name": ".text",
        "fullyQualifiedName": "copy.isra.0+0x7",
        "offsetFromParent": 7,
    }
    assert location["logicalLocations"] == [
        {"name": "copy.isra.0", "fullyQualifiedName": "copy.isra.0", "kind": "function"}
    ]
    inside = finding(at("probe", 0, 1, module="tried"))
    [place] = run_of(audit_of(inside))["results"][0]["locations"]
    assert place["logicalLocations"][0]["fullyQualifiedName"] == "tried:probe"


def test_a_finding_without_an_address() -> None:
    run = run_of(audit_of(finding(Place("/boot/vm linux"))))
    assert "address" not in run["results"][0]["locations"][0]["physicalLocation"]


def test_an_explained_finding_is_suppressed() -> None:
    run = run_of(audit_of(FIRST, finding(FIRST.place, explained="It is so.")))
    assert "suppressions" not in run["results"][0]
    assert run["results"][1]["suppressions"] == [{"kind": "external", "justification": "It is so."}]


def prints(*findings: Finding) -> list[str]:
    return [result["partialFingerprints"]["pagefaultFinding/v1"] for result in run_of(audit_of(*findings))["results"]]


def test_fingerprints_do_not_depend_on_where_code_is_placed() -> None:
    moved = finding(at("copy", 0xFFFF_FFFF_9A00_0000, 9))
    assert prints(FIRST) == prints(moved)
    assert prints(FIRST) == prints(replace(FIRST, message="entry 9 has no entry"))
    others = [
        replace(FIRST, code="PF007"),
        finding(at("paste", 0xFFFF_FFFF_8100_0000, 7)),
        finding(at("copy", 0xFFFF_FFFF_8100_0000, 7, module="tried")),
    ]
    assert len({prints(FIRST)[0], *(prints(other)[0] for other in others)}) == 4
    assert len(set(prints(FIRST, moved))) == 2


def test_a_rule_leads_to_its_page() -> None:
    rules = run_of(docs="https://example.org/pagefault/docs/")["tool"]["driver"]["rules"]
    assert rules[0]["helpUri"] == "https://example.org/pagefault/docs/findings/PF001.md"
    assert all(urlparse(rule["helpUri"]).scheme == "https" for rule in rules)
    assert "helpUri" not in run_of()["tool"]["driver"]["rules"][0]
