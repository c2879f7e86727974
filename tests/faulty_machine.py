"""A machine set up as the guest was in which lab/faulty's module ran, and what that guest's recordings say."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from lab.faulty.build import LINKED_32
from lab.oops import ModuleRecording, Setup, parse

from moved_module import moved
from pagefault.arch import x86
from pagefault.evidence.oops import OopsReport, read
from pagefault.evidence.oops_report import PageFaultWords
from pagefault.kernels import faulty_module
from pagefault.machine.event import CallResult, FaultEvent, Returned
from pagefault.machine.machine import Machine
from pagefault.vocabulary.address import PAGE

KERNELS_32 = {"6.1-686": "PAGEFAULT_KERNEL_686", "6.1-686-pae": "PAGEFAULT_KERNEL_686_PAE"}
PAGES = {0x1000_0000: "rw", 0x1000_1000: "rx", 0x1000_2000: "r"}
UNTOUCHED = 0x1000_3000
"""What the guest's process maps."""
UNSYNCED = "vmalloc 0 1000000"
PROGRAM = {32: 0x0804_8000, 64: 0x40_0000}
INIT_PKRU = 0x5555_5554
"""Kernel: arch/x86/mm/pkeys.c init_pkru_value, v6.1."""
SAVED_DIRTY = 1 << 58
KNOWN = {
    64: {name: 0x0101_0101 * value for name, value in (
        ("rax", 10), ("rbx", 11), ("rcx", 12), ("rdx", 13), ("r8", 8), ("r9", 9), ("r10", 0x10), ("r11", 0x11),
        ("r12", 0x12), ("r13", 0x13), ("r14", 0x14), ("r15", 0x15),
    )},
    32: {name: 0x0101_0101 * value for name, value in (("ebx", 11), ("ecx", 12), ("esi", 14), ("edi", 15))},
}  # fmt: skip
"""What lab/faulty/main.c loads into the registers."""


def recorded(folder: Path, name: str) -> ModuleRecording:
    return parse((folder / f"{name}.txt").read_text())


def vmlinux(setup: Setup, recording: ModuleRecording, request: pytest.FixtureRequest) -> Path:
    if setup.bits == 64:
        path = Path(request.getfixturevalue("vmlinux_" + setup.series.replace(".", "")))
    else:
        named = os.environ.get(KERNELS_32[setup.series])
        if named is None:
            pytest.skip(f"needs the vmlinux that ${KERNELS_32[setup.series]} would name")
        path = Path(named)
    release = recording.header["kernel"].split()[2]
    if not path.name.endswith(release):
        pytest.skip(f"recorded with {release}, here is {path.name}")
    return path


def fault_address(console: str) -> int:
    preface = read(console).preface
    assert isinstance(preface, PageFaultWords)
    return preface.address


class FaultyMachine:
    """A machine as the guest was, in which the module commits its bugs."""

    def __init__(self, setup: Setup, recording: ModuleRecording, vmlinux: Path, folder: Path) -> None:
        self.setup = setup
        self.machine = Machine.boot(vmlinux, features=setup.features)
        module = faulty_module() if setup.bits == 64 else LINKED_32
        self.machine.load_module(moved(module, int(recording.header["text"], 16), folder), "faulty")
        self.buffer = self.machine.kmalloc(PAGE)
        # What the guest allocated, at the same place; now, before any process has its stack there.
        said = dict(recording.said)
        if "r vmalloc-end" in said:
            self.area = self.machine.vmalloc(PAGE, start=fault_address(said["r vmalloc-end"]) - PAGE)
        if UNSYNCED in said:
            self.unsynced = int(said[UNSYNCED].split()[1], 16)
            start = self.unsynced - int(UNSYNCED.split()[2], 16)
            assert self.machine.vmalloc(32 << 20, start=start) == start

    def commit(self, bug: str) -> OopsReport | None:
        """What the machine prints."""
        letter, place = bug.split()
        self.process()
        known: Any = KNOWN[self.setup.bits]
        return self.machine.run("pw", ord(letter), self.address(place), **known).oops

    def call(self, line: str) -> str:
        """A line "ROUTINE ADDRESS LENGTH", as lab/faulty/main.c answers it."""
        routine, *numbers = line.split()
        address, length = (int(number, 16) for number in numbers)
        self.process()
        self.machine.write(self.buffer, b"\x5a" * PAGE)
        machine, buffer = self.machine, self.buffer
        match routine:
            case "copy-from":
                result = machine.run("_copy_from_user", buffer, address, length)
            case "copy-to":
                result = machine.run("_copy_to_user", address, buffer, length)
            case "clear":
                result = machine.run("clear_user", address, length)
            case "strncpy":
                result = machine.run("strncpy_from_user", buffer, address, length)
            case "strnlen":
                result = machine.run("strnlen_user", address, length)
            case _:
                result = self.read_unsynced()
        assert isinstance(result.end, Returned)
        bits = self.setup.bits
        value = result.end.value - (result.end.value >> bits - 1 << bits)
        return "".join(f"{each}\n" for each in (*map(self.told, result.events), f"result {value}"))

    def told(self, event: FaultEvent) -> str:
        fault = event.fault
        return f"fault {fault.address:x} error {fault.error_code:x} at {self.machine.symbols.format(fault.ip)}"

    def read_unsynced(self) -> CallResult:
        """Two levels: read in an area whose table this process has not been told of."""
        machine = self.machine
        top = machine.walk(self.unsynced).entries[0]
        machine.ram.write_entry(top.physical, 0, 4)
        machine.cpu.flush()
        return machine.run("rd", self.unsynced)

    def process(self) -> None:
        """
        A child of a process that has mapped and written its pages. fork() has left them write-protected, and not
        accessed; 6.12 keeps their D elsewhere then. On x86-32 with PAE no page of a user's has NX: the protection goes
        through an unsigned long.

        Kernel: mm/memory.c copy_present_pte(), v6.1; arch/x86/include/asm/pgtable.h pte_wrprotect(), v6.12;
        arch/x86/mm/pgprot.c vm_get_page_prot(), v6.1 and v6.12.
        """
        machine, setup = self.machine, self.setup
        machine.switch_to(machine.spawn("init"))
        machine.user.mmap(PAGE, address=PROGRAM[setup.bits], content=b"\xc3")
        loses_nx = setup.series == "6.1-686-pae"
        for page, rights in PAGES.items():
            machine.user.mmap(PAGE, address=page, content=b"\xc3", protection="rwx" if loses_nx else "rw")
            machine.user.mprotect(page, PAGE, rights + "x" * (loses_nx and "x" not in rights))
            entry = machine.walk(page).entries[-1]
            value = entry.value & ~(x86.WRITABLE | x86.ACCESSED)
            if setup.series == "6.12":
                value = value & ~x86.DIRTY | SAVED_DIRTY
            machine.ram.write_entry(entry.physical, value, 4 if setup.series == "6.1-686" else 8)
        machine.user.mmap(PAGE, address=UNTOUCHED)
        machine.cpu.flush()
        if "pku" in setup.features:
            machine.cpu.write("pkru", INIT_PKRU)

    def address(self, place: str) -> int:
        machine = self.machine
        if place in SYMBOLS:
            return machine.symbols.find(SYMBOLS[place])
        match place:
            case "vmalloc-end":
                return self.area + PAGE
            case "kmalloc":
                return machine.kmalloc(64)
            case "below-stack":
                return machine.current.task.stack[0] - self.setup.bits // 8
            case "module-text":
                return machine.symbols.find("rd") & ~7
            case _:
                return int(place, 16)


SYMBOLS = {
    "module-rodata": "faulty_rodata",
    "module-data": "faulty_data",
    "kernel-rodata": "_ctype",
    "kernel-data": "init_task",
}
