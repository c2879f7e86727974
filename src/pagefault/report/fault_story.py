"""One fault, told from the instruction to the state after."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from ..arch import x86
from ..arch.architectures import architecture_of
from ..arch.x86_instruction import decode
from ..handler.decision import Step
from ..machine.event import FaultEvent
from ..tables.symbols import SymbolTable
from ..vocabulary.access import Access, AccessKind
from ..vocabulary.effect import Effect, GrowStack, WriteEntry
from ..vocabulary.entry import Entry
from ..vocabulary.fault import Fault
from ..vocabulary.outcome import Oops, Signal
from ..vocabulary.vma import Vma
from ..vocabulary.walk import Mapped, NonCanonical, NotPresent, Reserved, Unreadable, Walk
from .effect import flags_of, register_value
from .outcome import consequences, headline
from .page import Line, Span, folded
from .place import in_low_half, what_is_at

LABEL, INDENT = 14, 5
ERROR_BITS = (
    (x86.PF_PROT, "P", "present", "not present"),
    (x86.PF_WRITE, "W", "a write", "no write"),
    (x86.PF_USER, "U", "user", "supervisor"),
    (x86.PF_RSVD, "RSVD", "reserved bit", ""),
    (x86.PF_INSTR, "I", "fetch", ""),
    (x86.PF_PK, "PK", "protection key", ""),
)
"""Bit, the manual's name, and what 1 and 0 say. Manual: Intel SDM vol. 3A, 4.7."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """
    What a fault is told against: the kernel's symbols, the process's areas. `cited` collects the citations that were
    given: each is given once.
    """

    symbols: SymbolTable
    vmas: Sequence[Vma] = ()
    cited: set[str] = field(default_factory=set)


def fault_story(event: FaultEvent, around: Surroundings, previous: FaultEvent | None = None) -> Iterator[Line]:
    """The fault as lines. What is as it was at the `previous` fault of the same call is told in fewer words."""
    yield from beside("instruction", instruction(event, around.symbols))
    yield from beside("access", access(event, around))
    yield from beside("walk", walk_lines(event))
    yield from beside("error code", error_code(event.fault, brief=previous is not None))
    yield from beside("handler", trail(event, previous, around.cited))
    text, style = headline(event.decision.outcome)
    yield from beside("outcome", [(Span(text, style),), *((line,) for line in consequences(event, around.symbols))])
    yield from beside("state after", after(event))


def beside(label: str, lines: Iterable[Line]) -> Iterator[Line]:
    """Lines beside a label, which stands at the first one."""
    for line in lines:
        yield from folded((" " * INDENT, Span(label.ljust(LABEL), "strong"), *line))
        label = ""


def instruction(event: FaultEvent, symbols: SymbolTable) -> Iterator[Line]:
    """The faulting instruction: AT&T text, its bytes, its place."""
    decoded = decode(event.code, architecture_of(event.state).bits)
    if decoded is not None:
        yield (Span(decoded.text, "code"), Span(f"    # {event.code[: decoded.length].hex(' ')}", "quiet"))
    named = f"{symbols.format(event.fault.ip)}, " if symbols.at(event.fault.ip) else ""
    yield (f"at {named}{event.fault.ip:#x}",)
    if event.access is not None and event.access.kind is AccessKind.FETCH:
        yield ("this is where the kernel went; it could not be fetched, so it was not executed",)
    elif decoded is None:
        yield ("its bytes are no instruction: " + (event.code.hex(" ") or "they cannot be read"),)


def access(event: FaultEvent, around: Surroundings) -> Iterator[Line]:
    """The access in words, and what lies at its address."""
    if event.access is None:
        yield ("no memory: the CPU objects to something else, such as a selector",)
        return
    yield (f"{access_words(event.access)} {event.access.address:#x}",)
    vmas = [before_growth(vma, event.decision.effects) for vma in around.vmas]
    yield (what_is_at(event.access.address, event.state, around.symbols, vmas, event.before),)
    low_half = in_low_half(event.access.address, event.state)
    if low_half and event.state.smap and not event.access.user and event.access.kind is not AccessKind.FETCH:
        yield ("EFLAGS.AC is " + ("set: between STAC and CLAC" if event.state.ac else "clear: no STAC was executed"),)


def before_growth(vma: Vma, effects: Sequence[Effect]) -> Vma:
    """A stack's area as it was before the handler let it grow (the areas we are given are those after the call)."""
    for effect in effects:
        if isinstance(effect, GrowStack) and vma.start <= effect.new_start and vma.grows_down:
            return replace(vma, start=effect.old_start)
    return vma


def access_words(wanted: Access) -> str:
    """Who wants what: "the kernel writes", "user code fetches from"."""
    who = "user code" if wanted.user else "the kernel"
    verb = {AccessKind.READ: "reads", AccessKind.WRITE: "writes to", AccessKind.FETCH: "fetches an instruction from"}
    return f"{who} {verb[wanted.kind]}"


def walk_lines(event: FaultEvent) -> Iterator[Line]:
    """
    Every entry read, decoded, and how the walk ended. If a TLB held another translation than the tables', that one
    faulted: then both.
    """
    walk = event.before
    if event.access is None:
        yield ("none: no address is at fault",)
        return
    if event.stale:
        yield ("the translation this CPU's TLB still holds",)
    elif not isinstance(walk.end, NonCanonical):
        yield (f"from cr3 = {walk.root:#x}",)
    yield from entry_lines(walk.entries, event)
    yield (Span(walk_end(walk, event), "strong"),)
    if event.stale:
        yield ("the tables now hold",)
        yield from entry_lines(changed_entries(event) or event.after.entries[-1:], event)


def entry_lines(entries: Sequence[Entry], event: FaultEvent) -> Iterator[Line]:
    """Entries in columns: name, where it lies, what it holds, what that says."""
    names = [f"{entry.level}[{entry.index}]" for entry in entries]
    places = [f"{entry.physical:#x}" for entry in entries]
    values = [f"{entry.value:#x}" for entry in entries]
    widths = [max(map(len, column), default=0) for column in (names, places, values)]
    for entry, name, place, value in zip(entries, names, places, values, strict=True):
        columns = f"{name.ljust(widths[0])} at {place.rjust(widths[1])} = {value.rjust(widths[2])} -> "
        yield (columns, Span(flags_of(entry, event.state), "code"))


def walk_end(walk: Walk, event: FaultEvent) -> str:
    """How the walk ended, and which permission was lacking if it led to memory."""
    match walk.end:
        case Mapped() as mapped:
            broken = (
                None
                if event.access is None
                else architecture_of(event.state).violation(mapped, event.access, event.state)
            )
            page = f"it maps physical {mapped.physical:#x} ({size_words(mapped.page_size)} page)"
            return f"{page}; refused: {broken.rule}" if broken else f"{page} and permits the access"
        case NotPresent(level=level):
            return f"ends here: the {level} entry is not present"
        case Reserved(level=level, bits=bits):
            return f"ends here: the {level} entry has reserved bits set ({bits:#x})"
        case NonCanonical():
            return "none: the CPU walks no tables for a non-canonical address"
        case Unreadable(level=level, physical=physical):
            return f"ends here: the {level} entry at {physical:#x} is outside of RAM"
    assert_never(walk.end)


def size_words(size: int) -> str:
    """4 KiB, 2 MiB, 1 GiB."""
    for shift, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >> shift:
            return f"{size >> shift} {unit}"
    return f"{size} bytes"


def error_code(fault: Fault, *, brief: bool) -> Iterator[Line]:
    """The error code in words and, unless `brief`, bit by bit."""
    code = f"0x{fault.error_code:04x}"
    if fault.trap != "#PF":
        yield (f"{code}: no segment selector was involved (and a {fault.trap} reports no address)",)
        return
    names = " + ".join(name for bit, name, _, _ in ERROR_BITS if fault.error_code & bit)
    wanted = "write" if fault.write else "instruction fetch" if fault.fetch else "read"
    who = "user" if fault.from_user else "supervisor"
    why = "protection violation" if fault.protection else "not present"
    yield (f"{code}{' = ' if names else ''}{names}: {who} {wanted}, {why}",)
    if not brief:
        bits = ((name, *((one, 1) if fault.error_code & bit else (zero, 0))) for bit, name, one, zero in ERROR_BITS)
        yield (Span("  ".join(f"{name}={value} {words}".rstrip() for name, words, value in bits), "quiet"),)


def trail(event: FaultEvent, previous: FaultEvent | None, cited: set[str]) -> Iterator[Line]:
    """Each question with its answer, the reason, and, the first time, where the kernel asks it."""
    steps = event.decision.trail
    same = 0 if previous is None else shared_start(steps, previous.decision.trail)
    if same > 1:
        yield (f"the first {same} questions and answers are those of the last fault",)
        steps = steps[same:]
    for step in steps:
        answer, _, because = step.answer.partition(": ")
        yield (Span(answer.ljust(5), "good" if answer == "yes" else "quiet"), step.question)
        if because:
            yield ("       ", f"because {because}")
        if step.function not in cited:
            yield ("       ", Span(step.citation, "quiet"))
            cited.add(step.function)


def shared_start(these: Sequence[Step], those: Sequence[Step]) -> int:
    """How many steps two trails have in common from the start."""
    for count, (this, that) in enumerate(zip(these, those, strict=False)):
        if this != that:
            return count
    return min(len(these), len(those))


def after(event: FaultEvent) -> Iterator[Line]:
    """The entries that are different now, and the registers."""
    written = not event.stale or any(isinstance(effect, WriteEntry) for effect in event.decision.effects)
    if written and (changed := changed_entries(event)):
        yield ("the walk is now",)
        yield from entry_lines(changed, event)
        if isinstance(event.after.end, Mapped):
            yield (walk_end(event.after, event),)
    elif event.before.entries:
        yield ("the page tables are as they were",)
    registers, ip = event.fault.registers, architecture_of(event.state).pt_regs["ip"]
    moved = [
        f"{name} {registers[name]:#x} -> {register_value(value)}"
        for name, value in event.registers_after.items()
        if name in registers and name not in (ip, "cr2") and value != registers[name]
    ]
    if moved:
        yield ("registers: ", "; ".join(moved))
    elif not isinstance(event.decision.outcome, Oops | Signal):
        yield ("registers: none changed" + (f", but for {ip}" if jumped(event) else ""),)


def changed_entries(event: FaultEvent) -> list[Entry]:
    """The entries of the walk after that are not as the walk before has them."""
    before = {(entry.level, entry.physical): entry.value for entry in event.before.entries}
    return [entry for entry in event.after.entries if before.get((entry.level, entry.physical)) != entry.value]


def jumped(event: FaultEvent) -> bool:
    """Does execution go on somewhere else than at the faulting instruction?"""
    return event.registers_after[architecture_of(event.state).pt_regs["ip"]] != event.fault.ip
