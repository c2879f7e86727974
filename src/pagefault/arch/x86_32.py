"""
x86-32: 32-bit (two-level) and PAE (three-level) paging, registers, the address map.

Entries of 32-bit paging (CR4.PAE clear); a pgd entry with PS maps 4 MiB if CR4.PSE is set:

                           31 .. 12                     11..9  8 7  6 5 4   3   2   1   0
    pte, pgd               physical page number         -      G PS D A PCD PWT U/S R/W P
    pgd with PS            31..22 | 21 | 20..13 | 12
                           page     0    bits     PAT
                           number        39..32

Entries of PAE paging (CR4.PAE set, EFER.LMA clear); a pmd entry with PS maps 2 MiB:

    63  62 .. M     M-1 .. 12             11..9  8 7  6 5 4   3   2   1   0
    XD  must be 0   physical page number  -      G PS D A PCD PWT U/S R/W P     pte, pmd
    0   must be 0   physical page number  -      0 0  0 0 PCD PWT 0   0   P     pgd: four of them, 1 GiB each

PAE's four pgd entries (the manual's PDPTEs) have no rights and no A bit: user, write and execution are decided below
them.

Manual: Intel SDM vol. 3A, 4.3 (32-bit paging), 4.4 (PAE paging).
Differs: a CPU loads PAE's four entries at MOV to CR3, raises #GP there if one has a reserved bit set, and translates by
its own copy from then on. Here they are read at each walk, as QEMU and AMD's CPUs with nested paging do, and a reserved
bit is a page fault.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..vocabulary.access import Access
from ..vocabulary.entry import Entry
from ..vocabulary.fault import Fault, Registers
from ..vocabulary.walk import Walk
from . import x86
from .architecture import AddressMap, Geometry, Level, UserCopyRoutine, Version, VmallocPolicy
from .x86 import EXECUTE_DISABLE, LARGE_PAT, PAGE_SIZE_BIT, PHYSICAL_MASK, PRESENT, CpuState

NAME = "x86-32"
BITS = 32
U32 = (1 << 32) - 1

PTE_32 = Level("pte", 12, True, entries=1024)
PGD_32 = Level("pgd", 22, True, entries=1024)
"""Two levels: the kernel folds p4d, pud and pmd into the pgd, so that this is its pmd too."""
PGD_32_WITHOUT_PSE = Level("pgd", 22, False, entries=1024)
PTE = Level("pte", 12, True)
PMD = Level("pmd", 21, True)
PGD_PAE = Level("pgd", 30, False, entries=4, has_rights=False)

TWO_LEVEL = Geometry((PGD_32, PTE_32), sign_bit=31, entry_size=4)
TWO_LEVEL_WITHOUT_PSE = Geometry((PGD_32_WITHOUT_PSE, PTE_32), sign_bit=31, entry_size=4)
PAE = Geometry((PGD_PAE, PMD, PTE), sign_bit=31)

PSE_RESERVED = 1 << 21
PSE_HIGH_SHIFT, PSE_HIGH_BITS = 13, 8
"""A 4 MiB page's bits 39..32 lie in bits 20..13 of its entry (PSE-36 and its extension to 40 bits)."""
PDPTE_RESERVED = 0b1_1110_0110
"""Bits 1, 2 and 5 to 8."""
ABOVE_PHYSICAL = 0x7FF0_0000_0000_0000
"""Bits 62..52, which long mode ignores, must be 0."""

KERNEL_CS, KERNEL_DS, USER_CS, USER_DS, PERCPU = 0x60, 0x68, 0x73, 0x7B, 0xD8
"""Kernel: arch/x86/include/asm/segment.h, v6.1. The per-CPU segment is %fs's."""

GENERAL_REGISTERS = tuple("eax ebx ecx edx esi edi ebp esp".split())
ARGUMENT_REGISTERS = ("eax", "edx", "ecx")
"""Kernel: arch/x86/Makefile -mregparm=3, v6.1: the rest, and what follows a `...`, goes on the stack."""

name = NAME
bits = BITS
pt_regs = {"ip": "eip", **{name: f"e{name}" for name in ("ax", "bx", "cx", "dx", "si", "di", "bp", "sp")}}
general_registers = GENERAL_REGISTERS
argument_registers = ARGUMENT_REGISTERS
kernel_selectors = {"cs": KERNEL_CS, "ss": KERNEL_DS, "ds": USER_DS, "es": USER_DS, "fs": PERCPU, "gs": 0}
violation = x86.violation
is_leaf = x86.is_leaf
supported_pte_mask = x86.supported_pte_mask
percpu_base = "fs_base"
master_table = "swapper_pg_dir"
soft_dirty = 0
"""Kernel: arch/x86/Kconfig HAVE_ARCH_SOFT_DIRTY is of X86_64 only, v6.1."""


def segment_descriptor(base: int, access: int, flags: int = 0xC) -> int:
    """
    A descriptor of a segment with the highest limit: `access` is bits 47..40, `flags` are bits 55..52 (G, D/B, L, AVL).

    Manual: Intel SDM vol. 3A, 3.4.5 (segment descriptors).
    """
    return 0xFFFF | (base & 0xFF_FFFF) << 16 | access << 40 | 0xF << 48 | flags << 52 | (base >> 24 & 0xFF) << 56


GDT_ENTRIES = 32
PERCPU_ACCESS, KERNEL_CODE, KERNEL_DATA, USER_CODE, USER_DATA = 0x92, 0x9A, 0x92, 0xFA, 0xF2


def gdt(percpu: int) -> dict[int, int]:
    """
    The descriptors that kernel and user code run with, by selector: all flat, but for the per-CPU one.

    Kernel: arch/x86/kernel/cpu/common.c gdt_page; setup_percpu.c setup_percpu_segment(), v6.1.
    """
    return {
        KERNEL_CS: segment_descriptor(0, KERNEL_CODE),
        KERNEL_DS: segment_descriptor(0, KERNEL_DATA),
        USER_CS & ~3: segment_descriptor(0, USER_CODE),
        USER_DS & ~3: segment_descriptor(0, USER_DATA),
        PERCPU: segment_descriptor(percpu, PERCPU_ACCESS),
    }


CR4_BITS = {"smep": x86.CR4_SMEP, "smap": x86.CR4_SMAP}


def boot_state(features: frozenset[str], *, pae: bool) -> CpuState:
    """
    Control registers as the kernel sets them on a CPU with these features. Without PAE there is no NX.

    Kernel: arch/x86/kernel/head_32.S (default_entry), v6.1.
    """
    state = CpuState()
    cr4 = state.cr4 if pae else state.cr4 & ~x86.CR4_PAE
    return CpuState(cr4=x86.with_bits(cr4, CR4_BITS, features), efer=x86.EFER_NXE if pae and "nx" in features else 0)


def geometry(cpu: CpuState) -> Geometry:
    """
    Manual: Intel SDM vol. 3A, 4.1.1 (CR4.PAE chooses PAE paging), 4.3 (CR4.PSE allows 4 MiB pages; PAE ignores it).
    """
    if cpu.pae:
        return PAE
    return TWO_LEVEL if cpu.cr4 & x86.CR4_PSE else TWO_LEVEL_WITHOUT_PSE


def canonical(address: int, cpu: CpuState) -> bool:
    """Every address of 32 bits is."""
    return True


def reserved_bits(level: Level, value: int, cpu: CpuState) -> int:
    """
    The bits of a present entry that must be 0 and are not.

    Manual: Intel SDM vol. 3A, table 4-4 (4 MiB pages), tables 4-8 to 4-11 (PAE) and 4.6.1 (without NXE).
    """
    if level is PGD_32:
        if not value & PAGE_SIZE_BIT:
            return 0
        high = (1 << PSE_HIGH_BITS) - 1 & -(1 << min(max(cpu.maxphyaddr - 32, 0), PSE_HIGH_BITS))
        return value & (PSE_RESERVED | high << PSE_HIGH_SHIFT)
    if level is PTE_32 or level is PGD_32_WITHOUT_PSE:
        return 0
    must_be_zero = ABOVE_PHYSICAL | PHYSICAL_MASK & ~((1 << cpu.maxphyaddr) - 1)
    if level is PGD_PAE:
        return value & (must_be_zero | EXECUTE_DISABLE | PDPTE_RESERVED)
    if not cpu.nxe:
        must_be_zero |= EXECUTE_DISABLE
    if level is PMD and value & PAGE_SIZE_BIT:
        must_be_zero |= (1 << level.shift) - 1 & -2 * LARGE_PAT
    return value & must_be_zero


def page_frame(level: Level, value: int) -> int:
    """The physical address of the first byte of what a leaf maps."""
    frame = value & PHYSICAL_MASK & -(1 << level.shift)
    if level is PGD_32:
        frame |= (value >> PSE_HIGH_SHIFT & (1 << PSE_HIGH_BITS) - 1) << 32
    return frame


def table_entry(level: Level, frame: int) -> int:
    """
    What the kernel writes at `level` to lead to the table in `frame`.

    Kernel: arch/x86/mm/pgtable.c pud_populate() (PAE), v6.1.
    """
    return frame | (x86.TABLE_FLAGS if level.has_rights else PRESENT)


def entry_flags(entry: Entry, cpu: CpuState) -> tuple[str, ...]:
    """The set bits of an entry, by the kernel's names."""
    level = next(level for level in geometry(cpu).levels if level.name == entry.level)
    return x86.flags(entry, level, reserved_bits(level, entry.value, cpu), cpu)


def fault(walk: Walk, access: Access, cpu: CpuState, registers: Registers) -> Fault | None:
    """The exception this access raises over this walk, or None if it goes through."""
    return x86.fault(walk, access, cpu, registers, registers["eip"])


def page_fault(address: int, code: int, registers: Registers) -> Fault:
    """A #PF as the handler receives it, its error code decoded."""
    return x86.page_fault(address, code, registers, registers["eip"])


def general_protection(registers: Registers, code: int) -> Fault:
    """A #GP: no address is reported, and the error code is 0 unless a segment selector was at fault."""
    return x86.general_protection(registers, code, registers["eip"])


def accessed_dirty(walk: Walk, access: Access, cpu: CpuState) -> Sequence[tuple[Entry, int]]:
    """
    The entries that a permitted access rewrites, with their new values; PAE's top ones have no A bit.

    Manual: Intel SDM vol. 3A, 4.8.
    """
    return x86.accessed_dirty(walk.entries[1:] if cpu.pae else walk.entries, access)


def layout(vmalloc_end: int) -> AddressMap:
    """
    The map that goes with the end of vmalloc space: 128 MiB below it lowmem ends (MAXMEM), and 8 MiB above that vmalloc
    space begins. Modules are in it.
    """
    high_memory = vmalloc_end - (128 << 20)
    return AddressMap(
        task_size_max=0xC000_0000,
        page_offset=0xC000_0000,
        vmalloc_start=high_memory + (8 << 20),
        vmalloc_end=vmalloc_end,
        vmemmap=None,
        kernel_map=0xC000_0000,
        modules_start=high_memory + (8 << 20),
        modules_end=vmalloc_end,
    )


LAYOUT_TWO_LEVEL = layout(0xFEBF_E000)
LAYOUT_PAE = layout(0xFEFF_E000)


def address_map(cpu: CpuState) -> AddressMap:
    """
    With 3 GiB for the user (VMSPLIT_3G), HIGHMEM and NR_CPUS=32, as Debian's 686 and 686-pae kernels of 6.1 have it.

    Kernel: arch/x86/include/asm/pgtable_32_areas.h (VMALLOC_START, VMALLOC_END, MAXMEM), page_32_types.h, v6.1.
    Differs: it is that of a machine with as much lowmem as there can be. With less RAM than about 880 MiB, the kernel
    lets vmalloc space begin 8 MiB above the end of RAM (high_memory).
    """
    return LAYOUT_PAE if cpu.pae else LAYOUT_TWO_LEVEL


def fault_in_kernel_space(address: int, cpu: CpuState) -> bool:
    """Kernel: arch/x86/mm/fault.c fault_in_kernel_space(), v6.1."""
    return address >= address_map(cpu).task_size_max


def vmalloc_level(cpu: CpuState) -> str:
    """
    The level whose entry vmalloc_fault() copies: the kernel's pmd, which two levels fold into the pgd.

    Kernel: arch/x86/mm/fault.c vmalloc_sync_one(), v6.1.
    """
    return "pmd" if cpu.pae else "pgd"


def vmalloc_policy(version: Version) -> VmallocPolicy:
    """
    Since Linux kernel commit 7f0a002b5a21 ("x86/mm: remove vmalloc faulting") (in v5.8), a new pmd entry is written
    into every table at once. Another CPU can use the mapping before that is done, and so faulting is back since Linux
    kernel commit 4819e15f740e ("x86/mm/32: Bring back vmalloc faulting on x86_32") (in v5.9).

    Kernel: arch/x86/mm/fault.c arch_sync_kernel_mappings(), vmalloc_fault(), v6.1.
    """
    return VmallocPolicy(faulting=version < (5, 8) or version >= (5, 9), preallocated=False, synced=version >= (5, 8))


COPY_ROUTINES = tuple(
    UserCopyRoutine(name, "eax", "edx", "ecx", "eax", opens_window=True)
    for name in ("__copy_user_ll", "__copy_from_user_ll_nocache_nozero")
)
CLEAR_ROUTINES = tuple(
    UserCopyRoutine(name, "eax", None, "edx", "eax", opens_window=True) for name in ("clear_user", "__clear_user")
)


def user_copy_routines(version: Version) -> tuple[UserCopyRoutine, ...]:
    """Kernel: arch/x86/lib/usercopy_32.c, v6.1 and v6.12: C functions, with a copy loop of their own."""
    return COPY_ROUTINES + CLEAR_ROUTINES
