"""
The oracle's program for x86-32, where QEMU's own code walks two-level and PAE tables.

It is mapped at one address under both formats of tables: the last entry of the table at the top leads to it with two
levels; PAE's last of four entries leads to a table of its own choice, whose last entry does.
"""

from __future__ import annotations

import unicorn

from oracle.cpu_mmu import (
    DONE,
    KERNEL_CODE,
    LINK,
    LINK_ENTRY,
    MSR_SYSENTER_CS,
    READABLE,
    ROOT,
    USER_CODE,
    Program,
)
from pagefault.arch import x86
from pagefault.arch.x86 import CpuState
from pagefault.memory.ram import Ram
from pagefault.vocabulary.access import AccessKind
from pagefault.vocabulary.address import PAGE

UNDER_PAE = PAGE
"""The frame that PAE's last top entry leads to: the second of the random tables."""


def map_under_both(ram: Ram) -> None:
    """The last table's first two entries with PAE, and the two in the middle with two levels."""
    for size, first in ((4, 512), (8, 0)):
        ram.write_entry(LINK + first * size, KERNEL_CODE | READABLE, size)
        ram.write_entry(LINK + (first + 1) * size, USER_CODE | READABLE | x86.USER, size)


def program_slots(state: CpuState) -> dict[int, int]:
    """The entries in the random tables that lead to the program, each with what it must hold."""
    if not state.pae:
        return {ROOT + PAGE - 4: LINK_ENTRY}
    return {state.root + 3 * 8: UNDER_PAE | x86.PRESENT, UNDER_PAE + PAGE - 8: LINK_ENTRY}


PROTECTED_MODE = Program(
    mode=unicorn.UC_MODE_32,
    text=0xFFE0_0000,
    accesses={
        AccessKind.READ: (0x00, b"\x8b\x07" + DONE),  # mov (%edi),%eax
        AccessKind.WRITE: (0x10, b"\x89\x37" + DONE),  # mov %esi,(%edi)
        AccessKind.FETCH: (0x20, b"\xff\xe7"),  # jmp *%edi
    },
    set_pkru=(0x40, b"\x0f\x01\xef\xff\xe5"),  # wrpkru; jmp *%ebp
    to_user=(0x50, b"\x89\xda\x0f\x35"),  # mov %ebx,%edx; sysexit
    address="edi",
    value="esi",
    result="eax",
    after_pkru="ebp",
    user_state=lambda start, _: {"ebx": start},
    cleared=("ecx", "edx"),
    msrs={MSR_SYSENTER_CS: 0x60},
    state=CpuState(cr3=ROOT, cr4=x86.CR4_PAE, efer=x86.EFER_NXE),
    map=map_under_both,
    slots=program_slots,
)
