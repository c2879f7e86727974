from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from pagefault.cli.extable import place_address
from pagefault.images.vmlinux import Vmlinux
from pagefault.kernels import small_kernel

Run = Callable[..., Result]
IMAGE = Vmlinux.open(small_kernel())
TABLE = IMAGE.exception_table


def test_the_whole_table(run: Run) -> None:
    result = run("extable", "small")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"{small_kernel()}")
    assert [line.split()[0] for line in lines if f"{0xFFFFFFFF81:x}" in line and "entries" not in line] == [
        str(index) for index in range(len(TABLE))
    ]


def test_a_path_is_as_good_as_small(run: Run) -> None:
    assert run("extable", small_kernel()).stdout == run("extable", "small").stdout


def test_the_whole_table_as_json(run: Run) -> None:
    document = json.loads(run("extable", "small", "--json").stdout)
    assert document["command"] == "extable"
    assert [entry["instruction"]["address"] for entry in document["entries"]] == [f"{each.insn:#x}" for each in TABLE]


def test_a_covered_instruction(run: Run) -> None:
    entry = TABLE[5]
    result = run("extable", "small", "--at", f"{entry.insn:#x}")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"covered: {IMAGE.symbols.format(entry.insn)}")
    assert "entry        5," in result.stdout


def test_an_instruction_that_is_not_covered(run: Run) -> None:
    result = run("extable", "small", "--at", "_copy_from_user")
    assert result.exit_code == 1
    assert result.stdout.startswith("not covered: _copy_from_user+0x0/")
    assert "the entries around it" in result.stdout


@pytest.mark.parametrize(("index", "status"), [(5, 0), (None, 1)])
def test_a_search_as_json(run: Run, index: int | None, status: int) -> None:
    address = TABLE[5].insn + (index is None)
    result = run("extable", "small", "--at", f"{address:#x}", "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == status
    assert document["at"]["address"] == f"{address:#x}"
    assert document["covered"] is (index is not None)
    assert (document["entry"] or {}).get("index") == index
    assert document["neighbours"]


def test_places() -> None:
    symbols, start = IMAGE.symbols, IMAGE.symbols.find("_copy_from_user")
    for text in (f"{start + 9:#x}", str(start + 9), f"{start + 9:x}", "_copy_from_user+9", "_copy_from_user+0x9/0x60"):
        assert place_address(text, symbols) == start + 9
    assert place_address("_copy_from_user", symbols) == start


def test_nothing_heavy_is_imported(environment: dict[str, str], python: str) -> None:
    program = (
        "import sys\nfrom pagefault.cli import main\n"
        "main(['extable', 'small'], standalone_mode=False)\n"
        "print(sorted({'unicorn', 'rich'} & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stderr == "[]\n"


@pytest.mark.parametrize("kernel", ["vmlinux_61", "vmlinux_612"])
def test_debian_s_kernels(run: Run, request: pytest.FixtureRequest, kernel: str) -> None:
    path: Path = request.getfixturevalue(kernel)
    result = run("extable", path)
    assert result.exit_code == 0
    assert "all addresses executable, all types known" in " ".join(result.stdout.split())
    covered = run("extable", path, "--at", result.stdout.splitlines()[-1].split()[1])
    assert covered.exit_code == 0
