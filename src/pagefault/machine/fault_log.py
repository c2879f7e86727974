"""
All page faults of a run, in 36 bytes each: what repeats (code, areas, what the handler did) is kept once, in tables.
Symbol and instruction are found when a record is read.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from functools import lru_cache
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from ..arch.disassembly import disassemble
from ..arch.platform import X86_64, Platform
from ..vocabulary.fault_record import FaultRecord

ROW = np.dtype(
    [
        ("time_ns", "<u8"),
        ("address", "<u8"),
        ("pid", "<u4"),
        ("place", "<u4"),
        ("vma", "<u4"),
        ("handling", "<u4"),
        ("error_code", "<u2"),
        ("cpu", "u1"),
        ("context", "u1"),
    ]
)
"""
A fault: `place`, `vma`, `handling` and `context` are indices into the log's tables. No error code here has more than 16
bits: the one that does is SEV-SNP's RMP, bit 31. Manual: AMD APM vol. 2, 8.4.2.
"""
CHUNK = 1 << 14
"""Rows that are allocated at a time."""
Key = TypeVar("Key", bound=Hashable)


class Place(NamedTuple):
    """An instruction that faulted, in one program's user mode or in the kernel's."""

    comm: str
    kernel: bool
    ip: int


class Handling(NamedTuple):
    """What the handler did, with what results, and whether data had to be read."""

    action: str
    results: tuple[str, ...]
    major: bool


class Numbered(dict[Key, int], Generic[Key]):
    """Keys, each with a number: 0, 1, 2, … as they first come up. `names` has them in that order."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[Key] = []

    def __missing__(self, key: Key) -> int:
        self[key] = number = len(self.names)
        self.names.append(key)
        return number


class FaultLog:
    """
    Faults in the order in which they happened; iterating makes their records.

    `symbol_of(comm, kernel, ip)` gives "name+0xoff" or "". Differs: programs are told apart by name, so that two of one
    name share the code at an address.
    """

    def __init__(
        self,
        symbol_of: Callable[[str, bool, int], str] = lambda _comm, _kernel, _ip: "",
        *,
        platform: Platform = X86_64,
    ) -> None:
        self._symbol_of, self._platform, self._count = symbol_of, platform, 0
        self._chunks: list[npt.NDArray[np.void]] = []
        self._code: dict[int, bytes] = {}
        self._places, self._vmas, self._contexts = Numbered[Place](), Numbered[str](), Numbered[str]()
        self._handlings = Numbered[Handling]()
        # Most faults come from a few places; but a program may run anywhere, and so this is bounded.
        self._words = lru_cache(1 << 16)(self._described)

    def append(
        self,
        *,
        time_ns: int,
        pid: int,
        comm: str,
        cpu: int,
        kernel: bool,
        address: int,
        error_code: int,
        ip: int,
        vma: str,
        action: str,
        results: tuple[str, ...],
        major: bool,
        context: str = "d....",
        code: bytes = b"",
    ) -> None:
        """
        Remember a fault. The fields are FaultRecord's; `code` is what is at `ip`: an instruction's bytes or more, none
        if its page is not there.
        """
        place = self._places[Place(comm, kernel, ip)]
        # An instruction that faulted as it was fetched is there when it faults again.
        if code and place not in self._code:
            self._code[place] = code
            self._words.cache_clear()
        handling = self._handlings[Handling(action, results, major)]
        at = self._count % CHUNK
        if at == 0:
            self._chunks.append(np.zeros(CHUNK, ROW))
        numbers = place, self._vmas[vma], handling
        self._chunks[-1][at] = (time_ns, address, pid, *numbers, error_code, cpu, self._contexts[context])
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[FaultRecord]:
        """Every fault that there is now, in order."""
        for number, chunk in enumerate(self._chunks):
            yield from map(self._record, chunk[: self._count - number * CHUNK].tolist())

    def __getitem__(self, index: int) -> FaultRecord:
        """One fault, from 0; negative from the end."""
        found = index + self._count if index < 0 else index
        if not 0 <= found < self._count:
            raise IndexError(index)
        return self._record(self._chunks[found // CHUNK][found % CHUNK].tolist())

    def _record(self, row: tuple[Any, ...]) -> FaultRecord:
        time_ns, address, pid, place, vma, handling, error_code, cpu, context = row
        comm, kernel, ip = self._places.names[place]
        symbol, instruction = self._words(place)
        action, results, major = self._handlings.names[handling]
        return FaultRecord(
            time_ns=time_ns,
            pid=pid,
            comm=comm,
            cpu=cpu,
            kernel=kernel,
            address=address,
            error_code=error_code,
            ip=ip,
            symbol=symbol,
            instruction=instruction,
            vma=self._vmas.names[vma],
            action=action,
            results=results,
            major=major,
            context=self._contexts.names[context],
        )

    def _described(self, place: int) -> tuple[str, str]:
        """Symbol and instruction of a place."""
        comm, kernel, ip = self._places.names[place]
        instruction = disassemble(self._platform, self._code.get(place, b""), ip)
        return self._symbol_of(comm, kernel, ip), instruction.text if instruction else ""
