"""
The loop: the CPU runs until an access is refused, the handler decides, the effects are applied, the CPU goes on.

This is the one file in which decisions become changes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from ..arch import x86
from ..arch.architectures import architecture_of
from ..arch.x86 import CpuState
from ..arch.x86_instruction import writes_what_it_reads
from ..errors import BadInput
from ..handler import handle_exception
from ..handler.handle_mm_fault import handle_mm_fault
from ..vocabulary.access import Access, AccessKind
from ..vocabulary.address import PAGE
from ..vocabulary.effect import (
    CopyFrame,
    Effect,
    FlushPage,
    GrowStack,
    ResetFpu,
    SetRegister,
    TakeFrame,
    Warn,
    WriteEntry,
    ZeroFrame,
)
from ..vocabulary.fault import Fault
from ..vocabulary.outcome import FixedUp, Oops, OutOfMemory, Signal
from ..vocabulary.walk import NonCanonical, Walk
from .cpu import Arrived, Halted, MemoryFault, OutOfBudget, Reached, Trapped
from .event import CallEnd, CallResult, Died, FaultEvent, Returned, Stopped
from .oops import oops_of
from .process import Process

if TYPE_CHECKING:
    from .machine import Machine

SAME_FAULT_LIMIT = 8
"""A fault that comes back this often with the very same registers will come back for ever."""
FAULT_LIMIT = 50_000
"""Each fault is remembered whole, in about 8 KiB."""


def run_call(machine: Machine, function: str, arguments: dict[str, int], start: int, budget: int) -> CallResult:
    """
    Run from `start` until the function returns, dies, or will not get on.

    `budget` bounds its instructions, FAULT_LIMIT its faults.
    """
    events: list[FaultEvent] = []
    last: FaultEvent | None = None
    pc, repeated, executed = start, 0, 0
    while True:
        stop = machine.cpu.run(pc, machine.return_address, budget - executed)
        executed += machine.cpu.executed
        match stop:
            case Reached():
                end: CallEnd = Returned(machine.cpu.read(machine.names["ax"]))
            case MemoryFault() | Trapped(vector=x86.TRAP_GP):
                event = take(machine, stop)
                if isinstance(event, FaultEvent):
                    repeated = repeated + 1 if last and same_again(last, event) else 0
                    last = event
                    events.append(event)
                    pc = event.registers_after[machine.names["ip"]]
                ended = event if isinstance(event, Stopped) else consequence(event, repeated, len(events))
                if ended is None:
                    continue
                end = ended
            case Trapped(vector=vector, meaning=meaning):
                end = Stopped(
                    f"the CPU raised exception {vector} ({meaning}), which this machine does not serve", pc_of(machine)
                )
            case Arrived(address=address):
                end = Stopped(f"this machine has no {machine.gates[address]}", address)
            case OutOfBudget():
                end = Stopped(f"out of budget: {budget} instructions without a return", pc_of(machine))
            case Halted(why=why):
                end = Stopped(why, pc_of(machine))
            case _:
                assert_never(stop)
        # Differs: what a 32-bit kernel prints is not written yet.
        printed = last is not None and is_oops(end) and machine.form.bits == 64
        oops = oops_of(machine, last) if last is not None and printed else None
        return CallResult(function, arguments, end, tuple(events), machine.cpu.registers(), executed, oops)


def is_oops(end: CallEnd) -> bool:
    """Did it end in an oops? A panic prints something else."""
    return isinstance(end, Died) and isinstance(end.outcome, Oops) and not end.outcome.reason.startswith("Kernel panic")


def pc_of(machine: Machine) -> int:
    return machine.cpu.read(machine.names["ip"])


def same_again(last: FaultEvent, event: FaultEvent) -> bool:
    """Did the same instruction fault in the same way with the same registers?"""
    return last.fault == event.fault


def consequence(event: FaultEvent, repeated: int, faults: int) -> CallEnd | None:
    """What a decided fault means for the call: None to go on."""
    outcome = event.decision.outcome
    if isinstance(outcome, Oops | Signal):
        return Died(outcome)
    if isinstance(outcome, OutOfMemory):
        return Stopped(f"out of memory: {outcome.needed} frames needed", event.fault.ip)
    if repeated >= SAME_FAULT_LIMIT:
        return Stopped(f"no progress: the same fault came back {repeated} times", event.fault.ip)
    if faults >= FAULT_LIMIT:
        return Stopped(f"out of budget: {faults} faults without a return", event.fault.ip)
    return None


def take(machine: Machine, stop: MemoryFault | Trapped) -> FaultEvent | Stopped:
    """A #PF or #GP: over an access that our MMU refused, or raised by the CPU itself."""
    if isinstance(stop, MemoryFault):
        return take_fault(machine, stop)
    return take_general_protection(machine, stop.error_code)


def take_fault(machine: Machine, stop: MemoryFault) -> FaultEvent | Stopped:
    """
    One refused access: build the fault the CPU raises, and have it decided.
    """
    form, registers = architecture_of(stop.state), machine.cpu.registers()
    ip = registers[form.pt_regs["ip"]]
    code = machine.read_code(ip)
    access = stop.access
    if access.kind is AccessKind.READ and writes_what_it_reads(code, access.address, registers, form.bits):
        access = replace(access, kind=AccessKind.WRITE)
    fault = form.fault(stop.walk, access, stop.state, registers)
    if fault is None:
        physical = getattr(stop.walk.end, "physical", 0)
        return Stopped(f"{access.address:#x} is mapped to physical {physical:#x}, where there is no RAM", ip)
    stale = machine.mmu.holds(access.address)
    if fault.address is not None:
        machine.cpu.write("cr2", fault.address)
        machine.mmu.drop(fault.address)
    return decide(machine, fault, stop.state, code, access, stop.walk, stale=stale)


def take_general_protection(machine: Machine, error_code: int) -> FaultEvent:
    """A #GP that the CPU raised over something other than an address: only the exception table can help."""
    registers, state = machine.cpu.registers(), machine.cpu.state()
    fault = architecture_of(state).general_protection(registers, error_code)
    return decide(machine, fault, state, machine.read_code(fault.ip), None, Walk(0, state.root, (), NonCanonical()))


def decide(
    machine: Machine,
    fault: Fault,
    state: CpuState,
    code: bytes,
    access: Access | None,
    before: Walk,
    *,
    stale: bool = False,
) -> FaultEvent:
    """Let the handler decide, apply what it says, and remember it all."""
    context = machine.context(state)
    decision = handle_exception(fault, context)
    for effect in decision.effects:
        apply(machine, machine.current, effect)
    if isinstance(decision.outcome, FixedUp):
        machine.cpu.write(machine.names["ip"], decision.outcome.landing)
    event = FaultEvent(
        access=access,
        fault=fault,
        state=state,
        code=code,
        before=before,
        decision=decision,
        after=before if access is None else context.walk(access.address),
        registers_after=machine.cpu.registers(),
        task=(machine.current.task.comm, machine.current.task.pid),
        stale=stale,
    )
    machine.events.append(event)
    if isinstance(decision.outcome, Oops):
        machine.die_counter += 1
        machine.first_oops = machine.first_oops or event
    return event


def apply(machine: Machine, process: Process, effect: Effect) -> None:
    """Carry out one effect."""
    match effect:
        case TakeFrame(frame=frame):
            machine.frames.take(frame)
        case ZeroFrame(frame=frame):
            machine.ram.fill(frame, PAGE)
        case CopyFrame(source=source, frame=frame):
            machine.ram.write(frame, machine.ram.read(source, PAGE) or b"")
        case WriteEntry(physical=physical, value=value, size=size):
            machine.ram.write_entry(physical, value, size)
        case FlushPage():
            machine.cpu.flush()
        case GrowStack(old_start=old, new_start=new):
            vma = process.mm.vmas.vma_lookup(old)
            if vma is not None:
                process.mm.vmas.replace(vma, replace(vma, start=new))
        case SetRegister(name=name, value=value):
            machine.cpu.write(name, value)
        case ResetFpu():
            machine.cpu.reset_fpu()
        case Warn(text=text):
            machine.log.append(text)
        case _:
            assert_never(effect)


def fault_in(machine: Machine, process: Process, address: int, write: bool) -> None:
    """
    Bring one page of a process in, as get_user_pages() would: by the fault handler's own decision, without a CPU.

    Kernel: mm/gup.c faultin_page(), v6.1.
    """
    state = machine.cpu.state()
    vma = process.mm.vmas.vma_lookup(address)
    if vma is None:
        raise BadInput("user address", expected="one inside a mapped area", got=f"{address:#x}")
    wanted = Fault("#PF", x86.TRAP_PF, 0, address, 0, {}, user_mode=True, write=write)
    answer = handle_mm_fault(wanted, machine.context(state), process.mm, vma, ())
    if isinstance(answer.outcome, OutOfMemory):
        raise BadInput("user page", expected="a free frame of RAM to put it in", got="none left; boot with more RAM")
    for effect in answer.effects:
        apply(machine, process, effect)
