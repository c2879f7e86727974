"""The command line: one file a command."""

from __future__ import annotations

import click

from .. import __version__
from .call import call
from .ending import Commands
from .exec import exec_
from .extable import extable
from .run import run


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="pagefault")
def main() -> None:
    """
    The Linux kernel's page-fault path, executable.

    Runs kernel code on an emulated x86-64 CPU over real page tables, and handles every fault the way Linux does.

    Exit status: 0 all went well; 1 the answer is no (a function did not return, an address is not covered); 2 the
    input was bad, and standard error says what and where.
    """


main.add_command(run)
main.add_command(call)
main.add_command(extable)
main.add_command(exec_)
