from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from pagefault.report import exec_json
from pagefault.report.exec_json import fault, output, pieces, summary
from pagefault.report.fault_summary import summarize
from report.recorded_faults import RECORD, recorded_log


def documented(name: str) -> set[str]:
    """The keys that the docstring lists for a record."""
    assert exec_json.__doc__
    found = re.search(
        rf"^    {name} +{{(.*?)}}[^}}\n]*(?=\n    \w+ +{{|\n\n)", exec_json.__doc__, re.MULTILINE | re.DOTALL
    )
    assert found
    return set(re.findall(r'"(\w+)"(?=[:,]|$)', re.sub(r"{[^}]*}|: \"[^\"]*\"( or \"\w+\")?", "", found[1])))


def test_a_fault() -> None:
    assert fault(RECORD) == {
        "time_ns": 12_345_678_901,
        "pid": 1000,
        "comm": "cat",
        "cpu": 0,
        "mode": "user",
        "address": "0x7ffff7bba6dd",
        "error_code": {
            "value": "0x7",
            "protection": True,
            "write": True,
            "from_user": True,
            "reserved": False,
            "fetch": False,
            "protection_key": False,
        },
        "ip": {"address": "0x401259", "symbol": "fill+0x19"},
        "instruction": "movb %al, (%rdi)",
        "vma": {
            "start": "0x7ffff7bb9000",
            "end": "0x7ffff7bf9000",
            "permissions": "rw-p",
            "offset": "0x0",
            "name": "/data",
        },
        "action": "copied on write",
        "results": ["ok"],
        "counted": "minor",
        "context": "d....",
    }


def test_what_is_not_there_is_null() -> None:
    told = fault(replace(RECORD, symbol="", instruction="", vma="", results=(), kernel=True))
    assert told["mode"] == "kernel"
    assert [told["ip"]["symbol"], told["instruction"], told["vma"], told["counted"]] == [None] * 4
    assert told["results"] == []
    assert fault(replace(RECORD, vma="1000-2000 rw-p 0"))["vma"]["name"] is None


@pytest.mark.parametrize("name", ["signals", "mixed-calls", "fork"])
def test_the_document_is_json_and_has_every_fault(name: str) -> None:
    log = recorded_log(name)
    after = {"summary": summary(summarize(log)), "exit_status": 0}
    document: dict[str, Any] = json.loads("".join(pieces({"program": name}, log, after)))
    assert list(document) == ["schema", "command", "program", "faults", "summary", "exit_status"]
    assert document["command"] == "exec"
    assert document["faults"] == [fault(record) for record in log]
    counts = document["summary"]
    assert counts["faults"] == len(log) == counts["user"] + counts["kernel"]
    assert {sum(each["faults"] for each in counts[by]) for by in ("causes", "areas", "functions")} == {len(log)}


def test_a_document_without_faults() -> None:
    assert json.loads("".join(pieces({"program": "x"}, [], {"exit_status": None})))["faults"] == []


def test_what_is_written_is_what_is_documented() -> None:
    counts = summary(summarize([RECORD]))
    for name, record in (
        ("fault", fault(RECORD)),
        ("vma", fault(RECORD)["vma"]),
        ("cause", counts["causes"][0]),
        ("output", output(b"", truncated=False)),
    ):
        assert documented(name) == set(record), name


def test_output_is_text_if_it_can_be() -> None:
    assert output("é\n".encode(), truncated=False) == {"text": "é\n", "base64": None, "truncated": False}
    assert output(b"\xff\0", truncated=True) == {"text": None, "base64": "/wA=", "truncated": True}
