"""A crash dump on request: `python -m lab.vmcore [--kernel 6.1] [--program fork] FILE` boots, runs and dumps."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lab.build import busybox, programs
from lab.guest import Guest, NoGuestError
from lab.kernels import kernel
from lab.record import SERIES

FORMATS = ("elf", "kdump-zlib")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Dump the memory of a guest in which a program has run.")
    parser.add_argument("--kernel", choices=SERIES, default=SERIES[0])
    parser.add_argument("--program", choices=sorted(programs()), default="fork")
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0])
    parser.add_argument("--memory", type=int, default=128, help="MiB of the guest, and about the file's size")
    parser.add_argument("file", type=Path)
    asked = parser.parse_args(arguments)
    program = programs()[asked.program]
    try:
        series = kernel(asked.kernel)
        # The guest's own driver tells QEMU where vmcoreinfo is; without it a dump has none.
        files = {"/qemu_fw_cfg.ko": series.module("qemu_fw_cfg")}
        files |= {program.arguments[0]: program.binary or busybox()}
        script = f"insmod /qemu_fw_cfg.ko\n{' '.join(program.arguments)}\n"
        with Guest(series.boot, files=files, script=script, memory=asked.memory) as guest:
            guest.dump(asked.file.resolve(), format=asked.format)
    except NoGuestError as reason:
        print(reason, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
