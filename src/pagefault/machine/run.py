"""
The loop: the CPU runs until an access is refused, the handler decides, the effects are applied, the CPU goes on.

Here decisions become changes of the CPU; their effects on memory are carried out by `mm.apply`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from ..arch import x86
from ..arch.architectures import architecture_of
from ..arch.x86 import CpuState
from ..arch.x86_instruction import writes_what_it_reads
from ..handler import handle_exception
from ..mm.apply import apply as apply_to_memory
from ..tables.pagetable import walk
from ..vocabulary.access import Access, AccessKind
from ..vocabulary.effect import Effect, ResetFpu, SetRegister, Warn
from ..vocabulary.fault import Fault
from ..vocabulary.outcome import FixedUp, Oops, OutOfMemory, Retry, Signal
from ..vocabulary.vm_fault import VmFault
from ..vocabulary.walk import NonCanonical, Walk
from .cpu import Arrived, Halted, MemoryFault, OutOfBudget, Reached, SystemCall, Trapped
from .event import CallEnd, CallResult, Died, FaultEvent, HandledFault, Returned, Stopped
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

    `budget` bounds its instructions, FAULT_LIMIT the faults that are remembered. A machine that does not remember its
    faults keeps only the one that the function died of.
    """
    events: list[FaultEvent] = []
    last: HandledFault | None = None
    pc, repeated, executed, instruction_pointer = start, 0, 0, machine.names["ip"]
    while True:
        stop = machine.cpu.run(pc, machine.return_address, budget - executed)
        executed += machine.cpu.executed
        match stop:
            case Reached():
                end: CallEnd = Returned(machine.cpu.read(machine.names["ax"]))
            case MemoryFault() | Trapped(vector=x86.TRAP_GP):
                stale = isinstance(stop, MemoryFault) and machine.mmu.holds(stop.access.address)
                handled = take(machine, stop, machine.cpu.registers())
                if isinstance(handled, Stopped):
                    end = handled
                else:
                    repeated = repeated + 1 if last and last.fault == handled.fault else 0
                    last, outcome = handled, handled.decision.outcome
                    before = handled.fault.registers[instruction_pointer]
                    pc = outcome.landing if isinstance(outcome, FixedUp) else before
                    if machine.remembers or isinstance(outcome, Oops | Signal):
                        events.append(remember(machine, handled, stop, stale=stale))
                    ended = consequence(handled, repeated, len(events))
                    if ended is None:
                        continue
                    end = ended
            case Trapped(vector=vector, meaning=meaning):
                end = Stopped(
                    f"the CPU raised exception {vector} ({meaning}), which this machine does not serve", pc_of(machine)
                )
            case Arrived(address=address):
                end = Stopped(f"this machine has no {machine.gates[address]}", address)
            case SystemCall():
                end = Stopped("SYSCALL in kernel mode", pc_of(machine))
            case OutOfBudget():
                end = Stopped(f"out of budget: {budget} instructions without a return", pc_of(machine))
            case Halted(why=why):
                end = Stopped(why, pc_of(machine))
            case _:
                assert_never(stop)
        oops = oops_of(machine, events[-1]) if events and is_oops(end) else None
        return CallResult(function, arguments, end, tuple(events), machine.cpu.registers(), executed, oops)


def is_oops(end: CallEnd) -> bool:
    """Did it end in an oops? A panic prints something else."""
    return isinstance(end, Died) and isinstance(end.outcome, Oops) and not end.outcome.reason.startswith("Kernel panic")


def pc_of(machine: Machine) -> int:
    return machine.cpu.read(machine.names["ip"])


def consequence(event: HandledFault, repeated: int, faults: int) -> CallEnd | None:
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


def take(machine: Machine, stop: MemoryFault | Trapped, registers: dict[str, int]) -> HandledFault | Stopped:
    """A #PF or #GP: over an access that our MMU refused, or raised by the CPU itself. `registers` are the CPU's now."""
    if isinstance(stop, MemoryFault):
        return take_fault(machine, stop, registers)
    # Raised over something other than an address: only the exception table can help.
    state = machine.cpu.state()
    fault = architecture_of(state).general_protection(registers, stop.error_code)
    return decide(machine, fault, state, None)


def take_fault(machine: Machine, stop: MemoryFault, registers: dict[str, int]) -> HandledFault | Stopped:
    """
    One refused access: build the fault the CPU raises, and have it decided.
    """
    form, access = architecture_of(stop.state), stop.access
    ip = registers[form.pt_regs["ip"]]
    if access.kind is AccessKind.READ and writes_what_it_reads(
        machine.read_code(ip), access.address, registers, form.bits
    ):
        access = replace(access, kind=AccessKind.WRITE)
    fault = form.fault(stop.walk, access, stop.state, registers)
    if fault is None:
        physical = getattr(stop.walk.end, "physical", 0)
        return Stopped(f"{access.address:#x} is mapped to physical {physical:#x}, where there is no RAM", ip)
    if fault.address is not None:
        machine.cpu.write("cr2", fault.address)
        machine.mmu.drop(fault.address)
    return decide(machine, fault, stop.state, access)


def decide(machine: Machine, fault: Fault, state: CpuState, access: Access | None) -> HandledFault:
    """Let the handler decide, apply what it says, and tell of it."""
    process, results = machine.current, list[VmFault]()
    while True:
        decision = handle_exception(fault, machine.context(state, tried=tuple(results)))
        if decision.result == VmFault.OOM and machine.mm.make_room(process.mm):
            continue
        for effect in decision.effects:
            apply(machine, process, effect)
        if decision.result is not None:
            results.append(decision.result)
        if not isinstance(decision.outcome, Retry):
            break
        waits_for = decision.outcome.userfault
        if waits_for and not machine.wait_for_userfault(fault, waits_for):
            break
    if isinstance(decision.outcome, FixedUp):
        machine.cpu.write(machine.names["ip"], decision.outcome.landing)
    handled = HandledFault(access, fault, state, decision, tuple(results))
    machine.on_fault(handled)
    return handled


def remember(machine: Machine, handled: HandledFault, stop: MemoryFault | Trapped, *, stale: bool) -> FaultEvent:
    """The whole story of a fault, right after it."""
    access, fault, state = handled.access, handled.fault, handled.state
    before = stop.walk if isinstance(stop, MemoryFault) else Walk(0, state.root, (), NonCanonical())
    event = FaultEvent(
        access=access,
        fault=fault,
        state=state,
        code=machine.read_code(fault.ip),
        before=before,
        decision=handled.decision,
        after=before if access is None else walk(machine.ram, state.root, access.address, state),
        registers_after=machine.cpu.registers(),
        task=(machine.current.task.comm, machine.current.task.pid),
        stale=stale,
        results=handled.results,
    )
    machine.events.append(event)
    if isinstance(handled.decision.outcome, Oops):
        machine.die_counter += 1
        machine.first_oops = machine.first_oops or event
    return event


def apply(machine: Machine, process: Process, effect: Effect) -> None:
    """Carry out one effect: on the interrupted context here, on memory there."""
    match effect:
        case SetRegister(name=name, value=value):
            machine.cpu.write(name, value)
        case ResetFpu():
            machine.cpu.reset_fpu()
        case Warn(text=text):
            machine.log.append(text)
        case _:
            apply_to_memory(machine.mm, process.mm, effect)
