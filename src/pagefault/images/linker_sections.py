"""
The sections of a kernel that has no section headers: what the symbols of its linker script enclose.

    executable_of(sections_of(symbols))         # ((0xffffffff81000000, 0xffffffff81e00000), …)
"""

from __future__ import annotations

from collections.abc import Iterable

from ..tables.symbols import SymbolTable
from .kernel_image import CodeSection

SECTIONS = (
    (".head.text", "_text", "_stext", True, False),
    (".text", "_stext", "_etext", True, False),
    (".init.text", "_sinittext", "_einittext", True, True),
    (".exit.text", "__exittext_begin", "__exittext_end", True, True),
    (".amode31.text", "_stext_amode31", "_etext_amode31", True, False),
    (".rodata", "__start_rodata", "__end_rodata", False, False),
    ("__ex_table", "__start___ex_table", "__stop___ex_table", False, False),
    (".data", "_sdata", "_edata", False, False),
    (".bss", "__bss_start", "__bss_stop", False, False),
)
"""
A section's name, the symbols that a linker script puts around it, is it code, is it freed once the kernel is up.

Kernel: include/asm-generic/vmlinux.lds.h, include/asm-generic/sections.h, arch/*/kernel/vmlinux.lds.S, v6.1 and v6.12.
"""


def sections_of(symbols: SymbolTable) -> tuple[CodeSection, ...]:
    """The sections whose symbols there are, by address; none without symbols."""
    found = []
    for name, start, stop, code, freed in SECTIONS:
        first, last = symbols.get(start), symbols.get(stop)
        if first is not None and last is not None and first < last:
            found.append(CodeSection(name, first, last - first, code, freed))
    return tuple(sorted(found, key=lambda section: section.address))


def executable_of(sections: Iterable[CodeSection]) -> tuple[tuple[int, int], ...]:
    """Ranges of addresses (start, end) that hold code, in order; the freed ones too: the exception table lists them."""
    return tuple(sorted((section.address, section.end) for section in sections if section.executable))


def freed_of(symbols: SymbolTable) -> tuple[tuple[int, int], ...]:
    """
    The rest of what is freed with the init code, as a range (start, end), or nothing: mostly data, but an exception
    table may list code in it, for few linker scripts put symbols around .exit.text.

    Kernel: arch/powerpc/kernel/vmlinux.lds.S, arch/x86/kernel/vmlinux.lds.S, v6.1.
    """
    start, end = symbols.get("_einittext"), symbols.get("__init_end")
    return () if start is None or end is None or start >= end else ((start, end),)
