"""
Does an entry's fixup belong to the function that its instruction is in?

It does if it lies in the same function, or in a part that the compiler split off it. Where fixups are collected at the
end of the code (`.fixup`: arm, mips, others once), a few instructions later it jumps back. Assembly files have labels
that several of their functions share.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .context import AuditContext
from .handler_types import X86
from .rule import Hit

NOT_ADDRESSES = frozenset({"bpf"})
"""Types whose fixup word is no address."""
MAX_STUB = 12
"""Instructions in a fixup before it jumps back."""
BRANCH = re.compile(r"(jmp|b|j|ba|brcl?|jg?|b\.w|brasl|bc|beq|bne|bal)(\.n|\.w)?$")
TARGET = re.compile(r"#?(0x[0-9a-f]+)$")
ASSEMBLY = tuple(
    re.compile(pattern)
    for pattern in (
        r"(bad_|_*)(get|put)_user(_.*)?",  # arch/x86/lib/getuser.S, putuser.S; arch/arm/lib/getuser.S, putuser.S
        r"_*copy_user_.*",  # arch/x86/lib/copy_user_64.S, v6.1
        r"copy_mc_.*|\.E_.*",  # arch/x86/lib/copy_mc_64.S
        r"sie64a|sie_exit",  # arch/s390/kernel/entry.S
        r"\.ex\d+|fault",  # arch/mips/kernel/r4k_fpu.S
        r"__und_usr(_thumb)?|__bad_stack|kuser_cmpxchg32_fixup",  # arch/arm/kernel/entry-armv.S, with its .text.fixup
        r"_*memcpy|(cleanup_)?(both|src)_(un)?aligned|less_than_\d+units|copy_bytes\w*|[ls]_exc\w*",  # octeon-memcpy.S
    )
)
"""Names of functions whose file is written so that they share their ends. Kernel: the files named, v6.1 and v6.12."""


def fixup_elsewhere(context: AuditContext) -> Iterator[Hit]:
    """An entry's fixup lies in a function that has nothing to do with the instruction's, and does not lead back."""
    if not len(context.image.symbols):
        context.skip("whether fixups lie in their functions", "the image has no symbols")
        return
    for each in context.entries:
        entry = each.entry
        in_code = context.executable(entry.insn) is not None and context.executable(entry.fixup) is not None
        if entry.type in NOT_ADDRESSES or not in_code:
            continue
        if related(context, entry.insn, entry.fixup) or leads_back(context, entry.insn, entry.fixup):
            continue
        yield Hit(
            entry.insn,
            f"entry {entry.index}, for {context.name(entry.insn)}, leads into another function: "
            f"{context.name(entry.fixup)}",
            each,
        )


def related(context: AuditContext, insn: int, fixup: int) -> bool:
    """
    Is it one function, one compiler's split of it, or one assembly file? Code between two symbols belongs to either of
    them, as assembly files have labels before a function's name.
    """
    mine, other = context.symbol(insn), context.symbol(fixup)
    if mine is None or other is None or context.family(insn) == context.family(fixup):
        return True
    if other.address + other.size == mine.address or mine.address + mine.size == other.address:
        return True
    return any(pattern.fullmatch(mine.name) and pattern.fullmatch(other.name) for pattern in ASSEMBLY)


def leads_back(context: AuditContext, insn: int, fixup: int) -> bool:
    """Does the fixup, run straight on, jump into the instruction's function?"""
    at = fixup
    for _ in range(MAX_STUB):
        found = context.instruction(at)
        if found is None:
            return False
        if BRANCH.match(found.mnemonic):
            if context.image.module is not None and context.platform.elf_machine not in X86:
                context.skip("whether fixups lead back", "a branch in the file of a module has no target yet")
                return True
            target = TARGET.search(found.operands)
            return target is not None and related(context, insn, int(target[1], 16))
        at += found.length
    return False
