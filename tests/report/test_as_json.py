from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from pagefault.audit.finding import Audit, Finding, Place, Severity
from pagefault.machine.machine import Machine
from pagefault.report import as_json, extable_json
from pagefault.report.exception_table import TableFacts
from pagefault.scenes import Played
from pagefault.survey.described import SourceLine
from pagefault.survey.difference import difference
from pagefault.survey.summary import summarize
from pagefault.vocabulary.effect import Effect, FlushPage, SetRegister, WriteEntry
from pagefault.vocabulary.outcome import Outcome, Resolved, Signal
from pagefault.vocabulary.vma import Vma
from pagefault.vocabulary.walk import Reserved, WalkEnd
from survey.made_up import entry, several


def documented(name: str) -> set[str]:
    """The top-level keys that the docstring lists for a record."""
    assert as_json.__doc__
    found = re.search(rf"^    {name} +(.*?)(?=^    \S+ .*{{|\Z)", as_json.__doc__, re.MULTILINE | re.DOTALL)
    assert found
    text, keys = found[1], set()
    depth = 0
    for token in re.findall(r"[{}\[\]]|\"\w+\"(?=[,:}])", text):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token, 0)
        if depth == 1 and token.startswith('"'):
            keys.add(token.strip('"'))
        if depth == 0 and keys:
            break
    return keys


def values(data: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield key, value
            yield from values(value)
    elif isinstance(data, list):
        for each in data:
            yield from values(each)


@pytest.fixture(scope="module")
def plays(played: dict[str, Played]) -> dict[str, Any]:
    return {name: json.loads(json.dumps(as_json.play(play))) for name, play in played.items()}


def test_every_play_can_be_written_and_read_back(plays: dict[str, Any]) -> None:
    for name, play in plays.items():
        assert play["scene"] == name
        assert play["error"] is None
        assert play["acts"]


def test_keys_are_those_documented(plays: dict[str, Any]) -> None:
    for play in plays.values():
        assert play.keys() == documented("play")
        for act in play["acts"]:
            assert act.keys() == documented("act")
            assert act["call"].keys() == documented("call")
            assert all(fault.keys() == documented("fault") for fault in act["call"]["faults"])
            assert all(fault["walk"].keys() == documented("walk") for fault in act["call"]["faults"])
            for fault in act["call"]["faults"]:
                assert all(step.keys() == documented("step") for step in fault["decision"]["trail"])
            assert all(vma.keys() == documented("vma") for vma in act["vmas"])
            if act["call"]["result"]:
                assert act["call"]["result"].keys() == documented("result")


def test_raw_bits_are_strings_and_only_they(plays: dict[str, Any]) -> None:
    raw = "address start end physical root rip rax cr3 insn landing".split()
    seen = set()
    for key, value in values(plays):
        if isinstance(value, str) and value.startswith("0x"):
            assert re.fullmatch(r"0x(0|[1-9a-f][0-9a-f]*)", value), (key, value)
            seen.add(key)
        if key in raw and isinstance(value, int):
            raise AssertionError(f"{key} is a number: {value}")
    assert {"address", "physical", "root", "rip", "value"} <= seen


def test_one_fault_in_full(plays: dict[str, Any]) -> None:
    fault = plays["null-read"]["acts"][0]["call"]["faults"][0]
    assert fault["trap"] == "#PF"
    assert fault["address"] == "0x10"
    assert fault["error_code"] == {
        "value": "0x0",
        "protection": False,
        "write": False,
        "from_user": False,
        "reserved": False,
        "fetch": False,
        "protection_key": False,
    }
    assert fault["access"] == {"address": "0x10", "kind": "read", "user": False, "implicit": False}
    assert fault["instruction"] == "movq (%rdi), %rax"
    assert fault["ip"]["symbol"].startswith("rd+0x")
    assert fault["walk"]["end"] == {"is": "NotPresent", "level": "pgd"}
    assert fault["walk"]["entries"][0]["flags"] == ["empty"]
    assert fault["decision"]["outcome"] == {"is": "Oops", "reason": "SMAP violation"}
    assert fault["decision"]["trail"][-1]["function"] == "smap_violation"
    assert plays["null-read"]["acts"][0]["call"]["end"]["is"] == "Died"


def test_a_fixup_carries_its_entry(plays: dict[str, Any]) -> None:
    outcome = plays["copy-from-user"]["acts"][0]["call"]["faults"][0]["decision"]["outcome"]
    assert outcome["is"] == "FixedUp"
    assert outcome["entry"].keys() == documented("entry")
    assert outcome["entry"]["type"] == "uaccess"
    assert outcome["landing"] == outcome["entry"]["fixup"]
    assert outcome["landing"].keys() == documented("place")


def test_the_result_is_in_the_register_that_the_function_uses(plays: dict[str, Any]) -> None:
    result = plays["put-user"]["acts"][0]["call"]["result"]
    assert result == {"register": "rcx", "value": "0xfffffff2", "number": -14, "meaning": "-EFAULT"}


@pytest.mark.parametrize("union", [Outcome, Effect, WalkEnd])
def test_kinds_have_names_of_their_own(union: Any) -> None:
    names = [kind.__name__ for kind in get_args(union)]
    assert len(names) == len(set(names))


def test_other_kinds(machine: Machine) -> None:
    symbols = machine.symbols
    assert as_json.tagged(SetRegister("rcx", 24), symbols) == {"is": "SetRegister", "name": "rcx", "value": "0x18"}
    assert as_json.tagged(FlushPage(0x1000), symbols) == {"is": "FlushPage", "address": "0x1000"}
    assert as_json.tagged(Resolved("how"), symbols) == {"is": "Resolved", "how": "how"}
    assert as_json.tagged(Signal("SIGSEGV", "SEGV_MAPERR", 16), symbols)["address"] == "0x10"
    written = as_json.tagged(WriteEntry("pte", 0x1000, 0x67, 0x2000), symbols)
    assert written == {
        "is": "WriteEntry",
        "level": "pte",
        "physical": "0x1000",
        "value": "0x67",
        "address": "0x2000",
        "size": 8,
    }
    assert as_json.record(Reserved("pmd", 0x80)) == {"level": "pmd", "bits": "0x80"}
    assert as_json.record(Vma(0x1000, 0x2000))["end"] == "0x2000"


def test_a_call_that_stopped_says_where(machine: Machine) -> None:
    called = as_json.call(machine.run("memset", machine.kmalloc(4096), 0, 4096, budget=3), machine.symbols)
    assert called["end"]["is"] == "Stopped"
    assert called["end"]["at"]["symbol"].startswith("memset+0x")
    assert called["result"] is None
    assert called["oops"] == []
    assert list(called["arguments"]) == ["rdi", "rsi", "rdx"]


def test_documents_carry_the_schema() -> None:
    assert as_json.document("run", scenes=[]) == {"schema": 1, "command": "run", "scenes": []}


FACTS = TableFacts("__ex_table", None, "section __ex_table", 0x1000, "data (12 bytes)", "data", "well", True, 2)
SOURCE = (SourceLine("get", "a.h", 3),)
ENTRY = entry("f", "<movq {(%rsi)}, %rax", "imm_reg", fields=(("imm", "-14"),), module="ext4", source=SOURCE)


def test_a_kernel_says_how_it_was_opened_and_its_tables_read() -> None:
    told = extable_json.kernel("vmlinuz", ("bzImage",), [FACTS])
    assert told.keys() == documented("kernel")
    assert told["tables"][0].keys() == documented("table")
    assert told["tables"][0]["address"] == "0x1000"
    assert told["tables"][0]["layout"] == "data"


def test_a_described_entry() -> None:
    told = json.loads(json.dumps(extable_json.described(ENTRY)))
    assert told.keys() == documented("described")
    assert told["instruction"].keys() == told["fixup"].keys() == documented("spot")
    assert [line.keys() for line in told["source"]] == [documented("line")]
    assert told["fields"] == {"imm": "-14"}
    assert told["instruction"]["memory"] == "(%rsi)"
    assert (told["instruction"]["reads"], told["instruction"]["writes"]) == (True, False)
    bare = extable_json.described(entry(None, None, section=None))
    assert {name for name, value in bare["instruction"].items() if value is not None} == {"address"}


def test_a_difference() -> None:
    old, new = several("gone", "<movb {(%rsi)}, %al"), [ENTRY]
    told = as_json.document("extable", old=None, new=None, **extable_json.difference(difference(old, new)))
    assert told.keys() == documented("… --diff OLD NEW")
    assert [function.keys() for function in told["functions"]] == [documented("changed")] * 2
    assert [function["function"] for function in told["functions"]] == ["gone", "f"]
    assert (told["functions"][0]["lost_user_access"], told["functions"][1]["gained_user_access"]) == (True, True)
    assert told["functions"][1]["added"] == [extable_json.described(ENTRY)]
    pair = difference([ENTRY], [entry("f", "<movq {(%rsi)}, %rax", module="ext4")])
    assert [each.keys() for each in extable_json.difference(pair)["functions"][0]["retyped"]] == [{"old", "new"}]


def test_a_summary() -> None:
    told = as_json.document("extable", **extable_json.kernel("", (), []), **extable_json.summary(summarize([ENTRY])))
    assert told.keys() == documented("… --summary")
    assert told["total"].keys() == documented("count")
    assert [each.keys() for each in told["subsystems"]] == [documented("subsystem")]


def test_an_audit() -> None:
    where = Place("vmlinux", None, 0x10, ".text", None, "__ex_table", 3)
    found = Finding("PF001", Severity.ERROR, where, "what", "why")
    told = json.loads(json.dumps(extable_json.audit(Audit("vmlinux", None, (found,), ("order",), (("a", "b"),)))))
    assert told.keys() == documented("audit")
    assert told["findings"][0].keys() == documented("finding")
    assert told["findings"][0]["severity"] == "error"
    assert told["not_checked"] == [{"what": "a", "why": "b"}]


def test_a_scene_that_was_not_played(played: dict[str, Played]) -> None:
    told = as_json.not_played(played["get-user"].scene, "no symbol")
    assert told.keys() == documented("play")
    assert told["error"] == "no symbol"


def test_a_stale_translation_is_marked(plays: dict[str, Any]) -> None:
    assert plays["spurious"]["acts"][0]["call"]["faults"][0]["stale"] is True
    assert plays["null-read"]["acts"][0]["call"]["faults"][0]["stale"] is False
