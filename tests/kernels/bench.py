"""A small machine of the tests' own, so that they judge the small kernel and not the package: one CPU, a dict for an
MMU (with SMAP), and the six handlers that the two exception tables use.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from elftools.elf.elffile import ELFFile
from unicorn import (
    UC_ARCH_X86,
    UC_CTL_IO_WRITE,
    UC_CTL_TLB_FLUSH,
    UC_HOOK_TLB_FILL,
    UC_MEM_FETCH,
    UC_MEM_WRITE,
    UC_MODE_64,
    UC_PROT_ALL,
    UC_PROT_EXEC,
    UC_PROT_READ,
    UC_PROT_WRITE,
    UC_TLB_VIRTUAL,
    Uc,
    UcError,
)
from unicorn import x86_const as x86

from pagefault.kernels import faulty_module, small_kernel

PAGE = 4096
EFAULT, ERANGE = 14, 34
KERNEL, DIRECT, USER = 0xFFFFFFFF80000000, 0xFFFF888000000000, 0x400000
LIMIT = {False: 0x7FFFFFFFF000, True: 0xFFFFFFFFFFF000}
RAM, USER_FRAMES, BUFFERS, STACK_TOP, MODULE_FRAMES = 0x2000000, 0x1800000, 0x1900000, 0x1A10000, 0x1B00000
DONE = KERNEL + 0x1000008
AC, SMAP = 1 << 18, 1 << 21
FEATURES = {"rep_good": 3 * 32 + 16, "erms": 9 * 32 + 9, "smap": 9 * 32 + 20, "la57": 16 * 32 + 16, "fsrm": 18 * 32 + 4}
CPUS = ("", "smap rep_good", "smap rep_good erms", "smap rep_good erms fsrm la57")
REGISTERS = [
    getattr(x86, f"UC_X86_REG_{name}")
    for name in "RAX RCX RDX RBX RSP RBP RSI RDI R8 R9 R10 R11 R12 R13 R14 R15".split()
]


BUFFER = DIRECT + BUFFERS + 2 * PAGE
PATTERN = bytes(1 + i % 251 for i in range(PAGE))
CANARY = 0xA5


def section(elf: ELFFile, name: str) -> Any:
    """A section that must be there."""
    found = elf.get_section_by_name(name)
    assert found is not None, name
    return found


@dataclass
class Bench:
    """Both images, loaded and patched for a CPU with `features`. `pages` maps page numbers to (frame, permissions)."""

    features: str
    symbols: dict[str, int] = field(default_factory=dict)
    entries: dict[int, tuple[int, int]] = field(default_factory=dict)
    pages: dict[int, tuple[int, str]] = field(default_factory=dict)
    faults: list[int] = field(default_factory=list)
    """The pages that faulted since the call began: more than the page's address Unicorn does not say."""

    def __post_init__(self) -> None:
        self.ram = mmap.mmap(-1, RAM)
        self.uc = Uc(UC_ARCH_X86, UC_MODE_64)
        self.uc.ctl_set_cpu_model(x86.UC_CPU_X86_ICELAKE_SERVER)
        self.uc.ctl_set_tlb_mode(UC_TLB_VIRTUAL)
        self.uc.mem_map_ptr(0, RAM, UC_PROT_ALL, ctypes.addressof(ctypes.c_char.from_buffer(self.ram)))
        self.uc.hook_add(UC_HOOK_TLB_FILL, self.fill)
        if "smap" in self.features:
            self.uc.reg_write(x86.UC_X86_REG_CR4, self.uc.reg_read(x86.UC_X86_REG_CR4) | SMAP)
        for path, move in ((small_kernel(), 0), (faulty_module(), MODULE_FRAMES - 0xFFFFFFFFC0201000)):
            self.load(path, move)
        self.percpu = self.symbols["__per_cpu_load"]
        self.uc.reg_write(x86.UC_X86_REG_GS_BASE, self.percpu)
        for offset in range(0, 0x20000, PAGE):
            self.map(DIRECT + BUFFERS + offset, BUFFERS + offset, "rw")
            self.map(DIRECT + STACK_TOP - 0x10000 + offset, STACK_TOP - 0x10000 + offset, "rw")

    def load(self, path: Any, move: int) -> None:
        with path.open("rb") as file:
            elf = ELFFile(file)
            for segment in elf.iter_segments("PT_LOAD"):
                frame = segment["p_paddr"] + move & 0xFFFFFFFFFFFFFFFF
                self.ram[frame : frame + segment["p_filesz"]] = segment.data()
                permissions = "r" + "w" * (segment["p_flags"] >> 1 & 1) + "x" * (segment["p_flags"] & 1)
                for offset in range(0, segment["p_memsz"], PAGE):
                    virtual = segment["p_vaddr"] if move else KERNEL + frame
                    self.map(virtual + offset, frame + offset, permissions)
            self.symbols |= {s.name: s["st_value"] for s in section(elf, ".symtab").iter_symbols()}
            table, alternatives = (section(elf, n) for n in ("__ex_table", ".altinstructions"))
            for at in range(0, table["sh_size"], 12):
                insn, fixup, data = struct.unpack_from("<iii", table.data(), at)
                self.entries[table["sh_addr"] + at + insn] = (table["sh_addr"] + at + 4 + fixup, data)
            for at in range(0, alternatives["sh_size"], 12):
                self.patch(alternatives["sh_addr"] + at, alternatives.data()[at : at + 12])

    def patch(self, address: int, alt_instr: bytes) -> None:
        insn, replacement, feature, length, new_length = struct.unpack("<iiHBB", alt_instr)
        if not any(FEATURES[name] == feature for name in self.features.split()):
            return
        site, source = address + insn, address + 4 + replacement
        code = bytearray(self.read(source, new_length))
        if new_length == 5 and code[0] == 0xE8:
            struct.pack_into("<i", code, 1, struct.unpack_from("<i", code, 1)[0] + source - site)
        self.write(site, bytes(code.ljust(length, b"\x90")))

    def map(self, virtual: int, frame: int, permissions: str) -> None:
        self.pages[virtual >> 12] = (frame >> 12, permissions)
        self.flush()

    def unmap(self, virtual: int) -> None:
        self.pages.pop(virtual >> 12, None)
        self.flush()

    def flush(self) -> None:
        self.uc.ctl(UC_CTL_TLB_FLUSH, UC_CTL_IO_WRITE)

    def fill(self, _uc: Uc, address: int, access: int, result: Any, _data: object) -> bool:
        frame, permissions = self.pages.get((address & 0xFFFFFFFFFFFFFFFF) >> 12, (0, ""))
        needed = "x" if access == UC_MEM_FETCH else "w" if access == UC_MEM_WRITE else "r"
        window = "smap" not in self.features or self.uc.reg_read(x86.UC_X86_REG_EFLAGS) & AC
        if needed not in permissions or ("u" in permissions and not window):
            self.faults.append(address & 0xFFFFFFFFFFFFFFFF & -PAGE)
            return False
        allowed = (("r", UC_PROT_READ), ("w", UC_PROT_WRITE), ("x", UC_PROT_EXEC))
        result.paddr, result.perms = frame << 12, sum(bit for name, bit in allowed if name in permissions)
        return True

    def fix_up(self, ip: int) -> None:
        """Kernel: arch/x86/mm/extable.c fixup_exception(), v6.1."""
        fixup, data = self.entries[ip]
        kind, register, flags, immediate = data & 0xFF, REGISTERS[data >> 8 & 15], data >> 12 & 15, data >> 16
        value = self.uc.reg_read(register)
        if kind == 2:
            self.uc.reg_write(x86.UC_X86_REG_RAX, 14)
        elif kind == 17:
            self.uc.reg_write(register, immediate & 0xFFFFFFFFFFFFFFFF)
        elif kind == 19:
            self.uc.reg_write(x86.UC_X86_REG_RCX, immediate * self.uc.reg_read(x86.UC_X86_REG_RCX) + value)
        elif kind == 20:
            at = self.uc.reg_read(x86.UC_X86_REG_RDI)
            assert self.faults[-1] == (at & -8) + 8
            word = struct.unpack("<Q", self.read(at & -8, 8))[0]
            self.uc.reg_write(x86.UC_X86_REG_RAX, word >> at % 8 * 8)
        else:
            assert kind in (1, 3)
        if flags & 2:
            self.uc.reg_write(x86.UC_X86_REG_RDX, 0)
        self.uc.reg_write(x86.UC_X86_REG_RIP, fixup)

    def call(self, name: str, *arguments: int, **registers: int) -> int:
        """Rax as the function leaves it. STAC must be over by then; a fault without an entry is a KeyError."""
        for register, value in zip(
            (x86.UC_X86_REG_RDI, x86.UC_X86_REG_RSI, x86.UC_X86_REG_RDX), arguments, strict=False
        ):
            self.uc.reg_write(register, value)
        for register_name, value in registers.items():
            self.uc.reg_write(getattr(x86, f"UC_X86_REG_{register_name.upper()}"), value)
        self.write(DIRECT + STACK_TOP, struct.pack("<Q", DONE))
        self.uc.reg_write(x86.UC_X86_REG_RSP, DIRECT + STACK_TOP)
        self.faults.clear()
        ip = self.symbols[name]
        while True:
            try:
                self.uc.emu_start(ip, DONE)
            except UcError:
                self.fix_up(self.uc.reg_read(x86.UC_X86_REG_RIP))
                ip = self.uc.reg_read(x86.UC_X86_REG_RIP)
            else:
                assert not self.uc.reg_read(x86.UC_X86_REG_EFLAGS) & AC, "user access left open"
                assert self.uc.reg_read(x86.UC_X86_REG_RSP) == DIRECT + STACK_TOP + 8
                return int(self.uc.reg_read(x86.UC_X86_REG_RAX))

    def signed(self, name: str, *arguments: int, **registers: int) -> int:
        value = self.call(name, *arguments, **registers)
        return value - (value >> 63 << 64)

    def register(self, name: str) -> int:
        return int(self.uc.reg_read(getattr(x86, f"UC_X86_REG_{name.upper()}")))

    def frame(self, address: int) -> int:
        return (self.pages[address >> 12][0] << 12) + address % PAGE

    def read(self, address: int, n: int) -> bytes:
        at = self.frame(address)
        return self.ram[at : at + n]

    def write(self, address: int, data: bytes) -> None:
        at = self.frame(address)
        self.ram[at : at + len(data)] = data


@cache
def machine(features: str) -> Bench:
    return Bench(features)
