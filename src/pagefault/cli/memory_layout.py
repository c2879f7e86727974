"""Guest memory, laid out on the command line."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import BadInput
from ..vocabulary.address import PAGE
from .expression import Region, number, place

if TYPE_CHECKING:
    from ..machine.machine import Machine

NAME = r"[A-Za-z_]\w*"
RIGHTS = ("r", "rw", "rx", "rwx", "w", "x", "none")
ESCAPES = {"0": b"\0", "n": b"\n", "t": b"\t", "\\": b"\\"}
MAX_DATA = 64 << 20
MAX_SHOWN = 1 << 20


def lay_out(
    machine: Machine, users: Sequence[str], buffers: Sequence[str], data: Sequence[str], holes: Sequence[str]
) -> dict[str, Region]:
    """
    Make the regions, fill them, take away the rights they are not to have, and cut the holes: the order in which a
    program would do it. Returns the regions by name.
    """
    regions: dict[str, Region] = {}
    rights: dict[str, str] = {}
    for text in users:
        region, letters = user_region(machine, text)
        add(regions, region)
        rights[region.name] = letters
    for text in buffers:
        add(regions, kernel_buffer(machine, text))
    for text in data:
        fill(machine, regions, text)
    for name, letters in rights.items():
        machine.user.mprotect(regions[name].address, regions[name].size, letters)
    for text in holes:
        cut_hole(machine, regions, text)
    return regions


def add(regions: dict[str, Region], region: Region) -> None:
    if region.name in regions:
        raise BadInput("region", expected="a name of its own for each region", got=f"{region.name!r} twice")
    regions[region.name] = region


def user_region(machine: Machine, text: str) -> tuple[Region, str]:
    """
    Map NAME=SIZE[:RIGHTS][:lazy|:populate][:stack][@ADDRESS] in the current process, readable and writable; returns the
    rights it is to have in the end too.
    """
    found = re.fullmatch(rf"({NAME})=([^:@]+)((?::[^:@]+)*)(?:@(.+))?", text)
    if not found:
        form = "NAME=SIZE[:RIGHTS][:lazy|:populate][:stack][@ADDRESS]"
        raise BadInput("--user", expected=f"{form}, such as src=2p:rw:lazy", got=repr(text))
    name, size, options, where = found.groups()
    rights, populate, stack = "rw", True, False
    for option in options.split(":")[1:]:
        if option in RIGHTS:
            rights = option
        elif option in ("lazy", "populate"):
            populate = option == "populate"
        elif option == "stack":
            stack = True
        else:
            known = f"{', '.join(RIGHTS)}, lazy, populate or stack"
            raise BadInput(f"--user {name}", expected=f"an option of {known}", got=repr(option))
    length = number(size, f"--user {name}")
    address = machine.user.mmap(
        length,
        address=None if where is None else number(where, f"--user {name}"),
        populate=populate,
        grows_down=stack,
        name=f"[{name}]",
    )
    shown = (rights, *(["lazy"] if not populate else []), *(["stack"] if stack else []))
    return Region(name, "user", address, length + PAGE - 1 & -PAGE, shown), rights


def kernel_buffer(machine: Machine, text: str) -> Region:
    """kmalloc NAME=SIZE."""
    name, equals, size = text.partition("=")
    if not equals or not re.fullmatch(NAME, name):
        raise BadInput("--kernel-buffer", expected="NAME=SIZE, such as dst=64", got=repr(text))
    length = number(size, f"--kernel-buffer {name}")
    return Region(name, "kernel", machine.kmalloc(length), length)


def fill(machine: Machine, regions: dict[str, Region], text: str) -> None:
    """Write PLACE=CONTENT."""
    where, equals, content = text.partition("=")
    if not equals:
        raise BadInput("--data", expected="PLACE=TEXT, PLACE=hex:… or PLACE=@FILE", got=repr(text))
    address = place(where, regions, machine.symbols.find, "--data") & (1 << 64) - 1
    data = content_bytes(content)
    region = regions.get(re.split("[:+-]", where)[0])
    if region and not region.address <= address <= region.end - len(data):
        inside = f"bytes inside region {region.name}, which has {region.size}"
        raise BadInput(f"--data {where}", expected=inside, got=f"{len(data)} from {address - region.address} on")
    machine.write(address, data)


def content_bytes(content: str) -> bytes:
    r"""The bytes of `hex:00ff`, of `@FILE`, or of a text in UTF-8, with the escapes \0 \n \t \\ \xNN."""
    if content.startswith("hex:"):
        try:
            return bytes.fromhex(content.removeprefix("hex:"))
        except ValueError:
            raise BadInput("--data", expected="pairs of hexadecimal digits after hex:", got=repr(content)) from None
    if content.startswith("@"):
        return file_bytes(content[1:])
    pieces = re.split(r"\\(x[0-9a-fA-F]{2}|.|$)", content, flags=re.DOTALL)
    text, escapes = pieces[::2], pieces[1::2]
    done = text[0].encode("utf-8", "surrogateescape")
    for escape, after in zip(escapes, text[1:], strict=True):
        if len(escape) != 3 and escape not in ESCAPES:
            raise BadInput("--data", expected=r"an escape of \0, \n, \t, \\ and \xNN", got=f"\\{escape} in {content!r}")
        done += ESCAPES[escape] if escape in ESCAPES else bytes([int(escape[1:], 16)])
        done += after.encode("utf-8", "surrogateescape")
    return done


def file_bytes(path: str) -> bytes:
    """What a file holds, up to MAX_DATA bytes. Nobody is waited for: a pipe or a device is refused."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BadInput(path, expected="a regular file", got="a directory, pipe, socket or device")
            data = file.read(MAX_DATA + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise BadInput(path, expected="a readable file", got=reason) from None
    if len(data) > MAX_DATA:
        raise BadInput(path, expected=f"at most {MAX_DATA >> 20} MiB", got="more")
    return data


def cut_hole(machine: Machine, regions: dict[str, Region], text: str) -> None:
    """munmap PLACE:LENGTH."""
    where, length = place_and_length(text, "--hole")
    if length is None:
        raise BadInput("--hole", expected="PLACE:LENGTH, such as src+1p:1p", got=repr(text))
    machine.user.munmap(place(where, regions, machine.symbols.find, "--hole"), length)


def place_and_length(text: str, what: str) -> tuple[str, int | None]:
    """PLACE:LENGTH taken apart; the colon of `NAME:end` belongs to the place."""
    where, colon, length = text.rpartition(":")
    if not colon or length.startswith("end"):
        return text, None
    return where, number(length, what)


def to_show(machine: Machine, regions: dict[str, Region], text: str) -> tuple[int, int]:
    """Address and length of PLACE[:LENGTH]; of a region alone, all of it, of another place 64 bytes."""
    where, length = place_and_length(text, "--show")
    if length is None:
        length = regions[where].size if where in regions else 64
    if length > MAX_SHOWN:
        raise BadInput(f"--show {where}", expected=f"at most {MAX_SHOWN >> 20} MiB", got=f"{length} bytes")
    return place(where, regions, machine.symbols.find, "--show") & (1 << 64) - 1, length
