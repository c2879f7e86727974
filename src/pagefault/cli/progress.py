"""Saying that something is going on, on standard error, once it has taken a second."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE = 1.0
"""Seconds before anything is said."""


@contextmanager
def working(doing: str) -> Iterator[Callable[[str], None]]:
    """
    While the block runs, show `doing` and the time it has taken, if standard error is a terminal. The function that is
    yielded changes the text.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    text, over = [doing], threading.Event()
    line = threading.Thread(target=show, args=(text, over), name="progress", daemon=True)
    line.start()
    try:
        yield lambda now: text.__setitem__(0, now)
    finally:
        over.set()
        line.join()


def show(text: list[str], over: threading.Event) -> None:
    """After a second, keep one line up to date until it is over; then take it away."""
    if over.wait(PATIENCE):
        return
    import rich.console
    import rich.progress

    columns = (rich.progress.SpinnerColumn(), "{task.description}", rich.progress.TimeElapsedColumn())
    with rich.progress.Progress(*columns, console=rich.console.Console(stderr=True), transient=True) as progress:
        task = progress.add_task(text[0])
        while not over.wait(0.1):
            progress.update(task, description=text[0])
