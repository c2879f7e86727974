"""
The ORC tables: for every code address, how to find the caller's stack pointer, return address and frame pointer.

Two arrays of one length, sorted by address: where an entry begins to hold (s32, relative to its own field), and

    s16 sp_offset   s16 bp_offset   u16: 3..0 sp_reg   7..4 bp_reg   then the type, and one flag

The flag and the types' numbers changed: in v6.1 the type is bits 9..8 and bit 10 ends the stack; in v6.12 the type is
bits 10..8 and bit 11 says that the frame was interrupted.

Kernel: arch/x86/include/asm/orc_types.h, v6.1 and v6.12. Differs: layouts between the two are not known here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import BadInput

ENTRY = np.dtype([("sp_offset", "<i2"), ("bp_offset", "<i2"), ("bits", "<u2")])
BASES = ("undefined", "prev_sp", "rdx", "rdi", "rbp", "rsp", "r10", "r13", "rbp_indirect", "rsp_indirect")
"""ORC_REG_*, by number."""
OLD_TYPES = ("call", "regs", "regs_partial", "function")
NEW_TYPES = ("undefined", "end_of_stack", "call", "regs", "regs_partial")
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class OrcEntry:
    """
    The caller's stack pointer is `sp_base` (a register, or for `…_indirect` what it points to) plus `sp_offset`;
    `bp_base` and `bp_offset` say where its frame pointer was saved. `type` says what lies there: a return address
    (call), a whole pt_regs (regs) or its last five words (regs_partial). `signal` is True if the caller was interrupted
    there and did not call; None where the table does not say.
    """

    sp_base: str
    sp_offset: int
    bp_base: str
    bp_offset: int
    type: str
    signal: bool | None = None


class OrcTable:
    """
    The table of one image, for code addresses `start` <= a < `end`.

    `ip_address` is where the array of addresses `ip` lies, `entries` is the other array.

    Errors: BadInput if they do not fit each other.
    """

    def __init__(self, ip_address: int, ip: bytes, entries: bytes, *, start: int, end: int, where: str) -> None:
        count = len(ip) // 4
        if not count or len(ip) % 4 or len(entries) != count * ENTRY.itemsize:
            got = f"{len(ip)} and {len(entries)}"
            raise BadInput(where, expected="ORC tables of 4 and 6 bytes an entry, as many of each", got=got)
        places = np.uint64(ip_address) + np.arange(count, dtype=np.uint64) * np.uint64(4)
        self.start, self.end = start, end
        self._addresses = places + np.frombuffer(ip, "<i4").astype(np.int64).astype(np.uint64)
        self._entries = np.frombuffer(entries, ENTRY)
        self._new = is_new_layout(self._entries)
        if np.any(self._addresses[1:] < self._addresses[:-1]):
            self._sort()

    def __len__(self) -> int:
        return len(self._addresses)

    def find(self, ip: int) -> OrcEntry | None:
        """
        The entry that holds at `ip`, the last of several that begin there; None outside this table.

        Kernel: arch/x86/kernel/unwind_orc.c __orc_find(), orc_find(), v6.1.
        """
        if not self.start <= ip < self.end:
            return None
        place = int(np.searchsorted(self._addresses, np.uint64(ip), "right")) - 1
        return decode(self._entries[max(place, 0)], new=self._new)

    def _sort(self) -> None:
        """
        By address; an entry that ends a section goes before a real one at its address.

        Kernel: arch/x86/kernel/unwind_orc.c orc_sort_cmp(), unwind_module_init(), v6.1: a module's is sorted at load.
        """
        ends = self._entries["bits"] & 0xF == 0
        order = np.lexsort((~ends, self._addresses))
        self._addresses, self._entries = self._addresses[order], self._entries[order]


class OrcTables:
    """The tables of the kernel and of its modules, asked one after another."""

    def __init__(self, tables: Iterable[OrcTable]) -> None:
        self.tables = tuple(tables)

    def find(self, ip: int) -> OrcEntry | None:
        return next((entry for table in self.tables if (entry := table.find(ip))), None)


def is_new_layout(entries: npt.NDArray[np.void]) -> bool:
    """
    Are the types numbered as in v6.12?

    Nearly all entries describe a call. That is type 2 now and was type 0, where bit 9 (REGS_PARTIAL) is rare. Told by
    the table itself and not by the version, since distributions backport.
    """
    bits = entries["bits"][entries["bits"] & 0xF != 0]
    return 2 * int(np.count_nonzero(bits >> 8 & 7 == 2)) > len(bits)


def decode(entry: np.void, *, new: bool) -> OrcEntry:
    """One raw entry, in one of the two layouts. Registers and types without a name are `unknown`."""
    bits = int(entry["bits"])
    sp_base, bp_base = (BASES[n] if n < len(BASES) else UNKNOWN for n in (bits & 0xF, bits >> 4 & 0xF))
    signal: bool | None = None
    if new:
        number, signal = bits >> 8 & 7, bool(bits >> 11 & 1)
        kind = NEW_TYPES[number] if number < len(NEW_TYPES) else UNKNOWN
    elif sp_base == "undefined":
        kind = "end_of_stack" if bits >> 10 & 1 else "undefined"
    else:
        kind = OLD_TYPES[bits >> 8 & 3]
    return OrcEntry(sp_base, int(entry["sp_offset"]), bp_base, int(entry["bp_offset"]), kind, signal)
