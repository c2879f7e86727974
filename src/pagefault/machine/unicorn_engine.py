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
        with Path("/proc/self/mem").open("rb", buffering=0) as memory:
            words = array("Q", os.pread(memory.fileno(), ENGINE_SIZE, handle_of(uc)))
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
