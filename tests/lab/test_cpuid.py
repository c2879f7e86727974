"""What CPUID says: the files that were recorded, and a CPU that says the same."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from lab.build import programs
from lab.guest import NoGuestError

from lab import cpuid
from pagefault.syscalls.execution import add_file, boot_system, start_program
from pagefault.syscalls.observer import Observer
from syscalls.programs import built

SSE2, FSGSBASE, SMAP, AVX, AVX2 = 1 << 26, 1 << 0, 1 << 20, 1 << 28, 1 << 5


@pytest.mark.parametrize("model", cpuid.MODELS)
def test_what_was_recorded(model: str) -> None:
    leaves = cpuid.read(model)
    assert b"".join(leaves[0, 0][register].to_bytes(4, "little") for register in (1, 3, 2)) == b"AuthenticAMD"
    assert leaves[0, 0][0] >= 13
    assert leaves[1, 0][3] & SSE2
    assert leaves[7, 0][1] & FSGSBASE
    assert leaves[7, 0][1] & SMAP
    assert bool(leaves[1, 0][2] & AVX) is bool(leaves[7, 0][1] & AVX2) is (model == "max")
    assert all(0 <= register < 1 << 32 for registers in leaves.values() for register in registers)


def test_every_programs_cpu_was_recorded() -> None:
    assert {program.cpu for program in programs().values()} <= set(cpuid.MODELS)


def test_comments_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpuid, "RECORDINGS", tmp_path)
    (tmp_path / "cpuid").mkdir()
    (tmp_path / "cpuid" / "it.txt").write_text("# leaf\n7 1 a ff 0 80000000\n")
    assert cpuid.read("it") == {(7, 1): (0xA, 0xFF, 0, 0x8000_0000)}


def test_the_emulated_cpu_says_what_it_is_given(tmp_path: Path) -> None:
    body = """
    static const unsigned leaves[][2] = {{0, 0}, {1, 0}, {7, 0}, {13, 0}, {13, 1}, {0x80000001, 0}, {5, 0}};
    static unsigned r[4];
    for (int i = 0; i < 7; i++) {
        asm volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaves[i][0]), "c"(leaves[i][1]));
        sys(write, 1, r, 16);
    }
    sys(exit_group, 0);
    """
    leaves, output = cpuid.read("max"), io.BytesIO()
    system = boot_system(None, Observer(), ram=64 << 20)
    system.machine.cpu.identify(leaves)
    system.stdout = output
    path = built(tmp_path, body)
    start_program(system, "/program", ["program"], {}, add_file(system.namespace, "/program", path))
    system.scheduler.run()
    words = [int.from_bytes(output.getvalue()[at : at + 4], "little") for at in range(0, len(output.getvalue()), 4)]
    asked = ((0, 0), (1, 0), (7, 0), (13, 0), (13, 1), (0x8000_0001, 0), (5, 0))
    assert words == [register for leaf in asked for register in leaves[leaf]]


def test_no_guest_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def none(model: str) -> str:
        raise NoGuestError("there is no QEMU here")

    monkeypatch.setattr(cpuid, "record", none)
    assert cpuid.main() == 1
    assert capsys.readouterr().err == "there is no QEMU here\n"
