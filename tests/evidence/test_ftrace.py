from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefault.errors import BadInput
from pagefault.evidence.ftrace import LONGEST, TracedFault, read, read_line, traced, write
from pagefault.vocabulary.fault_record import FaultRecord

FOLDER = Path(__file__).resolve().parent.parent / "corpus" / "ftrace"
TRACES = sorted(FOLDER.glob("*.txt"))
RECORD = FaultRecord(
    time_ns=4_165_117_500,
    pid=141,
    comm="probe",
    cpu=0,
    kernel=False,
    address=0x5EC690,
    error_code=0x14,
    ip=0x40181B,
    symbol="main+0x2b",
    instruction="movb (%rax), %al",
    vma="401000-402000 r-xp 1000 /probe",
    action="mapped with 15 neighbours",
    results=("NOPAGE",),
    major=False,
)
"""A fault in user mode; half a microsecond is rounded up."""


def faults_of(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_real_lines_are_read_and_written_to_the_byte(path: Path) -> None:
    lines = faults_of(path)
    read_back = [read_line(line) for line in lines]
    assert [write(fault) for fault in read_back if fault] == lines
    assert len(lines) > 360


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_a_whole_trace_is_read(path: Path) -> None:
    faults = list(read(path.read_text().splitlines(), path.name))
    said = path.read_text().split("entries-in-buffer/entries-written: ")[1].split("/")[0]
    assert len(faults) == int(said)
    assert sum(fault.kernel for fault in faults) == path.read_text().count("page_fault_kernel")
    assert [fault.time_us for fault in faults] == sorted(fault.time_us for fault in faults)


def test_what_a_real_line_says() -> None:
    faults = list(read((FOLDER / "6.12.txt").read_text().splitlines()))
    named = [fault for fault in faults if fault.address in ("page_offset_base", "init_task")]
    assert [(fault.comm, fault.pid, fault.cpu, fault.context, fault.kernel) for fault in named] == [
        ("a b-3 [c] x", 141, 0, "d....", False)
    ] * 3
    assert [(fault.ip, fault.error_code) for fault in named] == [(0x401849, 5), (0x401849, 5), ("init_task", 0x15)]
    assert [fault.ip for fault in faults if fault.context == "D...."] == ["copy_fpstate_to_sigframe"]
    assert {0, 0xFFFF888000100000, 0xFFFFFFFFFF600010} <= {fault.address for fault in faults}


def test_a_fault_in_user_mode_is_printed_in_numbers() -> None:
    expected = "           probe-141     [000] d....     4.165118: page_fault_user: "
    assert write(traced(RECORD)) == expected + "address=0x5ec690 ip=0x40181b error_code=0x14"


@pytest.mark.parametrize(
    ("symbol", "printed"),
    [
        ("__put_user_4+0x3", "__put_user_4"),
        ("__put_user_4+0x3/0x10", "__put_user_4"),
        ("rd+0x12 [faulty]", "rd [faulty]"),
        ("", "0x40181b"),
    ],
)
def test_a_fault_in_kernel_mode_is_printed_with_its_function(symbol: str, printed: str) -> None:
    line = write(traced(replace(RECORD, kernel=True, symbol=symbol, cpu=12)))
    assert line.startswith("           probe-141     [012] d....     4.165118: page_fault_kernel: address=0x5ec690 ")
    assert line.endswith(f" ip={printed} error_code=0x14")


def test_an_address_of_the_kernels_has_its_name() -> None:
    def names(address: int) -> str:
        return "init_task" if address >> 12 == 0xFFFFFFFF82C10 else ""

    line = write(traced(replace(RECORD, address=0xFFFFFFFF82C10940), names))
    assert " address=init_task ip=0x40181b " in line
    line = write(traced(replace(RECORD, address=0xFFFFFFFF82C10940, ip=0xFFFFFFFF82C10940, symbol=""), names))
    assert " address=init_task ip=init_task " in line


def test_threads_groups_are_read_and_written() -> None:
    for group, number in (("(    141)", 141), ("(-------)", -1)):
        event = "page_fault_user: address=0x0 ip=0x1 error_code=0x6"
        line = f"           probe-142     {group} [000] d....     4.165118: {event}"
        fault = read_line(line)
        assert fault is not None
        assert (fault.tgid, fault.pid) == (number, 142)
        assert write(fault) == line


def test_other_events_are_passed_over() -> None:
    other = "            sh-130     [000] .....     4.1485: sys_enter: NR 1 (1, 2, 3, 4, 5, 6)"
    assert list(read(["# tracer: nop", "", other, "CPU:0 [LOST 12 EVENTS]"])) == []


def test_a_line_that_is_cut_off_is_reported() -> None:
    whole = write(traced(RECORD))
    for cut in (whole[:-6], whole.replace(" ip=0x40181b", ""), whole.replace("0x14", "20"), whole + "x" * LONGEST):
        with pytest.raises(BadInput, match=r"somewhere, line 2: expected a page fault's fields"):
            list(read([whole, cut], "somewhere"))


NAMES = st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S")), min_size=1, max_size=15)
PLACES = st.one_of(
    st.integers(0, 2**64 - 1), st.sampled_from(["__get_user_8", "copy_from_user.part.0", "rd [faulty]", "$x", "0day"])
)


@given(
    NAMES,
    st.integers(0, 2**22),
    st.integers(0, 8191),
    st.sampled_from(["d....", "D....", "dN.1.", "dnh2.", "...f3", "dBs.."]),
    st.integers(0, 10**12),
    st.booleans(),
    PLACES,
    PLACES,
    st.integers(0, 2**32 - 1),
    st.sampled_from([None, -1, 7, 1234567]),
)
def test_what_is_written_is_read_back(
    comm: str,
    pid: int,
    cpu: int,
    context: str,
    time_us: int,
    kernel: bool,
    address: int | str,
    ip: int | str,
    error_code: int,
    tgid: int | None,
) -> None:
    fault = TracedFault(comm, pid, cpu, context, time_us, kernel, address, ip, error_code, tgid)
    assert read_line(write(fault)) == fault
