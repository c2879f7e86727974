"""Where `pagefault exec` writes what: the log as it grows, a summary and a picture at the end, the program's output."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Protocol, Self, TextIO, cast

from ..errors import BadInput
from .extable_output import write_whole
from .watched_region import WatchedRegion

if TYPE_CHECKING:
    from ..machine.fault_log import FaultLog
    from ..report.page import Page
    from ..tables.symbols import SymbolTable
    from ..vocabulary.fault_record import FaultRecord

FORMATS = ("lines", "summary", "ftrace", "json")
PICTURES = (".svg", ".png")
KERNEL_HALF = 1 << 63
"""The lowest address that the kernel has."""
MOST_CAPTURED = 64 << 20
"""Bytes of a program's output that a document holds; a program that prints for ever shall not take all memory."""


class Ended(Protocol):
    """What is known of a program that has ended: of syscalls.execution.Execution, what is told here."""

    @property
    def log(self) -> FaultLog: ...
    @property
    def exit_status(self) -> int | None: ...
    @property
    def signal(self) -> str | None: ...
    @property
    def notes(self) -> Sequence[str]: ...
    @property
    def instructions(self) -> int: ...
    @property
    def stopped(self) -> str: ...


@dataclass(frozen=True)
class Wanted:
    """
    What is to be told: a `form` of FORMATS, to the file `log` (None: standard error; a document goes to standard
    output), with a summary, with a picture on the terminal, with `pictures` as files; of these regions, if there are
    any. `title` is the command; `kernel` the image, None for the small one; `facts` go in front of a document.
    """

    form: str
    log: str | None
    summary: bool
    timeline: bool
    pictures: tuple[str, ...]
    regions: tuple[WatchedRegion, ...]
    title: str
    kernel: str | None
    facts: dict[str, Any]

    def shows(self, record: FaultRecord) -> bool:
        """Is it in a watched region?"""
        return not self.regions or any(region.holds(record) for region in self.regions)


class Telling(AbstractContextManager["Telling"]):
    """
    The output of one run: `stdout` and `stderr` are for the program, `on_fault` is told each fault as it happens, `end`
    tells the rest. Entering it opens what is written to.

    Errors: BadInput for a file that cannot be written, Absent without what draws; both before anything runs.
    """

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        captured = wanted.form == "json" and wanted.log is None
        self.stdout = Captured() if captured else Through(lambda: sys.stdout.buffer)
        self.stderr = Captured() if captured else Through(lambda: sys.stderr.buffer)
        self._stack = ExitStack()
        self._file: TextIO | None = None
        self._told: Callable[[FaultRecord], None] | None = None

    def __enter__(self) -> Self:
        for path in self.wanted.pictures:
            from ..report.timeline_picture import check_can_draw

            check_can_draw()
            if not Path(path).absolute().parent.is_dir():
                raise BadInput(path, expected="a file in a folder that is there", got="no such folder")
        log = self.wanted.log
        with writing(log), ExitStack() as opened:
            if log is not None:
                self._file = opened.enter_context(Path(log).open("w", errors="backslashreplace"))
            self._told = self._teller()
            self._stack = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with writing(self.wanted.log):
            self._stack.close()

    @property
    def on_fault(self) -> Callable[[FaultRecord], None] | None:
        """What is to be called for every fault; None if nobody reads along."""
        return self._told

    @cached_property
    def page(self) -> Page:
        """What people read goes here: the log's file, or standard error."""
        from ..report.page import Page

        if self._file is not None and self.wanted.form in ("lines", "summary"):
            return Page.of(self._file)
        return Page.of(sys.stderr)

    def _teller(self) -> Callable[[FaultRecord], None] | None:
        """How a fault is told at once."""
        shows, log = self.wanted.shows, self.wanted.log
        if self.wanted.form == "lines":
            from ..report.fault_lines import HEADING, fault_line

            page, above = self.page, [HEADING]

            def as_line(record: FaultRecord) -> None:
                if shows(record):
                    with writing(log):
                        page.write(*above, fault_line(record))
                    above.clear()

            return as_line
        if self.wanted.form == "ftrace":
            from ..evidence.ftrace import traced, write

            names = kernel_names(self.wanted.kernel)

            def as_trace(record: FaultRecord) -> None:
                if shows(record):
                    with writing(log):
                        print(write(traced(record, names)), file=self._file or sys.stderr)

            return as_trace
        return None

    def end(self, ended: Ended) -> None:
        """Summary, pictures or document, and how it ended."""
        with writing(self.wanted.log):
            self._end_of_log(ended)
        for path in self.wanted.pictures:
            self._picture(ended, path)

    def _end_of_log(self, ended: Ended) -> None:
        if self.wanted.form == "json":
            self._document(ended)
        elif self.wanted.form == "ftrace":
            comments = (f"# {line}" for line in (*self._notes(ended), ending(ended)))
            print(*comments, sep="\n", file=self._file or sys.stderr)
        else:
            self.page.write(*((f"note: {note}",) for note in self._notes(ended)), (ending(ended),))
        if self.wanted.summary and self.wanted.form != "json":
            from ..report.fault_summary import summarize, told

            self.page.write((), *told(summarize(self._faults(ended))))
        if self.wanted.timeline:
            from ..report.timeline import write_in_terminal

            write_in_terminal(self._faults(ended), self.page)

    def _notes(self, ended: Ended) -> list[str]:
        """What the run has to say, and which watched names no fault came to."""
        named = [region for region in self.wanted.regions if region.name is not None]
        unseen = [region for region in named if not any(map(region.holds, ended.log))]
        return [*ended.notes, *(f"--watch {region.name}: no fault in an area of that name" for region in unseen)]

    def _faults(self, ended: Ended) -> Iterator[FaultRecord]:
        return filter(self.wanted.shows, ended.log)

    def _document(self, ended: Ended) -> None:
        from ..report import exec_json
        from ..report.fault_summary import summarize

        after = {
            "summary": exec_json.summary(summarize(self._faults(ended))),
            "exit_status": ended.exit_status,
            "signal": ended.signal,
            "stopped": ended.stopped or None,
            "instructions": ended.instructions,
            "notes": self._notes(ended),
            "stdout": self.stdout.told(),
            "stderr": self.stderr.told(),
        }
        for piece in exec_json.pieces(self.wanted.facts, self._faults(ended), after):
            (self._file or sys.stdout).write(piece)

    def _picture(self, ended: Ended, path: str) -> None:
        from ..report.timeline import timeline
        from ..report.timeline_picture import COLUMNS, ROWS, picture

        touched = timeline(self._faults(ended), COLUMNS, ROWS)
        form: Literal["svg", "png"] = "svg" if path.lower().endswith(".svg") else "png"
        subtitle = f"{sum(touched.kinds.values()):,} page faults: {ending(ended)}"
        write_whole(path, picture(touched, self.wanted.title, subtitle, form))


class Captured(io.RawIOBase):
    """A file that keeps what is written to it, up to MOST_CAPTURED bytes."""

    def __init__(self) -> None:
        self._kept, self._truncated = bytearray(), False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        room = MOST_CAPTURED - len(self._kept)
        self._kept += data[:room]
        self._truncated |= len(data) > room
        return len(data)

    def told(self) -> dict[str, Any] | None:
        """As a document has it."""
        from ..report.exec_json import output

        return output(bytes(self._kept), truncated=self._truncated)


class Through(io.RawIOBase):
    """A file of our own, written to at once, so that the program's output stands where it happened."""

    def __init__(self, file: Callable[[], BinaryIO]) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        file = self._file()
        file.write(data)
        file.flush()
        return len(data)

    def told(self) -> None:
        """It is not kept."""


def binary(file: io.RawIOBase) -> BinaryIO:
    """The same, for those who ask for a BinaryIO."""
    return cast("BinaryIO", file)


def ending(ended: Ended) -> str:
    """How the program ended, in a sentence."""
    after = f"after {ended.instructions:,} instructions"
    if ended.stopped:
        return f"stopped {after}: {ended.stopped}"
    if ended.signal:
        return f"killed by {ended.signal} {after}"
    return f"exited with status {ended.exit_status} {after}"


@contextmanager
def writing(path: str | None) -> Iterator[None]:
    """A file that cannot be written is a user's mistake. Standard error is not our file: its errors pass."""
    try:
        yield
    except OSError as error:
        if path is None:
            raise
        raise BadInput(path, expected="a file that can be written", got=error.strerror or str(error)) from None


def kernel_names(kernel: str | None) -> Callable[[int], str]:
    """The kernel's own names for addresses of its image, "" for others. The image is read when it is first needed."""

    @cache
    def symbols() -> SymbolTable:
        from ..images.vmlinux import Vmlinux
        from ..kernels import small_kernel

        return Vmlinux.open(kernel or small_kernel()).symbols

    def name(address: int) -> str:
        found = symbols().at(address) if address >= KERNEL_HALF else None
        return found.name if found else ""

    return name
