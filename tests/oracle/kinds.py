"""What a case at random exercises, in words: by them a test knows that the cases reach every rule."""

from __future__ import annotations

from collections import Counter

from oracle.agreement import Cases, not_comparable
from oracle.cpu_mmu import LINK
from oracle.random_tables import Case
from pagefault.arch import x86
from pagefault.memory.ram import Ram
from pagefault.tables.pagetable import walk
from pagefault.vocabulary.walk import Mapped, NotPresent, Reserved


def reached(ram: Ram, cases: Cases, seeds: range) -> Counter[str]:
    """How often each kind of case comes up."""
    return Counter(
        kind
        for seed in seeds
        for case in cases(ram, seed)
        if not not_comparable(case, ram)
        for kind in kinds(case, ram)
    )


def kinds(case: Case, ram: Ram) -> list[str]:
    """What this case exercises."""
    form, state = case.form, case.state
    way = walk(ram, state.root, case.access.address, state)
    mode = "long mode" if form.bits == 64 else "PAE" if state.pae else "two levels"
    found = [type(way.end).__name__, f"{len(form.geometry(state).levels)} levels"]
    found += ["two pages"] if case.crosses else []
    match way.end:
        case Reserved(level=level):
            found.append(f"{mode}: reserved in a {level}")
        case NotPresent(level=level):
            found.append(f"{mode}: not present in a {level}")
        case Mapped() as page:
            broken = x86.violation(page, case.access, state)
            found.append(broken.rule if broken else f"permitted {case.access.kind.name}")
            found.append(f"{mode}: page of {page.page_size:#x}")
            found += ["above 4 GiB"] if page.physical >> 32 else []
            if form.bits == 32 and page.user and state.cr4 & x86.CR4_PKE and state.pkru & 1:
                found.append("keys that count for nothing")
            if mode == "two levels" and way.entries[0].value & x86.PAGE_SIZE_BIT and page.page_size == 4096:
                found.append("two levels, PS without PSE")
            if broken is None:
                written = [value ^ entry.value for entry, value in form.accessed_dirty(way, case.access, state)]
                found += ["A written"] if any(bits & x86.ACCESSED for bits in written) else []
                found += ["D written"] if any(bits & x86.DIRTY for bits in written) else []
                found += ["tables through themselves"] if page.physical < LINK else []
        case _:
            pass
    return found
