from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from foreign_kernel import ForeignKernel
from pagefault.cli.extable import EPILOG, place_address
from pagefault.images.vmlinux import Vmlinux
from pagefault.kernels import faulty_module, small_kernel

Run = Callable[..., Result]
IMAGE = Vmlinux.open(small_kernel())
TABLE = IMAGE.exception_table


def listed(result: Result) -> list[list[str]]:
    """The rows of a listing, split at spaces."""
    lines = result.stdout.splitlines()
    (heading,) = (number for number, line in enumerate(lines) if line.split()[:2] == ["entry", "address"])
    return [line.split() for line in lines[heading + 1 :]]


def document(result: Result) -> dict[str, Any]:
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    assert (found["schema"], found["command"]) == (1, "extable")
    return found


def refused(result: Result, *words: str) -> None:
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr


# -------------------------------------------------------------------------------------------------------------- listing


def test_the_whole_table(run: Run) -> None:
    result = run("extable", "small")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{small_kernel()}: {len(TABLE)} entries\n")
    assert [row[:2] for row in listed(result)] == [[str(each.index), f"{each.insn:#x}"] for each in TABLE]


def test_a_path_is_as_good_as_small(run: Run) -> None:
    assert run("extable", small_kernel()).stdout == run("extable", "small").stdout


def test_the_whole_table_as_json(run: Run) -> None:
    found = document(run("extable", "small", "--json"))
    assert [each["instruction"]["address"] for each in found["entries"]] == [f"{each.insn:#x}" for each in TABLE]
    assert found["image"] == str(small_kernel())
    assert found["address"] == found["tables"][0]["address"] == f"{TABLE.address:#x}"
    assert found == document(run("extable", "small", "--format", "json"))


def test_csv_to_standard_output(run: Run) -> None:
    result = run("extable", "small", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["address"] for row in rows] == [f"{each.insn:#x}" for each in TABLE]
    assert {row["type"] for row in rows} == {each.type for each in TABLE}


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_binary_columns_to_a_file(run: Run, tmp_path: Path, form: str) -> None:
    pytest.importorskip("pyarrow")
    from pyarrow import feather, parquet

    path = tmp_path / f"table.{form}"
    result = run("extable", "small", "-o", path)
    assert (result.exit_code, result.stdout) == (0, "")
    table = {"parquet": parquet.read_table, "arrow": feather.read_table}[form](path)
    assert table["address"].to_pylist() == [each.insn for each in TABLE]


def test_filters(run: Run) -> None:
    rows = listed(run("extable", "small", "--function", "copy_user_generic_*", "--type", "uaccess"))
    assert rows
    assert all(row[3].startswith("copy_user_generic_") and row[-1] == "uaccess" for row in rows)
    either = run("extable", "small", "--type", "uaccess", "--type", "ucopy_len", "--section", ".text", "--json")
    assert {each["type"] for each in document(either)["entries"]} == {"uaccess", "ucopy_len"}
    assert "listed:" in run("extable", "small", "--type", "uaccess").stdout


def test_sorting_and_a_limit(run: Run) -> None:
    result = run("extable", "small", "--sort", "type", "--limit", "3")
    types = sorted(each.type for each in TABLE)
    assert len(listed(result)) == 3
    assert all(f" {each}" in line for each, line in zip(types, result.stdout.splitlines()[-3:], strict=False))
    assert f"listed: 3 of {len(TABLE)}, for --limit 3" in result.stdout


def test_nothing_left_is_no(run: Run) -> None:
    result = run("extable", "small", "--type", "uacess")
    assert result.exit_code == 1
    assert "did you mean uaccess" in result.stderr
    assert document(run("extable", "small", "--type", "uacess", "--json"))["entries"] == []


def test_a_module(run: Run) -> None:
    result = run("extable", faulty_module())
    assert result.exit_code == 0
    assert listed(result)


def test_a_folder_without_modules(run: Run, tmp_path: Path) -> None:
    refused(run("extable", tmp_path), str(tmp_path), "no modules")


def test_source_lines_that_are_not_there(run: Run) -> None:
    pytest.importorskip("drgn")
    refused(run("extable", "small", "--source"), "no debug information", "-dbg")


def test_a_listing_to_a_text_file(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "table.txt"
    assert run("extable", "small", "-o", path).exit_code == 0
    assert path.read_text() == run("extable", "small").stdout


# ---------------------------------------------------------------------------------------------------------- one address


def test_a_covered_instruction(run: Run) -> None:
    entry = TABLE[5]
    result = run("extable", "small", "--at", f"{entry.insn:#x}")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"covered: {IMAGE.symbols.format(entry.insn)}")
    assert "entry        5 of __ex_table," in result.stdout
    meaning = IMAGE.platform.exceptions.type_named(entry.type)
    assert meaning is not None
    assert meaning.meaning in result.stdout


def test_an_instruction_that_is_not_covered(run: Run) -> None:
    result = run("extable", "small", "--at", "_copy_from_user")
    assert result.exit_code == 1
    assert result.stdout.startswith("not covered: _copy_from_user+0x0/")
    assert "the entries around it" in result.stdout


@pytest.mark.parametrize(("index", "status"), [(5, 0), (None, 1)])
def test_a_search_as_json(run: Run, index: int | None, status: int) -> None:
    address = TABLE[5].insn + (index is None)
    result = run("extable", "small", "--at", f"{address:#x}", "--json")
    found = document(result)
    assert result.exit_code == status
    assert found["at"]["address"] == f"{address:#x}"
    assert found["covered"] is (index is not None)
    assert (found["entry"] or {}).get("index") == index
    assert len(found["neighbours"]) in (4, 5)


def test_places() -> None:
    symbols, start = IMAGE.symbols, IMAGE.symbols.find("_copy_from_user")
    for text in (f"{start + 9:#x}", str(start + 9), f"{start + 9:x}", "_copy_from_user+9", "_copy_from_user+0x9/0x60"):
        assert place_address(text, symbols) == start + 9
    assert place_address("_copy_from_user", symbols) == start


# ------------------------------------------------------------------------------------------------- summary, audit, diff


def test_a_summary(run: Run) -> None:
    result = run("extable", "small", "--summary")
    assert result.exit_code == 0
    for title in ("by handler type", "by function"):
        assert title in result.stdout
    count = sum(each.type == "ucopy_len" for each in TABLE)
    assert any(line.split()[:2] == ["ucopy_len", str(count)] for line in result.stdout.splitlines())


def test_a_summary_as_json(run: Run) -> None:
    found = document(run("extable", "small", "--summary", "--json"))
    assert found["total"]["entries"] == len(TABLE) == sum(each["entries"] for each in found["types"])
    functions = [function for each in found["subsystems"] for function in each["functions"]]
    assert sum(each["entries"] for each in functions) == len(TABLE)


@pytest.mark.parametrize(("name", "start"), [("risk.svg", b"<?xml"), ("risk.png", b"\x89PNG")])
def test_a_picture(run: Run, tmp_path: Path, name: str, start: bytes) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("squarify")
    assert run("extable", "small", "--summary", "-o", tmp_path / name).exit_code == 0
    assert (tmp_path / name).read_bytes().startswith(start)


def test_an_audit(run: Run) -> None:
    result = run("extable", "small", "--audit")
    found = document(run("extable", "small", "--audit", "--json"))
    assert result.exit_code == (0 if found["clean"] else 1)
    assert ("clean: no findings" in result.stdout) is found["clean"]
    assert found["audits"][0]["checked"]


def test_an_audit_as_sarif(run: Run, tmp_path: Path) -> None:
    run("extable", "small", "--audit", "-o", tmp_path / "findings.sarif")
    assert json.loads((tmp_path / "findings.sarif").read_text())["version"] == "2.1.0"


def test_an_image_does_not_differ_from_itself(run: Run) -> None:
    result = run("extable", "--diff", "small", "small")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "no difference"


def test_two_images_that_differ(run: Run, tmp_path: Path) -> None:
    result = run("extable", "--diff", "small", faulty_module())
    assert result.exit_code == 1
    assert "what changed, function by function" in result.stdout
    found = document(run("extable", "--diff", "small", faulty_module(), "--json"))
    assert (found["before"], found["removed"], found["unchanged"]) == (len(TABLE), len(TABLE), 0)
    assert found["old"]["image"] == str(small_kernel())
    assert run("extable", "--diff", "small", faulty_module(), "-o", tmp_path / "difference.html").exit_code == 1
    assert (tmp_path / "difference.html").read_text().startswith("<!DOCTYPE html>")


def test_a_difference_can_be_narrowed(run: Run) -> None:
    arguments = ("extable", "--diff", "small", faulty_module(), "--function", "copy_user_generic_string", "--json")
    assert {each["function"] for each in document(run(*arguments))["functions"]} == {"copy_user_generic_string"}


# ------------------------------------------------------------------------------------------------- what is not possible


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("IMAGE", "--help")),
        (("small", "small"), ("one IMAGE", "--diff", "got 2")),
        (("small", "--running"), ("one IMAGE", "got 2")),
        (("--diff", "small"), ("two images, OLD and NEW", "got 1")),
        (("--diff",), ("two images", "got 0")),
        (("small", "--at", "memset", "--summary"), ("--summary", "one question at a time", "--at")),
        (("--diff", "small", "small", "--audit"), ("--diff", "one question", "--audit")),
        (("small", "--audit", "--function", "x"), ("--function", "--audit")),
        (("small", "--at", "memset", "--type", "x"), ("--type", "--at")),
        (("small", "--summary", "--limit", "3"), ("--limit", "--summary")),
        (("--diff", "small", "small", "--sort", "type"), ("--sort", "--diff")),
        (("small", "--audit", "--source"), ("--source", "--audit")),
        (("small", "--json", "--format", "csv"), ("--json", "--format csv")),
        (("small", "--format", "sarif"), ("--format", "table, json, csv, parquet, arrow for a listing", "sarif")),
        (("small", "--summary", "--format", "csv"), ("table, json, svg, png for --summary",)),
        (("small", "-o", "table.xyz"), ("-o", ".csv", ".txt", "--format", "'table.xyz'")),
        (("small", "-o", "no/such/folder/x.csv"), ("no/such/folder/x.csv", "No such file")),
        (("small", "--limit", "0"), ("--limit",)),
        (("small", "--sort", "colour"), ("--sort", "address")),
        (("--diff", "small", "small", "--system-map", "x"), ("--system-map", "--diff")),
        (("--diff", "small", "small", "--debug", "x"), ("--debug", "--diff")),
        (("FOLDER", "--at", "memset"), ("modules",)),
        (("FOLDER", "--system-map", "x"), ("--system-map", "folder of modules")),
        (("FOLDER", "--debug", "x"), ("--debug", "folder of modules")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_makes_no_sense_is_one_line(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    refused(run("extable", *(tmp_path if each == "FOLDER" else each for each in arguments)), *words)


def test_every_example_of_the_help_is_understood(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not carried out: the files are not there, and that is what each must say."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: False, raising=False)
    examples = [line.strip() for line in EPILOG.splitlines() if line.startswith("  pagefault ")]
    assert len(examples) > 15
    for example in examples:
        words = example.partition("   ")[0].partition(" |")[0].replace("'", "").split()[1:]
        if "--running" in words:
            continue
        result = run(*words)
        assert result.exit_code == 2, example
        assert "expected a file, got nothing of that name" in result.stderr, example


# -------------------------------------------------------------------------------------------------------- as a process


def test_nothing_heavy_is_imported(environment: dict[str, str], python: str) -> None:
    program = (
        "import sys\nfrom pagefault.cli import main\n"
        "main(['extable', 'small'], standalone_mode=False)\n"
        "heavy = {'unicorn', 'rich', 'pyarrow', 'matplotlib', 'squarify', 'drgn'}\n"
        "print(sorted(heavy & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stderr == "[]\n"


def test_binary_goes_into_a_pipe_as_it_is(environment: dict[str, str], python: str) -> None:
    pytest.importorskip("pyarrow")
    command = [python, "-m", "pagefault", "extable", "small", "--format", "parquet"]
    done = subprocess.run(command, capture_output=True, check=True, env=environment)
    assert (done.stdout[:4], done.stdout[-4:], done.stderr) == (b"PAR1", b"PAR1", b"")


# -------------------------------------------------------------------------------------------------------- real kernels


@pytest.mark.parametrize("kernel", ["vmlinux_61", "vmlinux_612"])
def test_debian_s_kernels(run: Run, request: pytest.FixtureRequest, kernel: str) -> None:
    path: Path = request.getfixturevalue(kernel)
    result = run("extable", path)
    assert result.exit_code == 0
    assert "all addresses executable, all types known" in " ".join(result.stdout.split())
    rows = [line.split() for line in result.stdout.splitlines() if line.startswith("__ex_table ")]
    assert len(rows) > 500
    assert run("extable", path, "--at", rows[0][2]).exit_code == 0


def test_sources_of_debian_s_kernel(run: Run, vmlinux_61: Path) -> None:
    pytest.importorskip("drgn")
    found = document(run("extable", vmlinux_61, "--function", "filldir", "--source", "--json"))
    assert {each["source"][0]["file"] for each in found["entries"]} == {"fs/readdir.c"}


def test_all_modules_of_a_kernel(run: Run, foreign_kernel: Callable[[str], ForeignKernel]) -> None:
    tree = foreign_kernel("i386").modules
    found = document(run("extable", tree, "--json"))
    assert found["address"] is None
    modules = {each["module"] for each in found["tables"]}
    assert {"power", "rapl", "intel_uncore"} <= modules == {each["module"] for each in found["entries"]}
    assert len(found["entries"]) == sum(each["count"] for each in found["tables"]) > 1000
    assert run("extable", "--diff", tree, tree).exit_code == 0
