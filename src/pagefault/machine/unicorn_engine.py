"""
What Unicorn knows and has no call for: the exact address of a refused access, how many instructions a run executed,
PKRU, and the error code of an exception. Each lies at a fixed place in the engine's own structure or in a saved
context. The places are found by experiment, once a process: an engine is made to hold values that occur nowhere else,
and its memory is searched.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from array import array
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import unicorn
from unicorn import x86_const as uc_x86

from ..arch import x86
from ..errors import Unsupported
from ..vocabulary.address import PAGE

ENGINE_SIZE = 1 << 14
"""More than a Unicorn engine's own structure takes."""
LOAD, SPIN = bytes.fromhex("488b07"), bytes.fromhex("ebfe")
SPIN_AT = 0x100
CPU_MODEL = uc_x86.UC_CPU_X86_ICELAKE_SERVER
CPUID = b"\x0f\xa2"
CPUID_ANSWERS = (uc_x86.UC_X86_REG_RAX, uc_x86.UC_X86_REG_RBX, uc_x86.UC_X86_REG_RCX, uc_x86.UC_X86_REG_RDX)
CPU_SIZE = 1 << 17
"""More than lies before the registers in the engine's CPU."""
GENERAL_REGISTERS = tuple(
    getattr(uc_x86, f"UC_X86_REG_{name}")
    for name in "RAX RCX RDX RBX RSP RBP RSI RDI R8 R9 R10 R11 R12 R13 R14 R15".split()
)
"""In the order of their numbers in instructions, which is that of the engine."""


@cache
def emulated_cpuid(leaf: int, subleaf: int) -> tuple[int, int, int, int]:
    """What the emulated CPU's own CPUID says."""
    uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    uc.ctl_set_cpu_model(CPU_MODEL)
    uc.mem_map(0, PAGE)
    uc.mem_write(0, CPUID)
    uc.reg_write(uc_x86.UC_X86_REG_RAX, leaf)
    uc.reg_write(uc_x86.UC_X86_REG_RCX, subleaf)
    uc.emu_start(0, len(CPUID))
    eax, ebx, ecx, edx = (uc.reg_read(number) & 0xFFFFFFFF for number in CPUID_ANSWERS)
    return eax, ebx, ecx, edx


class EngineNotes:
    """Two words of one engine's own structure."""

    def __init__(self, uc: unicorn.Uc) -> None:
        start = handle_of(uc)
        self._address = ctypes.c_uint64.from_address(start + refused_address_offset())
        self._executed = ctypes.c_uint64.from_address(start + executed_offset())

    @property
    def refused_address(self) -> int:
        """The exact address of the last access that was refused; the fill hook is told only its page."""
        return self._address.value

    @property
    def executed(self) -> int:
        """
        How many instructions the last run began, if it was given a count; one more than the count if it ran out. Each
        round of a repeated string instruction counts.
        """
        return self._executed.value


@cache
def refused_address_offset() -> int:
    """Where an engine notes the address it could not access: a load of each of two addresses is made to fail."""

    def fail(uc: unicorn.Uc, value: int) -> None:
        uc.reg_write(uc_x86.UC_X86_REG_RDI, value)
        with contextlib.suppress(unicorn.UcError):
            uc.emu_start(0, len(LOAD))

    return offset_of("exact fault address", fail, (0x1234_5678_9ABC, 0x7EDC_BA98_7655))


@cache
def executed_offset() -> int:
    """Where an engine counts instructions: two runs of an endless loop are ended by a count, at one past it."""

    def spin(uc: unicorn.Uc, value: int) -> None:
        uc.emu_start(SPIN_AT, PAGE - 1, count=value - 1)

    return offset_of("count of instructions", spin, (0x12346, 0x2ABCE))


def offset_of(what: str, leave: Callable[[unicorn.Uc, int], None], values: tuple[int, int]) -> int:
    """The one place in an engine that holds each of `values` after `leave` was asked to leave it there."""
    uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    uc.ctl_set_tlb_mode(unicorn.UC_TLB_VIRTUAL)
    uc.mem_map(0, PAGE)
    uc.mem_write(0, LOAD)
    uc.mem_write(SPIN_AT, SPIN)

    def fill(_uc: Any, address: int, _kind: int, result: Any, _data: Any) -> bool:
        result.paddr, result.perms = 0, unicorn.UC_PROT_ALL
        return address == 0

    uc.hook_add(unicorn.UC_HOOK_TLB_FILL, fill)
    places = []
    for value in values:
        leave(uc, value)
        # Not through a pointer: this may read past the engine's end.
        words = array("Q", own_memory(handle_of(uc), ENGINE_SIZE))
        places.append({8 * index for index, word in enumerate(words) if word == value})
    found = places[0] & places[1]
    if len(found) != 1:
        why = f"unicorn {unicorn.__version__} does not keep it where it can be found; install unicorn 2.1.4"
        raise Unsupported(what, why=why)
    return found.pop()


def handle_of(uc: unicorn.Uc) -> int:
    """The engine's address in this process."""
    return ctypes.cast(uc._uch, ctypes.c_void_p).value or 0


@cache
def pkru_offset() -> int:
    """
    Where PKRU lies in a saved context: Unicorn's register interface lacks it. Found by running WRPKRU with two values,
    on a CPU made for that.
    """
    uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    uc.ctl_set_cpu_model(uc_x86.UC_CPU_X86_ICELAKE_SERVER)
    uc.mem_map(0, PAGE)
    uc.mem_write(0, b"\x0f\x01\xef\x31\xc0")  # wrpkru; xor %eax,%eax
    uc.reg_write(uc_x86.UC_X86_REG_CR4, x86.CR4_PKE)
    found = set()
    for value in (0x5A3C_9617, 0xA1C3_69E8):
        uc.reg_write(uc_x86.UC_X86_REG_EAX, value)
        uc.emu_start(0, 5)
        saved = uc.context_save()
        context = ctypes.string_at(saved.context, saved.size)
        found.add((context.find(value.to_bytes(4, "little")), context.count(value.to_bytes(4, "little"))))
    if len(found) != 1 or (offset := found.pop())[1] != 1:
        raise Unsupported("PKRU", why=f"it is not where it can be found in a context of unicorn {unicorn.__version__}")
    return offset[0]


def pkru_in(saved: Any) -> ctypes.c_uint32:
    """PKRU in a saved context, which must outlive what is returned."""
    return ctypes.c_uint32.from_address((saved.context.value or 0) + pkru_offset())


def pkru_of(uc: unicorn.Uc) -> ctypes.c_uint32 | None:
    """
    PKRU where the engine itself keeps it; None if it is not where the experiment found it. That it is the right place
    is tried with two values.
    """
    saved = uc.context_save()
    before, places = pkru_in(saved).value, []
    for value in (0x5A3C_9617, 0xA1C3_69E8):
        pkru_in(saved).value = value
        uc.context_restore(saved)
        expected = value.to_bytes(4, "little")
        places.append({place for place in live_pkru_places(uc) if own_memory(place, 4) == expected})
    pkru_in(saved).value = before
    uc.context_restore(saved)
    found = places[0] & places[1]
    return ctypes.c_uint32.from_address(found.pop()) if len(found) == 1 else None


def live_pkru_places(uc: unicorn.Uc) -> list[int]:
    """Where an engine may have PKRU, following each pointer that led to it in the experiment."""
    engine = array("Q", own_memory(handle_of(uc), ENGINE_SIZE))
    return [engine[index] + distance for index, distance in pkru_pointers()]


@cache
def pkru_pointers() -> tuple[tuple[int, int], ...]:
    """
    Words of an engine's own structure that point into its CPU, and how far beyond PKRU lies there. Found by the general
    registers, which the CPU's state begins with, as does its copy in a saved context: two engines are given values that
    occur nowhere else.
    """
    kept, found = [], []
    for base in (0x5A17_0000_C3D2_0000, 0x2B91_0000_7E44_0000):
        uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
        uc.ctl_set_cpu_model(uc_x86.UC_CPU_X86_ICELAKE_SERVER)
        kept.append(uc)
        values = [base + index * 0x10001 for index in range(16)]
        for number, value in zip(GENERAL_REGISTERS, values, strict=True):
            uc.reg_write(number, value)
        pattern, saved = array("Q", values).tobytes(), uc.context_save()
        start = ctypes.string_at(saved.context, saved.size).find(pattern)
        pointers = set()
        for index, word in enumerate(array("Q", own_memory(handle_of(uc), ENGINE_SIZE))):
            distance = own_memory(word, CPU_SIZE).find(pattern) if word >> 12 and not word % 8 else -1
            if distance >= 0 and start >= 0:
                pointers.add((index, distance + pkru_offset() - start))
        found.append(pointers)
    return tuple(sorted(found[0] & found[1]))


def own_memory(address: int, length: int) -> bytes:
    """Bytes of this process at an address; none if nothing is mapped there. A pointer would not ask."""
    try:
        with Path("/proc/self/mem").open("rb", buffering=0) as memory:
            return os.pread(memory.fileno(), length, address)
    except (OSError, OverflowError):
        return b""


@cache
def exception_offsets() -> tuple[int, int]:
    """
    Where a saved context keeps the error code of the last exception, and the vector of one still in flight (-1 for
    none). Found by loading two bad selectors into %ds: each is a #GP with the selector for its error code.
    """
    uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    uc.mem_map(0, PAGE)
    uc.mem_write(0, b"\x8e\xd8")  # mov %eax, %ds
    uc.hook_add(unicorn.UC_HOOK_INTR, lambda engine, _vector, _data: engine.emu_stop())
    fresh, codes, vectors = uc.context_save(), [], []
    before = ctypes.string_at(fresh.context, fresh.size)
    for selector in (0x1230, 0x2344):
        uc.context_restore(fresh)
        uc.reg_write(uc_x86.UC_X86_REG_RAX, selector)
        with contextlib.suppress(unicorn.UcError):
            uc.emu_start(0, 2)
        saved = uc.context_save()
        after = array("i", ctypes.string_at(saved.context, saved.size & ~3))
        # RAX holds the selector too, but 64 bits of it; the error code is an int, and was something else before.
        codes.append({4 * i for i, word in enumerate(after) if word == selector & ~3} - rax_places(uc, selector))
        was = array("i", before[: saved.size & ~3])
        vectors.append({4 * i for i, word in enumerate(after) if word == x86.TRAP_GP and was[i] == -1})
    code, vector = codes[0] & codes[1], vectors[0] & vectors[1]
    if len(code) != 1 or len(vector) != 1:
        why = f"they are not where they can be found in a context of unicorn {unicorn.__version__}"
        raise Unsupported("error codes of exceptions", why=why)
    return code.pop(), vector.pop()


def rax_places(uc: unicorn.Uc, value: int) -> set[int]:
    """Where a saved context has `value` only because RAX has it."""
    uc.reg_write(uc_x86.UC_X86_REG_RAX, ~value & (1 << 31) - 1)
    saved = uc.context_save()
    words = array("i", ctypes.string_at(saved.context, saved.size & ~3))
    return {4 * i for i, word in enumerate(words) if word == ~value & (1 << 31) - 1}


def land(uc: unicorn.Uc) -> int:
    """
    Tell the engine that its exception has been delivered, which it never is: or the next one would be a double fault.
    Returns the exception's error code.
    """
    code, vector = exception_offsets()
    saved = uc.context_save()
    start = saved.context.value or 0
    ctypes.c_int32.from_address(start + vector).value = -1
    uc.context_restore(saved)
    return ctypes.c_uint32.from_address(start + code).value
