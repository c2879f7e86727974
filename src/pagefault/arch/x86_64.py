"""
x86-64: page-table geometry, entry bits, registers, the address map.

    63  62..59  58..52  51..M   M-1 .. 12        11..9  8 7  6 5 4   3   2   1   0
    XD  pkey    -       must    physical page    -      G PS D A PCD PWT U/S R/W P
                        be 0    number                  (G, D only in a leaf; PS only above the pte)

In a large page's leaf, bit 12 is PAT and the bits from 13 up to the page's size must be 0.

Manual: Intel SDM vol. 3A, 4.5.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..vocabulary.access import Access
from ..vocabulary.entry import Entry
from ..vocabulary.fault import Fault, Registers
from ..vocabulary.walk import Walk
from . import x86
from .architecture import AddressMap, Geometry, Level, UserCopyRoutine, Version, VmallocPolicy
from .x86 import EXECUTE_DISABLE, LARGE_PAT, PAGE_SIZE_BIT, PHYSICAL_MASK, CpuState

NAME = "x86-64"
U64 = (1 << 64) - 1
BITS = 64

PTE = Level("pte", 12, True)
PMD = Level("pmd", 21, True)
PUD = Level("pud", 30, True)
P4D = Level("p4d", 39, False)
FOUR_LEVEL = Geometry((Level("pgd", 39, False), PUD, PMD, PTE), sign_bit=47)
FIVE_LEVEL = Geometry((Level("pgd", 48, False), P4D, PUD, PMD, PTE), sign_bit=56)

KERNEL_CS, KERNEL_DS, USER_CS, USER_DS = 0x10, 0x18, 0x33, 0x2B
VSYSCALL = 0xFFFF_FFFF_FF60_0000

GENERAL_REGISTERS = tuple("rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15".split())
ARGUMENT_REGISTERS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
"""System V calling convention: the first six integer arguments."""

name = NAME
bits = BITS
pt_regs = {"ip": "rip", **{name: f"r{name}" for name in ("ax", "bx", "cx", "dx", "si", "di", "bp", "sp")}}
general_registers = GENERAL_REGISTERS
argument_registers = ARGUMENT_REGISTERS
kernel_selectors = {"cs": KERNEL_CS, "ss": KERNEL_DS}
violation = x86.violation
is_leaf = x86.is_leaf
supported_pte_mask = x86.supported_pte_mask
percpu_base = "gs_base"
master_table = "init_top_pgt"
soft_dirty = x86.SOFT_DIRTY


def gdt(percpu: int) -> dict[int, int]:
    """None: in 64-bit mode segments have no base or limit, and GS's base is an MSR."""
    return {}


CR4_BITS = {
    "smep": x86.CR4_SMEP,
    "smap": x86.CR4_SMAP,
    "la57": x86.CR4_LA57,
    "pku": x86.CR4_PKE,
    "pks": x86.CR4_PKS,
    "fsgsbase": x86.CR4_FSGSBASE,
    "xsave": x86.CR4_OSXSAVE,
}


def boot_state(features: frozenset[str], *, pae: bool) -> CpuState:
    """Control registers as the kernel sets them on a CPU with these features."""
    state = CpuState()
    efer = state.efer if "nx" in features else state.efer & ~x86.EFER_NXE
    return CpuState(cr4=x86.with_bits(state.cr4, CR4_BITS, features), efer=efer)


def geometry(cpu: CpuState) -> Geometry:
    """
    Manual: Intel SDM vol. 3A, 4.1.1 (CR4.LA57 chooses 5-level paging).
    """
    return FIVE_LEVEL if cpu.la57 else FOUR_LEVEL


def canonical(address: int, cpu: CpuState) -> bool:
    """Manual: Intel SDM vol. 1, 3.3.7.1 (canonical addressing)."""
    sign = (FIVE_LEVEL if cpu.la57 else FOUR_LEVEL).sign_bit
    top = address >> sign
    return top == 0 or top == U64 >> sign


def reserved_bits(level: Level, value: int, cpu: CpuState) -> int:
    """
    The bits of a present entry that must be 0 and are not.

    Manual: Intel SDM vol. 3A, 4.5.4 tables 4-14 to 4-20 and 4.6.1 (execute-disable without NXE).
    """
    must_be_zero = PHYSICAL_MASK & ~((1 << cpu.maxphyaddr) - 1)
    if not cpu.nxe:
        must_be_zero |= EXECUTE_DISABLE
    if level is not PTE:
        if not level.may_be_leaf or (level is PUD and not cpu.pages_1g):
            must_be_zero |= PAGE_SIZE_BIT
        elif value & PAGE_SIZE_BIT:
            must_be_zero |= (1 << level.shift) - 1 & -2 * LARGE_PAT
    return value & must_be_zero


def page_frame(level: Level, value: int) -> int:
    """The physical address of the first byte of what a leaf maps."""
    return value & PHYSICAL_MASK & -(1 << level.shift)


def table_entry(level: Level, frame: int) -> int:
    """What the kernel writes at `level` to lead to the table in `frame`."""
    return frame | x86.TABLE_FLAGS


def entry_flags(entry: Entry, cpu: CpuState) -> tuple[str, ...]:
    """The set bits of an entry, by the kernel's names."""
    level = next(level for level in geometry(cpu).levels if level.name == entry.level)
    return x86.flags(entry, level, reserved_bits(level, entry.value, cpu), cpu)


def fault(walk: Walk, access: Access, cpu: CpuState, registers: Registers) -> Fault | None:
    """The exception this access raises over this walk, or None if it goes through."""
    return x86.fault(walk, access, cpu, registers, registers["rip"])


def page_fault(address: int, code: int, registers: Registers) -> Fault:
    """A #PF as the handler receives it, its error code decoded."""
    return x86.page_fault(address, code, registers, registers["rip"])


def general_protection(registers: Registers, code: int) -> Fault:
    """A #GP: no address is reported, and the error code is 0 unless a segment selector was at fault."""
    return x86.general_protection(registers, code, registers["rip"])


def accessed_dirty(walk: Walk, access: Access, cpu: CpuState) -> Sequence[tuple[Entry, int]]:
    """The entries that a permitted access rewrites, with their new values: every level has an A bit."""
    return x86.accessed_dirty(walk.entries, access)


LAYOUT_4_LEVEL = AddressMap(
    task_size_max=(1 << 47) - 4096,
    page_offset=0xFFFF_8880_0000_0000,
    vmalloc_start=0xFFFF_C900_0000_0000,
    vmalloc_end=0xFFFF_E900_0000_0000,
    vmemmap=0xFFFF_EA00_0000_0000,
    kernel_map=0xFFFF_FFFF_8000_0000,
    modules_start=0xFFFF_FFFF_C000_0000,
    modules_end=0xFFFF_FFFF_FF00_0000,
)
LAYOUT_5_LEVEL = AddressMap(
    task_size_max=(1 << 56) - 4096,
    page_offset=0xFF11_0000_0000_0000,
    vmalloc_start=0xFFA0_0000_0000_0000,
    vmalloc_end=0xFFD2_0000_0000_0000,
    vmemmap=0xFFD4_0000_0000_0000,
    kernel_map=0xFFFF_FFFF_8000_0000,
    modules_start=0xFFFF_FFFF_C000_0000,
    modules_end=0xFFFF_FFFF_FF00_0000,
)


def address_map(cpu: CpuState) -> AddressMap:
    """
    Kernel: arch/x86/include/asm/page_64_types.h, pgtable_64_types.h; Documentation/x86/x86_64/mm.rst, v6.1.
    """
    return LAYOUT_5_LEVEL if cpu.la57 else LAYOUT_4_LEVEL


def fault_in_kernel_space(address: int, cpu: CpuState) -> bool:
    """
    The vsyscall page lies high but belongs to user space.

    Kernel: arch/x86/mm/fault.c fault_in_kernel_space(), v6.1.
    """
    return address & ~0xFFF != VSYSCALL and address >= address_map(cpu).task_size_max


def vmalloc_level(cpu: CpuState) -> str:
    """
    The level whose entry vmalloc_fault() copies: the top one; what lies below it is shared.

    Kernel: arch/x86/mm/fault.c vmalloc_fault(), v5.7.
    Differs: v5.7 copies the p4d's entry where there are five levels.
    """
    return "pgd"


def vmalloc_policy(version: Version) -> VmallocPolicy:
    """
    A kernel access to vmalloc space that missed in this process's table copied the top-level entry from init_mm until
    Linux kernel commit 7f0a002b5a21 ("x86/mm: remove vmalloc faulting") (in v5.8).

    Every top-level entry of vmalloc space exists from boot on since Linux kernel commit 6eb82f994026 ("x86/mm:
    Pre-allocate P4D/PUD pages for vmalloc area") (in v5.9). In v5.8 alone, arch_sync_kernel_mappings() wrote a new
    entry into every table at once, which looks the same from here.
    """
    return VmallocPolicy(faulting=version < (5, 8), preallocated=version >= (5, 8), synced=False)


COPY_ROUTINES_UP_TO_63 = tuple(
    UserCopyRoutine(name, "rdi", "rsi", "rdx", "rax", opens_window=True)
    for name in ("copy_user_generic_unrolled", "copy_user_generic_string", "copy_user_enhanced_fast_string")
)
CLEAR_ROUTINES_61_TO_63 = tuple(
    UserCopyRoutine(name, "rdi", None, "rcx", "rcx", opens_window=False)
    for name in ("clear_user_original", "clear_user_rep_good", "clear_user_erms")
)
ROUTINES_SINCE_64 = (
    UserCopyRoutine("rep_movs_alternative", "rdi", "rsi", "rcx", "rcx", opens_window=False),
    UserCopyRoutine("rep_stos_alternative", "rdi", None, "rcx", "rcx", opens_window=False),
)


def user_copy_routines(version: Version) -> tuple[UserCopyRoutine, ...]:
    """
    clear_user_*() came with Linux kernel commit 0db7058e8e23 (in v6.1). Since Linux kernel commits 3639a535587d ("x86:
    move stac/clac from user copy routines into callers"), 427fda2c8a49 ("x86: improve on the non-rep 'copy_user'
    function") and d2c95f9d6802 ("x86: don't use REP_GOOD or ERMS for user memory clearing") (in v6.4), there is one of
    each, and the caller opens the window.
    """
    if version >= (6, 4):
        return ROUTINES_SINCE_64
    return COPY_ROUTINES_UP_TO_63 + (CLEAR_ROUTINES_61_TO_63 if version >= (6, 1) else ())
