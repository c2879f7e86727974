"""
Every record as JSON-ready data, for programs. Those of `pagefault extable` are made in `extable_json`.

A document is an object with "schema" and "command". The schema's number is raised when a key changes its meaning or
goes away; new keys may come at any time. Addresses, register values, page-table entries, error codes and other raw bits
are strings "0x…", in lower case and without leading zeros; counts, indices and sizes are numbers. What is one of
several kinds (an outcome, an effect, the end of a walk or of a call) has its kind in the key "is": the name of its
class in `vocabulary` or `machine.event`. What does not exist is null; a list may be empty but is never left out.

    pagefault run      {"schema", "command", "scenes": [play]}
    pagefault call     {"schema", "command", "image", "rules", "call": call, "warnings": [line], "memory": [region],
                        "shown": [memory]}
    pagefault extable  {"schema", "command", "image", "address", "layout", "how", "in_order", "opened": [step],
                        "tables": [table], "entries": [described]}; "address" to "in_order" are the first table's, or
                        null
    … --at PLACE       the same with "at": spot, "covered", "entry": described or null, and "neighbours": [described]
                        for "entries"
    … --summary        {"schema", "command", "image", "opened", "tables", "total": count, "types": [count], "sections":
                        [count], "grouped_by": what subsystems are, "subsystems": [subsystem]}
    … --diff OLD NEW   {"schema", "command", "old": kernel, "new": kernel, "before", "after", "unchanged", "added",
                        "removed", "retyped", "functions": [changed]}
    … --audit          {"schema", "command", "image", "clean", "unreadable": [line for each module], "audits": [audit]}

    play     {"scene", "title", "cause", "about", "acts": [act], "remarks", "error": null, or why it cannot be played}
    act      {"text", "call": call, "after": [sentence], "vmas": [vma]}
    call     {"function", "arguments": {register: bits}, "end": {"is", …}, "result": result or null,
              "registers": {register: bits}, "executed", "faults": [fault], "oops": [line]}
    result   {"register", "value": bits, "number", "meaning": words or null}
    fault    {"trap", "vector", "error_code": {"value", and a boolean for each bit}, "address", "ip": place,
              "user_mode", "access": access or null, "code": hex, "instruction", "cpu": {…},
              "task": {"comm", "pid"}, "walk": walk, "decision": {"outcome": {"is", …}, "effects": [{"is", …}],
              "trail": [step]}, "stale": did a TLB hold "walk", not the tables?,
              "walk_after": walk, "registers": {…}, "registers_after": {…}}
    access   {"address", "kind", "user", "implicit"}
    walk     {"address", "root", "entries": [{"level", "physical", "index", "value", "flags"}], "end": {"is", …}}
    step     {"question", "function", "citation", "answer"}
    entry    {"index", "address", "instruction": place, "fixup": place, "type", "number", "register", "flags",
              "immediate"}
    table    {"table", "module", "found", "address", "layout", "how", "in_order", "count"}
    described {"table", "module", "index", "address", "instruction": spot, "fixup": spot, "type", "number", "register",
              "flags", "immediate", "fields": {name: text}, "source": [line, innermost inlined function first]}
    line     {"function", "file", "line"}
    spot     {"address", "symbol", "section", "code": hex, "instruction": text, "memory": its operand that is memory,
              "reads", "writes"}
    kernel   {"image", "opened": [step], "tables": [table]}
    changed  {"function", "module", "table", "before", "after", "user_before", "user_after": how many of the entries may
              be for user memory, "gained_user_access", "lost_user_access", "added": [described],
              "removed": [described], "retyped": [{"old": described, "new": described}]}
    count    {"name", "entries", "user": how many of them may be for user memory}
    subsystem {"name", "entries", "functions": [count]}
    audit    {"image", "module", "findings": [finding], "checked": [rule], "not_checked": [{"what", "why"}]}
    finding  {"code", "severity", "address", "section", "symbol", "table", "entry": index, "message", "why",
              "explained": why it is known and does not count, or null}
    vma      {"start", "end", "read", "write", "execute", "shared", "grows_down", "protection_key", "name",
              "inode": its number, 0 for anonymous memory, "pgoff": page of the file at start}
    place    {"address", "symbol": name+0x9/0x20 as the kernel prints it, or null}
    region   {"name", "kind": "user" or "kernel", "options": [rights, "lazy", "stack"], "start", "size"}
    memory   {"place", "pieces": [{"address", "hex": null where nothing is mapped}]}
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ..arch.architectures import architecture_of, architecture_with
from ..arch.x86 import CpuState
from ..arch.x86_instruction import decode
from ..machine.event import CallEnd, CallResult, Died, FaultEvent, Returned
from ..tables.symbols import SymbolTable
from ..vocabulary.access import Access
from ..vocabulary.exception_entry import ExceptionEntry
from ..vocabulary.fault import Fault
from ..vocabulary.vma import Vma
from ..vocabulary.walk import Walk
from .kernel_words import kernel_words
from .play import PlayToTell, SceneToTell
from .returned import meaning, number, result_register

SCHEMA = 1
Json = dict[str, Any]
BITS = frozenset(
    "address physical value frame source landing old_start new_start start end insn fixup at bits root".split()
)
"""Fields of records that hold addresses or raw bits, wherever they are found."""


def document(command: str, **content: Any) -> Json:
    """A whole document."""
    return {"schema": SCHEMA, "command": command, **content}


def bits(value: int | None) -> str | None:
    """An address or raw bits."""
    return None if value is None else f"{value:#x}"


def vma_record(vma: Vma) -> Json:
    """An area: what is promised there."""
    names = "start end read write execute shared grows_down protection_key name inode pgoff".split()
    return {name: value for name, value in record(vma).items() if name in names}


def place(address: int, symbols: SymbolTable) -> Json:
    """An address in code, with its symbol."""
    return {"address": bits(address), "symbol": str(symbol) if (symbol := symbols.at(address)) else None}


def play(played: PlayToTell) -> Json:
    """A scene that was played."""
    symbols = played.machine.symbols
    acts = [
        {
            "text": act.text,
            "call": call(act.result, symbols),
            "after": list(act.after),
            "vmas": [vma_record(vma) for vma in act.vmas],
        }
        for act in played.acts
    ]
    return {**scene(played.scene), "acts": acts, "remarks": list(played.remarks), "error": None}


def scene(told: SceneToTell) -> Json:
    """What a scene is about."""
    return {"scene": told.name, "title": told.title, "cause": told.cause, "about": told.about}


def not_played(told: SceneToTell, why: str) -> Json:
    """A scene that this kernel cannot play."""
    return {**scene(told), "acts": [], "remarks": [], "error": why}


def call(result: CallResult, symbols: SymbolTable) -> Json:
    """One call."""
    return {
        "function": result.function,
        "arguments": registers(result.arguments),
        "end": call_end(result.end, symbols),
        "result": result_value(result) if isinstance(result.end, Returned) else None,
        "registers": registers(result.registers),
        "executed": result.executed,
        "faults": [fault_event(event, symbols) for event in result.events],
        "oops": kernel_words(result),
    }


def call_end(end: CallEnd, symbols: SymbolTable) -> Json:
    """How a call ended."""
    match end:
        case Died(outcome=outcome):
            return {"is": "Died", "outcome": tagged(outcome, symbols)}
        case _:
            return tagged(end, symbols)


def result_value(result: CallResult) -> Json:
    """What came back, in the register that the function uses."""
    register = result_register(result.function, architecture_with(result.registers))
    value = result.registers[register]
    said = meaning(result.function, value, result.arguments)
    return {"register": register, "value": bits(value), "number": number(value), "meaning": said or None}


def registers(values: Mapping[str, int]) -> Json:
    return {name: bits(value) for name, value in values.items()}


def access(wanted: Access) -> Json:
    """What the CPU wanted to do with memory."""
    return {
        "address": bits(wanted.address),
        "kind": wanted.kind.name.lower(),
        "user": wanted.user,
        "implicit": wanted.implicit,
    }


def fault_event(event: FaultEvent, symbols: SymbolTable) -> Json:
    """One fault with everything around it."""
    instruction = decode(event.code, architecture_of(event.state).bits)
    decision = event.decision
    return {
        "trap": event.fault.trap,
        "vector": event.fault.vector,
        "error_code": error_code(event.fault),
        "address": bits(event.fault.address),
        "ip": place(event.fault.ip, symbols),
        "user_mode": event.fault.user_mode,
        "access": None if event.access is None else access(event.access),
        "code": event.code.hex(),
        "instruction": instruction.text if instruction else None,
        "cpu": cpu_state(event.state),
        "task": {"comm": event.task[0], "pid": event.task[1]},
        "walk": walk(event.before, event.state),
        "decision": {
            "outcome": tagged(decision.outcome, symbols),
            "effects": [tagged(effect, symbols) for effect in decision.effects],
            "trail": [record(step) for step in decision.trail],
        },
        "stale": event.stale,
        "walk_after": walk(event.after, event.state),
        "registers": registers(event.fault.registers),
        "registers_after": registers(event.registers_after),
    }


def error_code(fault: Fault) -> Json:
    """The error code, and its bits by name."""
    return {
        "value": bits(fault.error_code),
        "protection": fault.protection,
        "write": fault.write,
        "from_user": fault.from_user,
        "reserved": fault.reserved,
        "fetch": fault.fetch,
        "protection_key": fault.protection_key,
    }


def cpu_state(cpu: CpuState) -> Json:
    """The registers that decided the fault."""
    raw = {name: bits(getattr(cpu, name)) for name in ("cr0", "cr3", "cr4", "efer", "eflags", "pkru", "pkrs")}
    said = {name: getattr(cpu, name) for name in ("wp", "nxe", "smep", "smap", "la57", "pke", "pks", "ac")}
    return {**raw, "cpl": cpu.cpl, "maxphyaddr": cpu.maxphyaddr, **said}


def walk(walked: Walk, cpu: CpuState) -> Json:
    """A walk, every entry with its flags."""
    entries = [
        {**record(entry), "flags": list(architecture_of(cpu).entry_flags(entry, cpu))} for entry in walked.entries
    ]
    end = {"is": type(walked.end).__name__, **record(walked.end)}
    return {"address": bits(walked.address), "root": bits(walked.root), "entries": entries, "end": end}


def tagged(value: Any, symbols: SymbolTable) -> Json:
    """One of several kinds of record: its fields, and which it is."""
    fields = record(value)
    if isinstance(entry := getattr(value, "entry", None), ExceptionEntry):
        fields["entry"] = exception_entry(entry, symbols)
    for name in ("landing", "at"):
        if hasattr(value, name):
            fields[name] = place(getattr(value, name), symbols)
    return {"is": type(value).__name__, **fields}


def exception_entry(entry: ExceptionEntry, symbols: SymbolTable) -> Json:
    """One entry of an exception table."""
    return {
        "index": entry.index,
        "address": bits(entry.address),
        "instruction": place(entry.insn, symbols),
        "fixup": place(entry.fixup, symbols),
        "type": entry.type,
        "number": entry.number,
        "register": entry.register,
        "flags": list(entry.flags),
        "immediate": entry.immediate,
    }


def record(value: Any) -> Json:
    """A flat frozen record, its fields by their names."""
    return {
        field.name: bits(content) if field.name in BITS and isinstance(content, int) else content
        for field in dataclasses.fields(value)
        for content in (getattr(value, field.name),)
    }
