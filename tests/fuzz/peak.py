"""
A process that reads one file and says how much memory that took: `python peak.py READER PATH`, READER "nothing" for
what the process takes by itself. It prints the outcome and its peak in bytes, from VmHWM: ru_maxrss counts what the
process that started it had as well.
"""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

CPU_SECONDS = 60


def whole(path: str) -> str:
    """As the command line does: open, list every entry; and what a person asks of it."""
    from fuzz.readers import ALLOWED, all_of
    from pagefault.images.open_image import open_image

    try:
        all_of(open_image(path))
        list(open_image(path, strict=False).exception_tables)
    except ALLOWED as error:
        return f"{type(error).__name__}: {error}"
    return "read"


def by_reader(name: str, path: str) -> str:
    from fuzz.readers import ALLOWED, READERS

    try:
        READERS[name](Path(path).read_bytes())
    except ALLOWED as error:
        return f"{type(error).__name__}: {error}"
    return "read"


def main(name: str, path: str) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
    sys.path[:1] = [str(Path(__file__).resolve().parent.parent)]
    import fuzz.readers  # noqa: F401 -- what is imported is no reader's

    outcome = "" if name == "nothing" else whole(path) if name == "whole" else by_reader(name, path)
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    print(int(peak[1]) * 1024, outcome)


if __name__ == "__main__":
    main(*sys.argv[1:3])
