"""
The order in which the kernel asks.

Each stage is a tuple of questions (functions; the first line of each docstring is the question). They are asked in
turn until one answers. `BadArea` sends the fault on to the last stage, which always answers.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from ..arch.x86 import TRAP_GP, TRAP_PF
from ..arch.x86_eras import KernelProfile
from ..errors import Unsupported
from ..vocabulary.fault import Fault
from ..vocabulary.outcome import Oops, Signal
from .context import Context
from .decision import Answer, BadArea, Decision, Question, Step, answered, step
from .fixup import fixup
from .kernel_address import DO_KERN_ADDR_FAULT, vmalloc_fault
from .page_fault_oops import general_protection_oops, page_fault_oops, stack_guard_page
from .user_address import DO_USER_ADDR_FAULT, kernel_fetch_from_user


def in_kernel_space(fault: Fault, context: Context) -> bool:
    """
    Was the fault on the kernel's part of the address space?

    Kernel: arch/x86/mm/fault.c handle_page_fault(), fault_in_kernel_space(), v6.1.
    """
    return context.form.fault_in_kernel_space(fault.address or 0, context.cpu)


def fixup_exception(fault: Fault, context: Context) -> Answer | None:
    """
    Are we prepared to handle this kernel fault?

    Kernel: arch/x86/mm/extable.c fixup_exception(); kernel/extable.c search_exception_tables(), v6.1.
    """
    return None if fault.user_mode else fixup(fault, context)


KERNELMODE_FIXUP_OR_OOPS: tuple[Question, ...] = (fixup_exception, stack_guard_page, page_fault_oops)
"""Kernel: arch/x86/mm/fault.c kernelmode_fixup_or_oops(), page_fault_oops(), v6.1."""

EXC_GENERAL_PROTECTION: tuple[Question, ...] = (fixup_exception, general_protection_oops)
"""Kernel: arch/x86/kernel/traps.c exc_general_protection(), gp_try_fixup_and_notify(), v6.1."""


def handle_exception(fault: Fault, context: Context) -> Decision:
    """What the kernel does about this exception, chosen by its vector."""
    match fault.vector:
        case x if x == TRAP_PF:
            return handle_page_fault(fault, context)
        case x if x == TRAP_GP:
            return handle_general_protection(fault, context)
    raise Unsupported(f"exception {fault.vector} ({fault.trap})", why="only #PF and #GP are decided here")


def handle_page_fault(fault: Fault, context: Context) -> Decision:
    """
    What the kernel does about a page fault.

    Kernel: arch/x86/mm/fault.c handle_page_fault(), v6.1.
    Differs: a fault whose own frame cannot be pushed, since the stack is not mapped, is a double fault on hardware and
    in Linux; here it is decided like any other.
    """
    high = in_kernel_space(fault, context)
    trail = [answered(in_kernel_space, "yes" if high else "no")]
    answer = ask(asked(context.profile, high), fault, context, trail)
    if isinstance(answer.outcome, BadArea):
        decision = bad_area_nosemaphore(fault, context, answer.outcome, trail)
        # What was done before the page could not be had stays done: neighbours of the page are mapped, say.
        return replace(decision, effects=answer.effects + decision.effects, result=answer.result)
    return Decision(answer.outcome, answer.effects, tuple(trail), answer.result)


@cache
def asked(profile: KernelProfile, high: bool) -> tuple[Question, ...]:
    """The questions that this version has, for an address in the kernel's part (`high`) or in the user's."""
    gone: dict[Question, bool] = {
        vmalloc_fault: not profile.vmalloc_faulting,
        kernel_fetch_from_user: not profile.kernel_fetch_oopses,
    }
    return tuple(
        question for question in (DO_KERN_ADDR_FAULT if high else DO_USER_ADDR_FAULT) if not gone.get(question)
    )


def bad_area_nosemaphore(fault: Fault, context: Context, area: BadArea, trail: list[Step]) -> Decision:
    """
    The access has no right to succeed: a signal for user code, a fixup or an oops for the kernel's.

    Kernel: arch/x86/mm/fault.c __bad_area_nosemaphore(), v6.1.
    Differs: AMD errata 91 and 100 and the vDSO's own exception table are not asked about.
    """
    if fault.user_mode and fault.from_user:
        return Decision(Signal(area.signal, area.code, fault.address or 0), (), tuple(trail))
    answer = ask(KERNELMODE_FIXUP_OR_OOPS, fault, context, trail)
    assert not isinstance(answer.outcome, BadArea)
    return Decision(answer.outcome, answer.effects, tuple(trail))


def handle_general_protection(fault: Fault, context: Context) -> Decision:
    """
    What the kernel does about a #GP: there is no address to look at, only the exception table.

    Kernel: arch/x86/kernel/traps.c exc_general_protection(), v6.1.
    Differs: UMIP, IOPL, ENQCMD and vm86 emulation for user code are left out.
    """
    if fault.user_mode:
        return Decision(Signal("SIGSEGV", "SI_KERNEL", 0), (), ())
    trail: list[Step] = []
    answer = ask(EXC_GENERAL_PROTECTION, fault, context, trail)
    assert not isinstance(answer.outcome, BadArea)
    return Decision(answer.outcome, answer.effects, tuple(trail))


def ask(questions: tuple[Question, ...], fault: Fault, context: Context, trail: list[Step]) -> Answer:
    """Ask in order until one answers, recording each question in `trail`. The last one always answers."""
    for question in questions:
        answer = question(fault, context)
        trail.append(step(question, answer))
        if answer is not None:
            return answer
    return Answer(Oops("no question answered"))
