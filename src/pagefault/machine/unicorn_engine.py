"""
What Unicorn knows and has no call for: the exact address of a refused access, how many instructions a run executed, and
PKRU. Each lies at a fixed place in the engine's own structure or in a saved context. The places are found by
experiment, once a process: an engine is made to hold values that occur nowhere else, and its memory is searched.
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

from ..arch import x86_64
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
    uc.reg_write(uc_x86.UC_X86_REG_CR4, x86_64.CR4_PKE)
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
