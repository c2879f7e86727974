"""
What `pagefault extable` says as JSON-ready data: entries, tables, counts, differences, findings.
`as_json` documents the records.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..audit.finding import Audit, Finding
from ..survey.described import DescribedEntry, Place
from ..survey.difference import Difference, FunctionDifference
from ..survey.summary import Summary
from .as_json import Json, bits, record
from .exception_table import TableFacts


def kernel(path: str, how: Sequence[str], tables: Sequence[TableFacts]) -> Json:
    """An image: how it was opened, and its tables."""
    return {"image": path, "opened": list(how), "tables": [found_table(table) for table in tables]}


def found_table(facts: TableFacts) -> Json:
    """One of an image's tables: which, and how it was found and read."""
    return {
        "table": facts.table,
        "module": facts.module,
        "found": facts.found,
        "address": bits(facts.address),
        "layout": facts.layout_name,
        "how": facts.how,
        "in_order": facts.in_order,
        "count": facts.count,
    }


def described(entry: DescribedEntry) -> Json:
    """One entry with its places described."""
    return {
        "table": entry.table,
        "module": entry.module,
        "index": entry.entry.index,
        "address": bits(entry.entry.address),
        "instruction": spot(entry.insn),
        "fixup": spot(entry.fixup),
        "type": entry.entry.type,
        "number": entry.entry.number,
        "register": entry.entry.register,
        "flags": list(entry.entry.flags),
        "immediate": entry.entry.immediate,
        "fields": dict(entry.entry.fields),
        "source": [record(line) for line in entry.source],
    }


def spot(place: Place) -> Json:
    """An address in code with all that is known of it."""
    found = place.instruction
    return {
        "address": bits(place.address),
        "symbol": None if place.symbol is None else str(place.symbol),
        "section": place.section,
        "code": found.code.hex() if found else None,
        "instruction": found.text if found else None,
        "memory": found.operands[slice(*found.memory)] if found and found.memory else None,
        "reads": found.reads if found else None,
        "writes": found.writes if found else None,
    }


def difference(found: Difference) -> Json:
    """Two kernels compared: what is counted, and each function that differs."""
    return {
        "before": found.before,
        "after": found.after,
        "unchanged": found.unchanged,
        "added": len(found.added),
        "removed": len(found.removed),
        "retyped": len(found.retyped),
        "functions": [changed(function) for function in found.functions],
    }


def changed(function: FunctionDifference) -> Json:
    """What changed in one function."""
    return {
        "function": function.function,
        "module": function.module,
        "table": function.table,
        "before": function.before,
        "after": function.after,
        "user_before": function.user_before,
        "user_after": function.user_after,
        "gained_user_access": function.gained_user_access,
        "lost_user_access": function.lost_user_access,
        "added": [described(entry) for entry in function.added],
        "removed": [described(entry) for entry in function.removed],
        "retyped": [{"old": described(pair.old), "new": described(pair.new)} for pair in function.retyped],
    }


def summary(counted: Summary) -> Json:
    """How many entries there are of each kind."""
    return {
        "total": record(counted.total),
        "types": [record(each) for each in counted.types],
        "sections": [record(each) for each in counted.sections],
        "grouped_by": counted.grouped_by,
        "subsystems": [
            {"name": each.name, "entries": each.entries, "functions": [record(one) for one in each.functions]}
            for each in counted.subsystems
        ],
    }


def audits(made: Sequence[Audit], unreadable: Sequence[str]) -> Json:
    """The audits of an image or of a folder's modules, and what could not be read."""
    return {
        "clean": not unreadable and all(each.clean for each in made),
        "unreadable": list(unreadable),
        "audits": [audit(each) for each in made],
    }


def audit(made: Audit) -> Json:
    """One image's audit."""
    return {
        "image": made.file,
        "module": made.module,
        "findings": [finding(each) for each in made.findings],
        "checked": list(made.checked),
        "not_checked": [{"what": what, "why": why} for what, why in made.not_checked],
    }


def finding(found: Finding) -> Json:
    """One finding, with its place."""
    where = found.place
    return {
        "code": found.code,
        "severity": found.severity.value,
        "address": bits(where.address),
        "section": where.section,
        "symbol": None if where.symbol is None else str(where.symbol),
        "table": where.table,
        "entry": where.entry,
        "message": found.message,
        "why": found.why,
        "explained": found.explained,
    }
