from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from lab.build import BINARIES

from cli.stand_in import GivenFile, StandIn
from pagefault.cli import main as pagefault_command
from pagefault.cli.ending import Commands
from pagefault.cli.exec import environment_of, exec_, given_file, size
from pagefault.errors import BadInput
from report.recorded_faults import recorded_log, recording

Run = Callable[..., Result]


@pytest.fixture
def run(stand_in: StandIn) -> Run:
    """`run("--json", "fork")`: the command, on the stand-in."""
    main = Commands("pagefault", commands=[exec_], context_settings={"help_option_names": ["-h", "--help"]})
    return lambda *arguments: CliRunner().invoke(main, ["exec", *map(str, arguments)], catch_exceptions=False)


def test_log_and_output_are_apart_as_straces_are(run: Run) -> None:
    result = run("fork")
    assert result.exit_code == 0
    assert result.stdout == "memory[0] = 112\nmemory[0] = 80\nfaults = 11\n"
    lines = result.stderr.splitlines()
    count = len(recorded_log("fork"))
    assert lines[0].split() == ["seconds", "pid", "mode", "address", "access", "handled", "at"]
    assert lines[1].startswith("  0.000001000  1000 user             0x401000 fetch absent 0x14 minor mapped with 15")
    assert lines[count + 1] == "exited with status 0 after 1,234 instructions"
    assert lines[count + 3].startswith(f"{count} page faults of 2 processes: {count} in user mode, 0 in kernel mode")


def test_options_end_where_the_program_begins(run: Run, stand_in: StandIn) -> None:
    assert run("fork", "--json", "-o", "x", "--", "--help").exit_code == 0
    assert stand_in.asked["program"] == Path("fork")
    assert stand_in.asked["arguments"] == ("--json", "-o", "x", "--", "--help")


def test_an_option_that_is_none_is_not_taken_for_the_program(run: Run) -> None:
    result = run("--jsn", "fork")
    assert result.exit_code == 2
    assert result.stderr.startswith("pagefault: No such option")
    assert len(result.stderr.splitlines()) == 1


def test_what_the_machine_is_asked_for(run: Run, stand_in: StandIn, tmp_path: Path) -> None:
    words = tmp_path / "words"
    words.touch()
    options = "--kernel vmlinux --seed 7 --thp never --levels 5 --ram 64m --instructions 10 --faults 9 --env A=b=c"
    assert run(*options.split(), "--file", f"{words}:/w", "--writable-file", words, "fork", "-x").exit_code == 0
    asked = stand_in.asked
    del asked["stdout"], asked["stderr"], asked["on_fault"]
    assert asked == {
        "program": Path("fork"),
        "arguments": ("-x",),
        "kernel": Path("vmlinux"),
        "environment": {"A": "b=c"},
        "files": [GivenFile(words, "/w", False), GivenFile(words, str(words), True)],
        "seed": 7,
        "thp": "never",
        "levels": 5,
        "ram": 64 << 20,
        "swap": 0,
        "budget": 10,
        "fault_limit": 9,
    }


def test_what_it_is_asked_for_by_default(run: Run, stand_in: StandIn) -> None:
    run("--kernel", "small", "fork")
    asked = {name: stand_in.asked[name] for name in ("kernel", "environment", "files", "seed", "thp", "levels", "ram")}
    assert asked == {
        "kernel": None,
        "environment": {},
        "files": [],
        "seed": None,
        "thp": "always",
        "levels": 4,
        "ram": 512 << 20,
    }


@pytest.mark.parametrize(
    ("ends", "status", "told"),
    [
        ({"exit_status": 3}, 3, "exited with status 3 after"),
        ({"exit_status": None, "signal": "SIGSEGV"}, 139, "killed by SIGSEGV after"),
        ({"exit_status": None, "stopped": "10 instructions"}, 124, "stopped after 1,234 instructions: 10 instructions"),
        ({"exit_status": 0, "notes": ["sysinfo (99): ENOSYS"]}, 0, "note: sysinfo (99): ENOSYS\nexited"),
    ],
)
def test_how_a_program_ends(run: Run, stand_in: StandIn, ends: dict[str, object], status: int, told: str) -> None:
    stand_in.ends = ends
    result = run("guard")
    assert result.exit_code == status
    assert told in result.stderr


def test_a_trace_has_the_tracepoints_lines_and_comments(run: Run, stand_in: StandIn) -> None:
    stand_in.ends = {"notes": ["a note"]}
    result = run("--format", "ftrace", "guard")
    head = "           guard-1000    [000] d....     0.00000"
    assert result.stderr.splitlines() == [
        head + "1: page_fault_user: address=0x401000 ip=0x401000 error_code=0x14",
        head + "2: page_fault_user: address=0x7ffff7ff8000 ip=0x4011ca error_code=0x4",
        head + "3: page_fault_user: address=0x7ffff7ff8000 ip=0x4011d0 error_code=0x7",
        "# a note",
        "# exited with status 0 after 1,234 instructions",
    ]


def test_the_document_has_all_and_stands_alone(run: Run, stand_in: StandIn) -> None:
    stand_in.ends = {"exit_status": 3, "notes": ["a note"]}
    result = run("--json", "fork", "x")
    document = json.loads(result.stdout)
    assert result.stderr == ""
    assert result.exit_code == 3
    assert document["stdout"]["text"] == "memory[0] = 112\nmemory[0] = 80\nfaults = 11\n"
    assert len(document["faults"]) == document["summary"]["faults"] == len(recorded_log("fork"))
    rest = {name: value for name, value in document.items() if name not in ("faults", "summary", "stdout", "stderr")}
    assert rest == {
        "schema": 1,
        "command": "exec",
        "program": "fork",
        "arguments": ["x"],
        "kernel": None,
        "exit_status": 3,
        "signal": None,
        "stopped": None,
        "instructions": 1234,
        "notes": ["a note"],
    }


def test_only_what_is_watched(run: Run) -> None:
    log = recorded_log("busybox-sort")
    heap = [record for record in log if record.vma.endswith("[heap]")]
    result = run("--watch", "[heap]", "busybox-sort")
    assert f"{len(heap)} page faults: " in result.stderr
    assert result.stderr.count("[heap]\n") == len(heap) + 1
    document = json.loads(run("--watch", "[heap]", "--watch", "400000-401000", "--json", "busybox-sort").stdout)
    addresses = {fault["address"] for fault in document["faults"]}
    assert len(addresses) == len({record.address for record in heap}) + 1
    trace = run("--watch", "[heap]", "--format", "ftrace", "busybox-sort").stderr
    assert trace.count("page_fault_") == len(heap)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Missing argument 'PROGRAM'"),
        (("--format", "nix", "fork"), "'nix' is not one of"),
        (("--json", "--format", "lines", "fork"), "--format: expected json beside --json, got lines"),
        (("-o", "a", "-o", "b", "fork"), "-o: expected one file for the log"),
        (("--ram", "1", "fork"), "--ram: expected a size from 16M to 1T"),
        (("--watch", "2-1", "fork"), "--watch: expected a range"),
        (("--env", "=x", "fork"), "--env: expected NAME=VALUE or NAME"),
        (("--file", "nothing-here", "fork"), "--file: expected a file (HOST or HOST:GUEST), got nothing-here"),
        (("--writable-file", ":/x", "fork"), "--writable-file: expected a file"),
        (("--levels", "3", "fork"), "'3' is not one of"),
        (("--instructions", "0", "fork"), "0 is not in the range"),
        (("--seed", "-1", "fork"), "-1 is not in the range"),
    ],
)
def test_bad_input_is_one_line(run: Run, stand_in: StandIn, arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert message in result.stderr
    assert stand_in.asked == {}, "nothing has run"


@pytest.mark.parametrize(
    ("text", "value"),
    [("16M", 16 << 20), ("1g", 1 << 30), ("65536k", 64 << 20), ("1T", 1 << 40), ("33554432", 32 << 20)],
)
def test_sizes(text: str, value: int) -> None:
    assert size("--ram", text, 16 << 20) == value


@pytest.mark.parametrize("text", ["", "M", "-1M", "2T", "1025G", "15M", "9" * 30, "1.5G", "0x10000000"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(BadInput):
        size("--ram", text, 16 << 20)


def test_the_guests_name_of_a_file(stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words").touch()
    names = [given_file(text, False).guest for text in ("words", "./words:w", "words:/a/../b", f"{tmp_path}/words")]
    assert names == ["/words", "/w", "/b", str(tmp_path / "words")]


def test_the_environment_is_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", "value")
    monkeypatch.delenv("NOT_HERE", raising=False)
    assert environment_of(["HERE", "NOT_HERE", "A=", "B=1=2"]) == {"HERE": "value", "A": "", "B": "1=2"}


def test_a_real_program_is_run_and_told() -> None:
    """Without the stand-in, on the small kernel."""
    held, program = recording("anonymous"), BINARIES / "anonymous"
    result = CliRunner().invoke(pagefault_command, ["exec", "--no-summary", "--thp", "never", str(program)])
    assert result.exit_code == 0
    assert result.stdout.splitlines() == list(held.output)
    told = (line.split() for line in result.stderr.splitlines()[1:] if "exited" not in line)
    faults = [words for words in told if words[2:3] == ["user"]]
    assert [int(words[6], 16) for words in faults] == [each.error_code for each in held.faults if not each.kernel]
    assert (
        " ".join(faults[0][7:])
        == f"minor page-cache page mapped _start+0x0: movq %rsp, %rdi in 401000-402000 r-xp 1000 {program}"
    )


def test_a_program_that_cannot_be_run_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("#!/bin/sh\n")
    for name in ("text", "nothing"):
        result = CliRunner().invoke(pagefault_command, ["exec", str(tmp_path / name)])
        assert result.exit_code == 2
        assert len(result.stderr.splitlines()) == 1
        assert name in result.stderr


def test_a_watched_name_that_never_came_up_is_told(run: Run) -> None:
    assert "note: --watch nonsense: no fault in an area of that name" in run("--watch", "nonsense", "fork").stderr
    assert "note: --watch" not in run("--watch", "[stack]", "fork").stderr
    assert json.loads(run("--json", "--watch", "nonsense", "fork").stdout)["notes"][-1].startswith("--watch nonsense")
