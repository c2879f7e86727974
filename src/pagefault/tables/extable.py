"""
The exception table: which instructions may fault, and where the CPU goes on if they do.

    table = ExceptionTable.from_bytes(section, address, where="vmlinux", executable=[(start, end)])
    table.search(ip)            # the entry for this instruction, or None
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arch.exception_format import Addressing, ExceptionFormat, ExceptionType, Layout, ThirdWord
from ..arch.platform import X86_64, Platform
from ..vocabulary.exception_entry import ExceptionEntry
from .extable_layout import choose
from .extable_reading import UNKNOWN, Addresses, Code, HandlerSymbol, RawTable, Reading

WITH_DATA = frozenset({ThirdWord.DATA, ThirdWord.TYPE_AND_DATA, ThirdWord.ERR_OPCODE})
"""The third words that have data fields."""


def search_extable(insns: Addresses, ip: int) -> int:
    """
    The index of `ip` in `insns` (addresses in order, shape (n,)), or -1. Of equal addresses, the one the kernel finds.

    Kernel: lib/extable.c search_extable(), include/linux/bsearch.h __inline_bsearch(), v6.12.
    """
    base, count = 0, len(insns)
    while count > 0:
        pivot = base + (count >> 1)
        if insns[pivot] == ip:
            return pivot
        if insns[pivot] < ip:
            base = pivot + 1
            count -= 1
        count >>= 1
    return -1


@dataclass(frozen=True, slots=True, eq=False)
class ExceptionTable:
    """
    One table of n entries: the kernel's own, a module's, or a BPF program's. Indexing and iterating decode an entry at
    a time, in the table's order; `reading` has all of them as arrays.

    `how` says why this layout was chosen. `sorted_insn` are the instructions in order, `sorted_index` their places in
    the table, both of shape (n,): a module's table is sorted only when the kernel loads it (`in_order` is False then).
    """

    where: str
    address: int
    raw: bytes
    platform: Platform
    exceptions: ExceptionFormat
    reading: Reading
    how: str
    in_order: bool
    sorted_insn: Addresses
    sorted_index: NDArray[np.intp]

    @classmethod
    def from_bytes(
        cls,
        raw: bytes,
        address: int,
        *,
        where: str,
        executable: Sequence[tuple[int, int]],
        platform: Platform = X86_64,
        exceptions: ExceptionFormat | None = None,
        offset: int = 0,
        version: tuple[int, int] | None = None,
        handler_symbol: HandlerSymbol | None = None,
        code: Code | None = None,
        strict: bool = True,
    ) -> ExceptionTable:
        """
        Read the table `raw` that lies at `address`, its relocations applied. `where` and `offset` are the file and the
        table's offset in it, for errors. `executable` has the ranges (start, end) of the image's code, `version` is a
        hint, `handler_symbol` names handler functions (needed for x86 4.6 to 5.15 only), `code` reads the image's code
        (it helps where two numberings of types fit). `exceptions` is the format of a table other than __ex_table.

        Raises BadInput for a table that is cut off or points outside the image's code, Unsupported for an entry of a
        type we do not know, Absent where `handler_symbol` is needed and missing. With `strict` off it raises nothing:
        the layout that comes nearest reads the table, entries of an unknown type are of type "unknown", addresses
        outside of code are left as they are, and a cut-off entry at the end is left out.
        """
        exceptions = exceptions or platform.exceptions
        address &= platform.address_mask
        table = RawTable(raw, address, executable, platform, exceptions, handler_symbol, code, where, offset)
        reading, how = choose(table, version, strict=strict)
        order = np.argsort(reading.insn, kind="stable")
        return cls(
            where, address, raw, platform, exceptions, reading, how, reading.in_order, reading.insn[order], order
        )

    @property
    def layout(self) -> Layout:
        return self.reading.layout

    def search(self, ip: int) -> ExceptionEntry | None:
        """The entry whose instruction is at `ip`."""
        place = search_extable(self.sorted_insn, ip)
        return None if place < 0 else self[int(self.sorted_index[place])]

    def __len__(self) -> int:
        return len(self.reading.insn)

    def __iter__(self) -> Iterator[ExceptionEntry]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, index: int) -> ExceptionEntry:
        """Entry `index`, 0 to len - 1 (IndexError beyond)."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        reading, layout = self.reading, self.layout
        kind = int(reading.kind[index])
        type_ = None if kind == UNKNOWN else self.exceptions.types[kind]
        third = int(reading.third[index])
        fields = self.fields(index, type_, third)
        flags: tuple[str, ...] = ()
        immediate = 0
        if layout.third is ThirdWord.DATA:
            flags = tuple(name for bit, name in enumerate(self.exceptions.flags) if third >> 12 + bit & 1)
            immediate = 0 if self.exceptions.immediate is None else self.exceptions.immediate.value(third)
        if layout.type_mask:
            number = third & layout.type_mask
        else:
            number = third if layout.third in (ThirdWord.HANDLER, ThirdWord.NONE) else 0
        return ExceptionEntry(
            index=index,
            address=self.address + index * layout.size & self.platform.address_mask,
            insn=int(reading.insn[index]),
            fixup=int(reading.fixup[index]),
            type=type_.name if type_ is not None else "unknown",
            number=0 if layout.addresses is Addressing.NEXTINSN else number,
            register=dict(fields).get("reg"),
            flags=flags,
            immediate=immediate,
            fields=(*fields, ("flags", "|".join(flags))) if flags else fields,
        )

    def fields(self, index: int, type_: ExceptionType | None, third: int) -> tuple[tuple[str, str], ...]:
        """The data fields of entry `index`, of this type and with this data word."""
        if type_ is None:
            return ()
        bpf = self.exceptions.bpf
        if type_.name == "bpf" and bpf is not None:
            register = bpf.registers.get(self.fixup_word(index) >> bpf.distance)
            return () if register is None else (("reg", register),)
        if self.layout.third in WITH_DATA or self.layout.addresses is Addressing.NEXTINSN:
            return tuple((part.name, part.text(third)) for part in type_.fields)
        return ()

    def fixup_word(self, index: int) -> int:
        """The second word of entry `index` as it stands: a BPF entry's is no address."""
        at = index * self.layout.size + 4
        return int.from_bytes(self.raw[at : at + 4], self.platform.byte_order)


@dataclass(frozen=True, slots=True)
class ExceptionTables:
    """
    The tables of a running kernel, in the order they are searched: its own, then its modules' and BPF programs'.

    Kernel: kernel/extable.c search_exception_tables(), v6.12.
    Differs: the kernel first asks which module the address is in; the ranges do not overlap, so the answer is the same.
    """

    kernel: ExceptionTable
    others: tuple[ExceptionTable, ...] = ()

    def search(self, ip: int) -> ExceptionEntry | None:
        """The first table's entry whose instruction is at `ip`."""
        for table in (self.kernel, *self.others):
            entry = table.search(ip)
            if entry is not None:
                return entry
        return None
