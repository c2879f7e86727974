"""
Real faults for reports to tell: a recording of the lab's as a log.

A recording does not say what the handler did, when, and in which area: the actions here follow from the results and the
error code, a fault comes a microsecond after the one before, and the areas are those that the program had in the end.
"""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path

from lab.recording import Fault, Recording, parse
from lab.recording import Signal as Delivered

from pagefault.machine.fault_log import FaultLog
from pagefault.vocabulary.fault_record import FaultRecord

FOLDER = Path(__file__).resolve().parent.parent.parent / "lab" / "recordings"
RECORD = FaultRecord(
    time_ns=12_345_678_901,
    pid=1000,
    comm="cat",
    cpu=0,
    kernel=False,
    address=0x7FFFF7BBA6DD,
    error_code=7,
    ip=0x401259,
    symbol="fill+0x19",
    instruction="movb %al, (%rdi)",
    vma="7ffff7bb9000-7ffff7bf9000 rw-p 0 /data",
    action="copied on write",
    results=("ok",),
    major=False,
)
"""A fault that was made up."""
CODES = {(11, 1): "SIGSEGV SEGV_MAPERR", (11, 2): "SIGSEGV SEGV_ACCERR", (7, 2): "SIGBUS BUS_ADRERR"}


def recording(name: str, series: str = "6.1") -> Recording:
    return parse((FOLDER / series / f"{name}.txt").read_text())


def recorded_log(name: str, series: str = "6.1") -> FaultLog:
    """All faults of a recording; its children's too."""
    held = recording(name, series)
    areas = [" ".join(line.split(" | ")[0].split()) for line in held.vmas]
    starts = [int(line.split("-")[0], 16) for line in areas]
    ends = [int(line.split("-")[1].split()[0], 16) for line in areas]
    symbols = {fault.ip: fault.symbol for fault in held.faults if fault.kernel}
    log = FaultLog(lambda comm, kernel, ip: symbols.get(ip, ""))
    for number, event in enumerate(held.events):
        if not isinstance(event, Fault):
            continue
        at = bisect_right(starts, event.address) - 1
        following = held.events[number + 1] if number + 1 < len(held.events) else None
        log.append(
            time_ns=1000 * (len(log) + 1),
            pid=999 + event.process,
            comm=name[:15],
            cpu=0,
            kernel=event.kernel,
            address=event.address,
            error_code=event.error_code,
            ip=event.ip,
            vma=areas[at] if at >= 0 and event.address < ends[at] else "",
            action=action(event, following),
            results=event.results,
            major=any("MAJOR" in result for result in event.results),
        )
    return log


def action(fault: Fault, following: object) -> str:
    if isinstance(following, Delivered) and following.process == fault.process:
        return CODES.get((following.number, following.code), f"signal {following.number}")
    if not fault.results:
        return "fixed up with -EFAULT" if fault.kernel else "nothing"
    result = fault.results[-1]
    if "MAJOR" in result:
        return "swapped in"
    if "NOPAGE" in result:
        return "mapped with 15 neighbours"
    if "WRITE" in result or fault.error_code & 1:
        return "copied on write"
    return "own page" if fault.error_code & 2 else "zero page"
