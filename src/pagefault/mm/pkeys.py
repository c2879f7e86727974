"""Protection keys: which a process has been given, and the one that makes memory execute-only."""

from __future__ import annotations

from ..tables.address_space import AddressSpace
from .memory import Memory

KEYS = 16
"""Kernel: arch/x86/include/asm/pkeys.h arch_max_pkey(), v6.1."""
PKEY_DISABLE_ACCESS = 1
INIT_PKRU = 0x5555_5554
"""
A new program may use key 0 only.

Kernel: arch/x86/mm/pkeys.c init_pkru_value, v6.1.
"""


def mm_pkey_alloc(memory: Memory, mm: AddressSpace) -> int:
    """
    A key that nobody has, taken; -1 if there is none, or the CPU knows no keys.

    Kernel: arch/x86/include/asm/pkeys.h mm_pkey_alloc(), v6.1.
    """
    if not memory.context(mm).cpu.pke:
        return -1
    free = [key for key in range(KEYS) if not mm.pkey_allocation_map >> key & 1]
    if not free:
        return -1
    mm.pkey_allocation_map |= 1 << free[0]
    return free[0]


def mm_pkey_is_allocated(mm: AddressSpace, key: int) -> bool:
    """
    Is this one of the process's keys, to use as it likes?

    Kernel: arch/x86/include/asm/pkeys.h mm_pkey_is_allocated(), v6.1.
    """
    return 0 <= key < KEYS and key != mm.execute_only_pkey and bool(mm.pkey_allocation_map >> key & 1)


def arch_set_user_pkey_access(memory: Memory, mm: AddressSpace, key: int, rights: int) -> None:
    """
    What the running task may do with memory of this key: PKEY_DISABLE_* or 0.

    Kernel: arch/x86/kernel/fpu/xstate.c arch_set_user_pkey_access(), v6.1.
    """
    pkru = memory.context(mm).cpu.pkru
    memory.write_pkru(pkru & ~(3 << 2 * key) | rights << 2 * key)


def execute_only_pkey(memory: Memory, mm: AddressSpace) -> int:
    """
    The key of memory that may be executed and not read, made if there is none yet; -1 if there can be none.

    Kernel: arch/x86/mm/pkeys.c __execute_only_pkey(), v6.1.
    """
    key = mm.execute_only_pkey
    if key == -1:
        key = mm_pkey_alloc(memory, mm)
        if key < 0:
            return -1
    elif memory.context(mm).cpu.pkru >> 2 * key & PKEY_DISABLE_ACCESS:
        return key
    arch_set_user_pkey_access(memory, mm, key, PKEY_DISABLE_ACCESS)
    mm.execute_only_pkey = key
    return key
