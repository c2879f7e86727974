"""
The reverse check: instructions that touch user memory and have no entry.

What marks such an instruction differs by architecture, and so does what can be checked; what cannot is said.
"""

from __future__ import annotations

from collections.abc import Iterator

from .boundaries import boundary
from .context import AuditContext
from .pan_windows import pan_windows
from .rule import Hit
from .unprivileged import FINDERS, unprivileged
from .x86_code import FENTRY, RETURN_THUNK
from .x86_shadow_stack import shadow_stack_stores
from .x86_user_access import judge
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
MOST_PLACES = 5


def no_entry(context: AuditContext) -> Iterator[Hit]:
    """
    An instruction that touches user memory has no entry: a bad pointer from a program is an oops there, not -EFAULT.
    """
    machine = context.platform.elf_machine
    if machine in NOT_CHECKED:
        context.skip(CHECK, NOT_CHECKED[machine])
    if machine in ("EM_X86_64", "EM_386"):
        yield from in_x86_windows(context)
        for address in shadow_stack_stores(context):
            if address not in context.by_instruction:
                yield Hit(address, f"{context.name(address)} writes to a user's shadow stack and has no entry")
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
    """The accesses of STAC..CLAC windows. A module without a window has been checked whole."""
    code = context.x86_code
    if not code.stac_sites:
        if context.image.module is None:
            context.skip(CHECK, "no STAC in the code and none that is patched in: it was built without SMAP")
        return
    if not len(context.image.symbols):
        context.skip(CHECK, "the image has no symbols, so nobody knows where functions begin")
        return
    for each in context.entries:
        code.lead(each.entry.fixup)
    around = x86_surroundings(context)
    told: set[int] = set()
    opened: set[int] = set()
    taken: set[int] = set()
    unknown: set[int] = set()
    for start, _ in context.functions_of(iter(code.stac_sites)):
        walk = Walk(code, around)
        walk.run(start)
        if walk.left:
            context.skip(
                f"{CHECK}, in code outside of the module", "windows lead there: it is the kernel's, or a module's"
            )
        for why in sorted(walk.lost):
            context.skip(f"{CHECK}, in parts of {context.name(start).partition('+')[0]}", why)
        judged = judge(walk)
        opened |= walk.opened
        taken |= judged.taken
        unknown |= judged.unknown
        for found in judged.uncovered:
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
    say_what_was_not_judged(
        context, [site for site in code.stac_sites if site not in opened], taken - told, unknown - told
    )


def say_what_was_not_judged(context: AuditContext, closed: list[int], taken: set[int], unknown: set[int]) -> None:
    """
    Windows that no walk opened, and accesses in windows whose pointers nothing tells from the kernel's own. STAC's
    bytes inside another instruction are no window.
    """
    for site in closed:
        if boundary(context, site) is not None:
            continue
        known = context.extent(site) is not None
        why = "no way there from its function's start" if known else "a walk begins at a function's first instruction"
        context.skip(f"{CHECK}, in the window that {context.name(site)} opens", why)
    if taken:
        number = f" (accesses: {len(taken):,})" if context.image.module is None else ""
        why = f"no entry is for them, so they are taken for pointers to the kernel's own memory{number}"
        context.skip(f"{CHECK}, by further pointers in a window", why)
    if unknown:
        places = ", ".join(context.name(address) for address in sorted(unknown)[:MOST_PLACES])
        context.skip(f"{CHECK}, by pointers of unknown origin", f"as at {places} (accesses: {len(unknown):,})")


def x86_surroundings(context: AuditContext) -> Surroundings:
    """The image as a walk asks for it."""
    entries = context.by_instruction
    fentry = context.image.symbols.get(FENTRY)

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
