"""
The exception tables of x86's vDSOs: kernel code that runs in user space and may fault there, entering an SGX enclave.

    for name, table in vdso_exception_tables(read, symbols.get, X86_64, where="vmlinux"): ...

The kernel has a description of every vDSO, `struct vdso_image`, in which these are pointers and longs:

    data   size   alt   alt_len   extable_base   extable_len   extable

`data` is the vDSO's image in kernel memory, `extable` a copy of its table. The entries count from `extable_base`, where
the table lies in the image: read as if it lay at `data + extable_base`, they point at the instructions in `data`.

Kernel: arch/x86/include/asm/vdso.h struct vdso_image, v6.1 and v6.12; arch/x86/entry/vdso/extable.c
fixup_vdso_exception(), v6.12. There are none before v5.11: what stands there then makes no sense as a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..arch.platform import Platform, Vdsos
from ..errors import Absent
from .extable import ExceptionTable

LARGEST = 1 << 20
"""A vDSO is a few pages: more bytes than this are none."""


def vdso_exception_tables(
    read: Callable[[int, int], bytes], symbol: Callable[[str], int | None], platform: Platform, *, where: str
) -> Iterator[tuple[str, ExceptionTable]]:
    """
    The tables that have entries, each with its image's name. `read` gives so many bytes of the kernel at an address or
    raises Absent, `symbol` the address of a symbol.
    """
    if platform.vdsos is None:
        return
    for name in platform.vdsos.images:
        address = symbol(name)
        if address is None:
            continue
        try:
            found = vdso_table(read, address, platform, platform.vdsos, where=f"{where} {name}")
        except Absent:
            continue
        if found is not None:
            yield name, found


def vdso_table(
    read: Callable[[int, int], bytes], address: int, platform: Platform, vdsos: Vdsos, *, where: str
) -> ExceptionTable | None:
    """
    The table of the vDSO whose description is at `address`; None if it has none.

    Errors: Absent if the image does not hold what the description points to.
    """
    width = platform.pointer
    raw = read(address, 7 * width)
    data, size, _, _, base, length, extable = (
        int.from_bytes(raw[at : at + width], platform.byte_order) for at in range(0, 7 * width, width)
    )
    if not (0 < length <= size <= LARGEST and base < size and length % vdsos.format.layouts[0].size == 0):
        return None
    return ExceptionTable.from_bytes(
        read(extable, length),
        data + base,
        where=where,
        executable=[(data, data + size)],
        platform=platform,
        exceptions=vdsos.format,
        strict=False,
    )
