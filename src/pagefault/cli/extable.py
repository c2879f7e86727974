"""`pagefault extable`: an image's exception table to read, search, count, audit and compare."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from ..errors import BadInput
from .extable_choice import NAMED, ORDERS, Choice
from .extable_images import Beside, Opened, Source, opened
from .extable_output import ALL_FORMS, Output
from .progress import working

if TYPE_CHECKING:
    from ..tables.symbols import SymbolTable

ACTIONS = ("at", "summary", "audit", "diff")

EPILOG = """\b
Which image:
  pagefault extable vmlinux                       any architecture's, with symbols or without
  pagefault extable /boot/vmlinuz                 a boot image, unpacked in memory
  pagefault extable /boot/vmlinuz --system-map /boot/System.map
  pagefault extable ext4.ko.xz                    a module
  pagefault extable /lib/modules/6.1.0-50-amd64   all modules of a kernel
  pagefault extable vmcore                        a crash dump
  pagefault extable --running                     the running kernel, as root
\b
Which entries:
  pagefault extable vmlinux --function 'copy_*' --type uaccess
  pagefault extable vmlinux --section .init.text --sort function
  pagefault extable vmlinux --at __get_user_4+0x18
  pagefault extable vmlinux --at 0xffffffff81a5b2c3 --source
  pagefault extable /boot/vmlinuz --debug /usr/lib/debug/boot/vmlinux --at __get_user_4+0x18
\b
For other programs:
  pagefault extable vmlinux --json | jq '.entries[].instruction.symbol'
  pagefault extable vmlinux --source -o table.parquet
\b
The whole of it:
  pagefault extable vmlinux --summary
  pagefault extable vmlinux --summary -o risk.svg
  pagefault extable vmlinux --audit
  pagefault extable vmlinux --audit -o findings.sarif
  pagefault extable --diff vmlinux-6.1 vmlinux-6.12
  pagefault extable --diff vmlinux-6.1 vmlinux-6.12 -o difference.html
"""


@click.command(epilog=EPILOG)
@click.argument("images", metavar="IMAGE", nargs=-1)
@click.option("--running", is_flag=True, help="The running kernel, for IMAGE (root only).")
@click.option("--system-map", metavar="FILE", help="Take symbols from this System.map (or a copy of /proc/kallsyms).")
@click.option("--at", "where", metavar="PLACE", help="Is this instruction covered? An address, or SYMBOL+OFFSET.")
@click.option("--summary", is_flag=True, help="Count entries by type, section, subsystem and function, with bars.")
@click.option("--audit", is_flag=True, help="Check the table and the code for what is wrong.")
@click.option("--diff", is_flag=True, help="Compare the tables of two images, OLD and NEW.")
@click.option("--function", metavar="NAME", multiple=True, help="Only entries in this function; NAME may be a pattern.")
@click.option("--type", "type_", metavar="NAME", multiple=True, help="Only entries with this handler type.")
@click.option("--section", metavar="NAME", multiple=True, help="Only entries on instructions in this section.")
@click.option("--table", metavar="NAME", multiple=True, help="Only entries of this table, if there are several.")
@click.option("--module", metavar="NAME", multiple=True, help="Only entries of this module, if there are several.")
@click.option("--sort", "order", type=click.Choice(list(ORDERS)), help="By what to sort; else as in the file.")
@click.option("--limit", type=click.IntRange(min=1), help="List this many entries at most.")
@click.option("--source", is_flag=True, help="Say where each instruction was written, from debug information.")
@click.option("--debug", metavar="FILE", help="Take source lines from this file of the same build; means --source.")
@click.option("--format", "form", type=click.Choice(ALL_FORMS), help="The form of the answer.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("-o", "--output", "path", metavar="FILE", help="Write to FILE; its name says the format.")
def extable(
    images: tuple[str, ...],
    running: bool,
    system_map: str | None,
    where: str | None,
    summary: bool,
    audit: bool,
    diff: bool,
    function: tuple[str, ...],
    type_: tuple[str, ...],
    section: tuple[str, ...],
    table: tuple[str, ...],
    module: tuple[str, ...],
    order: str | None,
    limit: int | None,
    source: bool,
    debug: str | None,
    form: str | None,
    as_json: bool,
    path: str | None,
) -> int:
    """
    List the exception table of a kernel IMAGE: the kernel's own list of the instructions that may touch an address
    nobody vouches for, and of where it goes on if one faults.

    IMAGE is a vmlinux, a boot image, a module, a folder /lib/modules/VERSION, a crash dump, /proc/kcore, or `small`:
    the kernel that ships with pagefault. What a file is, is seen from its content.

    NAME may be a pattern with *, ? and [abc]. An option for entries can be given several times: either will do.

    Formats: table, json, csv, parquet, arrow for a listing; table, json for --at; table, json, svg, png for --summary;
    table, json, sarif for --audit; table, json, html for --diff.

    Exit status: 0; 1 if the answer is no (--at: not covered; no entry is left; --audit: there are findings; --diff:
    they differ); 2 if it could not be done, or not for every module of a folder.
    """
    action = chosen_action(where is not None, summary, audit, diff)
    source = source or debug is not None
    names = {"function": function, "type": type_, "section": section, "table": table, "module": module}
    choice = Choice(names, order, limit)
    check(action, choice, source=source)
    if as_json and form not in (None, "json"):
        raise BadInput("--json", expected="no other --format beside it", got=f"--format {form}")
    output = Output.chosen(action, "json" if as_json else form, path)
    beside = Beside(system_map, debug)
    paths = chosen_images(images, beside, running=running, diff=diff)

    from . import extable_actions as actions

    if action == "audit":
        return actions.audit_image(paths[0], beside, output)
    # Without source lines, a summary cannot tell subsystems apart.
    lines = Source.YES if source else Source.IF_THERE if action == "summary" else Source.NO
    with working(f"reading {paths[0]}") as say:
        read: list[Opened] = []
        for each in paths:
            say(f"reading {each}")
            read.append(opened(each, beside, say, lines))
    match action:
        case "at":
            assert where is not None
            return actions.search(read[0], where, output)
        case "summary":
            return actions.summarize(read[0], choice, output)
        case "diff":
            return actions.compare(read[0], read[1], choice, output)
        case _:
            return actions.list_entries(read[0], choice, output, source=source)


def chosen_action(at: bool, summary: bool, audit: bool, diff: bool) -> str:
    """
    What is to be done, "list" if nothing else.

    Errors: BadInput for two things at once.
    """
    asked = [name for name, wanted in zip(ACTIONS, (at, summary, audit, diff), strict=True) if wanted]
    if len(asked) > 1:
        raise BadInput(f"--{asked[1]}", expected="one question at a time", got=f"--{asked[0]} beside it")
    return asked[0] if asked else "list"


def check(action: str, choice: Choice, *, source: bool) -> None:
    """Errors: BadInput for an option that means nothing for an action."""
    only_listing = (("sort", choice.order), ("limit", choice.limit))
    narrowing = tuple((name, choice.names[name]) for name in NAMED)
    useless = {
        "list": (),
        "at": (*narrowing, *only_listing),
        "summary": only_listing,
        "audit": (*narrowing, *only_listing, ("source", source)),
        "diff": only_listing,
    }[action]
    for name, given in useless:
        if given:
            raise BadInput(f"--{name}", expected=f"it without --{action}, where it means nothing", got="both")


def chosen_images(images: tuple[str, ...], beside: Beside, *, running: bool, diff: bool) -> tuple[str, ...]:
    """
    The files to open.

    Errors: BadInput if there are too few or too many.
    """
    paths = (*images, *(("/proc/kcore",) if running else ()))
    wanted = 2 if diff else 1
    if not paths and not diff:
        raise click.MissingParameter(ctx=click.get_current_context(), param_hint="'IMAGE'", param_type="argument")
    if len(paths) != wanted:
        expected = "two images, OLD and NEW" if diff else "one IMAGE (two are compared with --diff)"
        raise BadInput("IMAGE", expected=expected, got=str(len(paths)))
    for option, file in (("--system-map", beside.system_map), ("--debug", beside.debug)):
        if diff and file is not None:
            raise BadInput(option, expected="it without --diff: it belongs to one image", got="both")
    return paths


def place_address(where: str, symbols: SymbolTable) -> int:
    """
    The address that "0x…", a decimal number, sixteen bare hexadecimal digits, "symbol", or "symbol+0x9" means; also as
    an oops prints it, "symbol+0x9/0x20".
    """
    if re.fullmatch(r"0x[0-9a-fA-F]{1,16}|[0-9a-fA-F]{16}", where):
        return int(where, 16)
    if re.fullmatch(r"\d{1,20}", where) and int(where) < 1 << 64:
        return int(where)
    found = re.fullmatch(r"([A-Za-z_.$][^+/\s]*)(?:\+(0x[0-9a-fA-F]{1,16}|\d{1,20})(?:/\w+)?)?", where)
    if found is None:
        raise BadInput("--at", expected="an address below 2**64, or SYMBOL+OFFSET", got=repr(where))
    offset = found[2] or "0"
    return symbols.find(found[1]) + int(offset, 16 if offset.startswith("0x") else 10) & (1 << 64) - 1
