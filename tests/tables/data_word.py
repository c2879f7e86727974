"""The third word of x86's entries since 5.17, for the tests, put together by hand."""

from __future__ import annotations


def data_word(type_: int, register: int = 0, flags: int = 0, immediate: int = 0) -> int:
    """Kernel: arch/x86/include/asm/extable_fixup_types.h EX_DATA_TYPE_MASK and its neighbours, v6.12."""
    return type_ | register << 8 | flags << 12 | (immediate & 0xFFFF) << 16
