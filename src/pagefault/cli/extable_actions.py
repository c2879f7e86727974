"""What `pagefault extable` does with what it read: list it, search it, count it, compare it, audit it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from ..errors import BadInput
from ..report import exception_table as report
from .ending import BAD_INPUT, complain
from .extable_choice import Choice
from .extable_output import Output
from .progress import working

if TYPE_CHECKING:
    from ..images.kernel_image import KernelImage
    from ..survey.described import DescribedEntry, Place
    from .extable_images import Beside, Opened

NO, FINDINGS = 1, 1
"""Exit status: the answer is no; the audit found something."""
MOST_COMPLAINTS = 10


def list_entries(read: Opened, choice: Choice, output: Output, *, source: bool) -> int:
    """Print the entries that are wanted; returns the exit status."""
    wanted = choice.of(read.entries)
    shown = wanted[: choice.limit]
    match output.form:
        case "json":
            from ..report import extable_json

            output.json(**first_table(read), **as_json_kernel(read), entries=[extable_json.described(e) for e in shown])
        case "csv" | "parquet" | "arrow":
            from ..report import columns

            written: dict[str, Callable[[Sequence[DescribedEntry]], bytes]] = {
                "csv": columns.as_csv,
                "parquet": columns.as_parquet,
                "arrow": columns.as_arrow,
            }
            output.data(written[output.form](shown))
        case _:
            width = output.width
            lines = [*report.about(read.path, read.how, read.tables)]
            if words := left_out(read, wanted, shown, choice):
                lines.append((words,))
            if shown:
                lines += ((), *report.listing(shown, width, sources=source))
            output.lines(lines)
    return ended(read.unreadable, wanted, read.entries, choice)


def left_out(read: Opened, wanted: Sequence[Any], shown: Sequence[Any], choice: Choice) -> str:
    """How many entries are not listed, if any."""
    if len(shown) < len(wanted):
        return f"listed: {len(shown):,} of {len(wanted):,}, for --limit {choice.limit}"
    if len(wanted) < len(read.entries):
        return f"listed: {len(wanted):,} of {len(read.entries):,}, by name"
    return ""


def ended(unreadable: Sequence[str], wanted: Sequence[Any], entries: Sequence[DescribedEntry], choice: Choice) -> int:
    """The exit status: not all modules could be read, no entry is left, or all is well."""
    for line in unreadable[:MOST_COMPLAINTS]:
        complain(line)
    if len(unreadable) > MOST_COMPLAINTS:
        complain(f"and {len(unreadable) - MOST_COMPLAINTS} modules more that cannot be read")
    if unreadable:
        return BAD_INPUT
    if not wanted and choice.narrows:
        complain(choice.why_none(entries))
        return NO
    return 0


def as_json_kernel(read: Opened) -> dict[str, Any]:
    """The keys that say what was read."""
    from ..report.extable_json import kernel

    return kernel(read.path, read.how, read.tables)


def first_table(read: Opened) -> dict[str, Any]:
    """The keys that are about the first table, as they were when there was one only."""
    from ..report.as_json import bits

    if read.image is None:
        return dict.fromkeys(("address", "layout", "how", "in_order"))
    table = read.tables[0]
    return {
        "address": bits(table.address),
        "layout": table.layout_name,
        "how": table.how,
        "in_order": table.in_order,
    }


def search(read: Opened, where: str, output: Output) -> int:
    """Print what the tables say about one address; returns the exit status."""
    from .extable import place_address

    image = read.image
    if image is None:
        raise BadInput("--at", expected="one image (name the module's file)", got=f"the folder {read.path}")
    address = place_address(where, image.symbols)
    entry = next((each for each in read.entries if each.insn.address == address), None)
    place = entry.insn if entry else described_place(image, address)
    near = report.neighbours(read.entries, address)
    if output.form == "json":
        from ..report import extable_json

        found = {
            "at": extable_json.spot(place),
            "covered": entry is not None,
            "entry": extable_json.described(entry) if entry else None,
            "neighbours": [extable_json.described(each) for each in near],
        }
        output.json(**first_table(read), **as_json_kernel(read), **found)
    else:
        lines = report.verdict(place, entry, meaning(image, entry) if entry else "")
        output.lines([*lines, (), ("the entries around it",), *report.listing(near, output.width)])
    return 0 if entry else NO


def described_place(image: KernelImage, address: int) -> Place:
    """An address that has no entry, described as far as it can be."""
    from ..survey.describe import describe_place

    return describe_place(image, address)


def meaning(image: KernelImage, entry: DescribedEntry) -> str:
    """What an entry's type means, in words."""
    found = image.platform.exceptions.type_named(entry.entry.type)
    return found.meaning if found else ""


def summarize(read: Opened, choice: Choice, output: Output) -> int:
    """Count the entries that are wanted, as bars or as a picture; returns the exit status."""
    from ..survey.summary import summarize as count

    wanted = choice.of(read.entries)
    counted = count(wanted)
    match output.form:
        case "json":
            from ..report import extable_json

            output.json(**as_json_kernel(read), **extable_json.summary(counted))
        case "svg" | "png":
            from ..report.picture import treemap

            functions = report.count(len(counted.functions), "function", "functions")
            entries = report.count(len(wanted), "exception-table entry", "exception-table entries")
            title = f"{report.shown(PurePath(read.path).name)}: where the kernel may fault"
            about = f"{entries} in {functions}; area is the number of entries"
            with working("drawing"):
                picture = treemap(counted.subsystems, title, about, "svg" if output.form == "svg" else "png")
            output.data(picture)
        case _:
            from ..report import summary

            lines = summary.told(counted, output.width)
            output.lines([*report.about(read.path, read.how, read.tables), (), *lines])
    return ended(read.unreadable, wanted, read.entries, choice)


def compare(old: Opened, new: Opened, choice: Choice, output: Output) -> int:
    """Print what changed from one image to the other; returns the exit status."""
    from ..survey.difference import difference

    before, after = choice.of(old.entries), choice.of(new.entries)
    found = difference(before, after)
    match output.form:
        case "json":
            from ..report import extable_json

            output.json(old=as_json_kernel(old), new=as_json_kernel(new), **extable_json.difference(found))
        case "html":
            from ..report.as_html import difference_page

            output.data(difference_page(found, *names(old.path, new.path)).encode("utf-8", "backslashreplace"))
        case _:
            from ..report.difference import told

            output.lines(told(found, old.path, new.path))
    status = ended([*old.unreadable, *new.unreadable], before + after, [*old.entries, *new.entries], choice)
    return status or (NO if found.functions else 0)


def names(old: str, new: str) -> tuple[str, str]:
    """What two images are called on a page: their files' names, and as much of their paths as tells them apart."""
    one, other = PurePath(old), PurePath(new)
    return (one.name, other.name) if one.name != other.name else (old, new)


def audit_image(path: str, beside: Beside, output: Output) -> int:
    """Audit an image, or each module of a folder, and print the findings; returns the exit status."""
    from .extable_images import audited

    with working(f"auditing {path}") as say:
        audits, unreadable = audited(path, beside, say)
    match output.form:
        case "json":
            from ..report import extable_json

            output.json(image=path, **extable_json.audits(audits, unreadable))
        case "sarif":
            import json

            from .. import __version__
            from ..report.sarif import to_sarif

            made = to_sarif(audits, unreadable=unreadable, version=__version__, docs=documentation())
            output.data(json.dumps(made, indent=2).encode() + b"\n")
        case _:
            from ..report.findings import told

            output.lines(told(audits, unreadable=len(unreadable)))
    status = ended(unreadable, (), (), Choice({}))
    return status or (0 if all(each.clean for each in audits) else FINDINGS)


def documentation() -> str | None:
    """Where docs/ can be read: "Documentation" among the project's addresses in the installed package, if it is."""
    from importlib.metadata import PackageNotFoundError, metadata

    try:
        addresses = metadata("pagefault").get_all("Project-URL") or []
    except PackageNotFoundError:
        return None
    labelled = (address.partition(",") for address in addresses)
    return next((uri.strip() for label, _, uri in labelled if label.strip().lower() == "documentation"), None)
