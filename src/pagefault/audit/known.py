"""
Findings that are known, and right as they are: each with the reason, as read in the source.

They are shown, and do not count.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from .finding import Finding


class Known(NamedTuple):
    """
    An exception to a rule: its `code`, the functions (a regular expression for the whole name; "" for any place), the
    `machines` it is true of (none: all), what the finding's message must have in it (`says`, a regular expression), and
    the `reason`.
    """

    code: str
    function: str
    machines: tuple[str, ...]
    says: str
    reason: str


KNOWN: tuple[Known, ...] = (
    Known(
        "PF002",
        "__strncpy_from_user_asm",
        ("EM_MIPS",),
        "and say the same$",
        "Real and harmless: the load has an entry by the macro EX and another one written out below, with the same "
        "fixup. Kernel: arch/mips/lib/strncpy_user.S, v6.1.",
    ),
    Known(
        "PF007",
        "csum_partial_copy_generic",
        ("EM_X86_64",),
        "`prefetcht0 ",
        "Real and harmless: label 30, the prefetch of what is copied next, has an entry of its own, as it may name "
        "memory that is not mapped. A prefetch raises no fault for that. Kernel: arch/x86/lib/csum-copy_64.S "
        "csum_partial_copy_generic, v6.1 and v6.12.",
    ),
    Known(
        "PF007",
        "__copy_user_ll",
        ("EM_386",),
        r"`movl %\w+, %\w+`",
        "Real and harmless: labels 35 and 36 of __copy_user_intel() are moves between registers around the `rep movsl` "
        "and `rep movsb`, which have entries of their own. Kernel: arch/x86/lib/usercopy_32.c, v6.1.",
    ),
    Known(
        "PF007",
        "(__kvm_nvhe_)?abort_guest_exit_start",
        ("EM_AARCH64",),
        "`isb`",
        "Right: a pending SError, unmasked just before, is taken at this ISB at the latest. Kernel: "
        "arch/arm64/kvm/hyp/entry.S __guest_exit, v6.1.",
    ),
    Known(
        "PF007",
        "sie64a",
        ("EM_S390",),
        "`bcr 0, %r7`",
        "Right: where a program check of SIE is suppressing, C code moves the address back by the instruction length "
        "code, which may be 2, 4 or 6: these three no-ops are where that leads. Kernel: arch/s390/kernel/entry.S "
        "sie64a, v6.1.",
    ),
    Known(
        "PF012",
        "",
        (),
        "",
        "The kernel's own table is never trimmed (a module's is, by trim_init_extable()). Freed init memory does not "
        "become kernel code again, so nothing faults at these addresses, and the search finds nothing wrong.",
    ),
)


def explain(finding: Finding, machine: str) -> str | None:
    """The reason why a finding is known, or None."""
    name = finding.place.symbol.name if finding.place.symbol else ""
    for known in KNOWN:
        right_place = not known.function or re.fullmatch(known.function, name)
        right_machine = not known.machines or machine in known.machines
        right_message = re.search(known.says, finding.message)
        if known.code == finding.code and right_place and right_machine and right_message:
            return known.reason
    return None
