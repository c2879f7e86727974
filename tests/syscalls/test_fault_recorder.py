from __future__ import annotations

import io
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from lab.build import BINARIES

from pagefault.handler.decision import Decision
from pagefault.syscalls.fault_recorder import FaultRecorder, action, maps_line, resolved
from pagefault.tables.address_space import AddressSpace
from pagefault.tables.inode import FileSystem, Inode
from pagefault.vocabulary.effect import GrowStack
from pagefault.vocabulary.exception_entry import ExceptionEntry
from pagefault.vocabulary.fault_record import FaultRecord
from pagefault.vocabulary.outcome import FixedUp, Oops, Outcome, OutOfMemory, Resolved, Retry, Signal, Spurious
from pagefault.vocabulary.vma import Vma
from report.recorded_faults import recording

ENTRY = ExceptionEntry(0, 0, 0, 0)
MM = AddressSpace(root=0, start_brk=0x5000, brk=0x7000, start_stack=0x7FFFFFFFE000)
INODES = {3: Inode(3, "/bin/cat", FileSystem.SHMEM), 4: Inode(4, "/a\nb", FileSystem.SHMEM)}


def recorded(program: Path, name: str, kernel: Path | None = None) -> tuple[list[FaultRecord], list[FaultRecord]]:
    """The log of a run, on the small kernel if no other is given, and what was told on the way."""
    from pagefault.syscalls.execution import add_file, boot_system, start_program

    told: list[FaultRecord] = []
    recorder = FaultRecorder(told.append, {f"/lab/{name}": program})
    system = recorder.system = boot_system(kernel, recorder)
    system.stdout = system.stderr = io.BytesIO()
    start_program(system, f"/lab/{name}", [f"/lab/{name}"], {}, add_file(system.namespace, f"/lab/{name}", program))
    system.scheduler.run()
    assert not system.stopped
    return list(recorder.log), told


@pytest.fixture(scope="module")
def anonymous() -> tuple[list[FaultRecord], list[FaultRecord]]:
    return recorded(BINARIES / "anonymous", "anonymous")


def test_a_real_programs_faults_are_those_that_were_recorded(vmlinux_61: Path) -> None:
    log, _ = recorded(BINARIES / "anonymous", "anonymous", vmlinux_61)
    expected = recording("anonymous").faults
    assert [(each.address, each.error_code, each.kernel, each.ip, each.results) for each in log] == [
        (each.address, each.error_code, each.kernel, each.ip, each.results) for each in expected
    ]
    assert [each.symbol for each in log if each.kernel] == [each.symbol for each in expected if each.kernel]


def test_every_fault_is_told_at_once(anonymous: tuple[list[FaultRecord], list[FaultRecord]]) -> None:
    assert anonymous[1] == anonymous[0]


def test_where_what_and_how(anonymous: tuple[list[FaultRecord], object]) -> None:
    log = anonymous[0]
    assert log[0].symbol == "_start+0x0"
    assert {record.vma.split()[1] for record in log if record.vma.endswith("/lab/anonymous")} <= {
        "r-xp",
        "r--p",
        "rw-p",
    }
    assert {"zero page", "own page"} <= {record.action for record in log}
    assert all(record.instruction for record in log if record.address != record.ip)
    assert [record.time_ns for record in log] == sorted(record.time_ns for record in log)
    assert {(record.comm, record.pid, record.context) for record in log} == {("anonymous", 1000, "d....")}


def test_a_position_independent_programs_symbols_are_found_where_it_lies(tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc here")
    source = 'static char page[8192]; void _start(void){page[5000]=1; __asm__("mov $60,%eax; xor %edi,%edi; syscall");}'
    command = "gcc -O1 -static-pie -nostdlib -nostartfiles -ffreestanding -fno-stack-protector -x c - -o".split()
    subprocess.run([*command, tmp_path / "moved"], input=source.encode(), check=True)
    log, _ = recorded(tmp_path / "moved", "moved")
    assert log[0].ip > 0x7FF000000000
    assert {record.symbol.partition("+")[0] for record in log if not record.kernel} == {"_start"}


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Resolved("zero page mapped"), "zero page"),
        (Resolved("something new"), "something new"),
        (Spurious(), "spurious"),
        (FixedUp(ENTRY, 0), "fixed up with -EFAULT"),
        (Signal("SIGSEGV", "SEGV_MAPERR", 0x1000), "SIGSEGV SEGV_MAPERR"),
        (Oops("unable to handle page fault"), "oops: unable to handle page fault"),
        (Retry("the page is being read"), "the page is being read"),
        (OutOfMemory(1), "out of memory"),
    ],
)
def test_what_the_handler_did(outcome: Outcome, words: str) -> None:
    assert action(Decision(outcome, (), ()), 0x1000) == words


def test_a_stack_that_grew_is_said_first() -> None:
    assert (
        action(Decision(Resolved("zeroed page of its own"), (GrowStack(0x2000, 0x1000),), ()), 0)
        == "stack grown, own page"
    )


def test_a_bad_kernel_address_is_not_the_users_fault() -> None:
    assert action(Decision(FixedUp(ENTRY, 0), (), ()), 0xFFFF888000000000) == "fixed up"


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("16 pages of the page cache mapped", "mapped with 15 neighbours"),
        ("2 pages of the page cache mapped", "mapped with 1 neighbour"),
        ("1 pages of the page cache mapped", "page-cache page mapped"),
        ("page reused", "reused"),
        ("huge page of its own", "huge page"),
        ("huge page reused", "huge page reused"),
        ("page copied on write", "copied on write"),
        ("page-cache page copied", "copied from the page cache"),
    ],
)
def test_good_faults_in_words(how: str, words: str) -> None:
    assert resolved(how) == words


def test_areas_as_the_kernel_prints_them() -> None:
    file = Vma(0x1000, 0x3000, write=False, execute=True, inode=3, pgoff=2)
    lines = [
        (file, "1000-3000 r-xp 2000 /bin/cat"),
        (replace(file, shared=True, write=True, inode=4), "1000-3000 rwxs 2000 /a\\012b"),
        (replace(file, name="[vdso]", pgoff=0), "1000-3000 r-xp 0 [vdso]"),
        (Vma(0x1000, 0x3000, read=False, write=False, pgoff=1), "1000-3000 ---p 0"),
        (Vma(0x5000, 0x6000, pgoff=5), "5000-6000 rw-p 0 [heap]"),
        (Vma(0x8000, 0x9000, pgoff=8), "8000-9000 rw-p 0"),
        (Vma(0x7FFFFFFDE000, 0x7FFFFFFFF000, grows_down=True), "7ffffffde000-7ffffffff000 rw-p 0 [stack]"),
    ]
    for vma, expected in lines:
        assert maps_line(vma, MM, INODES) == expected
