"""
A kernel's memory instead of its file: a crash dump (ELF or kdump-compressed), or the running kernel's /proc/kcore.

    Core.open("/proc/kcore").exception_tables       # the kernel's own, and those of the modules it has loaded

The dump's format and the translation of addresses are drgn's. Where things are the dump says itself: VMCOREINFO has the
addresses of kallsyms' tables, kallsyms those of the rest. The code is what the CPUs execute, with its alternatives
patched.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..arch.platform import ByteOrder, ExtraTable, Platform, platform_of
from ..errors import Absent, BadInput, Unsupported
from ..tables.symbols import SymbolTable
from .btf import Btf
from .dump_process import DumpProcess, Memory
from .kallsyms import read_kallsyms
from .kernel_image import CodeSection, FoundTable
from .kernel_tables import EX_TABLE, START, STOP, Located, bounds, check_size, not_looked_for, read_table, tables_of
from .linker_sections import executable_of, freed_of, sections_of
from .loaded_modules import LoadedModule, loaded_modules
from .system_map import read_system_map

if TYPE_CHECKING:
    import drgn

KCORE, KALLSYMS = "/proc/kcore", "/proc/kallsyms"
KDUMP, FLATTENED = b"KDUMP   ", b"makedumpfile\0"
"""How a kdump begins, and one in the flattened form that goes through a pipe."""
KDUMP_MACHINE, FLATTENED_HEADER = 272, 4096 + 16
"""Where a kdump names its machine (utsname), and how much stands before it if it is flattened."""
MAX_BTF = 1 << 26


class Core:
    """
    The memory of one kernel, a `KernelImage`. `memory` reads it, `vmcoreinfo` has the fields of the note of that name,
    `running` says that this is the machine's own kernel.
    """

    module = None

    def __init__(
        self,
        path: str,
        memory: Memory,
        how: tuple[str, ...],
        *,
        symbols: SymbolTable | None = None,
        strict: bool = True,
    ) -> None:
        self.path, self.memory, self.platform, self.strict = path, memory, memory.platform, strict
        self.running = is_kcore(path)
        self._how, self._given_symbols = how, symbols

    @classmethod
    def open(cls, path: str | Path, *, system_map: str | None = None, strict: bool = True) -> Core:
        """
        Open the dump at `path`. Symbols are taken from `system_map` if it is given: a System.map of where the kernel
        was linked, or what its /proc/kallsyms said of where it ran.

        Errors: BadInput if it cannot be read or is no kernel's dump; Unsupported for an architecture we do not know.
        """
        where = str(path)
        form = form_of(where)
        # drgn reads ELF itself, and survives what it finds; kdumps are libkdumpfile's.
        memory = DumpProcess(where, DrgnMemory) if form.endswith("kdump") else DrgnMemory(where)
        symbols = None if system_map is None else read_system_map(system_map, memory.platform)
        return cls(where, memory, (form,), symbols=symbols, strict=strict)

    @cached_property
    def vmcoreinfo(self) -> dict[str, str]:
        """
        The note that a kernel writes about itself: "OSRELEASE", "SYMBOL(kallsyms_names)", "KERNELOFFSET", …

        Errors: Absent if the dump has none.
        """
        text = self.memory.vmcoreinfo
        if not text:
            hint = "the dump was taken without it (QEMU: -device vmcoreinfo, and the guest's module qemu_fw_cfg)"
            raise Absent("VMCOREINFO", where=self.path, hint=hint)
        return {name: value for line in text.splitlines() for name, _, value in [line.partition("=")]}

    @property
    def how(self) -> tuple[str, ...]:
        """The container, where the symbols are from, and which tables nothing would tell of."""
        return (*self._how, self._symbols[1], *not_looked_for(self.platform, self.symbols))

    @cached_property
    def version(self) -> tuple[int, int]:
        """The kernel's release, from VMCOREINFO. Errors: Absent if it does not say."""
        found = re.match(r"(\d{1,3})\.(\d{1,3})", self.vmcoreinfo.get("OSRELEASE", ""))
        if found is None:
            raise Absent("release", where=self.path, hint="VMCOREINFO has no OSRELEASE")
        return int(found[1]), int(found[2])

    @property
    def symbols(self) -> SymbolTable:
        """The kernel's symbols, and those of the modules it has loaded."""
        return self._symbols[0]

    @cached_property
    def _symbols(self) -> tuple[SymbolTable, str]:
        if self._given_symbols is not None:
            given = self._given_symbols
            by = self._moved_by(given)
            words = f"symbols from {given.where}" + (f", moved by {by:#x}, as KASLR did" if by else "")
            return self._with_modules(self._below_2_gib(given.moved(by) if by else given)), words
        if self.running:
            return self._below_2_gib(read_system_map(KALLSYMS, self.platform)), f"symbols from {KALLSYMS}"
        found = {
            match[1]: int(value, 16)
            for name, value in self.vmcoreinfo.items()
            if (match := re.fullmatch(r"SYMBOL\((kallsyms_\w+)\)", name)) and re.fullmatch("[0-9a-f]{1,16}", value)
        }
        kallsyms = read_kallsyms(found, self.read, self.platform, where=self.path)
        return self._with_modules(self._below_2_gib(kallsyms.symbols())), kallsyms.how

    def _with_modules(self, symbols: SymbolTable) -> SymbolTable:
        """The same, and the loaded modules' own; /proc/kallsyms has these too."""
        if not symbols.has_modules:
            for module in self._modules_of(symbols):
                if module.symbols is not None:
                    symbols = symbols.with_module(module.symbols, module.name)
        return symbols

    def _moved_by(self, symbols: SymbolTable) -> int:
        """
        How far from where these symbols say the kernel ran: VMCOREINFO says where its _stext was, or how far KASLR
        moved it. Without VMCOREINFO they are taken for right.

        Kernel: kernel/crash_core.c crash_save_vmcoreinfo_init(), arch/*/kernel/ arch_crash_save_vmcoreinfo(), v6.1.
        """
        ran, linked = self._said("SYMBOL(_stext)"), symbols.get("_stext")
        if ran is not None and linked is not None:
            return ran - linked
        return self._said("KERNELOFFSET") or 0

    def _below_2_gib(self, symbols: SymbolTable) -> SymbolTable:
        """
        s390's code for 31-bit addressing is copied to below 2 GiB, but symbols say where it was.

        Kernel: arch/s390/kernel/setup.c relocate_amode31_section(), machine_kexec.c arch_crash_save_vmcoreinfo(), v6.1.
        """
        runs, start, stop = self._said("SAMODE31"), symbols.get("_samode31"), symbols.get("_eamode31")
        if runs is None or start is None or stop is None or start >= stop:
            return symbols
        return symbols.moved(runs - start, start, stop)

    def _said(self, field: str) -> int | None:
        """A number in VMCOREINFO, if it is there."""
        try:
            value = self.vmcoreinfo.get(field, "")
        except Absent:
            return None
        return int(value, 16) if re.fullmatch("[0-9a-f]{1,16}", value) else None

    @cached_property
    def layout(self) -> Btf:
        """What the kernel's structures look like, from its own BTF. Errors: Absent if it was built without."""
        return self._layout_of(self.symbols)

    def _layout_of(self, symbols: SymbolTable) -> Btf:
        start, stop = symbols.get("__start_BTF"), symbols.get("__stop_BTF")
        if start is None or stop is None or not 0 < stop - start <= MAX_BTF:
            raise Absent("BTF", where=self.path, hint="the kernel was built without CONFIG_DEBUG_INFO_BTF")
        return Btf(self.read(start, stop - start), where=f"{self.path} BTF")

    @cached_property
    def modules(self) -> tuple[LoadedModule, ...]:
        """The modules that the kernel has loaded; none if its BTF, which says where they are kept, is not there."""
        return self._modules_of(self.symbols)

    def _modules_of(self, symbols: SymbolTable) -> tuple[LoadedModule, ...]:
        try:
            layout = self._layout_of(symbols)
            return tuple(loaded_modules(symbols, self.read, layout, self.platform, where=self.path))
        except Absent:
            return ()

    @cached_property
    def sections(self) -> tuple[CodeSection, ...]:
        """What the symbols of the linker script enclose, init code that is gone by now too, and each module's code."""
        code = [
            CodeSection(".text", at, end - at, executable=True) for module in self.modules for at, end in module.code
        ]
        return tuple(sorted((*sections_of(self.symbols), *code), key=lambda section: section.address))

    @cached_property
    def executable(self) -> tuple[tuple[int, int], ...]:
        """Ranges of addresses (start, end) that hold code, the freed init code's among them: the table lists it."""
        return executable_of(self.sections)

    @cached_property
    def exception_tables(self) -> tuple[FoundTable, ...]:
        """
        __ex_table, the kernel's others (`kernel_tables`), and those of the modules: of the same layout, which the many
        entries of the first tell better than a module's few.

        Errors: Absent if the symbols or the memory are missing; BadInput or Unsupported if a table cannot be read.
        """
        code = (*self.executable, *freed_of(self.symbols))
        tables = tuple(tables_of(self, self._locate, strict=self.strict, executable=code))
        layout = tables[0].table.layout
        exceptions = replace(self.platform.exceptions, layouts=(layout,))
        for module in self.modules:
            if module.entries:
                found = self._bytes(module.table, module.entries * layout.size, "the kernel's list of modules")
                read = read_table(
                    self, "__ex_table", found, strict=self.strict, exceptions=exceptions, module=module.name
                )
                tables = (*tables, read)
        return tables

    def _locate(self, described: ExtraTable) -> Located | None:
        """A table between its symbols. Errors: Absent if __ex_table's are missing."""
        found = bounds(self.symbols, described)
        if found is not None:
            return self._bytes(*found)
        if described is EX_TABLE:
            hint = f"there are no symbols {START} and {STOP} with anything between them"
            raise Absent("exception table", where=self.path, hint=f"{hint}; a System.map has them")
        return None

    def _bytes(self, address: int, size: int, found: str) -> Located:
        check_size(size, self.path)
        return Located(address, self.read(address, size), 0, found)

    def read(self, address: int, length: int) -> bytes:
        """`length` bytes at a linear address. Errors: Absent if the dump does not hold them all."""
        return self.memory.read(address, length)


class DrgnMemory:
    """A dump as drgn reads it. Errors: BadInput if it cannot; Unsupported without drgn, or for its architecture."""

    def __init__(self, where: str) -> None:
        self.where, self.program = where, opened(where)
        self.platform = platform_of_program(self.program, where)
        try:
            self.vmcoreinfo: str = self.program["VMCOREINFO"].string_().decode("utf-8", "backslashreplace")
        except LookupError:
            self.vmcoreinfo = ""

    def read(self, address: int, length: int) -> bytes:
        """As `Memory.read`."""
        try:
            return bytes(self.program.read(address, length))
        except Exception as error:  # noqa: BLE001 -- drgn's FaultError, and on a damaged dump what libkdumpfile says
            hint = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise Absent(f"{length} bytes at {address:#x}", where=self.where, hint=hint) from None


def is_kcore(where: str) -> bool:
    """Is this, by whatever name, the running kernel's memory? It has no size, and cannot be mapped."""
    return os.path.realpath(where) == KCORE


def head_of(where: str) -> bytes:
    """The dump's first bytes. Errors: BadInput."""
    try:
        with Path(where).open("rb") as file:
            return file.read(FLATTENED_HEADER + KDUMP_MACHINE + 16)
    except OSError as error:
        hint = error.strerror or "an error"
        raise BadInput(where, expected="a readable dump (/proc/kcore: as root)", got=hint) from None


def form_of(where: str) -> str:
    """The dump's format in words. Errors: BadInput if it cannot be read."""
    head = head_of(where)
    if is_kcore(where):
        return "the running kernel's memory"
    if head.startswith(FLATTENED):
        return "flattened kdump"
    return "kdump" if head.startswith(KDUMP) else "ELF core"


def opened(where: str) -> drgn.Program:
    """drgn's program over a dump. Errors: BadInput, Unsupported without drgn."""
    try:
        import drgn
    except ImportError:
        raise Unsupported(
            f"reading {where}", why="dumps are read by drgn, which is missing: pip install drgn"
        ) from None
    try:
        program = drgn.Program(kdump_platform(head_of(where)))
        program.set_core_dump(where)
    except Exception as error:  # noqa: BLE001 -- a bare Exception is what drgn makes of libkdumpfile's errors
        raise BadInput(where, expected="a kernel's dump", got=str(error) or type(error).__name__) from None
    if not program.flags & drgn.ProgramFlags.IS_LINUX_KERNEL:
        hint = "a program's, or a guest's without VMCOREINFO (QEMU: -device vmcoreinfo, and the module qemu_fw_cfg)"
        raise BadInput(where, expected="a Linux kernel's dump", got=hint)
    return program


def kdump_platform(head: bytes) -> drgn.Platform | None:
    """
    The platform of the kdump that begins with `head`; None for other dumps, and for a machine not in `MACHINES`.

    drgn asks libkdumpfile unless it is told, and that does not tell the architecture of QEMU's kdumps.
    """
    import drgn

    start = FLATTENED_HEADER if head.startswith(FLATTENED) else 0
    if not head.startswith(KDUMP, start):
        return None
    machine = head[start + KDUMP_MACHINE :].partition(b"\0")[0].decode("ascii", "replace")
    architecture = MACHINES.get(machine)
    return drgn.Platform(drgn.Architecture[architecture]) if architecture else None


MACHINES = {
    "x86_64": "X86_64",
    "i686": "I386",
    "aarch64": "AARCH64",
    "ppc64le": "PPC64",
    "s390x": "S390X",
    "riscv64": "RISCV64",
}
"""What `uname -m` says, and drgn's name for it: each in the width and byte order that drgn takes it to have."""
ELF_MACHINES = {
    "X86_64": "EM_X86_64",
    "I386": "EM_386",
    "AARCH64": "EM_AARCH64",
    "ARM": "EM_ARM",
    "PPC64": "EM_PPC64",
    "RISCV64": "EM_RISCV",
    "RISCV32": "EM_RISCV",
    "S390X": "EM_S390",
}
"""drgn's name for an architecture, and ELF's."""


def platform_of_program(program: drgn.Program, where: str) -> Platform:
    """Which platform drgn says this is. Errors: Unsupported."""
    import drgn

    said = program.platform
    if said is not None and said.arch.name in ELF_MACHINES:
        bits = 64 if said.flags & drgn.PlatformFlags.IS_64_BIT else 32
        order: ByteOrder = "little" if said.flags & drgn.PlatformFlags.IS_LITTLE_ENDIAN else "big"
        if found := platform_of(ELF_MACHINES[said.arch.name], bits, order):
            return found
    raise Unsupported(f"a dump of {said.arch.name if said else 'an unknown machine'}", why=f"{where}: no such platform")
