"""
x86-64: page-table geometry, entry bits, the permission rule, fault decoding, the address map.

    63  62..59  58..52  51..M   M-1 .. 12        11..9  8 7  6 5 4   3   2   1   0
    XD  pkey    -       must    physical page    -      G PS D A PCD PWT U/S R/W P
                        be 0    number                  (G, D only in a leaf; PS only above the pte)

In a large page's leaf, bit 12 is PAT and the bits from 13 up to the page's size must be 0.

Manual: Intel SDM vol. 3A, 4.4 to 4.7 and 4.10.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..vocabulary.access import Access, AccessKind
from ..vocabulary.entry import Entry
from ..vocabulary.fault import Fault, Registers
from ..vocabulary.walk import Mapped, NonCanonical, NotPresent, Reserved, Unreadable, Walk
from .architecture import AddressMap, Geometry, Level, Violation

NAME = "x86-64"
U64 = (1 << 64) - 1

PRESENT, WRITABLE, USER = 1 << 0, 1 << 1, 1 << 2
WRITE_THROUGH, CACHE_DISABLE = 1 << 3, 1 << 4
ACCESSED, DIRTY, PAGE_SIZE_BIT, GLOBAL = 1 << 5, 1 << 6, 1 << 7, 1 << 8
LARGE_PAT = 1 << 12
EXECUTE_DISABLE = 1 << 63
PHYSICAL_MASK = 0x000F_FFFF_FFFF_F000
PROTECTION_KEY_SHIFT = 59

PTE = Level("pte", 12, True)
PMD = Level("pmd", 21, True)
PUD = Level("pud", 30, True)
P4D = Level("p4d", 39, False)
FOUR_LEVEL = Geometry((Level("pgd", 39, False), PUD, PMD, PTE), sign_bit=47)
FIVE_LEVEL = Geometry((Level("pgd", 48, False), P4D, PUD, PMD, PTE), sign_bit=56)

CR0_PE, CR0_MP, CR0_ET, CR0_NE, CR0_WP, CR0_AM, CR0_PG = 1 << 0, 1 << 1, 1 << 4, 1 << 5, 1 << 16, 1 << 18, 1 << 31
CR4_PSE, CR4_PAE, CR4_PGE, CR4_OSFXSR, CR4_OSXMMEXCPT = 1 << 4, 1 << 5, 1 << 7, 1 << 9, 1 << 10
CR4_LA57, CR4_FSGSBASE, CR4_SMEP, CR4_SMAP, CR4_PKE, CR4_PKS = 1 << 12, 1 << 16, 1 << 20, 1 << 21, 1 << 22, 1 << 24
EFER_SCE, EFER_LME, EFER_LMA, EFER_NXE = 1 << 0, 1 << 8, 1 << 10, 1 << 11
EFLAGS_FIXED, EFLAGS_IF, EFLAGS_AC = 1 << 1, 1 << 9, 1 << 18

PF_PROT, PF_WRITE, PF_USER, PF_RSVD, PF_INSTR, PF_PK = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 5
"""Kernel: arch/x86/include/asm/trap_pf.h enum x86_pf_error_code, v6.1."""

TRAP_UD, TRAP_GP, TRAP_PF = 6, 13, 14
KERNEL_CS, KERNEL_DS, USER_CS = 0x10, 0x18, 0x33
VSYSCALL = 0xFFFF_FFFF_FF60_0000

GENERAL_REGISTERS = tuple("rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15".split())
ARGUMENT_REGISTERS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
"""System V calling convention: the first six integer arguments."""


@dataclass(frozen=True, slots=True)
class CpuState:
    """
    The registers that decide a fault. `cpl` is the current privilege level, `maxphyaddr` and `pages_1g` are what CPUID
    says of the model.
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
    def wp(self) -> bool:
        """CR0.WP: does a read-only page stop a supervisor's write too?"""
        return bool(self.cr0 & CR0_WP)

    @property
    def nxe(self) -> bool:
        """EFER.NXE: does bit 63 of an entry mean execute-disable? (If not, it is reserved.)"""
        return bool(self.efer & EFER_NXE)

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
        return bool(self.cr4 & CR4_PKE)

    @property
    def pks(self) -> bool:
        return bool(self.cr4 & CR4_PKS)

    @property
    def ac(self) -> bool:
        """EFLAGS.AC: inside a STAC .. CLAC window?"""
        return bool(self.eflags & EFLAGS_AC)

    @property
    def root(self) -> int:
        """The physical address of the top-level table."""
        return self.cr3 & PHYSICAL_MASK


name = NAME


def geometry(cpu: CpuState) -> Geometry:
    """
    Manual: Intel SDM vol. 3A, 4.1.1 (CR4.LA57 chooses 5-level paging).
    """
    return FIVE_LEVEL if cpu.la57 else FOUR_LEVEL


def canonical(address: int, cpu: CpuState) -> bool:
    """Manual: Intel SDM vol. 1, 3.3.7.1 (canonical addressing)."""
    top = address >> geometry(cpu).sign_bit
    return top == 0 or top == U64 >> geometry(cpu).sign_bit


def is_leaf(level: Level, value: int) -> bool:
    """Does this present entry map memory (as opposed to pointing to the next table)?"""
    return level is PTE or (level.may_be_leaf and bool(value & PAGE_SIZE_BIT))


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


def supported_pte_mask(cpu: CpuState) -> int:
    """
    The bits that the kernel may set in an entry: without NXE, all but execute-disable.

    Kernel: arch/x86/kernel/setup.c x86_configure_nx(), v6.1.
    """
    return U64 if cpu.nxe else U64 & ~EXECUTE_DISABLE


def entry_flags(entry: Entry, cpu: CpuState) -> tuple[str, ...]:
    """What an entry's bits say, the kernel's names (Kernel: arch/x86/mm/dump_pagetables.c printk_prot(), v6.1)."""
    value = entry.value
    if not value & PRESENT:
        return ("not present",) if value else ("empty",)
    level = next(level for level in geometry(cpu).levels if level.name == entry.level)
    large = level is not PTE and is_leaf(level, value)
    leaf = level is PTE or large
    flags = ["USR" if value & USER else "SUP", "RW" if value & WRITABLE else "ro"]
    flags += [name for bit, name in ((WRITE_THROUGH, "PWT"), (CACHE_DISABLE, "PCD")) if value & bit]
    flags += ["ACC"] if value & ACCESSED else []
    if leaf:
        flags += ["DRT"] if value & DIRTY else []
        flags += ["GLB"] if value & GLOBAL else []
        key = value >> PROTECTION_KEY_SHIFT & 15
        flags += [f"pkey {key}"] if key and (cpu.pke or cpu.pks) else []
    flags += ["PSE"] if large else []
    flags.append("NX" if value & EXECUTE_DISABLE else "x")
    bad = reserved_bits(level, value, cpu)
    return (*flags, f"RESERVED {bad:#x}") if bad else tuple(flags)


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


def fault(walk: Walk, access: Access, cpu: CpuState, registers: Registers) -> Fault | None:
    """
    The exception this access raises over this walk, or None if it goes through.

    Differs: a non-canonical access through the stack segment is #SS on hardware; here it is always #GP. A branch to a
    non-canonical address faults at its target here, as on AMD; Intel raises the #GP at the branch. An entry
    outside RAM (`Unreadable`) is taken for an empty one: real hardware reads whatever the bus answers.
    """
    match walk.end:
        case NonCanonical():
            return general_protection(registers, 0)
        case NotPresent() | Unreadable():
            code = error_code(access, cpu, protection=False)
        case Reserved():
            code = error_code(access, cpu, protection=True, reserved=True)
        case Mapped() as mapped:
            broken = violation(mapped, access, cpu)
            if broken is None:
                return None
            code = error_code(access, cpu, protection=True, keys=broken.protection_key)
    return page_fault(access.address, code, registers)


def page_fault(address: int, code: int, registers: Registers) -> Fault:
    """A #PF as the handler receives it, its error code decoded."""
    return Fault(
        trap="#PF",
        vector=TRAP_PF,
        error_code=code,
        address=address,
        ip=registers["rip"],
        registers=registers,
        user_mode=user_mode(registers),
        protection=bool(code & PF_PROT),
        write=bool(code & PF_WRITE),
        from_user=bool(code & PF_USER),
        reserved=bool(code & PF_RSVD),
        fetch=bool(code & PF_INSTR),
        protection_key=bool(code & PF_PK),
    )


def general_protection(registers: Registers, code: int) -> Fault:
    """A #GP: no address is reported, and the error code is 0 unless a segment selector was at fault."""
    return Fault("#GP", TRAP_GP, code, None, registers["rip"], registers, user_mode=user_mode(registers))


def user_mode(registers: Registers) -> bool:
    """Was the CPU running user code? (Kernel: arch/x86/include/asm/ptrace.h user_mode(), v6.1.)"""
    return registers["cs"] & 3 == 3


def accessed_dirty(walk: Walk, access: Access) -> Sequence[tuple[Entry, int]]:
    """
    The entries that a permitted access rewrites: A everywhere on the way, D in the leaf of a write.

    Manual: Intel SDM vol. 3A, 4.8.
    """
    wanted = [(entry, ACCESSED) for entry in walk.entries]
    if access.kind is AccessKind.WRITE and wanted:
        wanted[-1] = (walk.entries[-1], ACCESSED | DIRTY)
    return [(entry, entry.value | bits) for entry, bits in wanted if entry.value & bits != bits]


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
