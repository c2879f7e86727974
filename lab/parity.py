"""
Runs the recorded programs in our machine and compares with what the real kernel did: `make parity`.

    python -m lab.parity                               # every recording, in every configuration
    python -m lab.parity --kernel 6.1 fork swap        # these only
    python -m lab.parity --quick                       # each recording in one of its configurations
    python -m lab.parity --vmlinux 6.1=/path/vmlinux   # instead of the one in the tests' cache

Everything of a recording is compared: events in their order, output, how the program ended, its areas and its pages. A
line a run; where something differs, the first difference with what came before it on both sides.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from pathlib import Path

from lab.emulated import Emulator
from lab.recording import Event, Fault, Recording, parse

RECORDINGS = Path(__file__).resolve().parent / "recordings"
SERIES = ("6.1", "6.12")
CONTEXT = 6


@dataclass(frozen=True, slots=True)
class Run:
    """One recording in one of the configurations that it is for: levels of page tables, setting of huge pages."""

    series: str
    file: Path
    configuration: str

    def __str__(self) -> str:
        return f"{self.series} {self.file.stem.split('.')[0]} {self.configuration}"


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place at which two lists differ, with what is around it."""

    what: str
    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    at: int

    def __str__(self) -> str:
        start, width = max(0, self.at - CONTEXT), 76
        lines = [f"    {self.what}, the recording's on the left:"]
        for index in range(start, self.at + CONTEXT):
            one = self.theirs[index] if index < len(self.theirs) else ""
            two = self.ours[index] if index < len(self.ours) else ""
            if one or two:
                lines.append(f"    {'>' if index == self.at else ' '} {one:{width}} | {two}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Comparison:
    """How much of a run agrees: `equal` of `events` events, and where each part first differs."""

    equal: int
    events: int
    differences: tuple[Difference, ...]

    @property
    def score(self) -> float:
        """Events equal, in percent."""
        return 100 * self.equal / max(1, self.events)


def runs(series: Sequence[str], programs: Sequence[str], *, quick: bool) -> Iterator[Run]:
    """What there is to compare. `quick`: each recording once, the configurations taken in turn."""
    for kernel in series:
        for number, file in enumerate(sorted((RECORDINGS / kernel).glob("*.txt"))):
            if programs and file.stem.split(".")[0] not in programs:
                continue
            configurations = parse(file.read_text()).header["configurations"].split()
            for configuration in [configurations[number % len(configurations)]] if quick else configurations:
                yield Run(kernel, file, configuration)


def compare(theirs: Recording, ours: Recording, *, same_kernel: bool = True) -> Comparison:
    """
    Compare two runs of one program. Kernel code lies elsewhere in another build: without `same_kernel`, of a fault's
    place there only the function's name counts.
    """
    one, two = (tuple(shown(event, same_kernel) for event in side.events) for side in (theirs, ours))
    pairs = [
        ("events", one, two),
        ("output", theirs.output, ours.output),
        ("end", (theirs.header["end"],), (ours.header["end"],)),
        ("vmas", theirs.vmas, ours.vmas),
        ("pages", theirs.pages, ours.pages),
    ]
    differences = tuple(
        Difference(what, left, right, first_difference(left, right)) for what, left, right in pairs if left != right
    )
    blocks = SequenceMatcher(None, one, two, autojunk=False).get_matching_blocks() if one != two else []
    equal = sum(block.size for block in blocks) if one != two else len(one)
    return Comparison(equal, max(len(one), len(two)), differences)


def shown(event: Event, same_kernel: bool) -> str:
    """An event's line."""
    if isinstance(event, Fault) and event.kernel and not same_kernel:
        event = replace(event, ip=0, symbol=event.symbol.split("+")[0])
    return str(event)


def first_difference(one: Sequence[str], two: Sequence[str]) -> int:
    """The first index at which they differ."""
    for index, (left, right) in enumerate(zip(one, two, strict=False)):
        if left != right:
            return index
    return min(len(one), len(two))


def vmlinux_of(series: str, given: dict[str, Path]) -> Path:
    """The kernel to run on: one that was named, or the tests'. Raises debian_kernel.NoKernelError."""
    named = given.get(series) or os.environ.get("PAGEFAULT_KERNEL_" + series.replace(".", ""))
    if named:
        return Path(named)
    sys.path.insert(0, str(RECORDINGS.parent.parent / "tests"))
    from debian_kernel import vmlinux

    return vmlinux(series)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compare our machine with what real kernels did.")
    parser.add_argument("--kernel", choices=SERIES, help="recordings of one kernel only")
    parser.add_argument("--vmlinux", action="append", default=[], metavar="SERIES=FILE", help="the image to run on")
    parser.add_argument("--configuration", help="one configuration only, like 5-level/always")
    parser.add_argument("--quick", action="store_true", help="each recording in one of its configurations")
    parser.add_argument("program", nargs="*", help="these only")
    asked = parser.parse_args(arguments)
    given = {name: Path(file) for name, _, file in (each.partition("=") for each in asked.vmlinux)}
    emulators: dict[str, Emulator] = {}
    differing = total = equal = events = 0
    for each in runs([asked.kernel] if asked.kernel else SERIES, asked.program, quick=asked.quick):
        if asked.configuration and each.configuration != asked.configuration:
            continue
        if each.series not in emulators:
            emulators[each.series] = Emulator(vmlinux_of(each.series, given))
        emulator = emulators[each.series]
        theirs = parse(each.file.read_text())
        reason = emulator.cannot_run(theirs)
        if reason:
            print(f"{each!s:44} not compared: {reason}")
            continue
        result = compare(theirs, emulator.run(theirs, each.configuration), same_kernel=emulator.is_of(theirs))
        total, differing = total + 1, differing + bool(result.differences)
        equal, events = equal + result.equal, events + result.events
        verdict = "equal" if not result.differences else ", ".join(d.what for d in result.differences) + " differ"
        print(f"{each!s:44} {result.equal:5} of {result.events:5} events {result.score:6.2f} %  {verdict}", flush=True)
        for difference in result.differences:
            print(difference)
    share = 100 * equal / max(1, events)
    print(f"{total - differing} of {total} runs equal; {equal} of {events} events, {share:.3f} %")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
