"""execve(): a new address space with the program in it, and on its stack what the program is told."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from errno import E2BIG, EFAULT, EINVAL
from random import Random

from ..arch import x86
from ..machine.cpu import Cpu
from ..machine.machine import Machine
from ..machine.process import MMAP_GAP, Process
from ..machine.user_access import UserAccess
from ..mm.brk import vm_brk_flags
from ..mm.gup import faultin_page, follow_page
from ..mm.mmap import (
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_PRIVATE,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
    do_mmap,
)
from ..mm.munmap import do_munmap
from ..mm.unmapped_area import DEFAULT_MAP_WINDOW
from ..tables.address_space import STACK_RLIMIT
from ..tables.inode import Inode
from ..vocabulary.address import PAGE, PAGE_MASK, PAGE_SHIFT
from ..vocabulary.vm_fault import FaultFlag
from ..vocabulary.vma import MAY_ALL, Vma, VmFlag
from .program import PF_R, PF_W, PF_X, LoadSegment, Program
from .vdso import install_vdso

AT_NULL, AT_PHDR, AT_PHENT, AT_PHNUM, AT_PAGESZ, AT_BASE, AT_FLAGS, AT_ENTRY = 0, 3, 4, 5, 6, 7, 8, 9
AT_UID, AT_EUID, AT_GID, AT_EGID, AT_PLATFORM, AT_HWCAP, AT_CLKTCK, AT_SECURE = 11, 12, 13, 14, 15, 16, 17, 23
AT_RANDOM, AT_HWCAP2, AT_RSEQ_FEATURE_SIZE, AT_RSEQ_ALIGN, AT_EXECFN = 25, 26, 27, 28, 31
AT_SYSINFO_EHDR, AT_MINSIGSTKSZ = 33, 51
"""Kernel: include/uapi/linux/auxvec.h, v6.12."""
HWCAP2_FSGSBASE = 1 << 1
CPUID_XSAVE = 1 << 26
FXSAVE_SIZE = 512
SIGFRAME_IA32, FREGS_STATE, XSTATE_MAGIC2 = 736, 112, 4
"""
Sizes of struct sigframe_ia32 (the largest frame, if the kernel runs 32-bit programs), of struct fregs_state and of what
ends an XSAVE area (Kernel: arch/x86/include/asm/sigframe.h, fpu/types.h; uapi/asm/sigcontext.h, v6.1).
"""
STACK_EXPAND = 131072
"""Kernel: fs/exec.c setup_arg_pages(), v6.1."""
MAX_ARG_STRLEN = ARG_MAX = 131072
"""Kernel: include/uapi/linux/binfmts.h, limits.h, v6.1."""
STRINGS_END = 8
"""Kernel: fs/exec.c __bprm_mm_init(): bprm->p = vma->vm_end - sizeof(void *), v6.1."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things go: the stack's top, mmap's base and the heap's gap; fixed, or moved by a seed."""

    stack_top: int
    stack_offset: int
    mmap_base: int
    brk_gap: int
    random: bytes

    @classmethod
    def make(cls, task_size_max: int, rlimit_stack: int, seed: Random | None) -> Layout:
        """
        Without a seed as with norandmaps; with one as randomize_va_space=2 would, its numbers drawn from the seed.

        Kernel: fs/binfmt_elf.c randomize_stack_top(); arch/x86/mm/mmap.c mmap_base(), arch_rnd();
        arch/x86/kernel/process.c arch_align_stack(), arch_randomize_brk(), v6.1.
        """
        top = min(task_size_max, DEFAULT_MAP_WINDOW)
        if seed is None:
            gap = min(max(rlimit_stack + (256 << PAGE_SHIFT), MMAP_GAP), top // 6 * 5)
            return cls(top, 0, top - gap, 0, bytes(range(16)))
        stack_top = top - (seed.getrandbits(22) << PAGE_SHIFT)
        gap = min(max(rlimit_stack + (256 << PAGE_SHIFT) + (0x3FFFFF << PAGE_SHIFT), MMAP_GAP), top // 6 * 5)
        base = top - gap - (seed.getrandbits(28) << PAGE_SHIFT)
        brk = seed.randrange(0x02000000) & PAGE_MASK
        return cls(stack_top, seed.randrange(8192), base, brk, seed.randbytes(16))


class Bprm:
    """
    The program that is being made: its address space while the old one still runs, and where its strings are. `p` is
    the lowest address in use, `limit` the lowest that strings may have.

    Kernel: include/linux/binfmts.h struct linux_binprm; fs/exec.c bprm_mm_init(), copy_strings(), v6.1.
    Differs: the stack is made where it will be, not at the top of what the hardware could have and then moved.
    """

    def __init__(self, machine: Machine, process: Process, layout: Layout) -> None:
        self.machine, self.process, self.layout = machine, process, layout
        self.memory, self.mm = machine.mm, process.mm
        flags = MAY_ALL | VmFlag.ACCOUNT | VmFlag.SOFTDIRTY
        top = layout.stack_top
        self.mm.vmas.insert(Vma(top - PAGE, top, grows_down=True, pgoff=(top - PAGE) >> PAGE_SHIFT, flags=flags))
        self.p = top - STRINGS_END
        self.limit = 0
        self.filename = 0
        self.arguments: list[int] = []
        self.environment: list[int] = []

    def set_limits(self, rlimit_stack: int, count: int) -> int:
        """
        What strings may take, given that there are `count` of them and a pointer to each: 0, or -E2BIG.

        Kernel: fs/exec.c bprm_stack_limits(), v6.1.
        """
        room = max(min(STACK_RLIMIT // 4 * 3, rlimit_stack // 4), ARG_MAX) - 8 * count
        self.limit = self.p - room
        return 0 if room > 0 else -E2BIG

    def copy_string(self, length: int, put: Callable[[int, int, int], bool]) -> int:
        """
        Make room for a string below those that are there, and let `put(physical, offset in the string, size)` write
        each page's part of it, the last one first. Returns where it is, or -errno.

        Kernel: fs/exec.c copy_strings(), v6.1.
        """
        done, self.p = self.p, self.p - length
        if self.p < self.limit:
            return -E2BIG
        while done > self.p:
            start = max(done - 1 & PAGE_MASK, self.p)
            physical = self._get_arg_page(start)
            if physical is None:
                return -E2BIG
            if not put(physical, start - self.p, done - start):
                return -EFAULT
            done = start
        return self.p

    def copy_string_kernel(self, data: bytes) -> int:
        """
        A string that the kernel has, with its NUL.

        Kernel: fs/exec.c copy_string_kernel(), v6.1.
        """

        def put(physical: int, offset: int, size: int) -> bool:
            self.memory.ram.write(physical, data[offset : offset + size])
            return True

        return self.copy_string(len(data), put)

    def _get_arg_page(self, address: int) -> int | None:
        """
        The physical address behind one of the new stack, which is made larger by hand.

        Kernel: fs/exec.c get_arg_page(), v6.1.
        """
        vma = self.mm.vmas.find_vma(address)
        assert vma is not None
        if address < vma.start:
            start = address & PAGE_MASK
            if vma.end - start > self.mm.stack_rlimit:
                return None
            grown = replace(vma, start=start, pgoff=start >> PAGE_SHIFT)
            self.mm.vmas.replace(vma, grown)
            vma = grown
        found = follow_page(self.memory, self.mm, address, write=True)
        if found is None and faultin_page(self.memory, self.mm, vma, address, FaultFlag.WRITE | FaultFlag.REMOTE) == 0:
            found = follow_page(self.memory, self.mm, address, write=True)
        return found


def setup_arg_pages(bprm: Bprm, *, executable: bool) -> None:
    """
    Give the stack its rights, and room to begin with. Its new flags do not have VM_SOFTDIRTY any more.

    Kernel: fs/exec.c setup_arg_pages(), v6.1.
    """
    vma = bprm.mm.vmas.vma_lookup(bprm.p)
    assert vma is not None
    start = max(vma.start - STACK_EXPAND, vma.end - bprm.mm.stack_rlimit & PAGE_MASK)
    start = min(start, vma.start)
    flags = vma.flags & ~VmFlag.SOFTDIRTY
    stack = replace(vma, start=start, pgoff=start >> PAGE_SHIFT, execute=executable, flags=flags)
    bprm.mm.vmas.replace(vma, stack)
    bprm.mm.start_stack = bprm.p


def load_elf_binary(bprm: Bprm, access: UserAccess, program: Program, inode: Inode) -> int:
    """
    Map the program's segments into the new address space, which is current by now; returns its entry point, or -errno.

    Kernel: fs/binfmt_elf.c load_elf_binary(), v6.1.192 and v6.12.
    """
    memory, mm = bprm.memory, bprm.mm
    mm.mmap_base = bprm.layout.mmap_base
    mm.exe = inode.number
    setup_arg_pages(bprm, executable=program.executable_stack)
    bias, end, first = 0, 0, True
    if program.position_independent:
        bias = do_mmap(memory, mm, 0, program.span, PROT_READ, MAP_PRIVATE, inode, 0)
        if bias < 0:
            return bias
        do_munmap(memory, mm, bias, program.span)
        bias -= program.segments[0].address & PAGE_MASK
    for segment in program.segments:
        error = elf_load(bprm, access, segment, inode, bias, MAP_FIXED_NOREPLACE if first else MAP_FIXED)
        if error:
            return error
        end = max(end, bias + segment.address + segment.memory_size)
        first = False
    mm.vdso = install_vdso(bprm.machine, mm)
    mm.brk = mm.start_brk = (end + PAGE - 1 & PAGE_MASK) + bprm.layout.brk_gap
    sp = create_elf_tables(bprm, access, program, bias)
    if sp < 0:
        return sp
    bprm.p = mm.start_stack = sp
    return program.entry + bias


def elf_load(bprm: Bprm, access: UserAccess, segment: LoadSegment, inode: Inode, bias: int, fixed: int) -> int:
    """
    Map one segment: what the file has of it, zeros for the rest of its last page, and anonymous memory beyond. Returns
    0 or -errno.

    Kernel: fs/binfmt_elf.c elf_load(), padzero(), v6.1.192 and v6.12.
    """
    memory, mm = bprm.memory, bprm.mm
    protection = (PROT_READ if segment.flags & PF_R else 0) | (PROT_WRITE if segment.flags & PF_W else 0)
    protection |= PROT_EXEC if segment.flags & PF_X else 0
    address = bias + segment.address
    start, offset = address & PAGE_MASK, segment.offset & PAGE_MASK
    zero_start, zero_end = address, address + segment.memory_size
    if segment.file_size:
        size = address - start + segment.file_size
        mapped = do_mmap(memory, mm, start, size, protection, MAP_PRIVATE | fixed, inode, offset >> PAGE_SHIFT)
        if mapped < 0:
            return mapped
        zero_start += segment.file_size
        rest = -zero_start % PAGE
        if zero_end > zero_start and rest and protection & PROT_WRITE and access.clear_user(zero_start, rest):
            return -EFAULT
        zero_start += rest
    zero_start, zero_end = zero_start & PAGE_MASK, zero_end + PAGE - 1 & PAGE_MASK
    if zero_end > zero_start:
        vm_brk_flags(memory, mm, zero_start, zero_end - zero_start, execute=bool(protection & PROT_EXEC))
    return 0


def create_elf_tables(bprm: Bprm, access: UserAccess, program: Program, bias: int) -> int:
    """
    What a program finds on its stack: argc, argv, envp, the auxiliary vector, and above them their strings. Returns the
    stack pointer, or -errno.

    Kernel: fs/binfmt_elf.c create_elf_tables(), v6.1 and v6.12.
    """
    mm, layout = bprm.mm, bprm.layout
    at = bprm.p - layout.stack_offset & ~15
    platform = at = at - len(b"x86_64\0")
    random = at = at - 16
    if access.copy_to_user(platform, b"x86_64\0") or access.copy_to_user(random, layout.random):
        return -EFAULT
    auxv = auxiliary_vector(bprm, program, bias, platform, random)
    items = len(bprm.arguments) + 1 + len(bprm.environment) + 1 + 1
    sp = (at - len(auxv) - 8 * items) & ~15
    vma = mm.vmas.find_vma(sp)
    if vma is not None and sp < vma.start:
        mm.vmas.replace(vma, replace(vma, start=sp & PAGE_MASK, pgoff=sp >> PAGE_SHIFT))
    if not access.put_user(sp, len(bprm.arguments), 8):
        return -EFAULT
    at, ends = sp + 8, [bprm.p]
    for strings in (bprm.arguments, bprm.environment):
        end = ends[-1]
        for address in strings:
            if not access.put_user(at, address, 8):
                return -EFAULT
            length = access.strnlen_user(address, MAX_ARG_STRLEN)
            if not 0 < length <= MAX_ARG_STRLEN:
                return -EINVAL
            at, end = at + 8, address + length
        if not access.put_user(at, 0, 8):
            return -EFAULT
        at += 8
        ends.append(end)
    mm.arguments, mm.environment = (ends[0], ends[1]), (ends[1], ends[2])
    return -EFAULT if access.copy_to_user(at, auxv) else sp


def auxiliary_vector(bprm: Bprm, program: Program, bias: int, platform: int, random: int) -> bytes:
    """
    What the kernel tells a program about itself; `platform` and `random` are where those strings are.

    Kernel: fs/binfmt_elf.c create_elf_tables(), v6.1 and v6.12.
    Differs: AT_HWCAP is what CPUID says, where Linux leaves out what it was told not to use.
    """
    vdso = bprm.mm.vdso
    vector = [(AT_SYSINFO_EHDR, vdso)] if vdso else []
    cpu = bprm.machine.cpu
    vector += [(AT_MINSIGSTKSZ, get_sigframe_size(cpu)), (AT_HWCAP, cpu.cpuid(1)[3])]
    vector += [(AT_PAGESZ, PAGE), (AT_CLKTCK, 100)]
    vector += [(AT_PHDR, program.headers_address(bias)), (AT_PHENT, 56), (AT_PHNUM, program.header_count)]
    vector += [(AT_BASE, 0), (AT_FLAGS, 0), (AT_ENTRY, program.entry + bias)]
    vector += [(AT_UID, 0), (AT_EUID, 0), (AT_GID, 0), (AT_EGID, 0), (AT_SECURE, 0), (AT_RANDOM, random)]
    hwcap2 = HWCAP2_FSGSBASE if "fsgsbase" in bprm.machine.features else 0
    vector += [(AT_HWCAP2, hwcap2), (AT_EXECFN, bprm.filename), (AT_PLATFORM, platform)]
    if bprm.memory.rules.rseq_in_auxv:
        vector += [(AT_RSEQ_FEATURE_SIZE, 28), (AT_RSEQ_ALIGN, 32)]
    return b"".join(struct.pack("<QQ", *pair) for pair in (*vector, (AT_NULL, 0)))


def get_sigframe_size(cpu: Cpu) -> int:
    """
    The largest signal frame: the registers, an area that XSAVE or FXSAVE fills (CPUID leaf 13 says its size), and what
    aligns the one to 16 bytes and the other to 64.

    Kernel: arch/x86/kernel/signal.c init_sigframe_size(); fpu/signal.c fpu__get_fpstate_size(), v6.1 (with
    CONFIG_IA32_EMULATION).
    Differs: all that the CPU's XSAVE knows is taken for in use.
    """
    xsave = cpu.cpuid(1)[2] & CPUID_XSAVE
    fpstate = (cpu.cpuid(13)[2] + XSTATE_MAGIC2 if xsave else FXSAVE_SIZE) + FREGS_STATE
    return SIGFRAME_IA32 + 15 + fpstate + 63 + 15 & ~15


def new_registers(entry: int, sp: int, names: Sequence[str]) -> dict[str, int]:
    """
    What a program starts with.

    Kernel: arch/x86/kernel/process_64.c start_thread(), v6.1.
    """
    registers = dict.fromkeys(names, 0)
    return {
        **registers,
        "rip": entry,
        "rsp": sp,
        "eflags": x86.EFLAGS_FIXED | x86.EFLAGS_IF,
        "fs_base": 0,
        "gs_base": 0,
    }
