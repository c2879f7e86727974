"""
A kernel's own list of its symbols, which it prints oopses with: found in the bytes of an image that has nothing else.

    find_kallsyms(data, platform, where="vmlinuz").symbols().find("memcpy")

It is found by its token table (`kallsyms_names`), and is the image's if all of its tables agree with each other. The
addresses lie in front of num_syms, or, since Linux kernel commit 404bad70fcf7 ("scripts/kallsyms: change the output
order") (in v6.4), behind token_index.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from ..arch.platform import Platform
from ..errors import Absent, BadInput
from ..tables.symbol_names import Indices, Words
from ..tables.symbols import SymbolTable
from .kallsyms_names import (
    MAX_NAMES_SIZE,
    MAX_SYMBOLS,
    MAX_TOKEN_TABLE,
    TOKENS,
    FoundNames,
    TokenTable,
    expand,
    names_before,
    token_tables,
    up,
    walk,
)

R_RELATIVE = {"EM_AARCH64": 1027, "EM_S390": 12, "EM_RISCV": 3, "EM_LOONGARCH": 3}
R_64 = {"EM_S390": 22}
"""
Types of relocations: the address is the addend, or the symbol's and the addend. Manual: the ELF supplements of the
architectures, R_AARCH64_RELATIVE, R_390_RELATIVE, R_390_64 and so on.
"""
IMAGE_ALIGNMENT = 1 << 19
MAX_LOWEST_SYMBOL = 1 << 22
"""How far from the start of an image its lowest symbol lies at most: its header's segment may be as large as 2 MiB."""
AddressAt = Callable[[int], int | None]


@dataclass(frozen=True, slots=True, eq=False)
class Kallsyms:
    """
    The symbols in the order of their addresses: `addresses`, nm's letters in `types`, and where in `strings` each
    one's name `starts`. `base` is what addresses are stored relative to, None where they are not. `how` says where the
    list was found, in words.
    """

    platform: Platform
    where: str
    base: int | None
    addresses: Words
    types: npt.NDArray[np.uint8]
    starts: Indices
    strings: bytes
    how: str

    def symbols(self) -> SymbolTable:
        """The same as a symbol table: all but the per-CPU symbols, which are absolute (A), are places in the kernel."""
        return SymbolTable.from_names(
            self.addresses, self.types, self.starts, self.strings, where=self.where, kernel_half=0
        )


def find_kallsyms(data: memoryview, platform: Platform, *, where: str, address_at: AddressAt | None = None) -> Kallsyms:
    """
    The list of symbols in a kernel's bytes, an ELF file or a flat image. `address_at` gives the address that the byte
    at an offset is linked to, where that is known.

    Errors: Absent if there is none, or its addresses cannot be told; BadInput if it contradicts itself.
    """
    first: BadInput | Absent | None = None
    for token_table, token_index, tokens in islice(token_tables(data, platform), 4):
        try:
            return _Image(data, platform, where, address_at).kallsyms(token_table, token_index, tokens)
        except (BadInput, Absent) as error:
            first = first or error
    raise first or Absent("kallsyms", where=where, hint="the kernel was built without CONFIG_KALLSYMS")


def read_kallsyms(
    addresses: Mapping[str, int], read: Callable[[int, int], bytes], platform: Platform, *, where: str
) -> Kallsyms:
    """
    The list in a kernel's memory, whose tables' `addresses` VMCOREINFO names (kallsyms_names, …).

    Kernel: kernel/crash_core.c crash_save_vmcoreinfo_init(), v6.1; kernel/vmcore_info.c, v6.12.
    Errors: Absent if VMCOREINFO lacks one of them; BadInput if they contradict each other; what `read` raises.
    """

    def table(name: str) -> int:
        if (address := addresses.get(name)) is None:
            raise Absent(name, where=where, hint="VMCOREINFO names kallsyms' tables since Linux 6.0")
        return address

    order = platform.byte_order
    names, token_table, token_index = (table(f"kallsyms_{name}") for name in ("names", "token_table", "token_index"))
    count = int.from_bytes(read(table("kallsyms_num_syms"), 4), order)
    size, text_size = token_table - names, token_index - token_table
    if not (0 < count <= MAX_SYMBOLS and count < size <= MAX_NAMES_SIZE and 0 < text_size <= MAX_TOKEN_TABLE):
        got = f"{count} symbols, {size} bytes of names, {text_size} bytes of tokens"
        raise BadInput(where, expected="kallsyms' tables one behind the other", got=got)
    text, index = memoryview(read(token_table, text_size)), memoryview(read(token_index, 2 * TOKENS))
    tokens = TokenTable.of(text, index, platform)
    if tokens is None:
        raise BadInput(where, expected="kallsyms_token_index to name kallsyms_token_table's strings", got="others")
    compressed = read(names, size)
    walked = walk(compressed, count)
    if walked is None:
        raise BadInput(where, expected=f"{count} kallsyms names in {size} bytes", got="more")
    unit = f"{'<' if order == 'little' else '>'}u"
    base, values = None, None
    if "kallsyms_offsets" in addresses:
        at = table("kallsyms_offsets")
        offsets = np.frombuffer(read(at, 4 * count), f"{unit}4")
        if "kallsyms_relative_base" in addresses:
            base = int.from_bytes(read(table("kallsyms_relative_base"), platform.pointer), order)
            values = relative_to(offsets, base)
        else:
            values = relative_to_their_places(offsets, at)
            if values is None and platform.bits == 32:
                values = offsets.astype(np.uint64)
    else:
        raw = read(table("kallsyms_addresses"), platform.pointer * count)
        values = np.frombuffer(raw, f"{unit}{platform.pointer}").astype(np.uint64)
    if values is None:
        raise BadInput(where, expected="kallsyms' addresses in order", got="others")
    how = f"{count:,} symbols from the kernel's own kallsyms at {names:#x}"
    return _kallsyms(platform, where, base, values, compressed, walked, tokens, how)


@dataclass(frozen=True, slots=True)
class _Image:
    data: memoryview
    platform: Platform
    where: str
    address_at: AddressAt | None

    def kallsyms(self, token_table: int, token_index: int, tokens: TokenTable) -> Kallsyms:
        """The list whose token table and index these are."""
        found = names_before(self.data, token_table, self.platform)
        if found is None:
            raise BadInput(
                self.where, offset=token_table, expected="kallsyms' names in front of its token table", got="none"
            )
        values, base = self.addresses(found, token_table, token_index)
        names = bytes(self.data[found.names : found.names + found.size])
        how = f"{len(found.starts):,} symbols from the image's own kallsyms at offset {found.names:#x}"
        return _kallsyms(self.platform, self.where, base, values, names, (found.starts, found.size), tokens, how)

    def addresses(self, found: FoundNames, token_table: int, token_index: int) -> tuple[Words, int | None]:
        """Addresses of the symbols and what they are relative to: in front of num_syms, or behind token_index."""
        count, pointer = len(found.starts), self.platform.pointer
        behind = token_table + up(token_index + 2 * TOKENS - token_table, pointer)
        for offsets_at, base_at in (
            (found.num_syms - pointer - up(4 * count, pointer), found.num_syms - pointer),
            (behind, behind + up(4 * count, pointer)),
        ):
            offsets, stored = self.array(offsets_at, count, 4), self.array(base_at, 1, pointer)
            if offsets is None or stored is None or relative_to(offsets, 0) is None:
                continue
            base = self.base(base_at, int(stored[0]))
            if (values := relative_to(offsets, base)) is not None:
                return values, base
        for at in (found.num_syms - pointer * count, behind):
            addresses = self.array(at, count, pointer)
            if addresses is not None and self.in_order(absolute := addresses.astype(np.uint64)):
                return absolute, None
        offsets = self.array(behind, count, 4)
        if offsets is not None and relative_to_their_places(offsets, 0) is not None:
            return self.relative_to_their_places(offsets, behind), None
        raise BadInput(
            self.where, offset=found.num_syms, expected=f"the addresses of {count} kallsyms names", got="none in order"
        )

    def array(self, offset: int, count: int, width: int) -> npt.NDArray[np.unsignedinteger] | None:
        if offset < 0 or offset + count * width > len(self.data):
            return None
        order = "<" if self.platform.byte_order == "little" else ">"
        return np.frombuffer(self.data, f"{order}u{width}", count, offset)

    def in_order(self, values: Words) -> bool:
        return bool((values[1:] >= values[:-1]).all()) and int(values[-1]) > max(self.platform.kernel_half, len(values))

    def base(self, at: int, stored: int) -> int:
        """
        kallsyms_relative_base, which lies at the offset `at`: what is `stored` there, or what a relocation puts there.

        arm64 and s390 images hold a zero, and the address only in their Elf64_Rela relocations. Such an entry's
        target, less the offset `at`, is the address of the image's start, which is aligned, and the lowest symbol is
        near it. On s390 the entry's value is not an address but _text, which is the image's start, and an addend.

        Kernel: arch/arm64/Makefile (--no-apply-dynamic-relocs), arch/s390/boot/startup.c handle_relocs(), v6.1.
        Errors: Absent if there is none.
        """
        found = {stored} if stored else self.relocated(at)
        if len(found) != 1:
            raise Absent("base of kallsyms' addresses", where=self.where, hint="the kernel fills it in at boot")
        return found.pop()

    @property
    def start(self) -> int | None:
        """The address of the file's first byte, if that is known and linked to one."""
        return self.address_at(0) if self.address_at else None

    def relocated(self, at: int) -> set[int]:
        """The addresses that relocations may put at the offset `at`, of those nearest to the image's start."""
        words = self.array(0, len(self.data) // 8, 8)
        if self.platform.bits != 64 or words is None or len(words) < 3:
            return set()
        known = self.address_at(at) if self.address_at else None
        values: dict[int, set[int]] = {}
        for kinds, symbolic in ((R_RELATIVE, False), (R_64, True)):
            kind = kinds.get(self.platform.elf_machine, 0)
            if not kind or (symbolic and known is not None and known - at != self.start):
                continue
            entries = np.flatnonzero(words[1:-1] & np.uint64(0xFFFFFFFF) == kind)
            targets = words[entries]
            matching = targets & np.uint64(IMAGE_ALIGNMENT - 1) == at % IMAGE_ALIGNMENT
            entries = entries[matching if known is None else targets == known]
            for target, info, addend in words[entries[:, None] + np.arange(3)].tolist():
                start = target - at
                value = start + addend if symbolic else addend
                if bool(info >> 32) == symbolic and 0 <= value - start < MAX_LOWEST_SYMBOL:
                    values.setdefault(value - start, set()).add(value)
        return values[min(values)] if values else set()

    def relative_to_their_places(self, offsets: npt.NDArray[np.unsignedinteger], at: int) -> Words:
        address = self.address_at(at) if self.address_at else None
        if address is None:
            raise Absent("address of kallsyms_offsets", where=self.where, hint="use an ELF image of this kernel")
        values = relative_to_their_places(offsets, address)
        if values is None:
            raise BadInput(self.where, offset=at, expected="kallsyms_offsets in order", got="others")
        return values


def relative_to(offsets: npt.NDArray[np.unsignedinteger], base: int) -> Words | None:
    """
    Addresses from kallsyms_offsets, or None if they are not in order from the base, the lowest of them, on.

    They are unsigned; or, with CONFIG_KALLSYMS_ABSOLUTE_PERCPU (x86-64 before v6.15), absolute if positive and
    base - 1 - offset if negative.

    Kernel: kernel/kallsyms.c kallsyms_sym_address(), v6.1 and v6.12.
    """
    wrapped = np.uint64(base % (1 << 64))
    if not offsets[0] and offsets[-1] and (offsets[1:] >= offsets[:-1]).all():
        return offsets.astype(np.uint64) + wrapped
    signed = offsets.astype(np.int64)
    signed[signed >= 1 << 31] -= 1 << 32
    absolute = int(np.argmax(signed < 0))
    lower, upper = signed[:absolute], signed[absolute:]
    ordered = (lower[1:] >= lower[:-1]).all() and (upper[1:] <= upper[:-1]).all()
    if upper[0] != -1 or upper[-1] == -1 or not ordered:
        return None
    return np.concatenate((lower.astype(np.uint64), (-1 - upper).astype(np.uint64) + wrapped))


def relative_to_their_places(offsets: npt.NDArray[np.unsignedinteger], at: int) -> Words | None:
    """
    Addresses from kallsyms_offsets, each relative to where it lies, `at` and on; None if they are not in order.

    Kernel: since commit a081b5789255 ("kallsyms: Get rid of kallsyms relative base") (in v7.0).
    """
    signed = offsets.astype(np.int64)
    signed[signed >= 1 << 31] -= 1 << 32
    values = signed + 4 * np.arange(len(signed))
    if (values[1:] < values[:-1]).any() or values[0] >= 0 or values[0] == values[-1]:
        return None
    return values.astype(np.uint64) + np.uint64(at)


def _kallsyms(
    platform: Platform,
    where: str,
    base: int | None,
    values: Words,
    names: bytes,
    walked: tuple[Indices, int],
    tokens: TokenTable,
    how: str,
) -> Kallsyms:
    if platform.bits == 32:
        values &= np.uint64(0xFFFFFFFF)
    text, starts = expand(names, *walked, tokens, where)
    types = np.frombuffer(text, np.uint8)[starts]
    letters = types | 0x20
    if not ((letters >= ord("a")) & (letters <= ord("z"))).all():
        raise BadInput(where, expected="a letter for each of kallsyms' symbols", got="another character")
    return Kallsyms(platform, where, base, values, types, starts + 1, text, how)
