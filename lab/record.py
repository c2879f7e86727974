"""
Records the programs on real kernels: `python -m lab.record [--kernel 6.1] [--once] [PROGRAM…]`.

Each configuration boots twice, and what does not repeat is not written but named. A recording is written once for all
configurations of a kernel in which it is the same.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lab.build import Program, busybox, compiler, programs
from lab.guest import Guest, NoGuestError
from lab.kernels import Kernel, kernel
from lab.observed import EVENTS, PROBES, Symbols, TraceError, recording, sections
from lab.recording import Recording

LAB = Path(__file__).resolve().parent
RECORDINGS = LAB / "recordings"
SERIES = ("6.1", "6.12")
MEMORY = 512
CPUS = "1,maxcpus=2"
"""One, so that runs repeat; and room for a second: else QEMU takes LOCK for nothing, and a locked instruction reads
first and writes then, with two faults where a CPU has one, for writing."""
OPTIONS = "nokaslr norandmaps noreplace-smp"
"""noreplace-smp: the kernel keeps its own LOCK prefixes, as on any machine with two CPUs."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """How a guest is set up; its text is what a recording's header says."""

    levels: int
    huge: str
    """/sys/kernel/mm/transparent_hugepage/enabled: always, madvise or never."""

    def __str__(self) -> str:
        return f"{self.levels}-level/{self.huge}"

    @property
    def options(self) -> str:
        return OPTIONS + (" no5lvl" if self.levels == 4 else "")


CONFIGURATIONS = tuple(Configuration(levels, huge) for levels in (5, 4) for huge in ("never", "always", "madvise"))
SETUP = """
mount -t tracefs tracefs /sys/kernel/tracing
mount -t cgroup2 cgroup /cgroup
insmod /brd.ko rd_nr=2 rd_size=32768
mkswap /dev/ram0 >/dev/null && swapon /dev/ram0
mke2fs -F /dev/ram1 >/dev/null 2>&1 && mount -t ext2 /dev/ram1 /disk && cp /data /disk/data && sync
echo +memory > /cgroup/cgroup.subtree_control
mkdir /cgroup/small && echo 4M > /cgroup/small/memory.max && echo 0 > /cgroup/small/memory.swap.max
cd /sys/kernel/mm/transparent_hugepage
echo {huge} > enabled
# Nothing of the kernel's own, later and by the clock: no collapsing, no compaction.
echo 4000000000 > khugepaged/scan_sleep_millisecs
echo 0 > /proc/sys/vm/compaction_proactiveness
# No readahead from swap: what is beside a page there is chance.
echo 0 > /proc/sys/vm/page-cluster
cd /sys/kernel/tracing
echo 0 > tracing_on
{probes}
for event in {events}; do echo 1 > events/$event/enable; done
echo 65536 > buffer_size_kb
cd /
echo -1 > /proc/sys/kernel/sched_rt_runtime_us
grep -i ' [tw] ' /proc/kallsyms | /observe --send kallsyms
echo "banner: $(cat /proc/version)"
{runs}
"""


def data() -> bytes:
    """The file /data: 64 pages and 100 bytes; byte i of page p is p + 7 i."""
    return bytes((index // 4096 + 7 * index) & 255 for index in range(64 * 4096 + 100))


def words() -> str:
    """The file /words: 500 lines in no order."""
    return "".join(f"{hashlib.sha256(str(index).encode()).hexdigest()[:12]}\n" for index in range(500))


def boot(series: Kernel, configuration: Configuration, chosen: Iterable[Program]) -> tuple[str, dict[str, Recording]]:
    """The kernel's banner and one recording a program, without the headers that all have; a guest for each CPU."""
    banner, found, programs_of = "", dict[str, Recording](), dict[str, list[Program]]()
    for program in chosen:
        programs_of.setdefault(program.cpu, []).append(program)
    for cpu, same in programs_of.items():
        banner, some = boot_cpu(series, configuration, same, cpu)
        found |= some
    return banner, found


def boot_cpu(
    series: Kernel, configuration: Configuration, chosen: list[Program], cpu: str
) -> tuple[str, dict[str, Recording]]:
    """The same for programs that want the same CPU."""
    with tempfile.TemporaryDirectory(prefix="pagefault-lab-") as folder:
        work = Path(folder)
        flags = "-O1 -Wall -Wextra -Werror -static".split()
        subprocess.run(["gcc", *flags, "-o", str(work / "observe"), str(LAB / "observe.c")], check=True)
        (work / "data").write_bytes(data())
        (work / "words").write_text(words())
        (work / "empty").mkdir()
        files = {"/observe": work / "observe", "/data": work / "data", "/words": work / "words"}
        files |= {"/disk": work / "empty", "/cgroup": work / "empty", "/brd.ko": series.module("brd")}
        files |= {"/lab/busybox": busybox()}
        files |= {f"/lab/{program.name}": program.binary for program in chosen if program.binary}
        script = SETUP.format(
            huge=configuration.huge,
            probes="\n".join(f"echo '{probe}' >> dynamic_events" for probe in PROBES),
            events=" ".join(EVENTS),
            runs="\n".join(
                f"echo {program.name}; /observe {program.name} {' '.join(program.arguments)}" for program in chosen
            ),
        )
        options = configuration.options
        with Guest(
            series.boot, files=files, script=script, memory=MEMORY, cpus=CPUS, cpu=cpu, options=options
        ) as guest:
            said = list(sections(guest.console))
            if not said or "kallsyms" not in said[0]:
                raise TraceError(f"no program ran; the guest said:\n{guest.serial}")
            symbols = Symbols(said[0]["kallsyms"].decode())
            found = {each["begin"].decode(): recording(each, symbols, configuration.levels) for each in said}
            banner = re.search("^banner: (.*)$", guest.serial, re.MULTILINE)
            missing = [program.name for program in chosen if program.name not in found]
            if missing or banner is None:
                raise TraceError(f"no recording of {', '.join(missing)}; the guest said:\n{guest.serial}")
            return banner[1].strip(), found


def header(program: Program, banner: str, where: list[Configuration], end: str) -> dict[str, str]:
    qemu = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=True).stdout
    return {
        "program": program.name,
        "promise": program.promise,
        "arguments": " ".join(program.arguments),
        "binary": digest(program),
        "kernel": banner,
        "machine": f"{qemu.splitlines()[0]}; -accel tcg -cpu {program.cpu} -smp {CPUS} -m {MEMORY}",
        "options": f"{OPTIONS}, and no5lvl for 4-level",
        "configurations": " ".join(map(str, where)),
        "end": end,
    }


def digest(program: Program) -> str:
    """What the header says of the binary."""
    return f"sha256 {hashlib.sha256((program.binary or busybox()).read_bytes()).hexdigest()}"


def grouped(found: Mapping[Configuration, Recording]) -> Iterator[tuple[list[Configuration], Recording]]:
    """Configurations in which a program did the same, together."""
    groups: list[tuple[list[Configuration], Recording]] = []
    for configuration, each in found.items():
        for where, same in groups:
            if same == each:
                where.append(configuration)
                break
        else:
            groups.append(([configuration], each))
    yield from groups


def record(series: str, chosen: Mapping[str, Program], *, once: bool = False) -> tuple[dict[str, str], list[str]]:
    """File name -> text for one kernel, and what did not repeat."""
    found: dict[str, dict[Configuration, Recording]] = {name: {} for name in chosen}
    rubbish, running, banner = [], kernel(series), ""
    for configuration in CONFIGURATIONS:
        wanted = [program for program in chosen.values() if fits(program, configuration)]
        if not wanted:
            continue
        banner, first = boot(running, configuration, wanted)
        again = first if once else boot(running, configuration, wanted)[1]
        print(f"{series} {configuration}: {len(first)} programs", file=sys.stderr, flush=True)
        for name, each in first.items():
            if each == again[name]:
                found[name][configuration] = each
            else:
                rubbish.append(f"{series} {configuration} {name}: {difference(each, again[name])}")
    texts = {}
    for name, program in chosen.items():
        for index, (where, each) in enumerate(grouped(found[name])):
            file = f"{name}.txt" if index == 0 else f"{name}.{str(where[0]).replace('/', '-')}.txt"
            texts[file] = replace(each, header=header(program, banner, where, each.header["end"])).text()
    return texts, rubbish


def fits(program: Program, configuration: Configuration) -> bool:
    return not program.only or (configuration.levels, configuration.huge) == (5, program.only)


def difference(first: Recording, again: Recording) -> str:
    """The first line that is not the same."""
    for one, two in zip(first.text().splitlines(), again.text().splitlines(), strict=False):
        if one != two:
            return f"{one!r}, then {two!r}"
    return "one is longer"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Record the programs on real kernels.")
    parser.add_argument("--kernel", choices=SERIES, help="one kernel only")
    parser.add_argument("--once", action="store_true", help="do not boot twice to see what repeats")
    parser.add_argument("--into", type=Path, default=RECORDINGS, help="where to write")
    parser.add_argument("program", nargs="*", help="these only")
    asked = parser.parse_args(arguments)
    everything = programs()
    if unknown := set(asked.program) - set(everything):
        parser.error(f"there is no program {', '.join(sorted(unknown))}")
    chosen = {name: program for name, program in everything.items() if not asked.program or name in asked.program}
    try:
        compiler()
        for series in [asked.kernel] if asked.kernel else SERIES:
            texts, rubbish = record(series, chosen, once=asked.once)
            write(asked.into / series, texts, chosen)
            for line in rubbish:
                print(f"does not repeat: {line}", file=sys.stderr)
    except (NoGuestError, TraceError) as reason:
        print(reason, file=sys.stderr)
        return 1
    return 0


def write(folder: Path, texts: Mapping[str, str], chosen: Iterable[str]) -> None:
    """Replace what is there of the chosen programs."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in chosen:
        for old in folder.glob(f"{name}.*txt"):
            old.unlink()
    for name, text in texts.items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    sys.exit(main())
