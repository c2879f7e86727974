"""
A scene, or one call, told as a story: what is being tried, every fault on the way from the instruction to the outcome,
and what came back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING, assert_never

from ..arch.architectures import architecture_of, architecture_with
from ..arch.x86 import CpuState
from ..machine.event import CallResult, Died, Returned, Stopped
from ..tables.symbols import SymbolTable
from .fault_story import Surroundings, fault_story
from .kernel_words import kernel_words
from .outcome import headline
from .page import PIPE_WIDTH, Line, Span, folded, prose
from .play import PlayToTell
from .returned import error_name, meaning, result_register, signed

if TYPE_CHECKING:
    from ..machine.machine import Machine

TOLD_IN_FULL = 12
"""Faults of one call that are told; of the others, only how many there were."""


def scene_story(play: PlayToTell) -> Iterator[Line]:
    """The whole scene."""
    title = f"{play.scene.name}: {play.scene.title}"
    yield (Span(title, "title"),)
    yield (Span("=" * min(len(title), PIPE_WIDTH), "title"),)
    yield ("cause    ", play.scene.cause)
    cpu = next((act.result.events[0].state for act in play.acts if act.result.events), play.machine.cpu.state())
    yield ("machine  ", f"{version_words(play.machine)}; {cpu_words(cpu)}")
    yield ()
    yield from prose(play.scene.about)
    around = Surroundings(play.machine.symbols)
    for number, act in enumerate(play.acts, 1):
        yield ()
        yield (Span(f"{number}. {act.text}", "strong"),)
        if act.result.events and cpu_words(act.result.events[0].state) != cpu_words(cpu):
            cpu = act.result.events[0].state
            yield (f"   on {cpu_words(cpu)}",)
        yield from call_story(act.result, replace(around, vmas=act.vmas))
        for sentence in act.after:
            yield from prose(sentence, indent=3)
    for remark in play.remarks:
        yield ()
        yield from prose(remark)


def version_words(machine: Machine) -> str:
    """Which kernel, and by which version's rules it handles faults if they are not its own."""
    version = machine.booted.image.version
    rules = "" if machine.profile.version == version else f" by the rules of {machine.profile}"
    return f"Linux {version[0]}.{version[1]}{rules}"


def cpu_words(cpu: CpuState) -> str:
    """The CPU's protections, those that are on and those that are not."""
    features = {"SMEP": cpu.smep, "SMAP": cpu.smap, "NX": cpu.nxe, "WP": cpu.wp}
    on, off = ([name for name, there in features.items() if there is wanted] for wanted in (True, False))
    text = f"a CPU with {', '.join(on)}" if on else "a CPU"
    text += f" and without {', '.join(off)}" if off else ""
    return text + f", {len(architecture_of(cpu).geometry(cpu).levels)}-level tables"


def legend() -> Iterator[Line]:
    """What the flags of an entry mean. Kernel: arch/x86/mm/dump_pagetables.c printk_prot(), v6.1."""
    yield (Span("flags of an entry", "strong"),)
    yield ("  USR user and kernel, SUP kernel only; RW writable, ro not; x executable, NX not; ACC accessed;",)
    yield ("  DRT dirty (written); GLB global; PSE a large page; PWT, PCD caching",)


def call_story(result: CallResult, around: Surroundings) -> Iterator[Line]:
    """The call, its faults, what the kernel printed, and how it ended."""
    yield ("   ", Span(call_text(result), "code"))
    previous = None
    for number, event in enumerate(result.events[:TOLD_IN_FULL], 1):
        yield ()
        text, style = headline(event.decision.outcome)
        count = f" {number} of {len(result.events)}" if len(result.events) > 1 else ""
        yield from folded(("   ", Span(f"{event.fault.trap}{count}", "strong"), ": ", Span(text, style)))
        yield from fault_story(event, around, previous)
        previous = event
    if len(result.events) > TOLD_IN_FULL:
        yield ()
        yield (f"   and {len(result.events) - TOLD_IN_FULL} faults more",)
    if oops := kernel_words(result):
        yield ()
        yield ("   ", Span("what the kernel prints:", "strong"))
        yield from ((f"     {line}",) for line in until_end_of_trace(oops))
    if result.events:
        yield ()
    yield from folded(("   ", *end_line(result, around.symbols)))


def until_end_of_trace(oops: Sequence[str]) -> Iterator[str]:
    """An oops without what it says twice: after its last line but one, it repeats RIP, code and registers."""
    for line in oops:
        yield line
        if "end trace" in line:
            yield "(and RIP, code and registers once more)"
            return


def call_text(result: CallResult) -> str:
    """
    The call as C would write it: arguments are those registers that are set without a gap from the first on; the others
    are named.
    """
    given = result.arguments
    in_order = list(takewhile(given.__contains__, architecture_with(result.registers).argument_registers))
    values = [argument_text(given[name]) for name in in_order]
    values += [f"{name} = {argument_text(value)}" for name, value in given.items() if name not in in_order]
    return f"{result.function}({', '.join(values)})"


def argument_text(value: int) -> str:
    """Small numbers in decimal, the rest as addresses."""
    number = signed(value)
    return str(number) if -4096 < number <= 4096 else f"{value:#x}"


def end_line(result: CallResult, symbols: SymbolTable) -> Line:
    """How the call ended."""
    match result.end:
        case Returned():
            return ("returned ", Span(returned_text(result), "strong"), "" if result.events else ", without a fault")
        case Died(outcome=outcome):
            text, style = headline(outcome)
            return ("did not return: ", Span(text + bug_words(result, text), style))
        case Stopped(why=why, at=at):
            return (Span("stopped: ", "bad"), f"{why}, at {symbols.format(at)}")
    assert_never(result.end)


def bug_words(result: CallResult, said: str) -> str:
    """What the kernel's BUG line calls the oops, in brackets, if that is not `said` already."""
    bug = next((line for line in kernel_words(result) if line.startswith("BUG: ")), "")
    name = re.split(r",? (?:for )?(?:address: |at [0-9a-f]{16})", bug.removeprefix("BUG: "))[0]
    reason = said.removeprefix("oops: ")
    return f" (the kernel says: {name})" if name and reason not in name else ""


def returned_text(result: CallResult) -> str:
    """The value that a call returned, with its meaning, and the register it is in if that is not rax."""
    form = architecture_with(result.registers)
    register = result_register(result.function, form)
    value = result.registers[register]
    what = meaning(result.function, value, result.arguments)
    error = error_name(value)
    number = error if error and error == what else argument_text(value)
    text = number if register == form.pt_regs["ax"] else f"{number} in {register}"
    if what != number and what:
        text += f" = {what}"
    if result.function.startswith("__get_user"):
        text += f", and the value {result.registers[form.pt_regs['dx']]:#x} in {form.pt_regs['dx']}"
    return text


def returned_briefly(result: CallResult) -> str:
    """The same in as few words as will do."""
    value = result.registers[result_register(result.function, architecture_with(result.registers))]
    said = meaning(result.function, value, result.arguments)
    return said or f"returned {argument_text(value)}"
