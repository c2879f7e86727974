"""
A dump that another process reads: libkdumpfile maps the file, and dies of SIGBUS where it refers to what is past the
file's end. Dumps that a full disk has cut off do. Then it is that process that ends, and the reader is told.

    memory = DumpProcess("dump", DrgnMemory)
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import signal
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Protocol

from ..arch.platform import Platform, platform_of
from ..errors import BadInput, PagefaultError


class Memory(Protocol):
    """What is asked of a dump: its `platform`, the text of its VMCOREINFO ("" if it has none), its memory."""

    platform: Platform
    vmcoreinfo: str

    def read(self, address: int, length: int) -> bytes:
        """`length` bytes at a linear address. Errors: Absent if the dump does not hold them all."""


class DumpProcess:
    """The `Memory` that `opened(where)` returns, in a process of its own; it ends with this one, or with the object."""

    def __init__(self, where: str, opened: Callable[[str], Memory]) -> None:
        self.where = where
        context = multiprocessing.get_context("fork")
        self.connection, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, self.connection, where, opened), daemon=True)
        with warnings.catch_warnings():  # the forked process touches nothing of this one's threads
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
        theirs.close()
        machine, self.vmcoreinfo = self.answer()
        found = platform_of(*machine)
        assert found is not None, "it was one of ours"
        self.platform = found

    def read(self, address: int, length: int) -> bytes:
        """As `Memory.read`; and BadInput if reading ends the process."""
        try:
            self.connection.send((address, length))
        except OSError:
            raise self.broken() from None
        data: bytes = self.answer()
        return data

    def answer(self) -> Any:
        """What the process says. Errors: those it sends; BadInput if it has ended."""
        try:
            value, failed = self.connection.recv()
        except (EOFError, OSError):
            raise self.broken() from None
        if failed is not None:
            kind, arguments = failed
            raise kind(**arguments)
        return value

    def broken(self) -> BadInput:
        return BadInput(self.where, expected="a whole dump", got="one that ends the process that reads it (cut off?)")


def serve(connection: Connection, theirs: Connection, where: str, opened: Callable[[str], Memory]) -> None:
    """Runs in the other process: open, then answer until nobody asks any more."""
    theirs.close()
    faulthandler.disable()  # that this process may die is what it is for
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        memory = opened(where)
        machine = memory.platform.elf_machine, memory.platform.bits, memory.platform.byte_order
        connection.send(((machine, memory.vmcoreinfo), None))
        while True:
            address, length = connection.recv()
            try:
                connection.send((memory.read(address, length), None))
            except PagefaultError as error:
                connection.send((None, (type(error), vars(error))))
    except PagefaultError as error:
        connection.send((None, (type(error), vars(error))))
    except (EOFError, OSError):
        return
