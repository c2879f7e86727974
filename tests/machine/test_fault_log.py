from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from pagefault.arch.platform import X86_32
from pagefault.machine.fault_log import CHUNK, ROW, FaultLog
from pagefault.vocabulary.fault_record import FaultRecord

FAULT: dict[str, Any] = {
    "time_ns": 1234,
    "pid": 1000,
    "comm": "cat",
    "cpu": 0,
    "kernel": False,
    "address": 0x7FFF_F7FF_7FA0,
    "error_code": 6,
    "ip": 0x401000,
    "vma": "7ffff7ff7000-7ffff7ff8000 rw-p 0",
    "action": "own page",
    "results": ("ok",),
    "major": False,
}


def test_a_fault_comes_out_as_it_went_in() -> None:
    log = FaultLog(lambda comm, kernel, ip: f"{comm}:{kernel}:{ip:x}")
    log.append(**FAULT, context="D....", code=b"\x88\x07\x90")
    record = FaultRecord(**FAULT, symbol="cat:False:401000", instruction="movb %al, (%rdi)", context="D....")
    assert list(log) == [record]
    assert log[0] == log[-1] == record


def test_every_field_is_kept_at_its_extremes() -> None:
    extreme: dict[str, Any] = {
        "time_ns": 2**64 - 1,
        "pid": 2**22,
        "comm": "a name of 15 ch",
        "cpu": 255,
        "kernel": True,
        "address": 2**64 - 1,
        "error_code": 0x8037,
        "ip": 2**64 - 1,
        "vma": "",
        "action": "",
        "results": ("MAJOR|RETRY", "ok"),
        "major": True,
        "context": "dN.f1",
    }
    log = FaultLog()
    log.append(**FAULT)
    log.append(**extreme)
    assert log[1] == FaultRecord(**extreme, symbol="", instruction="")
    assert log[0].context == "d...."


def test_order_and_count_over_many_chunks() -> None:
    log = FaultLog()
    count = 2 * CHUNK + 5
    for number in range(count):
        log.append(**{**FAULT, "time_ns": number, "pid": number % 3})
    assert len(log) == count
    assert [record.time_ns for record in log] == list(range(count))
    assert (log[CHUNK].time_ns, log[-1].time_ns, log[-count].time_ns) == (CHUNK, count - 1, 0)
    for outside in (count, -count - 1):
        with pytest.raises(IndexError):
            log[outside]


def test_a_log_whose_last_chunk_is_full() -> None:
    log = FaultLog()
    for number in range(CHUNK):
        log.append(**{**FAULT, "time_ns": number})
    assert [record.time_ns for record in log] == list(range(CHUNK))


def test_an_empty_log() -> None:
    assert (len(FaultLog()), list(FaultLog())) == (0, [])


def test_code_that_was_not_there_is_kept_when_it_is() -> None:
    log = FaultLog()
    log.append(**{**FAULT, "address": 0x401000})
    assert log[0].instruction == ""
    log.append(**FAULT, code=b"\x88\x07")
    log.append(**FAULT, code=b"\x90")
    log.append(**{**FAULT, "ip": 0x402000}, code=b"\x8a\x03")
    assert [record.instruction for record in log] == ["movb %al, (%rdi)"] * 3 + ["movb (%rbx), %al"]


def test_programs_and_the_kernel_are_told_apart() -> None:
    log = FaultLog(lambda comm, kernel, ip: f"{comm} {'kernel' if kernel else 'user'}")
    for comm, kernel in (("cat", False), ("sort", False), ("cat", True)):
        log.append(**{**FAULT, "comm": comm, "kernel": kernel})
    assert [record.symbol for record in log] == ["cat user", "sort user", "cat kernel"]


def test_a_branch_goes_where_it_goes() -> None:
    log = FaultLog()
    log.append(**FAULT, code=b"\xeb\x10")
    assert log[0].instruction == "jmp 0x401012"


def test_32_bit_code() -> None:
    log = FaultLog(platform=X86_32)
    log.append(**FAULT, code=b"\x88\x07")
    assert log[0].instruction == "movb %al, (%edi)"


def test_a_fault_takes_36_bytes() -> None:
    assert ROW.itemsize == 36
    log, count = FaultLog(), 4 * CHUNK
    tracemalloc.start()
    try:
        for number in range(count):
            log.append(**{**FAULT, "address": number << 12, "ip": 0x401000 + number % 100})
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert taken / count < 37
