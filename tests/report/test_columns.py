from __future__ import annotations

import csv
import io
import sys

import pytest

from pagefault.errors import Absent
from pagefault.report import columns
from pagefault.report.columns import TYPES, as_arrow, as_csv, as_parquet, row
from pagefault.survey.described import DescribedEntry, SourceLine
from survey.made_up import BASE, entry

SOURCE = (SourceLine("get", "a.h", 3), SourceLine("outer", "b.c", 9), SourceLine("outermost", "c.c", 1))
FULL = entry(
    "f.isra.0", "<movq {0x10(%rsi)}, %rax", "imm_reg", at=5, index=7, fields=(("reg", "rax"), ("imm", "-14")),
    module="mod", source=SOURCE,
)  # fmt: skip
BARE = entry(None, None, section=None)


def test_the_documented_columns_are_the_columns() -> None:
    assert columns.__doc__
    listed = []
    for line in columns.__doc__.splitlines():
        if line.startswith("    ") and not line.startswith("     "):
            names, kind = line[4:24].rstrip(), line[24:].split()[0]
            listed += [(name, kind) for name in names.split(", ")]
    assert listed == list(TYPES.items())


def test_a_row_in_full() -> None:
    assert dict(zip(TYPES, row(FULL), strict=True)) == {
        "module": "mod",
        "table": "__ex_table",
        "entry": 7,
        "entry_address": BASE + 0x1000 + 84,
        "address": BASE + 5,
        "section": ".text",
        "symbol": "f.isra.0",
        "offset": 5,
        "instruction": "movq 0x10(%rsi), %rax",
        "memory_operand": "0x10(%rsi)",
        "reads": True,
        "writes": False,
        "code": "90",
        "fixup_address": BASE + 0x45,
        "fixup_section": ".text",
        "fixup_symbol": "f.isra.0",
        "fixup_offset": 0x45,
        "fixup_instruction": "xorl %eax, %eax",
        "type": "imm_reg",
        "number": 0,
        "fields": "reg=rax imm=-14",
        "function": "get",
        "file": "a.h",
        "line": 3,
        "inlined_into": "outer < outermost",
    }


def test_what_is_not_known_is_null() -> None:
    values = dict(zip(TYPES, row(BARE), strict=True))
    unknown = {name for name, value in values.items() if value is None}
    assert unknown == set(
        "module section symbol offset instruction memory_operand reads writes code fixup_section fixup_symbol "
        "fixup_offset fixup_instruction function file line inlined_into".split()
    )


def test_csv() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv([FULL, BARE]).decode())))
    assert list(rows[0]) == list(TYPES)
    assert rows[0]["address"] == f"{BASE + 5:#x}"
    assert rows[0]["instruction"] == "movq 0x10(%rsi), %rax"
    assert rows[0]["fields"] == "reg=rax imm=-14"
    assert (rows[1]["symbol"], rows[1]["reads"], rows[1]["line"]) == ("", "", "")
    assert len(rows) == 2


def test_csv_of_nothing_has_its_headings() -> None:
    assert as_csv([]).decode() == ",".join(TYPES) + "\n"


def test_a_name_with_commas_and_lines_is_one_value() -> None:
    (found,) = csv.DictReader(io.StringIO(as_csv([entry('a",\nb', None)]).decode()))
    assert found["symbol"] == 'a",\nb'


@pytest.mark.parametrize("form", ["parquet", "arrow"])
@pytest.mark.parametrize("entries", [[FULL, BARE], []], ids=["entries", "none"])
def test_parquet_and_arrow(form: str, entries: list[DescribedEntry]) -> None:
    pytest.importorskip("pyarrow")
    import pyarrow.feather
    import pyarrow.parquet

    if form == "parquet":
        data = as_parquet(entries)
        table = pyarrow.parquet.read_table(io.BytesIO(data))
        assert as_parquet(entries) == data
    else:
        table = pyarrow.feather.read_table(io.BytesIO(as_arrow(entries)))
    assert [(field.name, str(field.type)) for field in table.schema] == list(TYPES.items())
    assert table.schema.metadata[b"pagefault.schema"] == b"1"
    assert [tuple(each.values()) for each in table.to_pylist()] == [row(each) for each in entries]


@pytest.mark.parametrize("write", [as_parquet, as_arrow])
def test_without_pyarrow_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, write: object) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert callable(write)
    with pytest.raises(Absent, match=r"pip install 'pagefault\[notebook\]'.*--format csv"):
        write([FULL])
