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
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..arch.exception_format import ExceptionFormat
from ..arch.platform import ByteOrder, Platform, platform_of
from ..errors import Absent, BadInput, Unsupported
from ..tables.extable import ExceptionTable
from ..tables.symbols import SymbolTable
from .btf import Btf
from .kallsyms import read_kallsyms
from .kernel_image import CodeSection, FoundTable
from .loaded_modules import LoadedModule, loaded_modules
from .system_map import read_system_map

if TYPE_CHECKING:
    import drgn

KCORE, KALLSYMS = Path("/proc/kcore"), "/proc/kallsyms"
KDUMP, FLATTENED = b"KDUMP   ", b"makedumpfile\0"
"""How a kdump begins, and one in the flattened form that goes through a pipe."""
KDUMP_MACHINE, FLATTENED_HEADER = 272, 4096 + 16
"""Where a kdump names its machine (utsname), and how much stands before it if it is flattened."""
MAX_BTF, MAX_TABLE = 1 << 26, 1 << 24
SECTIONS = (
    (".text", "_stext", "_etext", True, False),
    (".rodata", "__start_rodata", "__end_rodata", False, False),
    (".data", "_sdata", "_edata", False, False),
)
"""What symbols of the linker script enclose. Kernel: include/asm-generic/sections.h, v6.1. Init code is gone by now."""


class Core:
    """
    The memory of one kernel, a `KernelImage`. `program` is drgn's, `vmcoreinfo` the fields of the note of that name,
    `running` says that this is the machine's own kernel.
    """

    module = None

    def __init__(self, path: str, program: drgn.Program, platform: Platform, how: tuple[str, ...]) -> None:
        self.path, self.program, self.platform = path, program, platform
        self.running = os.path.realpath(path) == str(KCORE)
        self._how = how
        self._given_symbols: SymbolTable | None = None

    @classmethod
    def open(cls, path: str | Path, *, system_map: str | None = None) -> Core:
        """
        Open the dump at `path`. Symbols are taken from `system_map` if it is given: they must have the addresses that
        the kernel ran at (its VMCOREINFO says by how much KASLR moved it).

        Errors: BadInput if it cannot be read or is no kernel's dump; Unsupported for an architecture we do not know.
        """
        where = str(path)
        program, form = opened(where)
        platform = platform_of_program(program, where)
        core = cls(where, program, platform, (form,))
        if system_map is not None:
            core._given_symbols = read_system_map(system_map, platform)
        return core

    @cached_property
    def vmcoreinfo(self) -> dict[str, str]:
        """
        The note that a kernel writes about itself: "OSRELEASE", "SYMBOL(kallsyms_names)", "KERNELOFFSET", …

        Errors: Absent if the dump has none.
        """
        try:
            text = self.program["VMCOREINFO"].string_().decode("utf-8", "backslashreplace")
        except LookupError:
            hint = "the dump was taken without it (QEMU: -device vmcoreinfo, and the guest's module qemu_fw_cfg)"
            raise Absent("VMCOREINFO", where=self.path, hint=hint) from None
        return {name: value for line in text.splitlines() for name, _, value in [line.partition("=")]}

    @property
    def how(self) -> tuple[str, ...]:
        """The container, and where the symbols are from."""
        return (*self._how, self._symbols[1])

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
            return self._given_symbols, f"symbols from {self._given_symbols.where}"
        if self.running:
            return read_system_map(KALLSYMS, self.platform), f"symbols from {KALLSYMS}"
        found = {
            match[1]: int(value, 16)
            for name, value in self.vmcoreinfo.items()
            if (match := re.fullmatch(r"SYMBOL\((kallsyms_\w+)\)", name)) and re.fullmatch("[0-9a-f]{1,16}", value)
        }
        kallsyms = read_kallsyms(found, self.read, self.platform, where=self.path)
        symbols = kallsyms.symbols()
        for module in self._modules_of(symbols):
            if module.symbols is not None:
                symbols = symbols.with_module(module.symbols, module.name)
        return symbols, kallsyms.how

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
        """What the symbols of the linker script enclose, and each module's code."""
        found = []
        for name, first, last, executable, discarded in SECTIONS:
            start, end = self.symbols.get(first), self.symbols.get(last)
            if start is not None and end is not None and start < end:
                found.append(CodeSection(name, start, end - start, executable, discarded))
        for module in self.modules:
            found += [CodeSection(".text", start, end - start, executable=True) for start, end in module.code]
        return tuple(sorted(found, key=lambda section: section.address))

    @cached_property
    def executable(self) -> tuple[tuple[int, int], ...]:
        """Ranges of addresses (start, end) that hold code, the freed init code's among them: the table lists it."""
        ranges = [(section.address, section.end) for section in self.sections if section.executable]
        start, end = self.symbols.get("_sinittext"), self.symbols.get("_einittext")
        if start is not None and end is not None and start < end:
            ranges.append((start, end))
        return tuple(sorted(ranges))

    @cached_property
    def exception_tables(self) -> tuple[FoundTable, ...]:
        """
        __ex_table, the platform's other tables, and those of the modules.

        Errors: Absent if the symbols or the memory are missing; BadInput or Unsupported if a table cannot be read.
        """
        start, stop = (self.symbols.find(f"__{end}___ex_table") for end in ("start", "stop"))
        bounds = "the symbols __start___ex_table and __stop___ex_table"
        tables = [FoundTable("__ex_table", self._table(start, stop - start, self.platform.exceptions), bounds)]
        for extra in self.platform.extra_tables:
            first, last = self.symbols.get(extra.start), self.symbols.get(extra.stop)
            if first is not None and last is not None and first < last:
                table = self._table(first, last - first, extra.format or self.platform.exceptions)
                tables.append(FoundTable(extra.section, table, f"the symbols {extra.start} and {extra.stop}"))
        return (*tables, *self._tables_of_modules(tables[0].table))

    def _tables_of_modules(self, kernel: ExceptionTable) -> Iterator[FoundTable]:
        for module in self.modules:
            if module.entries:
                size = module.entries * kernel.layout.size
                table = self._table(module.table, size, self.platform.exceptions)
                yield FoundTable("__ex_table", table, "the kernel's list of modules", module=module.name)

    def _table(self, address: int, size: int, exceptions: ExceptionFormat) -> ExceptionTable:
        if not 0 <= size <= MAX_TABLE:
            raise BadInput(self.path, expected="an exception table of a kernel's size", got=f"{size} bytes")
        return ExceptionTable.from_bytes(
            self.read(address, size),
            address,
            exceptions=exceptions,
            where=self.path,
            executable=self.executable,
            version=self.version,
            handler_symbol=self.function_at,
        )

    def function_at(self, address: int) -> str | None:
        """The name of the function that starts at `address`."""
        symbol = self.symbols.at(address)
        return symbol.name if symbol is not None and symbol.offset == 0 else None

    def read(self, address: int, length: int) -> bytes:
        """`length` bytes at a linear address. Errors: Absent if the dump does not hold them all."""
        try:
            return bytes(self.program.read(address, length))
        except Exception as error:  # noqa: BLE001 -- drgn's FaultError, and on a damaged dump what libkdumpfile says
            hint = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise Absent(f"{length} bytes at {address:#x}", where=self.path, hint=hint) from None


def opened(where: str) -> tuple[drgn.Program, str]:
    """drgn's program over a dump, and the dump's format in words. Errors: BadInput, Unsupported without drgn."""
    try:
        import drgn
    except ImportError:
        raise Unsupported(
            f"reading {where}", why="dumps are read by drgn, which is missing: pip install drgn"
        ) from None
    try:
        with Path(where).open("rb") as file:
            head = file.read(FLATTENED_HEADER + KDUMP_MACHINE + 16)
    except OSError as error:
        hint = error.strerror or "an error"
        raise BadInput(where, expected="a readable dump (/proc/kcore: as root)", got=hint) from None
    form, machine = "ELF core", ""
    for start, name in ((0, "kdump"), (FLATTENED_HEADER, "flattened kdump")):
        if head[start:].startswith(KDUMP):
            form = name
            machine = head[start + KDUMP_MACHINE :].partition(b"\0")[0].decode("ascii", "replace")
    try:
        program = drgn.Program()
        program.set_core_dump(where)
    except Exception as first:  # noqa: BLE001 -- a bare Exception is what drgn makes of libkdumpfile's errors
        # libkdumpfile does not tell the architecture of QEMU's kdumps, and drgn asks it unless it is told.
        architecture = MACHINES.get(machine)
        if architecture is None:
            raise BadInput(where, expected="a kernel's dump", got=str(first) or type(first).__name__) from None
        try:
            program = drgn.Program(drgn.Platform(getattr(drgn.Architecture, architecture)))
            program.set_core_dump(where)
        except Exception as error:  # noqa: BLE001 -- as above
            raise BadInput(where, expected="a kernel's dump", got=str(error) or type(error).__name__) from None
    if not program.flags & drgn.ProgramFlags.IS_LINUX_KERNEL:
        hint = "a program's, or a guest's without VMCOREINFO (QEMU: -device vmcoreinfo, and the module qemu_fw_cfg)"
        raise BadInput(where, expected="a Linux kernel's dump", got=hint)
    return program, "the running kernel's memory" if os.path.realpath(where) == str(KCORE) else form


MACHINES = {
    "x86_64": "X86_64",
    "i686": "I386",
    "aarch64": "AARCH64",
    "ppc64le": "PPC64",
    "s390x": "S390X",
    "riscv64": "RISCV64",
}
"""What `uname -m` says, and drgn's name for it."""
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
