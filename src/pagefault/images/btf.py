"""
Where the members of a kernel's structures lie, out of its BTF (BPF Type Format).

Types are records of varying length, numbered from 1 in the order they stand. One pass finds where each begins; after
that, only the structures asked about are decoded.

    btf_header   magic eb9f, version, flags, header length, types at/length, strings at/length
    btf_type     name, info (kind 28:24, kind_flag 31, vlen 15:0), size or type, then what the kind adds
    btf_member   name, type, offset in bits (kind_flag: size of a bit-field 31:24, offset 23:0)

Kernel: include/uapi/linux/btf.h, Documentation/bpf/btf.rst, v6.12.
"""

from __future__ import annotations

import struct
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import Absent, BadInput, Unsupported

MAGIC = 0xEB9F
HEADER = struct.Struct("<HBBIIIII")
STRUCT, UNION, TYPEDEF = 4, 5, 8
MODIFIERS = {TYPEDEF, 9, 10, 11, 18}
"""typedef, volatile, const, restrict and type tag: what they lead to is what they are."""
EXTRA_WORDS = {
    1: (1, 0),  # integer
    3: (3, 0),  # array
    4: (0, 3),  # struct
    5: (0, 3),  # union
    6: (0, 2),  # enum
    13: (0, 2),  # function's parameters
    14: (1, 0),  # variable
    15: (0, 3),  # data section
    17: (1, 0),  # declaration tag
    19: (0, 3),  # 64-bit enum
}
"""What a kind has after its three words: this many words, and this many for each of its vlen. The rest have none."""
LAST_KIND = 19
MAX_MODIFIERS = 64
MAX_ANONYMOUS = 500
"""Anonymous members that we look into for one name; task_struct has about 20 in all."""


class Member(NamedTuple):
    """One member: byte `offset` in its structure and its `type` number; `bits` is the width of a bit-field, else 0."""

    name: str
    type: int
    offset: int
    bits: int


class Btf:
    """
    The types of one kernel. `data` is the section's bytes, `where` names them in errors.

    Errors: BadInput if the section contradicts itself.
    """

    def __init__(self, data: bytes | memoryview, *, where: str) -> None:
        self.where = where
        if len(data) < HEADER.size:
            raise BadInput(where, expected=f"a BTF header of {HEADER.size} bytes", got=f"{len(data)} bytes")
        magic, version, _, length, types_at, types_length, strings_at, strings_length = HEADER.unpack_from(data)
        if magic != MAGIC or version != 1:
            raise BadInput(where, offset=0, expected="BTF (eb9f) version 1", got=f"{magic:04x} version {version}")
        if types_at % 4 or types_length % 4 or length + types_at + types_length > len(data):
            raise BadInput(
                where, offset=8, expected="types inside the section", got=f"{types_length:#x} at {types_at:#x}"
            )
        if length + strings_at + strings_length > len(data):
            got = f"{strings_length:#x} at {strings_at:#x}"
            raise BadInput(where, offset=16, expected="strings inside the section", got=got)
        self._words = np.frombuffer(data, "<u4", types_length // 4, length + types_at)
        self._strings = bytes(data[length + strings_at : length + strings_at + strings_length])

    def size(self, name: str) -> int:
        """The size of a structure (or union) in bytes."""
        return int(self._words[self._record(name) + 2])

    def offset(self, name: str, member: str) -> int:
        """
        Byte offset of a member of structure `name`; `member` may be a path (`thread.sp`), and anonymous structures and
        unions are looked into.

        Errors: Absent if there is no such structure or member, Unsupported for a bit-field.
        """
        record, offset, bits = self._record(name), 0, 0
        for part in member.split("."):
            found = self._member(record, part, set())
            if found is None:
                raise Absent(
                    f"member {member!r} in struct {name}", where=self.where, hint="this kernel's layout differs"
                )
            offset, bits = offset + found.offset, found.bits
            record = self._resolve(found.type, member)
        if bits:
            raise Unsupported(f"struct {name}'s {member}", why="it is a bit-field and has no byte offset")
        return offset

    @cached_property
    def _records(self) -> npt.NDArray[np.int64]:
        """Where each type's record begins, as an index of words; type n is at [n - 1]."""
        words, count = self._words, len(self._words)
        if count < 3:
            return np.zeros(0, np.int64)
        # How long the record would be if one began at each word; then only those that are reached count.
        kinds, lengths = words[1:] >> 24 & 0x1F, (words[1:] & 0xFFFF).astype(np.int32)
        fixed, each = np.full(32, 3, np.int32), np.zeros(32, np.int32)
        for kind, (extra, per_item) in EXTRA_WORDS.items():
            fixed[kind], each[kind] = 3 + extra, per_item
        steps = (fixed[kinds] + each[kinds] * lengths).data
        records: list[int] = []
        at = 0
        while at < count - 2:
            records.append(at)
            at += steps[at]
        found = np.array(records, np.int64)
        kinds_found = kinds[found]
        if at != count or not kinds_found.all() or int(kinds_found.max()) > LAST_KIND:
            raise BadInput(
                self.where, expected="BTF types of known kinds up to the end", got="another kind or a cut type"
            )
        return found

    def _record(self, name: str) -> int:
        """The record of the structure or union called `name`."""
        offsets, sought, at = [], name.encode() + b"\0", -1
        while (at := self._strings.find(sought, at + 1)) >= 0:
            offsets.append(at)
        records = self._records
        named = records[np.isin(self._words[records], np.array(offsets, np.uint32))] if name else records[:0]
        kinds = self._words[named + 1] >> 24 & 0x1F
        found = named[(kinds == STRUCT) | (kinds == UNION)]
        if not len(found):
            raise Absent(f"struct {name}", where=self.where, hint="its BTF describes no such structure")
        return int(found[0])

    def _resolve(self, type_number: int, what: str) -> int:
        """The record that a type is in the end, past its typedefs and qualifiers."""
        for _ in range(MAX_MODIFIERS):
            if not 0 < type_number <= len(self._records):
                break
            record = int(self._records[type_number - 1])
            if int(self._words[record + 1]) >> 24 & 0x1F not in MODIFIERS:
                return record
            type_number = int(self._words[record + 2])
        raise BadInput(self.where, expected=f"a type for {what}", got=f"type {type_number}")

    def _member(self, record: int, name: str, seen: set[int]) -> Member | None:
        """The member called `name`, also in anonymous members (those `seen` are done with); None if there is none."""
        info = int(self._words[record + 1])
        if info >> 24 & 0x1F not in (STRUCT, UNION) or record in seen or len(seen) > MAX_ANONYMOUS:
            return None
        seen.add(record)
        rows = self._words[record + 3 : record + 3 + 3 * (info & 0xFFFF)].tolist()
        for row in range(0, len(rows), 3):
            name_at, type_number, place = rows[row : row + 3]
            bits = place >> 24 if info >> 31 else 0
            byte, rest = divmod(place & 0xFFFFFF if info >> 31 else place, 8)
            called = self._name(name_at)
            if called and called == name:
                return Member(name, type_number, byte, bits or rest)
            if not called and (inner := self._member(self._resolve(type_number, name), name, seen)):
                return inner._replace(offset=byte + inner.offset)
        return None

    def _name(self, at: int) -> str:
        end = self._strings.find(0, at)
        return self._strings[at:end].decode("ascii", "replace") if 0 <= at < end else ""
