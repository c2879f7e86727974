"""
What `pagefault exec --json` prints: one document, written piece by piece, since a program may fault a million times.

    {"schema", "command": "exec", "program", "arguments": [text], "kernel": path or null (the small kernel),
     "faults": [fault],
     "summary": {"faults", "user", "kernel", "minor", "major", "causes": [cause], "areas": [{"area", "faults"}],
                 "functions": [{"mode", "function", "faults"}]},
     "exit_status": number or null, "signal": name or null, "stopped": why it was stopped, or null,
     "instructions", "notes": [text], "stdout": output, "stderr": output}

    fault    {"time_ns", "pid", "comm", "cpu", "mode": "user" or "kernel", "address", "error_code": {"value", and a
              boolean for each bit}, "ip": {"address", "symbol"}, "instruction", "vma": vma or null, "action",
              "results": what each call of handle_mm_fault() returned, "counted": "minor", "major" or null, "context"}
    vma      {"start", "end", "permissions": "rw-p", "offset", "name": null if it has none}
    cause    {"action": with N for numbers, "mode", "counted", "faults"}
    output   {"text": null if it is not UTF-8, "base64": null if it is, "truncated"}; null if it went elsewhere

With `--watch`, faults and summary are of the watched regions only. The rules of `as_json` hold: addresses and raw bits
are strings "0x…", what does not exist is null. Everything after "faults" is known when the program has ended.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator

from ..arch.x86 import PF_INSTR, PF_PK, PF_PROT, PF_RSVD, PF_USER, PF_WRITE
from ..vocabulary.fault_record import FaultRecord
from .as_json import Json, bits, document
from .fault_lines import weight
from .fault_summary import FaultSummary
from .maps_line import area

BITS = {
    "protection": PF_PROT,
    "write": PF_WRITE,
    "from_user": PF_USER,
    "reserved": PF_RSVD,
    "fetch": PF_INSTR,
    "protection_key": PF_PK,
}
"""An error code's bits by the names of vocabulary.fault."""


def pieces(before: Json, records: Iterable[FaultRecord], after: Json) -> Iterator[str]:
    """The document's text: what is known before the faults, a line a fault, and the rest."""
    head = json.dumps(document("exec", **before), indent=2)
    yield head.removesuffix("\n}") + ',\n  "faults": ['
    separator = "\n    "
    for record in records:
        yield separator + json.dumps(fault(record))
        separator = ",\n    "
    yield "\n  ],\n" + json.dumps(after, indent=2).removeprefix("{\n") + "\n"


def fault(record: FaultRecord) -> Json:
    """One fault."""
    return {
        "time_ns": record.time_ns,
        "pid": record.pid,
        "comm": record.comm,
        "cpu": record.cpu,
        "mode": "kernel" if record.kernel else "user",
        "address": bits(record.address),
        "error_code": {
            "value": bits(record.error_code),
            **{name: bool(record.error_code & bit) for name, bit in BITS.items()},
        },
        "ip": {"address": bits(record.ip), "symbol": record.symbol or None},
        "instruction": record.instruction or None,
        "vma": vma(record.vma),
        "action": record.action,
        "results": list(record.results),
        "counted": weight(record) or None,
        "context": record.context,
    }


def vma(line: str) -> Json | None:
    """The area of a line of /proc/PID/maps."""
    held = area(line)
    if held is None:
        return None
    return {
        "start": bits(held.start),
        "end": bits(held.end),
        "permissions": held.permissions,
        "offset": bits(held.offset),
        "name": held.name or None,
    }


def summary(counted: FaultSummary) -> Json:
    """All counts, most first."""
    return {
        "faults": counted.total,
        "user": counted.total - counted.kernel,
        "kernel": counted.kernel,
        "minor": counted.minor,
        "major": counted.major,
        "causes": [
            {"action": action, "mode": mode, "counted": weighs or None, "faults": count}
            for (action, mode, weighs), count in counted.causes.most_common()
        ],
        "areas": [{"area": label, "faults": count} for label, count in counted.areas.most_common()],
        "functions": [
            {"mode": mode, "function": function, "faults": count}
            for (mode, function), count in counted.symbols.most_common()
        ],
    }


def output(data: bytes, *, truncated: bool) -> Json:
    """What the program wrote."""
    try:
        text, encoded = data.decode(), None
    except UnicodeDecodeError:
        text, encoded = None, base64.b64encode(data).decode()
    return {"text": text, "base64": encoded, "truncated": truncated}
