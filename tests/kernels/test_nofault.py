"""Reads and writes that must not wait for a page."""

from __future__ import annotations

import struct

from kernels.bench import BUFFER, BUFFERS, DIRECT, EFAULT, ERANGE, KERNEL, LIMIT, PAGE, PATTERN, USER, Bench


def test_copy_from_kernel_nofault(bench: Bench) -> None:
    la57 = "la57" in bench.features
    bench.write(bench.symbols["boot_cpu_data"] + 1, bytes([57 if la57 else 48]))
    hole = DIRECT + BUFFERS + 0x40000
    for at, expected in (
        (BUFFER, 0),
        (hole, -EFAULT),
        (USER, -ERANGE),
        (LIMIT[la57] + PAGE - 1, -ERANGE),
        (0xFFFFFFFFFF600010, -ERANGE),
        (0xFF11000000000000, -EFAULT if la57 else -ERANGE),
        (0xDEAD000000000100, -ERANGE),
    ):
        assert bench.signed("copy_from_kernel_nofault", BUFFER + PAGE, at, 16) == expected
        assert bool(bench.faults) == (expected == -EFAULT)
        assert pagefault_disabled(bench) == 0


def test_nofault_copies_disable_page_faults_and_enable_them_again(bench: Bench) -> None:
    for routine, to, at in (("copy_from_user_nofault", BUFFER, USER), ("copy_to_user_nofault", USER, BUFFER)):
        user_first = routine == "copy_to_user_nofault"
        bench.write(at, PATTERN[:64])
        assert bench.signed(routine, to, at, 64) == 0
        assert bench.read(to, 64) == PATTERN[:64]
        bad = (to + PAGE, at, 64) if user_first else (to, at + PAGE, 64)
        assert bench.signed(routine, *bad) == -EFAULT
        assert bench.faults
        refused = (KERNEL, at, 64) if user_first else (to, KERNEL, 64)
        assert bench.signed(routine, *refused) == -EFAULT
        assert not bench.faults
        assert pagefault_disabled(bench) == 0


def pagefault_disabled(bench: Bench) -> int:
    task = struct.unpack("<Q", bench.read(bench.percpu + bench.symbols["current_task"], 8))[0]
    assert task == bench.symbols["init_task"]
    return int(struct.unpack("<i", bench.read(task + 28, 4))[0])


def test_pagefault_disable_nests(bench: Bench) -> None:
    for routine, expected in (("disable", 1), ("disable", 2), ("enable", 1), ("enable", 0)):
        bench.call(f"pagefault_{routine}")
        assert pagefault_disabled(bench) == expected


def test_load_unaligned_zeropad(bench: Bench) -> None:
    last = BUFFERS + 0x20000
    bench.write(DIRECT + last - 16, bytes(range(1, 17)))
    for there in range(1, 9):
        value = bench.call("load_unaligned_zeropad", DIRECT + last - there)
        assert value.to_bytes(8, "little") == bytes(range(17 - there, 17)).ljust(8, b"\0")
        assert len(bench.faults) == (there < 8)
