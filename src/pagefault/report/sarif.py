"""
Audits in SARIF 2.1.0, which code-scanning services read.

    json.dumps(to_sarif([audit(image)]))

Manual: OASIS, Static Analysis Results Interchange Format (SARIF) Version 2.1.0.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from ..audit.finding import Audit, Finding
from ..audit.rule import Rule
from ..audit.rules import RULES
from .finding_pages import advice, page

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
FINGERPRINT = "pagefaultFinding/v1"
COMPILERS_SUFFIX = re.compile(r"(\.[a-z_]+(\.\d+)?)+$")
Json = dict[str, Any]


def to_sarif(
    audits: Iterable[Audit],
    *,
    unreadable: Sequence[str] = (),
    version: str | None = None,
    docs: str | None = None,
) -> Json:
    """
    One run with the results of all these audits; `unreadable` has a line for each image that could not be audited.
    `version` is pagefault's, `docs` the URI of the folder docs/, wherever that can be read: each rule's helpUri is its
    page there. The page itself is the rule's help.
    """
    audits = tuple(audits)
    files = {file: index for index, file in enumerate(dict.fromkeys(audit.file for audit in audits))}
    driver: Json = {"name": "pagefault", "rules": [rule(each, docs) for each in RULES]}
    if version is not None:
        driver["version"] = version
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "columnKind": "unicodeCodePoints",
                "artifacts": [{"location": {"uri": uri(file)}, "roles": ["analysisTarget"]} for file in files],
                "invocations": [
                    {
                        "executionSuccessful": not unreadable,
                        "toolExecutionNotifications": [
                            *(notification("error", line) for line in unreadable),
                            *(notification("note", line) for line in not_checked(audits)),
                        ],
                    }
                ],
                "results": [each for audit in audits for each in results(audit, files[audit.file])],
            }
        ],
    }


def notification(level: str, text: str) -> Json:
    """Something that is about the run, and is no finding."""
    return {"level": level, "message": {"text": text}}


def not_checked(audits: Sequence[Audit]) -> Iterator[str]:
    """What was not checked and why, once each, with the number of images; with its name if it is one."""
    where: dict[tuple[str, str], list[str]] = {}
    for audit in audits:
        for pair in audit.not_checked:
            where.setdefault(pair, []).append(audit.file)
    for (what, why), files in where.items():
        images = files[0] if len(files) == 1 else f"{len(files):,} images"
        yield f"{images}: not checked: {what}: {why}"


def rule(each: Rule, docs: str | None) -> Json:
    """A rule as SARIF's reportingDescriptor."""
    text = page(each)
    to_do = advice(text) if text is not None else None
    found: Json = {
        "id": each.code,
        "name": "".join(word.capitalize() for word in re.findall(r"\w+", each.title)),
        "shortDescription": {"text": f"{each.title[0].upper()}{each.title[1:]}."},
        "fullDescription": {"text": each.why},
        "help": {"text": f"{each.why} {to_do or f'More in {each.page}.'}"},
        "defaultConfiguration": {"level": each.severity.value},
    }
    if text is not None:
        found["help"]["markdown"] = text
    if docs is not None:
        found["helpUri"] = docs.rstrip("/") + each.page.removeprefix("docs")
    return found


def results(audit: Audit, artifact: int) -> Iterable[Json]:
    """The findings of one audit. Those of one rule in one function are told apart by their number."""
    codes = [each.code for each in RULES]
    seen: Counter[tuple[str, ...]] = Counter()
    for finding in audit.findings:
        identity = stable_identity(finding)
        seen[identity] += 1
        result: Json = {
            "ruleId": finding.code,
            "ruleIndex": codes.index(finding.code),
            "level": finding.severity.value,
            "message": {"text": f"{finding.message}. {finding.why}"},
            "locations": [location(finding, artifact)],
            "partialFingerprints": {FINGERPRINT: fingerprint(identity, seen[identity])},
        }
        if finding.explained is not None:
            result["suppressions"] = [{"kind": "external", "justification": finding.explained}]
        yield result


def location(finding: Finding, artifact: int) -> Json:
    """The image and the address in it, and the function by name."""
    place = finding.place
    physical: Json = {"artifactLocation": {"uri": uri(place.file), "index": artifact}}
    found: Json = {"physicalLocation": physical}
    if place.address is not None:
        physical["address"] = {"absoluteAddress": place.address, "kind": "instruction"}
        if place.section is not None:
            physical["address"]["name"] = place.section
        if place.symbol is not None:
            physical["address"]["fullyQualifiedName"] = str(place)
            physical["address"]["offsetFromParent"] = place.symbol.offset
    if place.symbol is not None:
        name = place.symbol.name
        full = name if place.module is None else f"{place.module}:{name}"
        found["logicalLocations"] = [{"name": name, "fullyQualifiedName": full, "kind": "function"}]
    return found


def stable_identity(finding: Finding) -> tuple[str, ...]:
    """What stays of a finding when code is moved: rule, module, table, function without what compilers add to it."""
    place = finding.place
    function = COMPILERS_SUFFIX.sub("", place.symbol.name) if place.symbol else ""
    return finding.code, place.module or "", place.table or "", function


def fingerprint(identity: tuple[str, ...], number: int) -> str:
    """32 hexadecimal digits."""
    return hashlib.sha256("\0".join((*identity, str(number))).encode()).hexdigest()[:32]


def uri(file: str) -> str:
    """A path as a URI: relative paths stay relative."""
    path = PurePath(file)
    text = quote(path.as_posix())
    return f"file://{text}" if path.is_absolute() else text
