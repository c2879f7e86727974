"""`pagefault call`: one function of a kernel image."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import click

from ..errors import BadInput
from .expression import Region, place
from .progress import working

if TYPE_CHECKING:
    from ..machine.event import CallResult
    from ..machine.machine import Machine

DID_NOT_RETURN = 1
OLDEST, TOO_NEW = (3, 0), (7, 0)
"""Versions that --rules takes: from the first one on, before the second."""


EPILOG = r"""@B@
Memory is made in this order, and its names are good in arguments and places:
  --user NAME=SIZE           pages of the process: r, rw (default), rx, rwx or none;
                             populate (default: they are there) or lazy (they come with
                             the first touch); stack (grows down); at @ADDRESS
  --kernel-buffer NAME=SIZE  zeroed kernel memory
  --data PLACE=CONTENT       a text with \0 \n \t \\ \xNN, or hex:00ff, or @FILE
  --hole PLACE:LENGTH        takes whole user pages away again

@B@
A user copy that runs into a hole after 40 bytes, and returns the 24 bytes left:
  pagefault call vmlinux _copy_from_user dst src+1p-40 64 \
      --user src=2p --hole src+1p:1p --kernel-buffer dst=64 --show dst
get_user() of a bad pointer; a string that ends just in time:
  pagefault call vmlinux __get_user_4 rax=0x1000
  pagefault call vmlinux strncpy_from_user dst src:end-6 64 \
      --user src=1p --data 'src:end-6=/etc/\0' --kernel-buffer dst=64 --show dst:6
""".replace("@B@", "\b")


@click.command(context_settings={"ignore_unknown_options": True}, epilog=EPILOG)
@click.argument("image")
@click.argument("function")
@click.argument("arguments", metavar="[ARGUMENT]...", nargs=-1)
@click.option("--user", "users", metavar="NAME=SIZE[:OPTION]...[@ADDRESS]", multiple=True, help="Map user memory.")
@click.option("--kernel-buffer", "buffers", metavar="NAME=SIZE", multiple=True, help="Allocate kernel memory.")
@click.option("--data", metavar="PLACE=CONTENT", multiple=True, help="Fill memory: TEXT, hex:00ff or @FILE.")
@click.option("--hole", "holes", metavar="PLACE:LENGTH", multiple=True, help="Unmap whole pages again.")
@click.option("--show", "shows", metavar="PLACE[:LENGTH]", multiple=True, help="Show memory after the call.")
@click.option("--registers", "show_registers", is_flag=True, help="Show the registers after the call.")
@click.option("--features", metavar="LIST", help="The CPU's features: X86_FEATURE_ names in small letters, or `none`.")
@click.option("--rules", metavar="VERSION", help="Handle faults by another version's rules, such as 5.7.")
@click.option("--budget", type=click.IntRange(1), help="Instructions before it is given up.")
@click.option("--user-access", is_flag=True, help="Call with EFLAGS.AC set, as between STAC and CLAC.")
@click.option("--verbose", "-v", is_flag=True, help="Tell each fault as a story.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def call(
    image: str,
    function: str,
    arguments: tuple[str, ...],
    users: tuple[str, ...],
    buffers: tuple[str, ...],
    data: tuple[str, ...],
    holes: tuple[str, ...],
    shows: tuple[str, ...],
    show_registers: bool,
    features: str | None,
    rules: str | None,
    budget: int | None,
    user_access: bool,
    verbose: bool,
    as_json: bool,
) -> int:
    """
    Call one FUNCTION of a kernel IMAGE, and show what it returned and every fault on the way.

    IMAGE is a vmlinux, or `small`: the kernel that ships with pagefault.

    An ARGUMENT is a number (64, 0x40, -1, 4k, 2p for two pages), a region's start or end (dst, src:end-40, src+0xfd8)
    or a symbol of the kernel (init_task). Up to six go into rdi, rsi, rdx, rcx, r8 and r9; REGISTER=VALUE sets a
    register, for routines with a convention of their own.

    Exit status: 0 if the function returned, 1 if it did not (an oops, the budget, something that the machine does not
    have), 2 for bad input.
    """
    from ..arch.x86_eras import profile
    from ..images.vmlinux import Vmlinux
    from ..kernels import small_kernel
    from ..machine.boot import DEFAULT_FEATURES
    from ..machine.machine import DEFAULT_BUDGET, Machine
    from .memory_layout import lay_out, to_show
    from .run import feature_list

    kernel_profile = None if rules is None else profile(version(rules))
    on = DEFAULT_FEATURES if features is None else feature_list(features)
    with working(f"booting {image}"):
        opened = Vmlinux.open(small_kernel() if image == "small" else image)
        machine = Machine.boot(opened, features=on, kernel_profile=kernel_profile)
    regions = lay_out(machine, users, buffers, data, holes)
    shown = [(text, *to_show(machine, regions, text)) for text in shows]
    values, registers = given(arguments, machine, regions)
    check_is_code(machine, function)
    with working(f"running {function}"):
        result = machine.run(
            function,
            *values,
            budget=budget or DEFAULT_BUDGET,
            user_access=user_access,
            pagefault_disabled=False,
            **registers,
        )
    if as_json:
        tell_as_json(machine, result, regions, shown)
    else:
        tell(machine, result, regions, shown, show_registers, verbose)
    return 0 if is_return(result) else DID_NOT_RETURN


def version(text: str) -> tuple[int, int]:
    """(5, 7) of "5.7"."""
    from ..arch.x86_eras import NEWEST_READ

    read = ".".join(map(str, NEWEST_READ))
    found = re.fullmatch(r"(\d{1,2})\.(\d{1,3})", text)
    if not found:
        raise BadInput("--rules", expected="a kernel version, such as 5.7", got=repr(text))
    wanted = int(found[1]), int(found[2])
    if not OLDEST <= wanted < TOO_NEW:
        known = f"a version from {OLDEST[0]}.0 to {TOO_NEW[0] - 1}.x (the rules were read in sources up to {read})"
        raise BadInput("--rules", expected=known, got=text)
    return wanted


def given(arguments: tuple[str, ...], machine: Machine, regions: dict[str, Region]) -> tuple[list[int], dict[str, int]]:
    """The arguments' values in order, and the registers set by name."""
    general = machine.form.general_registers
    values: list[int] = []
    registers: dict[str, int] = {}
    for text in arguments:
        if text.partition("=")[0] in {name for option in call.params for name in option.opts if name[0] == "-"}:
            raise BadInput(f"argument {text}", expected="options before `--`", got="one after it")
        if text.startswith("--"):
            raise BadInput(f"option {text}", expected="one that `pagefault call --help` lists", got="an unknown one")
        name, equals, value = text.rpartition("=")
        number = place(value, regions, machine.symbols.find, f"argument {len(values) + len(registers) + 1}")
        if equals and name not in general:
            raise BadInput("register", expected=", ".join(general), got=repr(name))
        if equals:
            registers[name] = number
        else:
            values.append(number)
    return values, registers


def check_is_code(machine: Machine, function: str) -> None:
    """
    Refuse a symbol that is no code: not in an executable range of the image.

    Errors: BadInput, with the section that holds it; Absent if there is no such symbol.
    """
    image, address = machine.booted.image, machine.symbols.find(function)
    if not any(start <= address < end for start, end in image.executable):
        sections = (each for each in image.elf.sections if each.allocated)
        held = (each.name for each in sections if each.address <= address < each.address + len(each.data))
        where = next(held, "no section with contents")
        raise BadInput(f"function {function}", expected="a symbol of code", got=f"one at {address:#x}, in {where}")


def is_return(result: CallResult) -> bool:
    from ..machine.event import Returned

    return isinstance(result.end, Returned)


def tell(
    machine: Machine,
    result: CallResult,
    regions: dict[str, Region],
    shown: list[tuple[str, int, int]],
    show_registers: bool,
    verbose: bool,
) -> None:
    """Print memory, call, faults, end, and what else was asked for."""
    from ..report import call as report
    from ..report.explain import call_story
    from ..report.fault_story import Surroundings
    from ..report.hexdump import hexdump, memory
    from ..report.page import Page

    page = Page.of_stdout()
    if regions:
        rows = [
            (region.name, " ".join((region.kind, *region.options)), region.address, region.size)
            for region in regions.values()
        ]
        page.write(report.memory_table(rows), ())
    if verbose:
        page.write(*report.warnings(machine.log, result))
        page.write(*call_story(result, Surroundings(machine.symbols, tuple(machine.user.mm.vmas))))
    else:
        page.write(*report.call_summary(result, machine.symbols, machine.log))
    if show_registers:
        page.write((), report.registers(result.registers))
    for text, address, length in shown:
        page.write((), (text,), *hexdump(memory(machine, address, length)))


def tell_as_json(
    machine: Machine,
    result: CallResult,
    regions: dict[str, Region],
    shown: list[tuple[str, int, int]],
) -> None:
    """Print the document."""
    from ..report import as_json
    from ..report.hexdump import memory

    laid_out: list[dict[str, Any]] = [
        {
            "name": each.name,
            "kind": each.kind,
            "options": list(each.options),
            "start": as_json.bits(each.address),
            "size": each.size,
        }
        for each in regions.values()
    ]
    content = [
        {
            "place": text,
            "pieces": [
                {"address": as_json.bits(start), "hex": data.hex() if data is not None else None}
                for start, data in memory(machine, address, length)
            ],
        }
        for text, address, length in shown
    ]
    facts = {"image": machine.booted.image.path, "rules": str(machine.profile)}
    called = as_json.call(result, machine.symbols)
    told = {"call": called, "warnings": list(machine.log), "memory": laid_out, "shown": content}
    click.echo(json.dumps(as_json.document("call", **facts, **told), indent=2))
