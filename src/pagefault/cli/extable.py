"""`pagefault extable`: an image's exception table, or one search in it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import click

from ..errors import BadInput

if TYPE_CHECKING:
    from ..images.vmlinux import Vmlinux
    from ..tables.symbols import SymbolTable

NOT_COVERED = 1


EPILOG = """\b
Examples:
  pagefault extable vmlinux
  pagefault extable vmlinux --at __get_user_4+0x18
  pagefault extable vmlinux --at 0xffffffff81a5b2c3
"""


@click.command(epilog=EPILOG)
@click.argument("image")
@click.option(
    "--at", "where", metavar="PLACE", help="Search for one instruction: an address, or SYMBOL+OFFSET (0x9 or 9)."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def extable(image: str, where: str | None, as_json: bool) -> int:
    """
    List the exception table of a kernel IMAGE, or search it.

    IMAGE is a vmlinux with section headers or symbols, or `small`: the kernel that ships with pagefault.

    Exit status: 0, also if the instruction is covered; 1 if it is not; 2 for bad input.
    """
    from ..images.vmlinux import Vmlinux
    from ..kernels import small_kernel

    opened = Vmlinux.open(small_kernel() if image == "small" else image)
    if where is None:
        list_table(opened, as_json)
        return 0
    return search_table(opened, where, as_json)


def list_table(image: Vmlinux, as_json: bool) -> None:
    """Print the whole table."""
    from ..report import exception_table as report
    from ..report.page import Page

    table, symbols = image.exception_table, image.symbols
    entries = list(table)
    if as_json:
        from ..report.as_json import document, exception_entry, table_facts

        decoded = [exception_entry(entry, symbols) for entry in entries]
        click.echo(json.dumps(document("extable", **table_facts(table), entries=decoded), indent=2))
        return
    page = Page.of_stdout()
    page.write(*report.about(table), (), report.listing(entries, symbols))


def search_table(image: Vmlinux, where: str, as_json: bool) -> int:
    """Print what the table says about one address; returns the exit status."""
    from ..arch.x86_exception_types import BY_NAME
    from ..report import exception_table as report
    from ..report.page import Page

    table, symbols = image.exception_table, image.symbols
    address = place_address(where, symbols)
    entry = table.search(address)
    near = report.neighbours(table, address)
    if as_json:
        from ..report.as_json import document, exception_entry, place, table_facts

        found = {
            "at": place(address, symbols),
            "covered": entry is not None,
            "entry": exception_entry(entry, symbols) if entry else None,
            "neighbours": [exception_entry(each, symbols) for each in near],
        }
        click.echo(json.dumps(document("extable", **table_facts(table), **found), indent=2))
    else:
        page = Page.of_stdout()
        page.write(*report.verdict(address, entry, symbols, BY_NAME[entry.type].meaning if entry else ""))
        page.write((), ("the entries around it",), report.listing(near, symbols))
    return 0 if entry else NOT_COVERED


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
