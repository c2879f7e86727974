"""
An x86 kernel's code as any CPU may run it: each place that is patched at boot, with everything that may stand there.

    STAC and CLAC are written into the code at boot, where the CPU has SMAP: in the file they are no-ops and an entry of
    .altinstructions each.
    A static branch is a no-op or a jump in the file, and may become the other one while the kernel runs.

Kernel: arch/x86/include/asm/smap.h, arch/x86/include/asm/alternative.h struct alt_instr,
arch/x86/include/asm/jump_label.h, include/linux/jump_label.h struct jump_entry, v6.1 and v6.12.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..arch.disassembly import Disassembled
from ..errors import Absent
from ..images.alternatives import INVERTED_61, LAYOUTS, MAX_FEATURE
from ..images.kernel_image import KernelImage
from .module_relocations import ModuleRelocations
from .x86_operands import OUTSIDE, Step, step

STAC, CLAC = bytes.fromhex("0f01cb"), bytes.fromhex("0f01ca")
SMAP = 9 * 32 + 20
"""X86_FEATURE_SMAP. Kernel: arch/x86/include/asm/cpufeatures.h, v6.1 and v6.12."""
MAX_INSTRUCTION = 15
MAX_FUNCTION = 1 << 18
"""No function of a kernel's is longer."""
RETURN_THUNK = "return_thunk"
"""How the names of __x86_return_thunk and its kin end. Kernel: arch/x86/lib/retpoline.S, v6.1."""
FENTRY = "__fentry__"
"""What functions call for ftrace; a no-op from boot on. Kernel: arch/x86/kernel/ftrace_64.S, v6.1."""

ALTERNATIVES = ("__alt_instructions", "__alt_instructions_end")
JUMPS = ("__start___jump_table", "__stop___jump_table")

Disassemble = Callable[[bytes, int], Disassembled | None]


@dataclass(frozen=True, slots=True)
class Replacement:
    """`code` that lies at `other` and may stand in the place of the `length` bytes at `site`."""

    site: int
    length: int
    other: int
    code: bytes
    feature: int


class X86Code:
    """
    The instructions of an image by address. `disassemble` decodes one.

    An instruction of a replacement has the address that it gets at its site, and its branches lead where they will.
    """

    def __init__(
        self, image: KernelImage, disassemble: Disassemble, relocations: ModuleRelocations | None = None
    ) -> None:
        self.image, self._disassemble, self._relocations = image, disassemble, relocations
        self._leaders: set[int] = set()
        self._learned: set[int] = set()
        self._steps: dict[int, Step | None] = {}
        self._replaced: dict[Replacement, tuple[Step, ...]] = {}

    def step(self, address: int) -> Step | None:
        """The instruction at an address as linked; None if there is none."""
        if address not in self._steps:
            found = self._disassemble(self.bytes_at(address), address)
            self._steps[address] = None if found is None else self.relocated(step(found))
        return self._steps[address]

    def relocated(self, found: Step) -> Step:
        """A branch as it will be in a loaded module: one that leaves the module leads to OUTSIDE."""
        if self._relocations is None or found.target is None:
            return found
        target = self._relocations.target(found.end - 4)
        if target is None:
            return found
        if target.address is not None:
            return found._replace(target=target.address + 4)
        if found.calls and target.name == FENTRY:
            return found._replace(target=None, name="nop")
        if found.jumps and (target.name or "").endswith(RETURN_THUNK):
            return found._replace(target=None, name="ret")
        return found._replace(target=OUTSIDE)

    def bytes_at(self, address: int, most: int = MAX_INSTRUCTION) -> bytes:
        """Up to `most` bytes of code at an address."""
        for start, end in self.image.executable:
            if start <= address < end:
                try:
                    return self.image.read(address, min(most, end - address))
                except Absent:
                    return b""
        return b""

    def replaced(self, replacement: Replacement) -> tuple[Step, ...]:
        """The instructions of a replacement, at their site's addresses."""
        if replacement not in self._replaced:
            steps, at = [], 0
            while at < len(replacement.code):
                found = self._disassemble(replacement.code[at : at + MAX_INSTRUCTION], replacement.other + at)
                if found is None:
                    break
                moved = self.relocated(step(found))
                target = moved.target
                if target is not None and replacement.other <= target < replacement.other + len(replacement.code):
                    target += replacement.site - replacement.other
                steps.append(moved._replace(address=replacement.site + at, target=target))
                at += moved.length
            self._replaced[replacement] = tuple(steps)
        return self._replaced[replacement]

    def is_leader(self, address: int) -> bool:
        """Is it where branches lead, a fixup, or a place that is patched or ends there?"""
        return address in self._leaders

    def learn(self, start: int, end: int) -> None:
        """Read a function through once, for where its branches lead."""
        if start in self._learned:
            return
        self._learned.add(start)
        at = start
        while at < min(end, start + MAX_FUNCTION):
            found = self.step(at)
            if found is None:
                at += 1
                continue
            if found.target is not None and not found.calls:
                self._leaders.add(found.target)
            at = found.end

    def lead(self, address: int) -> None:
        """Branches lead there."""
        self._leaders.add(address)

    @cached_property
    def replacements(self) -> dict[int, tuple[Replacement, ...]]:
        """What may stand at a site, by its address; empty for an image that is patched already, or has no table."""
        found: dict[int, list[Replacement]] = {}
        for each in read_replacements(self.image, self._relocations):
            found.setdefault(each.site, []).append(each)
            self._leaders.update((each.site, each.site + each.length))
        return {site: tuple(each) for site, each in found.items()}

    @cached_property
    def static_branches(self) -> dict[int, int]:
        """Where a static branch may lead, by its address."""
        found = dict(read_static_branches(self.image, self._relocations))
        self._leaders.update(found, found.values())
        return found

    @cached_property
    def stac_sites(self) -> tuple[int, ...]:
        """Where user access may be opened: the addresses of STAC instructions, as linked or as patched, in order."""
        sites = {
            site + each.code.index(STAC)
            for site, variants in self.replacements.items()
            for each in variants
            if STAC in each.code
        }
        for start, end in self.image.executable:
            sites.update(find_all(self.image, start, end, STAC))
        replaced = {each.other for variants in self.replacements.values() for each in variants}
        return tuple(sorted(sites - replaced))


def find_all(image: KernelImage, start: int, end: int, wanted: bytes) -> Iterator[int]:
    """Every address between two at which these bytes lie."""
    try:
        code = image.read(start, end - start)
    except Absent:
        return
    at = code.find(wanted)
    while at >= 0:
        yield start + at
        at = code.find(wanted, at + 1)


def read_replacements(image: KernelImage, relocations: ModuleRelocations | None) -> Iterator[Replacement]:
    """The entries of `.altinstructions`; none if it makes no sense in any layout."""
    found = table_bytes(image, relocations, ".altinstructions", ALTERNATIVES)
    if found is None:
        return
    address, table = found
    ranges = [(start, end) for start, end in image.executable if start < end]
    size = entry_size(address, table, ranges)
    if size is None:
        return
    rows = np.frombuffer(table[: len(table) // size * size], LAYOUTS[size])
    for index, row in enumerate(rows.tolist()):
        fields = dict(zip(rows.dtype.names or (), row, strict=True))
        at = address + index * size
        site, other = at + fields["site"], at + 4 + fields["other"]
        inverted = fields["flags"] & 1 if "flags" in fields else fields["feature"] & INVERTED_61
        feature = fields["feature"] if "flags" in fields else fields["feature"] & ~INVERTED_61
        try:
            code = image.read(other, fields["other_length"]) if fields["other_length"] else b""
        except Absent:
            continue
        yield Replacement(site, fields["length"], other, code, -feature if inverted else feature)


def read_static_branches(image: KernelImage, relocations: ModuleRelocations | None) -> Iterator[tuple[int, int]]:
    """The sites of `__jump_table` and their targets, all in code; none if any is elsewhere."""
    found = table_bytes(image, relocations, "__jump_table", JUMPS)
    size = 8 + image.platform.bits // 8
    if found is None or len(found[1]) % size:
        return
    address, table = found
    rows = np.frombuffer(table, np.dtype({"names": ["site", "target"], "formats": ["<i4", "<i4"], "itemsize": size}))
    ranges = [(start, end) for start, end in image.executable if start < end]
    at = np.uint64(address) + np.arange(len(rows), dtype=np.uint64) * np.uint64(size)
    sites = at + rows["site"].astype(np.uint64)
    targets = at + np.uint64(4) + rows["target"].astype(np.uint64)
    if in_ranges(sites, ranges).all() and in_ranges(targets, ranges).all():
        yield from zip(sites.tolist(), targets.tolist(), strict=True)


def table_bytes(
    image: KernelImage, relocations: ModuleRelocations | None, name: str, between: tuple[str, str]
) -> tuple[int, bytes] | None:
    """Address and bytes of a table: the section of that name, or what lies `between` the linker's two symbols."""
    if relocations is not None:
        return relocations.table(name)
    for section in image.sections:
        if section.name == name and section.size:
            return section.address, image.read(section.address, section.size)
    start, stop = (image.symbols.get(symbol) for symbol in between)
    if start is None or stop is None or stop <= start:
        return None
    try:
        return start, image.read(start, stop - start)
    except Absent:
        return None


def in_ranges(addresses: NDArray[np.uint64], ranges: list[tuple[int, int]]) -> NDArray[np.bool_]:
    """Which addresses lie in one of these."""
    inside = np.zeros(len(addresses), bool)
    for start, end in ranges:
        inside |= (addresses >= np.uint64(start)) & (addresses < np.uint64(end))
    return inside


def entry_size(address: int, table: bytes, ranges: list[tuple[int, int]]) -> int | None:
    """The size of an entry: the layout under which all sites lie in code and all features are possible."""
    for size, layout in LAYOUTS.items():
        if len(table) % size:
            continue
        rows = np.frombuffer(table, layout)
        # Python's numbers: a kernel's addresses do not fit a signed word, and their differences matter.
        sites = np.array([address + at * size for at in range(len(rows))], np.uint64) + rows["site"].astype(np.uint64)
        feature = rows["feature"] if size == 14 else rows["feature"] & ~np.uint16(INVERTED_61)
        if (
            in_ranges(sites, ranges).all()
            and (feature < MAX_FEATURE).all()
            and (rows["other_length"] <= rows["length"]).all()
        ):
            return size
    return None
