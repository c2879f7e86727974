"""The tables that an audit looks at."""

from __future__ import annotations

from ..images.kernel_image import FoundTable, KernelImage

MAIN = "__ex_table"
OF_USER_CODE = "vdso"
"""The layout of the x86 vDSO's table. Kernel: arch/x86/entry/vdso/extable.c, v6.1."""


def audited_tables(image: KernelImage) -> tuple[tuple[FoundTable, ...], tuple[str, ...]]:
    """
    The tables of kernel code, and the names of those that are not: the vDSO's is about code that runs in user space.

    Errors: Absent if the image has no table; BadInput and Unsupported if it cannot be read.
    """
    kernel, user = [], []
    for found in image.exception_tables:
        if found.table.layout.name == OF_USER_CODE:
            user.append(found.name)
        else:
            kernel.append(found)
    return tuple(kernel), tuple(user)
