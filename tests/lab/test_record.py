"""Recording again gives what is committed: a real kernel boots, here and now."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from lab.build import programs
from lab.guest import NoGuestError
from lab.kernels import kernel
from lab.record import RECORDINGS, Configuration, boot, digest
from lab.recording import Event, Fault, Recording, parse

CASES = [
    ("6.1", Configuration(5, "never"), set(programs())),
    (
        "6.12",
        Configuration(4, "always"),
        {"huge", "huge-split", "huge-fork", "copy-fault", "vdso", "swap", "userfaultfd"},
    ),
]


@pytest.mark.parametrize(("series", "configuration", "names"), CASES, ids=["6.1", "6.12"])
def test_a_kernel_does_the_same_again(series: str, configuration: Configuration, names: set[str]) -> None:
    committed = {name: recorded(series, name, configuration) for name in sorted(names)}
    try:
        # Another busybox than the recorded one has other addresses.
        chosen = [
            programs()[name] for name, each in committed.items() if each.header["binary"] == digest(programs()[name])
        ]
        banner, found = boot(kernel(series), configuration, chosen)
    except NoGuestError as reason:
        if os.environ.get("CI") and series == "6.1":
            pytest.fail(str(reason), pytrace=False)
        pytest.skip(str(reason))
    for name, again in found.items():
        was = committed[name]
        same = banner == was.header["kernel"]
        assert again.output == was.output, name
        assert [comparable(event, same) for event in again.events] == [comparable(event, same) for event in was.events]
        if same:
            assert (again.vmas, again.pages) == (was.vmas, was.pages), name


def recorded(series: str, name: str, configuration: Configuration) -> Recording:
    texts = (parse(path.read_text()) for path in (RECORDINGS / series).glob(f"{name}.*txt"))
    return next(each for each in texts if str(configuration) in each.header["configurations"].split())


def comparable(event: Event, same_kernel: bool) -> Event:
    """An event as another build of the same kernel would have it: its own functions are elsewhere."""
    if not same_kernel and isinstance(event, Fault) and event.kernel:
        return replace(event, ip=0, symbol="")
    return event
