"""
The reverse check: instructions that touch user memory and have no entry.

What marks such an instruction differs by architecture, and so does what can be checked; what cannot is said.
"""

from __future__ import annotations

from collections.abc import Iterator

from .context import AuditContext
from .pan_windows import pan_windows
from .rule import Hit
from .unprivileged import FINDERS, unprivileged
from .x86_user_access import uncovered
from .x86_windows import Surroundings, Walk

CHECK = "accesses of user memory without an entry"
NOT_CHECKED = {
    "EM_ARM": "accesses by ordinary loads and stores, in windows of the domain register (ARMv6K and later)",
    "EM_MIPS": "accesses by ordinary loads and stores: without EVA nothing sets them apart",
    "EM_PPC": "all of them: user and kernel memory are accessed by the same instructions",
    "EM_PPC64": "all of them: the same instructions access both, and the AMR's windows are patched in by CPU feature",
    "EM_S390": "what runs in the secondary address space (sacf), as the futex operations do",
    "EM_RISCV": "all of them: windows of sstatus.SUM are not followed",
    "EM_LOONGARCH": "all of them: user and kernel memory are accessed by the same instructions",
}
"""By machine: what of it is not checked."""
RETURN_THUNK = "return_thunk"
"""How the names of __x86_return_thunk and its kin end. Kernel: arch/x86/lib/retpoline.S, v6.1."""


def no_entry(context: AuditContext) -> Iterator[Hit]:
    """
    An instruction that touches user memory has no entry: a bad pointer from a program is an oops there, not -EFAULT.
    """
    machine = context.platform.elf_machine
    if machine in NOT_CHECKED:
        context.skip(CHECK, NOT_CHECKED[machine])
    if machine in ("EM_X86_64", "EM_386"):
        yield from in_x86_windows(context)
    if machine in FINDERS:
        for address in unprivileged(context):
            if address not in context.by_instruction:
                yield Hit(address, f"{context.name(address)} accesses memory with the user's rights and has no entry")
    if machine == "EM_AARCH64":
        for address, window in pan_windows(context):
            if address not in context.by_instruction:
                yield Hit(
                    address,
                    f"{context.name(address)} is where PAN is off, as {context.name(window)} left it, and has no entry",
                )


def in_x86_windows(context: AuditContext) -> Iterator[Hit]:
    """The accesses of STAC..CLAC windows."""
    code = context.x86_code
    if not code.stac_sites:
        context.skip(CHECK, "no STAC in the code and none that is patched in: it was built without SMAP")
        return
    if not len(context.image.symbols):
        context.skip(CHECK, "the image has no symbols, so nobody knows where functions begin")
        return
    for each in context.entries:
        code.lead(each.entry.fixup)
    if any(context.extent(site) is None for site in code.stac_sites):
        context.skip(f"{CHECK}, in code of no function", "a walk begins at a function's first instruction")
    around = x86_surroundings(context)
    told: set[int] = set()
    for start, _ in context.functions_of(iter(code.stac_sites)):
        walk = Walk(code, around)
        walk.run(start)
        for why in sorted(walk.lost):
            context.skip(f"{CHECK}, in parts of {context.name(start).partition('+')[0]}", why)
        for found in uncovered(walk):
            if found.address in told:
                continue
            told.add(found.address)
            like = (
                f"accesses memory through the pointer that {context.name(found.like)} has an entry for"
                if found.like is not None
                else "accesses memory, and nothing in that window has an entry"
            )
            yield Hit(
                found.address,
                f"{context.name(found.address)}, in the window that {context.name(found.window)} opens, {like}",
            )


def x86_surroundings(context: AuditContext) -> Surroundings:
    """The image as a walk asks for it."""
    entries = context.by_instruction
    fentry = context.image.symbols.get("__fentry__")

    def fixup(address: int) -> int | None:
        entry = entries.get(address)
        return None if entry is None else entry.fixup

    def returns(address: int) -> bool:
        found = context.symbol(address)
        return found is not None and found.offset == 0 and found.name.endswith(RETURN_THUNK)

    return Surroundings(
        fixup=fixup,
        extent=context.extent,
        family=context.family,
        returns=returns,
        traces=lambda address: address == fentry,
        bits=context.platform.bits,
    )
