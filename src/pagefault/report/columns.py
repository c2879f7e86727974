"""
Exception tables in columns, for notebooks and databases: one row an entry, as CSV, Parquet or Arrow.

The names and types below are stable; new columns may come at the end. A value that is not known is null (empty in CSV).
In Parquet and Arrow addresses are unsigned 64-bit numbers; in CSV they are 0x… in lower case, since many readers would
make a float of them. The number of the schema is in the files' metadata under "pagefault.schema".

    module              string  the module's name; null for the kernel's own entries
    table               string  __ex_table, or the name of another table of the image's
    entry               uint32  place in the table, from 0
    entry_address       uint64  where the entry itself lies
    address             uint64  the instruction that may fault
    section             string  its section
    symbol              string  the symbol it lies in
    offset              uint64  how far into it, in bytes
    instruction         string  disassembled, as objdump prints it
    memory_operand      string  the part of it that is a memory operand
    reads, writes       bool    what it does with memory
    code                string  its bytes, in hexadecimal
    fixup_address       uint64  where execution goes on
    fixup_section       string
    fixup_symbol        string
    fixup_offset        uint64
    fixup_instruction   string  what is done first there
    type                string  the handler's type, the kernel's name in small letters
    number              uint64  its number, or the handler function's address in kernels 4.6 to 5.15 (x86)
    fields              string  the type's data fields, "reg=rax imm=-14"
    function            string  the function of the source that the instruction was written in, inlined or not
    file                string  and where: file
    line                uint32  and line
    inlined_into        string  the functions that one was inlined into, innermost first, "a < b < c"
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..errors import Absent
from ..survey.described import DescribedEntry, Place

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA = "1"
TYPES = {
    "module": "string",
    "table": "string",
    "entry": "uint32",
    "entry_address": "uint64",
    "address": "uint64",
    "section": "string",
    "symbol": "string",
    "offset": "uint64",
    "instruction": "string",
    "memory_operand": "string",
    "reads": "bool",
    "writes": "bool",
    "code": "string",
    "fixup_address": "uint64",
    "fixup_section": "string",
    "fixup_symbol": "string",
    "fixup_offset": "uint64",
    "fixup_instruction": "string",
    "type": "string",
    "number": "uint64",
    "fields": "string",
    "function": "string",
    "file": "string",
    "line": "uint32",
    "inlined_into": "string",
}
"""Column -> Arrow's name of its type."""
HEXADECIMAL = frozenset(("entry_address", "address", "fixup_address"))
Row = tuple[Any, ...]


def row(described: DescribedEntry) -> Row:
    """One entry's values, in the order of TYPES."""
    entry, insn, fixup = described.entry, described.insn, described.fixup
    instruction, innermost = insn.instruction, described.source[0] if described.source else None
    return (
        described.module,
        described.table,
        entry.index,
        entry.address,
        insn.address,
        *spot(insn),
        instruction.operands[slice(*instruction.memory)] if instruction and instruction.memory else None,
        instruction.reads if instruction else None,
        instruction.writes if instruction else None,
        instruction.code.hex() if instruction else None,
        fixup.address,
        *spot(fixup),
        entry.type,
        entry.number,
        " ".join(f"{name}={value}" for name, value in entry.fields),
        innermost.function if innermost else None,
        innermost.file if innermost else None,
        innermost.line if innermost else None,
        " < ".join(line.function for line in described.source[1:]) or None,
    )


def spot(place: Place) -> Row:
    """Section, symbol, offset and instruction of a place."""
    symbol, instruction = place.symbol, place.instruction
    return (
        place.section,
        symbol.name if symbol else None,
        symbol.offset if symbol else None,
        instruction.text if instruction else None,
    )


def as_csv(entries: Iterable[DescribedEntry]) -> bytes:
    """Comma-separated, with a line of headings (RFC 4180, but lines end in a newline alone)."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(TYPES)
    in_hexadecimal = [name in HEXADECIMAL for name in TYPES]
    for each in entries:
        values = zip(row(each), in_hexadecimal, strict=True)
        writer.writerow(f"{value:#x}" if address else value for value, address in values)
    return text.getvalue().encode("utf-8", "backslashreplace")


def as_parquet(entries: Iterable[DescribedEntry]) -> bytes:
    """A Parquet file. Errors: Absent without pyarrow."""
    table, sink = arrow_table(entries), io.BytesIO()
    import pyarrow.parquet as pq

    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def as_arrow(entries: Iterable[DescribedEntry]) -> bytes:
    """An Arrow IPC file (what is also called Feather, version 2). Errors: Absent without pyarrow."""
    table, sink = arrow_table(entries), io.BytesIO()
    from pyarrow import ipc

    with ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def arrow_table(entries: Iterable[DescribedEntry]) -> pa.Table:
    """The entries as an Arrow table. Errors: Absent without pyarrow."""
    try:
        import pyarrow as pa
    except ImportError:
        hint = "install it with `pip install 'pagefault[notebook]'`, or take --format csv"
        raise Absent("pyarrow, which writes Parquet and Arrow", where="this Python", hint=hint) from None
    fields = [pa.field(name, pa.type_for_alias(kind)) for name, kind in TYPES.items()]
    schema = pa.schema(fields, metadata={"pagefault.schema": SCHEMA})
    columns = list(zip(*map(row, entries), strict=True)) or [()] * len(TYPES)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, fields, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)
