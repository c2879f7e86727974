"""
What x86 is in every mode: control bits, the bits that all its page-table entries have in common, the permission rule,
error codes. What depends on the mode (the shape of the tables, reserved bits, register names) is the forms' to say:
`x86_64` and `x86_32`.

Manual: Intel SDM vol. 3A, 4.1 to 4.8 and 4.10.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..vocabulary.access import Access, AccessKind
from ..vocabulary.address import PAGE_SHIFT
from ..vocabulary.entry import Entry
from ..vocabulary.fault import Fault, Registers
from ..vocabulary.walk import Mapped, NonCanonical, NotPresent, Reserved, Unreadable, Walk
from .architecture import Level, Violation

PRESENT, WRITABLE, USER = 1 << 0, 1 << 1, 1 << 2
WRITE_THROUGH, CACHE_DISABLE = 1 << 3, 1 << 4
ACCESSED, DIRTY, PAGE_SIZE_BIT, GLOBAL = 1 << 5, 1 << 6, 1 << 7, 1 << 8
LARGE_PAT = 1 << 12
EXECUTE_DISABLE = 1 << 63
PHYSICAL_MASK = 0x000F_FFFF_FFFF_F000
PROTECTION_KEY_SHIFT = 59

TABLE_FLAGS = PRESENT | WRITABLE | USER | ACCESSED | DIRTY
"""
What the kernel puts into an entry that points to a table, its own half included: the leaf decides who may enter.

Kernel: arch/x86/include/asm/pgtable_types.h _PAGE_TABLE; pgalloc.h pmd_populate_kernel(), v6.1.
"""

CR0_PE, CR0_MP, CR0_ET, CR0_NE, CR0_WP, CR0_AM, CR0_PG = 1 << 0, 1 << 1, 1 << 4, 1 << 5, 1 << 16, 1 << 18, 1 << 31
CR4_PSE, CR4_PAE, CR4_PGE, CR4_OSFXSR, CR4_OSXMMEXCPT = 1 << 4, 1 << 5, 1 << 7, 1 << 9, 1 << 10
CR4_OSXSAVE = 1 << 18
CR4_LA57, CR4_FSGSBASE, CR4_SMEP, CR4_SMAP, CR4_PKE, CR4_PKS = 1 << 12, 1 << 16, 1 << 20, 1 << 21, 1 << 22, 1 << 24
EFER_SCE, EFER_LME, EFER_LMA, EFER_NXE = 1 << 0, 1 << 8, 1 << 10, 1 << 11
EFLAGS_FIXED, EFLAGS_IF, EFLAGS_AC = 1 << 1, 1 << 9, 1 << 18

PF_PROT, PF_WRITE, PF_USER, PF_RSVD, PF_INSTR, PF_PK = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 5
"""Kernel: arch/x86/include/asm/trap_pf.h enum x86_pf_error_code, v6.1."""

SOFT_DIRTY = 1 << 11
"""A software bit: written since the last clear_refs. Kernel: pgtable_types.h _PAGE_SOFT_DIRTY, v6.1."""

TRAP_UD, TRAP_GP, TRAP_PF = 6, 13, 14


@dataclass(frozen=True, slots=True)
class CpuState:
    """
    The registers that decide a fault. `cpl` is the current privilege level, `maxphyaddr` and `pages_1g` are what CPUID
    says of the model. EFER.LMA says which form goes with it (`architectures.architecture_of`).
    """

    cr0: int = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG
    cr3: int = 0
    cr4: int = CR4_PSE | CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT
    efer: int = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE
    eflags: int = EFLAGS_FIXED | EFLAGS_IF
    cpl: int = 0
    pkru: int = 0
    pkrs: int = 0
    maxphyaddr: int = 52
    pages_1g: bool = True

    @property
    def long_mode(self) -> bool:
        """EFER.LMA: 4-level or 5-level paging; else 32-bit or PAE paging."""
        return bool(self.efer & EFER_LMA)

    @property
    def pae(self) -> bool:
        """CR4.PAE: entries of 64 bits."""
        return bool(self.cr4 & CR4_PAE)

    @property
    def wp(self) -> bool:
        """CR0.WP: does a read-only page stop a supervisor's write too?"""
        return bool(self.cr0 & CR0_WP)

    @property
    def nxe(self) -> bool:
        """
        EFER.NXE: does bit 63 of an entry mean execute-disable? (If not, it is reserved.) Entries of 32 bits have none.
        """
        return bool(self.efer & EFER_NXE) and bool(self.cr4 & CR4_PAE)

    @property
    def smep(self) -> bool:
        return bool(self.cr4 & CR4_SMEP)

    @property
    def smap(self) -> bool:
        return bool(self.cr4 & CR4_SMAP)

    @property
    def la57(self) -> bool:
        return bool(self.cr4 & CR4_LA57)

    @property
    def pke(self) -> bool:
        """CR4.PKE; protection keys are of 4-level and 5-level paging only."""
        return bool(self.cr4 & CR4_PKE) and bool(self.efer & EFER_LMA)

    @property
    def pks(self) -> bool:
        return bool(self.cr4 & CR4_PKS) and bool(self.efer & EFER_LMA)

    @property
    def ac(self) -> bool:
        """EFLAGS.AC: inside a STAC .. CLAC window?"""
        return bool(self.eflags & EFLAGS_AC)

    @property
    def root(self) -> int:
        """
        The physical address of the top-level table: of a page, but for PAE's table of four entries.

        Manual: Intel SDM vol. 3A, tables 4-3, 4-7 and 4-12.
        """
        if self.efer & EFER_LMA:
            return self.cr3 & PHYSICAL_MASK
        return self.cr3 & (0xFFFF_FFE0 if self.cr4 & CR4_PAE else 0xFFFF_F000)


def with_bits(value: int, bits: Mapping[str, int], features: frozenset[str]) -> int:
    """A control register with the bits of those features."""
    for name in features & bits.keys():
        value |= bits[name]
    return value


def is_leaf(level: Level, value: int) -> bool:
    """Does this present entry map memory (as opposed to pointing to the next table)?"""
    return level.shift == PAGE_SHIFT or (level.may_be_leaf and bool(value & PAGE_SIZE_BIT))


def key_denies(mapped: Mapped, access: Access, cpu: CpuState, user: bool) -> bool:
    """
    Do the protection-key rights disallow this data access?

    Two bits a key, access-disable and write-disable: PKRU for user pages (CR4.PKE), IA32_PKRS for supervisor pages
    (CR4.PKS). Write-disable binds a supervisor only while CR0.WP is set; a fetch is never checked.

    Manual: Intel SDM vol. 3A, 4.6.2.
    """
    if access.kind is AccessKind.FETCH or not (cpu.pke if mapped.user else cpu.pks):
        return False
    rights = (cpu.pkru if mapped.user else cpu.pkrs) >> 2 * mapped.protection_key & 3
    if rights & 1:
        return True
    return bool(rights & 2) and access.kind is AccessKind.WRITE and (user or cpu.wp)


def violation(mapped: Mapped, access: Access, cpu: CpuState) -> Violation | None:
    """
    The first permission that the access lacks.

    Manual: Intel SDM vol. 3A, 4.6.1 (access rights) and 4.6.2 (protection keys).
    """
    user = access.user and not access.implicit
    keys = key_denies(mapped, access, cpu, user)
    if user and not mapped.user:
        return Violation("a user-mode access to a supervisor page", keys)
    if access.kind is AccessKind.FETCH:
        if mapped.user and not user and cpu.smep:
            return Violation("a supervisor fetched from a user page (CR4.SMEP)")
        return None if mapped.executable else Violation("a fetch from an execute-disabled page")
    if mapped.user and not user and cpu.smap and (access.implicit or not cpu.ac):
        return Violation("a supervisor touched a user page outside an AC window (CR4.SMAP)", keys)
    if access.kind is AccessKind.WRITE and not mapped.writable and (user or cpu.wp):
        return Violation("a write to a read-only page", keys)
    return Violation("the page's protection key denies it", True) if keys else None


def error_code(access: Access, cpu: CpuState, *, protection: bool, reserved: bool = False, keys: bool = False) -> int:
    """
    Manual: Intel SDM vol. 3A, 4.7 (page-fault error code). I/D is set only where a fetch can be told apart: with
    SMEP or with NXE.
    """
    code = PF_PROT if protection else 0
    code |= PF_WRITE if access.kind is AccessKind.WRITE else 0
    code |= PF_USER if access.user and not access.implicit else 0
    code |= PF_RSVD if reserved else 0
    code |= PF_INSTR if access.kind is AccessKind.FETCH and (cpu.smep or cpu.nxe) else 0
    return code | (PF_PK if keys else 0)


def fault(walk: Walk, access: Access, cpu: CpuState, registers: Registers, ip: int) -> Fault | None:
    """
    The exception this access raises over this walk, or None if it goes through; `ip` is the instruction that made it.

    Differs: a non-canonical access through the stack segment is #SS on hardware; here it is always #GP. A branch to a
    non-canonical address faults at its target here, as on AMD; Intel raises the #GP at the branch. An entry
    outside RAM (`Unreadable`) is taken for an empty one: real hardware reads whatever the bus answers.
    """
    match walk.end:
        case NonCanonical():
            return general_protection(registers, 0, ip)
        case NotPresent() | Unreadable():
            code = error_code(access, cpu, protection=False)
        case Reserved():
            code = error_code(access, cpu, protection=True, reserved=True)
        case Mapped() as mapped:
            broken = violation(mapped, access, cpu)
            if broken is None:
                return None
            code = error_code(access, cpu, protection=True, keys=broken.protection_key)
    return page_fault(access.address, code, registers, ip)


def page_fault(address: int, code: int, registers: Registers, ip: int) -> Fault:
    """A #PF as the handler receives it, its error code decoded."""
    return Fault(
        trap="#PF",
        vector=TRAP_PF,
        error_code=code,
        address=address,
        ip=ip,
        registers=registers,
        user_mode=user_mode(registers),
        protection=bool(code & PF_PROT),
        write=bool(code & PF_WRITE),
        from_user=bool(code & PF_USER),
        reserved=bool(code & PF_RSVD),
        fetch=bool(code & PF_INSTR),
        protection_key=bool(code & PF_PK),
    )


def general_protection(registers: Registers, code: int, ip: int) -> Fault:
    """A #GP: no address is reported, and the error code is 0 unless a segment selector was at fault."""
    return Fault("#GP", TRAP_GP, code, None, ip, registers, user_mode=user_mode(registers))


def user_mode(registers: Registers) -> bool:
    """
    Was the CPU running user code? (Kernel: arch/x86/include/asm/ptrace.h user_mode(), v6.1.)

    Differs: virtual-8086 mode is not modelled.
    """
    return registers["cs"] & 3 == 3


def accessed_dirty(entries: Sequence[Entry], access: Access) -> list[tuple[Entry, int]]:
    """
    The entries (those that have these bits, the leaf last) that a permitted access rewrites: A everywhere on the way, D
    in the leaf of a write.

    Manual: Intel SDM vol. 3A, 4.8.
    """
    wanted = [(entry, ACCESSED) for entry in entries]
    if access.kind is AccessKind.WRITE and wanted:
        wanted[-1] = (entries[-1], ACCESSED | DIRTY)
    return [(entry, entry.value | bits) for entry, bits in wanted if entry.value & bits != bits]


def supported_pte_mask(cpu: CpuState) -> int:
    """
    The bits that the kernel may set in an entry: without NXE, all but execute-disable.

    Kernel: arch/x86/kernel/setup.c x86_configure_nx(), v6.1.
    """
    return (1 << 64) - 1 if cpu.nxe else EXECUTE_DISABLE - 1


def flags(entry: Entry, level: Level, reserved: int, cpu: CpuState) -> tuple[str, ...]:
    """
    What an entry's bits say, the kernel's names; `reserved` are those that must not be set.

    Kernel: arch/x86/mm/dump_pagetables.c printk_prot(), v6.1.
    """
    value = entry.value
    if not value & PRESENT:
        return ("not present",) if value else ("empty",)
    words: list[str] = []
    large = level.shift != PAGE_SHIFT and is_leaf(level, value)
    if level.has_rights:
        words = ["USR" if value & USER else "SUP", "RW" if value & WRITABLE else "ro"]
    words += [name for bit, name in ((WRITE_THROUGH, "PWT"), (CACHE_DISABLE, "PCD")) if value & bit]
    if level.has_rights:
        words += ["ACC"] if value & ACCESSED else []
    if is_leaf(level, value):
        words += ["DRT"] if value & DIRTY else []
        words += ["GLB"] if value & GLOBAL else []
        key = value >> PROTECTION_KEY_SHIFT & 15
        words += [f"pkey {key}"] if key and (cpu.pke or cpu.pks) else []
    words += ["PSE"] if large else []
    if level.has_rights:
        words.append("NX" if value & EXECUTE_DISABLE else "x")
    return (*words, f"RESERVED {reserved:#x}") if reserved else tuple(words)
