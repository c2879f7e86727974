"""
The address is good: get the page. Find the way down, make the tables that are missing, then do what the entry asks for.

Kernel: mm/memory.c __handle_mm_fault(), handle_pte_fault(), v6.1.
Differs: anonymous memory only; no huge pages, files, swap or NUMA hints yet. Each of those is a file beside this one.
"""

from __future__ import annotations

from ..arch import x86
from ..tables.address_space import AddressSpace
from ..tables.pagetable import walk
from ..vocabulary.address import PAGE_MASK
from ..vocabulary.effect import Effect, TakeFrame, WriteEntry, ZeroFrame
from ..vocabulary.fault import Fault
from ..vocabulary.outcome import OutOfMemory
from ..vocabulary.vma import Vma
from ..vocabulary.walk import Walk
from .anonymous import PteFault, do_anonymous_page
from .context import Context
from .copy_on_write import access_flags, do_wp_page
from .decision import Answer, BadArea


def handle_mm_fault(fault: Fault, context: Context, mm: AddressSpace, vma: Vma, before: tuple[Effect, ...]) -> Answer:
    """
    Decide how the page at the fault's address is had; `before` are effects that come first (a stack's growth).

    Kernel: mm/memory.c handle_mm_fault(), handle_pte_fault(), v6.1. Out of memory in kernel mode ends like a bad area:
    arch/x86/mm/fault.c do_user_addr_fault().
    """
    address = (fault.address or 0) & PAGE_MASK
    way = walk(context.memory, mm.root, address, context.cpu)
    missing = missing_tables(way, context)
    needed = missing + needs_page(way, context, fault.write)
    frames = context.frames.peek(needed)
    if len(frames) < needed:
        if fault.user_mode:
            return Answer(OutOfMemory(needed), because="no free frame is left")
        return Answer(BadArea("SEGV_MAPERR"), because="VM_FAULT_OOM: no free frame is left")
    tables, slot, value = allocate_tables(way, context, frames)
    frame = frames[missing] if needed > missing else context.zero_page
    pte = PteFault(address, slot, value, fault.write, vma, frame, context)
    if not value & x86.PRESENT:
        answer = do_anonymous_page(pte)
    elif fault.write and not value & x86.WRITABLE:
        answer = do_wp_page(pte)
    else:
        answer = access_flags(pte)
    return Answer(answer.outcome, (*before, *tables, *answer.effects), answer.because)


def missing_tables(way: Walk, context: Context) -> int:
    """How many page tables are missing on the way down to the pte."""
    return 0 if way.entries[-1].level == "pte" else len(context.form.geometry(context.cpu).levels) - len(way.entries)


def needs_page(way: Walk, context: Context, write: bool) -> bool:
    """Will this take a page of its own? A read is content with the shared page of zeros, and with any page there is."""
    leaf = way.entries[-1]
    there = leaf.level == "pte" and leaf.value & x86.PRESENT
    return write and not (there and leaf.value & x86.PHYSICAL_MASK != context.zero_page)


def allocate_tables(way: Walk, context: Context, frames: tuple[int, ...]) -> tuple[tuple[Effect, ...], int, int]:
    """
    The effects that make the missing tables out of `frames`, the pte's physical address, and its present value.

    Kernel: mm/memory.c __handle_mm_fault() (p4d_alloc(), pud_alloc(), pmd_alloc()), __pte_alloc(), v6.1.
    """
    effects: list[Effect] = []
    shape = context.form.geometry(context.cpu)
    last = way.entries[-1]
    if last.level == "pte":
        return (), last.physical, last.value
    slot = last.physical
    above, missing = shape.levels[len(way.entries) - 1 :], shape.levels[len(way.entries) :]
    for level, below, frame in zip(above, missing, frames, strict=False):
        effects += [
            TakeFrame(frame, use=f"{below.name} table"),
            ZeroFrame(frame),
            WriteEntry(level.name, slot, context.form.table_entry(level, frame), way.address, shape.entry_size),
        ]
        slot = frame + (way.address >> below.shift & below.entries - 1) * shape.entry_size
    return tuple(effects), slot, 0
