"""
A tree of modules, /lib/modules/VERSION: all of them read on all processors, handed out in the order of their paths.

    for loaded in load_tree("/lib/modules/6.1.0-50-amd64", work): ...

No symbolic link in the tree is followed: `build` and `source` lead out of it, as may any other. A module or a
folder that cannot be read does not stop the rest: its `error` says why. Nor does a module that takes the process down
that reads it.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from heapq import merge
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Generic, TypeVar

from ..errors import Absent, BadInput, PagefaultError, Unsupported
from .module import Module

MODULE_NAME = re.compile(r"\.ko(\.gz|\.xz|\.zst)?\Z")
TOOLS_FOR_BUILDING = ("build", "source")
"""Beside `kernel`, these are links to where modules are built, or that place itself. Kernel: Makefile, v6.1."""
AT_ONCE = 16
"""Modules that a process reads before it answers. So few are read without another process."""

T = TypeVar("T")
Progress = Callable[[int, int], None]
"""How many of how many modules are done."""
Sent = tuple[str, T | None, tuple[type[PagefaultError], dict[str, object]] | None]
"""Path, value, and what an error was made of: exceptions with named arguments do not pickle."""


@dataclass(frozen=True, slots=True)
class Loaded(Generic[T]):
    """One module of the tree: what the work made of it, or None and the `error`. Or a folder that cannot be read."""

    path: str
    value: T | None
    error: PagefaultError | None


def load_tree(
    path: str | Path, work: Callable[[Module], T], progress: Progress | None = None, *, strict: bool = True
) -> Iterator[Loaded[T]]:
    """
    `work(module)` for every module under `path`, opened with `strict`. `work` must pickle, and so must what it returns:
    it runs in other processes. Whoever stops asking, or is interrupted, stops them, and keeps what was handed out.

    Errors: BadInput if `path` is no folder that can be read; Absent if there are no modules under it.
    """
    paths, unreadable = find_modules(path)
    if not paths and not unreadable:
        raise Absent("modules", where=str(path), hint="no file below it ends in .ko, .ko.gz, .ko.xz or .ko.zst")
    folders: list[Sent[T]] = [(str(error.where), None, (BadInput, vars(error))) for error in unreadable]
    results = merge(folders, in_processes(paths, work, strict), key=itemgetter(0))
    return counted(results, len(folders) + len(paths), progress)


def find_modules(path: str | Path) -> tuple[list[str], list[BadInput]]:
    """
    The paths of all modules under a folder, and an error for each folder under it that cannot be read, both in order.

    Errors: BadInput if the folder itself cannot be read.
    """
    top = str(path)
    found, folders = [], [top]
    unreadable = []
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if folder != top or entry.name not in TOOLS_FOR_BUILDING:
                            folders.append(entry.path)
                    elif MODULE_NAME.search(entry.name) and entry.is_file(follow_symlinks=False):
                        found.append(entry.path)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            wrong = BadInput(folder, expected="a folder that can be read", got=reason)
            if folder == top:
                raise wrong from None
            unreadable.append(wrong)
    return sorted(found), sorted(unreadable, key=attrgetter("where"))


def counted(results: Iterator[Sent[T]], total: int, progress: Progress | None) -> Iterator[Loaded[T]]:
    """The results with their errors made again, each reported."""
    for done, (path, value, failed) in enumerate(results, 1):
        if progress is not None:
            progress(done, total)
        yield Loaded(path, value, failed and failed[0](**failed[1]))


def in_processes(paths: list[str], work: Callable[[Module], T], strict: bool) -> Iterator[Sent[T]]:
    """The results for all paths, in order, from as many processes as there are processors."""
    chunks = [paths[start : start + AT_ONCE] for start in range(0, len(paths), AT_ONCE)]
    workers = min(len(os.sched_getaffinity(0)), len(chunks))
    if workers <= 1:
        for chunk in chunks:
            yield from read_modules(chunk, work, strict)
        return
    done = 0
    for results in answers(chunks, work, strict, workers):
        yield from results
        done += 1
    # A process has died, and with it its pool: what is left is read one module at a time, to see which one it was.
    left = [[path] for chunk in chunks[done:] for path in chunk]
    while left:
        done = 0
        for results in answers(left, work, strict, 1):
            yield from results
            done += 1
        if done < len(left):
            yield left[done][0], None, (Unsupported, {"feature": left[done][0], "why": "reading it ended the process"})
        left = left[done + 1 :]


def answers(
    chunks: list[list[str]], work: Callable[[Module], T], strict: bool, workers: int
) -> Iterator[list[Sent[T]]]:
    """
    The results of each chunk in order, up to the first that was lost because a process died.

    Processes are forked: no start-up, and no need for the caller's program to be importable. That the caller may have
    threads (one that shows progress) does no harm, for the forked processes touch nothing of theirs.
    """
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("fork"), leave_interrupts_to_the_parent)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            futures: list[Future[list[Sent[T]]]] = [pool.submit(read_modules, chunk, work, strict) for chunk in chunks]
        for future in futures:
            yield future.result()
    except BrokenProcessPool:
        return
    finally:
        pool.shutdown(cancel_futures=True)


def leave_interrupts_to_the_parent() -> None:
    """Ctrl-C goes to every process of the terminal; the one that started them ends them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def read_modules(paths: list[str], work: Callable[[Module], T], strict: bool) -> list[Sent[T]]:
    """Runs in a process of its own: the work on some modules."""
    results: list[Sent[T]] = []
    for path in paths:
        try:
            results.append((path, work(Module.open(path, strict=strict)), None))
        except PagefaultError as error:
            results.append((path, None, (type(error), vars(error))))
    return results
