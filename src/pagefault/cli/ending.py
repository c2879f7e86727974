"""How a command ends: its exit status, and one line on standard error if something was wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from ..errors import PagefaultError, one_line

BAD_INPUT = 2
INTERRUPTED = 130
BROKEN_PIPE = 141
"""What a shell says of a program that SIGINT or SIGPIPE ended."""


class Commands(click.Group):
    """
    A group whose commands may raise PagefaultError and return their exit status.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """
        Run the command. Standard output is flushed here: a reader who went away (`| head`) is noticed while we can
        still be quiet, and before click does, which would say 1.
        """
        try:
            status = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            self.give_up_output()
            return BROKEN_PIPE
        return status

    @staticmethod
    def give_up_output() -> None:
        """Python flushes standard output once more when it exits: give it somewhere to go."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        status = self.ending(args, prog_name or "pagefault", complete_var, **extra)
        if standalone_mode:
            sys.exit(status)
        return status

    def ending(self, args: Sequence[str] | None, prog_name: str, complete_var: str | None, **extra: Any) -> int:
        """Run the command; returns the exit status."""
        if sys.stdout is None:
            return complain("standard output: it is closed")
        try:
            status = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except PagefaultError as error:
            return complain(str(error))
        except click.UsageError as error:
            hint = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
            return complain(error.format_message().rstrip(".") + hint)
        except click.ClickException as error:
            return complain(error.format_message())
        except (KeyboardInterrupt, click.Abort):
            return INTERRUPTED
        except OSError as error:
            if error.filename is not None:
                raise
            # Writing failed: files are read by rooms that turn their errors into ours.
            self.give_up_output()
            return complain(f"standard output: {error.strerror or error}")
        return status if isinstance(status, int) else 0


def complain(message: str) -> int:
    """Say what was wrong, in one line."""
    click.echo(f"pagefault: {one_line(message)}", err=True)
    return BAD_INPUT
