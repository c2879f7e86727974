"""Rules about where an entry's instruction and its fixup lie."""

from __future__ import annotations

from collections.abc import Iterator

from ..arch.faulting import Cause, causes
from ..images.module import Module
from .boundaries import boundary
from .context import AuditContext, TableEntry
from .families import NOT_ADDRESSES
from .handler_types import LOOK_BACK
from .rule import Hit, by_decoding, of_each_entry
from .x86_operands import FULL_NAMES, Step, register, step

REPLACEMENTS = ".altinstr_replacement"
"""Code to be patched in. Kernel: arch/x86/include/asm/alternative.h ALTERNATIVE(), v6.1."""


@of_each_entry
def insn_not_code(context: AuditContext, each: TableEntry) -> str | None:
    """
    An entry's instruction does not lie in executable memory, or where code lies that runs somewhere else.

    Kernel: arch/x86/kernel/alternative.c apply_alternatives(), v6.1: a fault comes from the place that was patched.
    """
    insn = each.entry.insn
    section = context.section(insn)
    if context.executable(insn) is None:
        return f"entry {each.entry.index}'s instruction {where(context, insn)}"
    if section is not None and section.name == REPLACEMENTS:
        return f"entry {each.entry.index}'s instruction lies in {REPLACEMENTS}, from where it is copied before it runs"
    return None


def fixup_not_code(context: AuditContext) -> Iterator[Hit]:
    """An entry's fixup does not lie in executable memory."""
    for each in context.entries:
        entry = each.entry
        if entry.type not in NOT_ADDRESSES and context.executable(entry.fixup) is None:
            yield Hit(
                entry.fixup,
                f"entry {entry.index}, for {context.name(entry.insn)}, leads to {entry.fixup:#x}, which "
                f"{where(context, entry.fixup)}",
                each,
            )


def where(context: AuditContext, address: int) -> str:
    """Says of an address outside all code what it lies in instead."""
    section = context.section(address)
    return f"lies in {section.name}, which is not executable" if section else "lies in no section of the image"


@by_decoding("whether entries point at instructions")
def not_a_boundary(context: AuditContext) -> Iterator[Hit]:
    """An entry points into the middle of an instruction, as decoding its function from the start shows."""
    for each in context.entries:
        entry = each.entry
        for what, address in (("instruction", entry.insn), ("fixup", entry.fixup)):
            if what == "fixup" and entry.type in NOT_ADDRESSES:
                continue
            inside = boundary(context, address)
            if inside is not None:
                yield Hit(
                    address,
                    f"entry {entry.index}'s {what} is {address - inside} bytes into the instruction at "
                    f"{context.name(inside)}",
                    each,
                )


@of_each_entry
def fixup_is_insn(context: AuditContext, each: TableEntry) -> str | None:
    """
    An entry's fixup is the very instruction that faults.

    Every handler but BPF's goes on at the fixup: arch/*/mm/extable.c, v6.1 and v6.12. Two such entries are right. On
    s390 one may stand for what follows the instruction that is suppressed, whose address the PSW has by then. On x86
    the handler may change the register that the instruction faulted for, and have it run again.

    Kernel: arch/s390/kernel/text_amode31.S _diag26c_amode31(), arch/s390/include/asm/diag.h diag310(),
    arch/x86/include/asm/segment.h __loadsegment_simple(), v6.1.
    """
    entry = each.entry
    if entry.fixup != entry.insn or entry.type in NOT_ADDRESSES:
        return None
    found = context.instruction(entry.insn)
    before = context.code(entry.insn - LOOK_BACK, LOOK_BACK)
    if found is not None and Cause.LATE in causes(context.platform, found, before=before):
        return None
    if found is not None and entry.type == "imm_reg" and reads(step(found), dict(entry.fields).get("reg", "")):
        return None
    return f"entry {entry.index}, for {context.name(entry.insn)}, leads to its own instruction"


def reads(instruction: Step, name: str) -> bool:
    """Is the register an operand of an x86 instruction, but for the last of several, which it writes?"""
    sources = instruction.operands[:-1] or instruction.operands
    return not instruction.name.startswith("pop") and FULL_NAMES.get(name) in [register(each) for each in sources]


@of_each_entry
def fixup_freed(context: AuditContext, each: TableEntry) -> str | None:
    """
    An entry's instruction stays and its fixup is freed once the kernel (or the module) is up.

    Kernel: init/main.c free_initmem(), kernel/module/main.c do_free_init(), v6.1.
    """
    entry = each.entry
    insn, fixup = context.section(entry.insn), context.section(entry.fixup)
    if insn is None or fixup is None or entry.type in NOT_ADDRESSES:
        return None
    if insn.discarded or not (fixup.discarded and fixup.executable):
        return None
    return (
        f"entry {entry.index} is for {context.name(entry.insn)} in {insn.name}, which stays, and its fixup is in "
        f"{fixup.name}, which is freed"
    )


def stays_after_init(context: AuditContext) -> Iterator[Hit]:
    """
    Entries for code of `.init.text` stay in the kernel's own table, which is never trimmed: one finding for them all.

    Kernel: kernel/extable.c search_kernel_exception_table(), lib/extable.c trim_init_extable(), v6.1. A module's are
    dropped with its init code.
    """
    if context.image.module is not None:
        return
    stale = [each for each in context.entries if is_init(context, each)]
    if stale:
        first = stale[0]
        yield Hit(
            first.entry.insn,
            f"{len(stale)} of {len(context.entries)} entries are for code that is freed after boot, and stay in the "
            f"table; entry {first.entry.index}, for {context.name(first.entry.insn)}, is the first",
            first,
        )


def is_init(context: AuditContext, each: TableEntry) -> bool:
    """Is the entry for code that is freed?"""
    section = context.section(each.entry.insn)
    return section is not None and section.discarded and section.executable


def discarded_section(context: AuditContext) -> Iterator[Hit]:
    """
    A module's entry refers to a section that is not loaded, or was left out when the module was linked.

    Kernel: kernel/module/main.c layout_sections() and simplify_symbols(), v6.1: a symbol of such a section is resolved
    against address 0. What `scripts/mod/modpost.c` warns of when the module is built.
    """
    if not isinstance(context.image, Module):
        return
    for found in context.tables:
        for relocation in context.image.relocations(found.name):
            if relocation.loaded and relocation.section is not None:
                continue
            index = relocation.offset // found.table.layout.size
            if index < len(found.table):
                target = relocation.section or relocation.symbol or "nothing"
                each = TableEntry(found, found.table[index])
                yield Hit(each.entry.address, f"entry {index} refers to {target}, which is not in the module", each)
