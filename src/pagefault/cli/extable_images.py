"""What `pagefault extable` reads: one image, or a folder of modules, and every entry of it described."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Absent, BadInput

if TYPE_CHECKING:
    from ..audit.finding import Audit
    from ..images.kernel_image import KernelImage
    from ..report.exception_table import TableFacts
    from ..survey.described import DescribedEntry
    from ..survey.source_lines import SourceLines


class Source(Enum):
    """Are source lines wanted?"""

    NO = "no"
    IF_THERE = "if the image has debug information"
    YES = "yes, and it is an error if there are none"


@dataclass(frozen=True, slots=True)
class Read:
    """What one image holds."""

    tables: list[TableFacts]
    entries: list[DescribedEntry]


@dataclass(frozen=True, slots=True)
class Opened:
    """
    An image that was read, `image` itself, or None for a folder of modules. `unreadable` has a line for each module
    that could not be.
    """

    path: str
    how: tuple[str, ...]
    tables: list[TableFacts]
    entries: list[DescribedEntry]
    image: KernelImage | None = None
    unreadable: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Beside:
    """The files beside an image: its System.map, and the one with its debug information."""

    system_map: str | None = None
    debug: str | None = None

    def none_for_a_folder(self, path: str) -> None:
        """Errors: BadInput if there are any: each belongs to one image."""
        for option, file in (("--system-map", self.system_map), ("--debug", self.debug)):
            if file is not None:
                raise BadInput(option, expected="it with one image, not a folder of modules", got=path)


def opened(path: str, beside: Beside, say: Callable[[str], None], source: Source) -> Opened:
    """
    Read an image or a folder of modules. `say` is told how far it is.

    Errors: BadInput, Absent or Unsupported if there is nothing to read; of a folder, if there are no modules in it. A
    folder's modules have source lines if they hold debug information.
    """
    if Path(path).is_dir():
        beside.none_for_a_folder(path)
        return opened_tree(path, say, source=source is not Source.NO)
    image = open_image_at(path, beside.system_map)
    lines: SourceLines | bool = source is Source.IF_THERE
    if source is Source.YES:
        from ..survey.source_lines import SourceLines

        lines = SourceLines.open(image, debug=beside.debug)
    found = read_image(image, source=lines)
    if not found.tables:
        raise Absent("exception table", where=image.path, hint="a module without risky instructions has none")
    return Opened(image.path, image.how, found.tables, found.entries, image)


def open_image_at(path: str, system_map: str | None, *, strict: bool = True) -> KernelImage:
    """
    The image at a path; `small` is the kernel that ships with pagefault. Without `strict` a table with nonsense in it
    is read, and not refused.
    """
    from ..images.open_image import open_image
    from ..kernels import small_kernel

    return open_image(small_kernel() if path == "small" else path, system_map=system_map, strict=strict)


def read_image(image: KernelImage, *, source: SourceLines | bool) -> Read:
    """All tables and entries of an image."""
    from ..report.exception_table import TableFacts
    from ..survey.describe import describe

    tables = [TableFacts.of(found, image.module) for found in image.exception_tables]
    return Read(tables, list(describe(image, source=source)) if tables else [])


def opened_tree(path: str, say: Callable[[str], None], *, source: bool) -> Opened:
    """Read a folder of modules, on all processors."""
    from ..images.module_tree import load_tree

    def progress(done: int, total: int) -> None:
        say(f"reading {path}: {done:,} of {total:,} modules")

    tables: list[TableFacts] = []
    entries: list[DescribedEntry] = []
    unreadable: list[str] = []
    modules = with_table = 0
    for loaded in load_tree(path, partial(read_image, source=source), progress):
        modules += 1
        if loaded.value is None:
            unreadable.append(str(loaded.error))
            continue
        with_table += bool(loaded.value.tables)
        tables += loaded.value.tables
        entries += loaded.value.entries
    how = f"a folder of {modules:,} modules, of which {with_table:,} have an exception table"
    return Opened(path, (how,), tables, entries, None, unreadable)


def audited(path: str, beside: Beside, say: Callable[[str], None]) -> tuple[list[Audit], list[str]]:
    """
    The audit of an image, or of each module of a folder; then a line for each that cannot be read.

    Errors: as for `opened`.
    """
    from ..audit import audit

    if not Path(path).is_dir():
        return [audit(open_image_at(path, beside.system_map, strict=False))], []
    from ..images.module_tree import load_tree

    beside.none_for_a_folder(path)

    def progress(done: int, total: int) -> None:
        say(f"auditing {path}: {done:,} of {total:,} modules")

    done = list(load_tree(path, audit, progress, strict=False))
    audits = [loaded.value for loaded in done if loaded.value is not None]
    return audits, [str(loaded.error) for loaded in done if loaded.error is not None]
