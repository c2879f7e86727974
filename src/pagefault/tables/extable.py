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

from ..arch.exception_format import Layout, ThirdWord
from ..arch.x86_exception_types import FLAGS, PT_REGS, REGISTERS, TYPES, DataWord
from ..vocabulary.exception_entry import ExceptionEntry
from .extable_layout import Addresses, HandlerSymbol, Reading, choose


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
        offset: int = 0,
        version: tuple[int, int] | None = None,
        handler_symbol: HandlerSymbol | None = None,
    ) -> ExceptionTable:
        """
        Read the table `raw` that lies at `address`, its relocations applied. `where` and `offset` are the file and the
        table's offset in it, for errors. `executable` has the ranges (start, end) of the image's code, `version` is a
        hint, `handler_symbol` names handler functions (needed for kernels 4.6 to 5.15 only).

        Raises BadInput for a table that is cut off or points outside the image's code, Unsupported for an entry of a
        type we do not know, Absent where `handler_symbol` is needed and missing.
        """
        reading, how = choose(
            raw,
            address,
            where=where,
            offset=offset,
            executable=executable,
            version=version,
            handler_symbol=handler_symbol,
        )
        order = np.argsort(reading.insn, kind="stable")
        return cls(where, address, raw, reading, how, reading.in_order, reading.insn[order], order)

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
        type_ = TYPES[reading.kind[index]]
        third = int(reading.third[index])
        register: str | None = None
        flags: tuple[str, ...] = ()
        word = DataWord(0)
        if layout.third is ThirdWord.DATA:
            word = DataWord.decode(third)
            flags = tuple(name for bit, name in enumerate(FLAGS) if word.flags >> bit & 1)
            register = REGISTERS[word.register] if type_.operands else None
        if type_.name == "bpf":
            register = PT_REGS.get(bpf_target(self.raw, index))
        return ExceptionEntry(
            index=index,
            address=self.address + index * layout.size,
            insn=int(reading.insn[index]),
            fixup=int(reading.fixup[index]),
            type=type_.name,
            number=word.type if layout.third is ThirdWord.DATA else third,
            register=register,
            flags=flags,
            immediate=word.immediate,
        )


def bpf_target(raw: bytes, index: int) -> int:
    """
    What the fixup word of a BPF entry has above the instruction's length: the byte offset in pt_regs of the register to
    clear, or BPF_DONT_CLEAR. The word is not relative to anything.

    Kernel: arch/x86/net/bpf_jit_comp.c ex_handler_bpf(), do_jit(), v6.12.
    """
    return int.from_bytes(raw[index * 12 + 4 : index * 12 + 8], "little") >> 8


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
