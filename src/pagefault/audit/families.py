"""
Does an entry's fixup belong to the function that its instruction is in?

It does if it lies in the same function, or in a part that the compiler split off it. Where fixups are collected at the
end of the code (`.fixup`: arm, mips, others once), a few instructions later it jumps back. Assembly files have labels
that several of their functions share, and code that stands before its function's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from .context import AuditContext
from .handler_types import X86
from .rule import Hit

NOT_ADDRESSES = frozenset({"bpf"})
"""Types whose fixup word is no address."""
MAX_STUB = 12
"""Instructions in a fixup before it jumps back."""
BRANCH = re.compile(r"(jmp|b|j|ba|brcl?|jg?|b\.w|bc|beq|bne)(\.n|\.w)?$")
TARGET = re.compile(r"#?(-?0x[0-9a-f]+)$")
"""A branch's target; a decoder may write an address of the upper half as a negative number."""

ENTRY = {"EM_PPC64": 8}
"""How far into a function calls may lead. Manual: 64-Bit ELF V2 ABI for Power, 2.3.2.1, "Function Prologue"."""


class Shared(NamedTuple):
    """
    Functions of an assembly file (`insn`, the whole name) on these machines whose fixups lie under other names
    (`fixup`). What stands in a file before its first name has the name of whatever was linked before it.
    """

    machines: frozenset[str]
    insn: re.Pattern[str]
    fixup: re.Pattern[str]


def shared(machines: frozenset[str] | str, insn: str, fixup: str) -> Shared:
    """One file's, its names as regular expressions."""
    which = frozenset({machines}) if isinstance(machines, str) else machines
    return Shared(which, re.compile(insn), re.compile(fixup))


ASSEMBLY = (
    # arch/x86/lib/getuser.S, putuser.S: local labels behind the last function, other names since v6.2
    shared(X86, r"__get_user_(nocheck_)?[1248]", r"__get_user_nocheck_8|bad_get_user(_8)?(_clac)?"),
    shared(X86, r"__get_user_(nocheck_)?[1248]", r"__get_user(_8)?_handle_exception"),
    shared(X86, r"__put_user_(nocheck_)?[1248]", r"__put_user_nocheck_8|bad_put_user(_clac)?"),
    shared(X86, r"__put_user_(nocheck_)?[1248]", r"__put_user_handle_exception"),
    # arch/x86/lib/copy_user_64.S, v6.1
    shared(
        "EM_X86_64",
        r"copy_user_(generic_unrolled|generic_string|enhanced_fast_string|handle_tail)|__copy_user_nocache",
        r"copy_user_enhanced_fast_string|copy_user_handle_tail|copy_user_left_in_rcx",
    ),
    shared("EM_X86_64", r"clear_user_(original|rep_good|erms)", r"clear_user_handle_tail"),
    # arch/x86/lib/copy_mc_64.S
    shared("EM_X86_64", r"copy_mc_(fragile|enhanced_fast_string)|\.E_write_words", r"\.E_\w+"),
    # arch/x86/kvm/vmx/vmenter.S: a label in the middle of the function
    shared(X86, r"__vmx_vcpu_run", r"vmx_vmexit"),
    # arch/arm64/kvm/hyp/entry.S, twice in the kernel
    shared("EM_AARCH64", r"abort_guest_exit_start", r"abort_guest_exit_end"),
    shared("EM_AARCH64", r"__kvm_nvhe_abort_guest_exit_start", r"__kvm_nvhe_abort_guest_exit_end"),
    # arch/arm/lib/getuser.S, putuser.S
    shared("EM_ARM", r"__get_user_([1248]|(32t|64t)_[1248])", r"__get_user_bad8?"),
    shared("EM_ARM", r"__put_user_[1248]", r"__put_user_bad"),
    # arch/arm/kernel/entry-armv.S: its .text.fixup lies behind the vectors' helpers, if there are any
    shared("EM_ARM", r"__und_usr(_thumb)?", r"__bad_stack|kuser_cmpxchg32_fixup"),
    # arch/arm/lib/csumpartialcopygeneric.S has code before its name, behind csum_partial_copy_nocheck() as linked
    shared("EM_ARM", r"csum_partial_copy_nocheck", r"csum_partial_copy_from_user"),
    # arch/mips/kernel/r4k_fpu.S, scall32-o32.S, scall64-o32.S
    shared("EM_MIPS", r"\.ex\d+", r"fault"),
    shared("EM_MIPS", r"load_a[4-7]", r"bad_stack_a[4-7]"),
    # arch/mips/lib/csum_partial.S: .L_exc stands between the two
    shared("EM_MIPS", r"__csum_partial_copy_(from|to)_user|__csum_partial_copy_nocheck", r"csum_partial"),
    # arch/mips/cavium-octeon/octeon-memcpy.S
    shared(
        "EM_MIPS",
        r"_*memcpy|(cleanup_)?(both_aligned|src_unaligned)|less_than_[48]units|copy_bytes(_checklen)?|l_exc_copy",
        r"[ls]_exc|l_exc_copy(_rewind16)?|s_exc_p\d+u?",
    ),
    # arch/powerpc/lib/copyuser_power7.S, string_64.S, copy_mc_64.S: all begin with their fixups
    shared("EM_PPC64", r"__copy_tofrom_user_power7", r"memcmp"),
    shared("EM_PPC64", r"__arch_clear_user", r"csum_and_copy_to_user"),
    shared("EM_PPC64", r"copy_mc_generic", r"memcpy"),
    # arch/s390/kernel/entry.S
    shared("EM_S390", r"sie64a", r"sie_exit"),
)
"""Kernel: the files named, v6.1 and v6.12, and this project's own kernel, which has the same names."""


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
    """Is it one function, one compiler's split of it, or one assembly file? True where no symbol tells."""
    mine, other = context.symbol(insn), context.symbol(fixup)
    if mine is None or other is None or context.family(insn) == context.family(fixup):
        return True
    machine = context.platform.elf_machine
    return any(
        machine in each.machines and each.insn.fullmatch(mine.name) and each.fixup.fullmatch(other.name)
        for each in ASSEMBLY
    )


def leads_back(context: AuditContext, insn: int, fixup: int) -> bool:
    """Does the fixup, run straight on, jump into the middle of the instruction's function?"""
    at = fixup
    for _ in range(MAX_STUB):
        found = context.instruction(at)
        if found is None:
            return False
        if BRANCH.match(found.mnemonic):
            if context.image.module is not None and context.platform.elf_machine not in X86:
                context.skip("whether fixups lead back", "a branch in the file of a module has no target yet")
                return True
            written = TARGET.search(found.operands)
            target = int(written[1], 16) % (1 << context.platform.pointer * 8) if written else None
            home = context.symbol(target) if target is not None else None
            # A function's start is no place to go on at: that is the tail call of a function that wraps it.
            inside = home is not None and home.offset > ENTRY.get(context.platform.elf_machine, 0)
            return target is not None and inside and related(context, insn, target)
        at += found.length
    return False
