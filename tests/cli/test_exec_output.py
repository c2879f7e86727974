from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.stand_in import StandIn
from pagefault.cli import exec_output
from pagefault.cli.ending import Commands
from pagefault.cli.exec import exec_
from pagefault.cli.exec_output import Captured, Through, kernel_names
from pagefault.evidence.ftrace import read
from pagefault.images.vmlinux import Vmlinux
from pagefault.kernels import small_kernel
from report.recorded_faults import recorded_log


def run(*arguments: object) -> Result:
    main = Commands("pagefault", commands=[exec_])
    return CliRunner().invoke(main, ["exec", *map(str, arguments)], catch_exceptions=False)


def test_the_log_goes_to_a_file(stand_in: StandIn, tmp_path: Path) -> None:
    log = tmp_path / "log"
    result = run("-o", log, "--timeline", "guard")
    assert result.stderr == ""
    lines = log.read_text().splitlines()
    assert [line.split()[3] for line in lines[1:4]] == ["0x401000", "0x7ffff7ff8000", "0x7ffff7ff8000"]
    assert lines[4].startswith("exited with status 0")
    assert lines[6].startswith("3 page faults: ")
    assert lines[-1].split() == ["m", "mapped", "from", "the", "page", "cache:", "1"]


def test_a_trace_in_a_file_is_read_back(stand_in: StandIn, tmp_path: Path) -> None:
    trace = tmp_path / "trace.txt"
    run("--format", "ftrace", "-o", trace, "mixed-fork")
    assert [(fault.address, fault.pid) for fault in read(trace.read_text().splitlines())] == [
        (record.address, record.pid) for record in recorded_log("mixed-fork")
    ]


def test_the_summary_alone(stand_in: StandIn) -> None:
    result = run("--format", "summary", "fork")
    assert stand_in.asked["on_fault"] is None
    assert result.stderr.startswith("exited with status 0 after 1,234 instructions\n\n16 page faults of 2 processes")


def test_no_summary(stand_in: StandIn) -> None:
    assert run("--no-summary", "fork").stderr.endswith("exited with status 0 after 1,234 instructions\n")


def test_a_summary_below_a_trace(stand_in: StandIn) -> None:
    assert "16 page faults of 2 processes" in run("--summary", "--format", "ftrace", "fork").stderr


def test_a_document_in_a_file_leaves_the_programs_output_alone(stand_in: StandIn, tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    result = run("--json", "-o", path, "fork")
    assert result.stdout.startswith("memory[0] = 112\n")
    document = json.loads(path.read_text())
    assert (document["stdout"], document["stderr"]) == (None, None)
    assert len(document["faults"]) == 16


def test_pictures(stand_in: StandIn, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = run("-o", tmp_path / "a.svg", "-o", tmp_path / "b.PNG", "--watch", "[stack]", "fork", "a b")
    assert result.exit_code == 0
    svg = (tmp_path / "a.svg").read_text()
    assert "fork 'a b'" in svg
    assert "1 page faults: exited with status 0 after 1,234 instructions" in svg
    assert "rw-p [stack]" in svg
    assert "anonymous" not in svg
    assert (tmp_path / "b.PNG").read_bytes().startswith(b"\x89PNG")


def test_nothing_to_draw_is_said(stand_in: StandIn, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = run("-o", tmp_path / "a.svg", "--watch", "nowhere", "fork")
    assert result.exit_code == 2
    assert result.stderr.endswith("pagefault: fork: no page faults to draw\n")


def test_files_that_cannot_be_written_are_found_before_anything_runs(stand_in: StandIn, tmp_path: Path) -> None:
    for name in ("log", "picture.svg"):
        result = run("-o", tmp_path / "nowhere" / name, "fork")
        assert result.exit_code == 2
        assert len(result.stderr.splitlines()) == 1
        assert name in result.stderr
    assert stand_in.asked == {}


@pytest.mark.parametrize("form", ["lines", "ftrace", "json", "summary"])
def test_a_full_disk_is_one_line(stand_in: StandIn, form: str) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full here")
    result = run("--format", form, "-o", full, "fork")
    assert result.exit_code == 2
    assert result.stderr == "pagefault: /dev/full: expected a file that can be written, got No space left on device\n"


def test_output_comes_at_once_and_in_bytes() -> None:
    below = io.BytesIO()
    buffered = io.BufferedWriter(below)
    assert Through(lambda: buffered).write(b"\xff\n") == 2
    assert below.getvalue() == b"\xff\n"


def test_a_program_that_prints_for_ever_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exec_output, "MOST_CAPTURED", 10)
    captured = Captured()
    assert [captured.write(b"1234567") for _ in range(3)] == [7, 7, 7]
    assert captured.told() == {"text": "1234567123", "base64": None, "truncated": True}


def test_the_small_kernels_names() -> None:
    names, symbols = kernel_names(None), Vmlinux.open(small_kernel()).symbols
    start, end = symbols.find("_stext"), symbols.find("_end")
    assert names(start) != ""
    assert names(end - 1) != ""
    assert names(start - 1) == names(end) == names(0xFFFF888000100000) == ""


def test_the_kernel_is_not_read_for_a_users_addresses() -> None:
    names = kernel_names("no such file")
    assert names(0x401000) == names((1 << 63) - 1) == ""


def test_a_real_kernels_names(vmlinux_61: Path) -> None:
    names = kernel_names(str(vmlinux_61))
    trace = Path(__file__).resolve().parent.parent / "corpus" / "ftrace" / "6.1.txt"
    said = {fault.address for fault in read(trace.read_text().splitlines()) if isinstance(fault.address, str)}
    addresses = (int(word, 16) for word in trace.read_text().partition("# asked for: ")[2].split())
    assert said <= {names(address) for address in addresses}


def test_no_fault_has_no_heading(stand_in: StandIn) -> None:
    assert run("--watch", "1-2", "--no-summary", "fork").stderr == "exited with status 0 after 1,234 instructions\n"
