"""The end of the line: nothing repairs it, and the kernel says what it was."""

from __future__ import annotations

from ..arch.x86_instruction import MAX_INSTRUCTION, addressed
from ..vocabulary.address import PAGE
from ..vocabulary.fault import Fault
from ..vocabulary.outcome import Oops
from .context import Context
from .decision import Answer

STACK_GUARD = PAGE
"""Each vmalloc'ed stack has one unmapped page on either side (Kernel: mm/vmalloc.c __get_vm_area_node(), v6.1)."""


def stack_guard_page(fault: Fault, context: Context) -> Answer | None:
    """
    Is it the guard page of this task's kernel stack?

    Kernel: arch/x86/mm/fault.c page_fault_oops(); arch/x86/include/asm/stacktrace.h get_stack_guard_info(), v6.1.
    """
    if context.stack is None or fault.user_mode:
        return None
    low, high = context.stack
    area, address = context.area, fault.address or 0
    if not area.vmalloc_start <= address < area.vmalloc_end or not low - STACK_GUARD <= address < low:
        return None
    return Answer(Oops("stack guard page was hit"), because=f"{address:#x} is just below the stack {low:#x}..{high:#x}")


def page_fault_oops(fault: Fault, context: Context) -> Answer | None:
    """
    Nothing repairs it: what will the kernel say?

    Kernel: arch/x86/mm/fault.c page_fault_oops(), show_fault_oops(), v6.1.
    Differs: EFI's and KFENCE's own page faults are not asked about, nor whether the stack's end is still intact.
    """
    if (fault.address or 0) < PAGE and not fault.user_mode:
        return Answer(Oops("kernel NULL pointer dereference"), because="the address is in the first page")
    return Answer(Oops("unable to handle page fault"))


def general_protection_oops(fault: Fault, context: Context) -> Answer | None:
    """
    Nothing repairs it: what address, if any, did the instruction use?

    The CPU reports none for a #GP, so the kernel decodes the instruction and looks.

    Kernel: arch/x86/kernel/traps.c exc_general_protection(), get_kernel_gp_address(), v6.1.
    """
    if fault.error_code:
        return Answer(Oops("segment-related general protection fault"))
    operand = gp_operand(fault, context)
    if operand is None or operand[0] == (1 << context.form.bits) - 1:
        return Answer(Oops("general protection fault"))
    address, size = operand
    hint = "probably for non-canonical address" if non_canonical(address, size, context) else "maybe for address"
    return Answer(Oops(f"general protection fault, {hint} {address:#x}"))


def gp_operand(fault: Fault, context: Context) -> tuple[int, int] | None:
    """
    Address and size of what the instruction that raised a #GP addresses; None if nothing, or if it is unreadable.
    """
    code = context.read_kernel(fault.ip, MAX_INSTRUCTION)
    return addressed(code, fault.registers, context.form.bits) if code else None


def non_canonical(address: int, size: int, context: Context) -> bool:
    """
    Is the operand neither in the kernel's half nor, to its last byte, in the user half?

    Kernel: arch/x86/kernel/traps.c get_kernel_gp_address() (GP_NON_CANONICAL), v6.1.
    """
    form, last = context.form, address + size - 1 & (1 << context.form.bits) - 1
    return not (form.canonical(address, context.cpu) and form.canonical(last, context.cpu))
