"""
One reader under atheris, which looks for inputs that reach new code: `python tests/fuzz/fuzz.py kallsyms`.

Arguments behind the reader's name are libFuzzer's (-max_total_time=60, -runs=100000, -seed=1, a file to replay, …).
"""

from __future__ import annotations

import gc
import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]

TESTS = Path(__file__).resolve().parent.parent
LARGEST = 1 << 15
"""Inputs grow no larger: what is wrong shows in small ones, and they are read faster."""


def main(arguments: list[str]) -> None:
    sys.path[:1] = [str(TESTS), str(TESTS.parent / "src")]
    with atheris.instrument_imports(include=["pagefault"]):
        from fuzz.readers import READERS, attempt
        from fuzz.specimens import specimens

    names = arguments[1:2]
    if not names or names[0] not in READERS:
        raise SystemExit(f"usage: fuzz.py READER [libFuzzer's options], READER one of {', '.join(READERS)}")
    name, options = names[0], arguments[2:]
    with tempfile.TemporaryDirectory(prefix=f"fuzz-{name}-") as corpus:
        for number, data in enumerate(specimens()[name]):
            (Path(corpus) / str(number)).write_bytes(data)
        gc.freeze()

        def one(data: bytes) -> None:
            attempt(name, data)
            gc.collect()  # an image and its table know each other, and keep the file mapped until they are collected

        given = any(not option.startswith("-") for option in options)
        sizes = [f"-max_len={LARGEST}", "-timeout=60", "-rss_limit_mb=2048"]
        atheris.Setup([arguments[0], *sizes, *options, *([] if given else [corpus])], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
