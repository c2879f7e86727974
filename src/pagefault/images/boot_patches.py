"""
What a kernel does to its own code while it boots, as a list of changed bytes, for a CPU with the features we choose.

In the kernel's order: no-ops at the ftrace sites (ftrace_init); then alternative_instructions() with paravirt calls
(v6.1), retpolines, return thunks, alternatives and ENDBR sealing; then runtime constants; and the few variables that
tell the code how many levels its page tables have.

Left out, because a called function does not need it or the image cannot tell: static calls (as linked they go by a
trampoline that jumps to the same place) and jump labels (as linked they have their keys' initial values); `.smp_locks`
(taken out only on a machine of one CPU); the runtime constants of the dentry hash (its place and size are not known);
FineIBT and call thunks; the vDSO's own alternatives.

Kernel: init/main.c start_kernel(), arch/x86/kernel/alternative.c alternative_instructions(), v6.1 and v6.12.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import BadInput
from .alternatives import apply_alternatives
from .code_bytes import CALL, INT3, JMP32, NOPS, NOPS_OF, RET, branch, nops_61, optimize_nops_61
from .text import Addresses, Bytes, Text, signed
from .vmlinux import Vmlinux

RETURN_THUNKS = {
    "srso_alias": "srso_alias_return_thunk",
    "srso": "srso_return_thunk",
    "unret": "retbleed_return_thunk",
    "rethunk": "its_return_thunk",
}
"""
Where functions return to under `rethunk`: the first of these features decides. Alone it is there for Indirect Target
Selection. Kernel: arch/x86/kernel/cpu/bugs.c, v6.1 and v6.12.
"""
UPPER_HALF = 0x20
"""This address bit is set in the half of a cache line that ITS leaves alone. Kernel: cpu_wants_rethunk_at(), v6.1."""
THUNK_SIZE = 32
"""RETPOLINE_THUNK_SIZE. Kernel: arch/x86/include/asm/nospec-branch.h, v6.1 and v6.12."""
ENDBR64, SEALED = bytes.fromhex("f30f1efa"), bytes.fromhex("660f1f00")
"""The second is gen_endbr_poison(). Kernel: arch/x86/include/asm/ibt.h, v6.12."""
POINTERS = {8: "<i8", 4: "<u4"}
"""How numpy reads addresses, by their size: as `text.Addresses` has them."""
LFENCE = bytes.fromhex("0faee8")
CS_PREFIX, REX_B = 0x2E, 0x41
TASK_SIZE_MAX = {False: (1 << 47) - 4096, True: (1 << 56) - 4096}
"""With 4 and with 5 levels. Kernel: arch/x86/include/asm/page_64.h task_size_max(), v6.12."""
FIVE_LEVELS = {
    "__pgtable_l5_enabled": (1, 4),
    "pgdir_shift": (48, 4),
    "ptrs_per_p4d": (512, 4),
    "page_offset_base": (0xFF11_0000_0000_0000, 8),
    "vmalloc_base": (0xFFA0_0000_0000_0000, 8),
    "vmemmap_base": (0xFFD4_0000_0000_0000, 8),
}
"""Value and size. Kernel: arch/x86/kernel/head64.c check_la57_support(), v6.1 and v6.12; no KASLR."""


@dataclass(frozen=True, slots=True, eq=False)
class Patches:
    """The changed bytes: linear `addresses` in ascending order (as signed numbers) and the `values` they get."""

    addresses: Addresses
    values: Bytes

    def __len__(self) -> int:
        return len(self.addresses)

    def write_into(self, buffer: bytearray | memoryview, address: int) -> None:
        """Change those bytes that lie in `buffer`, whose first byte has the linear address `address`."""
        base = signed(address)
        first, last = np.searchsorted(self.addresses, (base, base + len(buffer)))
        np.frombuffer(buffer, np.uint8)[self.addresses[first:last] - base] = self.values[first:last]

    def runs(self) -> Iterator[tuple[int, bytes]]:
        """The same as (linear address, adjacent bytes)."""
        if len(self):
            cuts = np.flatnonzero(np.diff(self.addresses) != 1) + 1
            starts, ends = np.append(0, cuts).tolist(), np.append(cuts, len(self)).tolist()
            data = self.values.tobytes()
            for start, end in zip(starts, ends, strict=True):
                yield int(self.addresses[start]) % (1 << 64), data[start:end]


def boot_patches(image: Vmlinux, features: frozenset[str]) -> Patches:
    """
    Everything that booting `image` on such a CPU changes. Feature names are `cpu_features`'.

    Errors: BadInput for an unknown feature, or a table that leads outside the code; Unsupported for a feature whose
    patching we do not model; Absent if a needed symbol is missing.
    """
    text = Text(image)
    no_ftrace(text)
    apply_paravirt(text)
    apply_retpolines(text, features)
    apply_returns(text, features)
    apply_alternatives(text, features)
    seal_endbr(text)
    data = five_levels(image) if "la57" in features else {}
    data |= runtime_constants(text, "la57" in features)
    addresses, values = text.changes()
    if data:
        addresses = np.concatenate((addresses, *(signed(at) + np.arange(len(new)) for at, new in data.items())))
        values = np.concatenate((values, np.frombuffer(b"".join(data.values()), np.uint8)))
        order = np.argsort(addresses, kind="stable")
        addresses, values = addresses[order], values[order]
    return Patches(addresses, values)


def sites(text: Text, section: str, start: str, stop: str) -> Addresses:
    """A table of s32, each relative to itself: the addresses meant."""
    found = text.image.between(section, start, stop)
    if found is None:
        return np.zeros(0, np.int64)
    address, table = found
    offsets = np.frombuffer(table[: len(table) & ~3], "<i4")
    places: Addresses = signed(address) + np.arange(len(offsets), dtype=np.int64) * 4 + offsets
    return places


def no_ftrace(text: Text) -> None:
    """
    The calls of __fentry__ at the start of functions are no-ops until somebody traces.

    Kernel: kernel/trace/ftrace.c ftrace_init(), arch/x86/kernel/ftrace.c ftrace_make_nop(), v6.1.
    """
    symbols = text.image.symbols
    start, stop = symbols.get("__start_mcount_loc"), symbols.get("__stop_mcount_loc")
    fentry = symbols.get("__fentry__")
    if start is None or stop is None or fentry is None:
        return
    size = text.image.platform.pointer
    places = np.frombuffer(text.image.view(start, max(0, stop - start) & -size), POINTERS[size]).astype(np.int64)
    places = places[places != 0]  # functions that were weak, and replaced
    text.require(places, 5, "__mcount_loc")
    calls = (text.gather(places, 1)[:, 0] == CALL) & (text.targets(places, 1) == signed(fentry))
    text.scatter(places[calls], NOPS_OF[text.image.platform.bits][5])


def apply_paravirt(text: Text) -> None:
    """
    The indirect calls through pv_ops, made direct ones: on bare hardware, of the native functions.

    Kernel: arch/x86/kernel/alternative.c apply_paravirt(), arch/x86/kernel/paravirt.c paravirt_patch(), v6.1. Gone
    in v6.12, where alternatives do it.
    """
    found = text.image.between(".parainstructions", "__parainstructions", "__parainstructions_end")
    if found is None:
        return
    symbols = text.image.symbols
    size, bits = text.image.platform.pointer, text.image.platform.bits
    fields = [("site", POINTERS[size]), ("type", "u1"), ("length", "u1"), ("", f"V{size - 2}")]
    rows = np.frombuffer(found[1][: len(found[1]) & -2 * size], fields)
    places = rows["site"].astype(np.int64)
    text.require(places, rows["length"].astype(np.int64), ".parainstructions")
    count = int(rows["type"].max(initial=0)) + 1
    functions = np.frombuffer(text.image.read(symbols.find("pv_ops"), size * count), f"<u{size}").tolist()
    nothing = symbols.get("_paravirt_nop")
    for site, kind, length in zip(places.tolist(), rows["type"].tolist(), rows["length"].tolist(), strict=True):
        function = functions[kind] or symbols.find("paravirt_BUG")
        call = b"" if function == nothing else branch(CALL, site, signed(function))
        if len(call) > length:
            where = f"{text.image.path} .parainstructions"
            raise BadInput(where, expected=f"sites of {len(call)} bytes or more", got=str(length))
        text.write(site, call + nops_61(length - len(call), bits))


def apply_retpolines(text: Text, features: frozenset[str]) -> None:
    """
    Calls and jumps through a register, which go by way of a thunk as linked: direct again, unless the thunks are
    wanted (`retpoline`), with a fence under `retpoline_lfence`.

    Kernel: arch/x86/kernel/alternative.c apply_retpolines(), v6.1 and v6.12.
    """
    places = sites(text, ".retpoline_sites", "__retpoline_sites", "__retpoline_sites_end")
    if not len(places) or ("retpoline" in features and "retpoline_lfence" not in features):
        return
    text.require(places, 6, ".retpoline_sites")
    thunks = signed(text.image.symbols.find("__x86_indirect_thunk_array"))
    start = text.gather(places, 2).astype(np.int64)
    prefixed, conditional = start[:, 0] == CS_PREFIX, start[:, 0] == 0x0F
    lengths = 5 + (prefixed | conditional)
    opcodes = np.where(prefixed | conditional, start[:, 1], start[:, 0])
    registers, misplaced = np.divmod(text.targets(places + lengths - 5, 1) - thunks, THUNK_SIZE)
    fence = LFENCE if "retpoline_lfence" in features else b""
    keys = (
        opcodes << 16 | lengths << 8 | np.where((misplaced == 0) & (registers >= 0) & (registers < 16), registers, 255)
    )
    for key in np.unique(keys).tolist():
        code = indirect_branch(key >> 16, key >> 8 & 0xFF, key & 0xFF, fence)
        if code:
            text.scatter(places[keys == key], code)


def indirect_branch(opcode: int, length: int, register: int, fence: bytes) -> bytes:
    """
    What takes the place of `length` bytes that call, jump or (`opcode` 80 .. 8f) jump conditionally to a register's
    thunk; nothing if it does not fit or is nothing of these.

    Kernel: arch/x86/kernel/alternative.c patch_retpoline() and emit_indirect(), v6.1 and v6.12.
    """
    code, conditional = b"", opcode & 0xF0 == 0x80
    if register > 15 or not (conditional or opcode in (CALL, JMP32)):
        return b""
    if conditional:
        code = bytes((0x70 | (opcode & 0xF) ^ 1, length - 2))
    prefix = bytes((REX_B,)) if register > 7 else b""
    code += fence + prefix + bytes((0xFF, (0xD0 if opcode == CALL else 0xE0) | register & 7))
    if opcode != CALL and len(code) < length:
        code += bytes((INT3,))
    code = code.ljust(length, NOPS[1])
    return optimize_nops_61(code) if len(code) == length else b""


def apply_returns(text: Text, features: frozenset[str]) -> None:
    """
    Functions return by a jump to __x86_return_thunk as linked: by a plain `ret`, unless a thunk is wanted (`rethunk`).

    Kernel: arch/x86/kernel/alternative.c apply_returns() and patch_return(), v6.1 and v6.12.
    """
    places = sites(text, ".return_sites", "__return_sites", "__return_sites_end")
    if not len(places):
        return
    text.require(places, 5, ".return_sites")
    find = text.image.symbols.find
    linked = signed(find("__x86_return_thunk"))
    places = places[(text.gather(places, 1)[:, 0] == JMP32) & (text.targets(places, 1) == linked)]
    plain = np.full(len(places), "rethunk" not in features)
    if "rethunk" in features:
        name = next(symbol for feature, symbol in RETURN_THUNKS.items() if feature in features)
        thunk = signed(find(name))
        if name == RETURN_THUNKS["rethunk"]:
            plain = places & UPPER_HALF != 0
        for place in places[~plain].tolist():
            text.write(place, branch(JMP32, place, thunk))
    text.scatter(places[plain], bytes((RET, INT3, INT3, INT3, INT3)))


def seal_endbr(text: Text) -> None:
    """
    The ENDBR of functions whose address nobody takes, made a no-op of its own kind.

    Kernel: arch/x86/kernel/alternative.c apply_seal_endbr(), v6.12 (v6.1: apply_ibt_endbr()).
    """
    places = sites(text, ".ibt_endbr_seal", "__ibt_endbr_seal", "__ibt_endbr_seal_end")
    text.require(places, 4, ".ibt_endbr_seal")
    is_endbr = (text.gather(places, 4) == np.frombuffer(ENDBR64, np.uint8)).all(axis=1)
    text.scatter(places[is_endbr], SEALED)


def runtime_constants(text: Text, la57: bool) -> dict[int, bytes]:
    """
    USER_PTR_MAX, the highest address that access_ok() lets pass: in the code that compares with it, and the variable
    (returned, as address and bytes).

    Kernel: arch/x86/kernel/cpu/common.c arch_cpu_finalize_init(), arch/x86/include/asm/runtime-const.h, v6.12.
    """
    places = sites(
        text, "runtime_ptr_USER_PTR_MAX", "__start_runtime_ptr_USER_PTR_MAX", "__stop_runtime_ptr_USER_PTR_MAX"
    )
    value = TASK_SIZE_MAX[la57].to_bytes(8, "little")
    text.require(places, 8, "runtime_ptr_USER_PTR_MAX")
    text.scatter(places, value)
    variable = text.image.symbols.get("USER_PTR_MAX")
    return {} if variable is None else {variable: value}


def five_levels(image: Vmlinux) -> dict[int, bytes]:
    """The variables that say how many levels there are and where the direct map, vmalloc and vmemmap begin then."""
    return {
        address: value.to_bytes(size, "little")
        for name, (value, size) in FIVE_LEVELS.items()
        if (address := image.symbols.get(name)) is not None
    }
